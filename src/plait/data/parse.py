"""Columns read as numbers, yes and no, or dates; what is not understood is counted, never guessed."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from plait.data.dates import AMBIGUOUS, ISO, clean, format_of, is_aware, is_number, naive_form, stamps
from plait.data.numbers import Style, needs_style, read, style_of
from plait.data.typed import TypedArray, typed_array
from plait.data.values import MISSING_WORDS, answers, nulls, text_of

__all__ = [
    "AMBIGUOUS",
    "ISO",
    "Parsed",
    "Style",
    "booleans",
    "date_format",
    "dates",
    "number_style",
    "numbers",
    "style_of",
    "zones",
]

TRUE = frozenset(("true", "yes", "y", "t", "on", "1"))
FALSE = frozenset(("false", "no", "n", "f", "off", "0"))

_SAMPLE = 2000  # distinct words from which the format of dates is found
_FIGURE = re.compile(r"\d")
_ODD_WORDS = 3  # distinct words such as TBD that a column of dates or numbers may hold


@dataclass(frozen=True)
class Parsed:
    """A column as floats.

    Attributes:
        values: (n,) float64, NaN where there is none; dates are days since 1970, durations seconds.
        missing: (n,) bool, empty cells and words such as NA.
        bad: (n,) bool, cells that hold something else.
        odd: (n,) bool, cells that were understood although the column writes its numbers in another way.
    """

    values: np.ndarray
    missing: np.ndarray
    bad: np.ndarray
    odd: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def take(self, rows: np.ndarray) -> Parsed:
        """Some of the cells."""
        return Parsed(self.values[rows], self.missing[rows], self.bad[rows], self.odd[rows])

    @property
    def share(self) -> float:
        """Share of the cells that hold anything and were understood; 0 for an empty column."""
        there = int((~self.missing).sum())
        return 1.0 - float(self.bad.sum()) / there if there else 0.0


def words_of(column: TypedArray) -> np.ndarray:
    """The texts of the source's distinct values (k + 1,), None where missing and for a cell that holds nothing."""

    def read_words(values: Sequence[object]) -> np.ndarray:
        result = answers(column, text_of).copy()
        result[[i for i, text in enumerate(result) if not text or text.lower() in MISSING_WORDS]] = None
        return result

    return column.source.once("words", read_words)


def _missing(words: np.ndarray) -> np.ndarray:
    return np.array([word is None for word in words], dtype=bool)


def _parsed(values: np.ndarray, missing: np.ndarray, odd: np.ndarray | None = None) -> Parsed:
    return Parsed(values, missing, ~missing & np.isnan(values), np.zeros(len(values), bool) if odd is None else odd)


def numbers(series: pd.Series, style: str | Style = "plain") -> Parsed:
    """A column as numbers; infinity stays infinity, the caller decides.

    Args:
        series: cells of any type. Real numbers are taken as they are, whatever the style.
        style: how texts are written, as ``number_style`` finds it at the fit.
    """
    column = typed_array(series)
    if column.source.cells.dtype != object:
        values = column.cells().astype(np.float64)
        return _parsed(values, np.isnan(values))
    style = Style.parse(style) if isinstance(style, str) else style
    words = words_of(column)

    def read_numbers(cells: Sequence[object]) -> Parsed:
        values, odd = np.full(len(words), np.nan), np.zeros(len(words), dtype=bool)
        for i, (cell, word) in enumerate(zip(cells, words, strict=False)):
            if word is not None:
                values[i], odd[i] = read(cell, style)
        return _parsed(values, _missing(words), odd)

    return column.source.once(("numbers", style), read_numbers).take(column.codes)


def booleans(series: pd.Series) -> Parsed:
    """A column as 1.0 and 0.0."""
    column = typed_array(series)
    words = words_of(column)

    def read_booleans(cells: Sequence[object]) -> Parsed:
        low = [None if w is None else w.lower() for w in words]
        values = np.array([1.0 if w in TRUE else 0.0 if w in FALSE else np.nan for w in low], dtype=np.float64)
        return _parsed(values, _missing(words))

    return column.source.once("booleans", read_booleans).take(column.codes)


def dates(series: pd.Series, form: str = ISO, *, utc: bool = False) -> Parsed:
    """A column as days since 1970, read in one format (``ISO8601`` or one of strptime).

    The clock of the place counts: ``2020-01-03T20:00-05:00`` is Friday at eight in the evening. ``utc`` turns all to UTC, as
    models of the first version were fitted.
    """
    if isinstance(series.dtype, pd.DatetimeTZDtype | np.dtype) and series.dtype.kind == "M":
        aware = isinstance(series.dtype, pd.DatetimeTZDtype)
        result = (series.dt.tz_convert("UTC") if utc else series).dt.tz_localize(None) if aware else series
        return _days(result, nulls(series))
    column = typed_array(series)
    words = words_of(column)
    make = _utc_days if utc else _local_days
    return column.source.once(("dates", form, utc), lambda _: make(words, form)).take(column.codes)


def _utc_days(words: np.ndarray, form: str) -> Parsed:
    read_at = pd.to_datetime(pd.Series(words, dtype=object), format=form, errors="coerce", utc=True)
    return _days(read_at if read_at.dtype == object else read_at.dt.tz_localize(None), _missing(words))


def _local_days(words: np.ndarray, form: str) -> Parsed:
    bare = [None if w is None else clean(w)[0] for w in words]
    missing = _missing(words)
    read_at = stamps(bare, ISO if form == AMBIGUOUS else naive_form(form))
    odd = read_at.isna() & ~pd.Series(missing)
    if form != ISO and odd.any():  # true dates, or the form that leaves no doubt, in a column of another one
        again = stamps([w if o else None for w, o in zip(bare, odd, strict=True)], ISO)
        if again.dtype == read_at.dtype or not read_at.notna().any():
            read_at = read_at.where(~odd, again)
    return _days(read_at, missing)


def _days(series: pd.Series, missing: np.ndarray) -> Parsed:
    if series.dtype == object:  # nothing there
        return _parsed(np.full(len(series), np.nan), missing)
    stamp = series.to_numpy().astype("datetime64[us]")  # in ns, the year 1132 overflows
    days, rest = np.divmod(
        stamp.astype(np.int64), _DAY
    )  # whole numbers first: one time has one float, whatever its unit
    return _parsed(np.where(np.isnat(stamp), np.nan, days + rest / _DAY), missing)


_DAY = 86_400_000_000  # microseconds


def style_in(series: pd.Series) -> Style:
    """How a column writes its numbers."""
    column = typed_array(series)
    if column.source.cells.dtype != object or not column.source.once("odd", _odd_words)[column.codes].any():
        return Style()
    shown = pd.unique(column.codes)
    return style_of([column.source.values[code] for code in shown if code >= 0])


def _odd_words(values: Sequence[object]) -> np.ndarray:
    return np.array([*map(needs_style, values), False])


def number_style(series: pd.Series) -> str:
    """How the numbers of a column are written, as the text of a ``Style``; ``plain`` when nothing speaks for another way."""
    return str(style_in(series))


def zones(series: pd.Series) -> str:
    """Whether the times of a column name their zone: ``aware``, ``naive``, ``both``, or nothing when there are none."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return "aware" if series.notna().any() else ""
    column = typed_array(series)
    shown = np.unique(column.source.once("zones", _zones)[column.codes])
    return "both" if {0, 1} <= set(shown) else "aware" if 1 in shown else "naive" if 0 in shown else ""


def _zones(values: Sequence[object]) -> np.ndarray:
    """1 for a time with its zone, 0 for one without, -1 for what is no time."""
    return np.array([*(int(is_aware(v)) if _FIGURE.search(text_of(v)) else -1 for v in values), -1])


def date_format(series: pd.Series) -> str | None:
    """The one format of a column of dates, ``"ambiguous"`` where day and month look alike, None where there is none.

    A few words (``unknown``, ``TBD``) and impossible dates beside many dates do not hinder it: they count as missing.
    """
    if series.dtype.kind == "M":
        return ISO
    column = typed_array(series)
    words, codes = words_of(column), column.codes
    rows = np.bincount(codes + 1, minlength=len(words))[1:]  # of each distinct value
    shown = pd.unique(codes)
    figures = column.source.once("figures", lambda _: np.array([bool(w and _FIGURE.search(w)) for w in words]))
    there = [i for i in shown.tolist() if i >= 0 and words[i] is not None]
    dated = [i for i in there if figures[i]]
    if not dated:
        return None
    few = [words[i] for i in dated[:: max(1, len(dated) // 200)]]
    if sum(map(is_number, few)) > 0.5 * len(few):  # most columns end here, before any format is tried
        return None
    held, all_held = rows[dated].sum(), rows[there].sum()
    if held < (0.5 if len(there) - len(dated) <= _ODD_WORDS and len(dated) > 1 else 0.95) * all_held:
        return None
    step = max(1, len(dated) // _SAMPLE)
    return format_of([words[i] for i in dated[::step]][:_SAMPLE]) or _without_odd(words, dated, rows)


def _without_odd(words: np.ndarray, dated: list[int], rows: np.ndarray) -> str | None:
    """The format of nearly all when a few cells are written otherwise."""
    if len(dated) < 20:
        return None
    dated = dated[:: max(1, len(dated) // (5 * _SAMPLE))]
    shapes = [_shape(words[i]) for i in dated]
    counts: Counter[str] = Counter()
    for i, shape in zip(dated, shapes, strict=True):
        counts[shape] += int(rows[i])
    usual, held = counts.most_common(1)[0]
    if held < 0.95 * sum(counts.values()):
        return None
    return format_of([words[i] for i, shape in zip(dated, shapes, strict=True) if shape == usual][:_SAMPLE])


def _shape(word: str) -> str:
    """The first marks of a word, each letter as one, its digits left out."""
    marks = ("a" if c.isalpha() else c for c in word if not c.isdigit())
    return "".join(itertools.islice(marks, 20))
