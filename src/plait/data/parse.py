"""Columns read as numbers, yes and no, or dates; what is not understood is counted, never guessed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from plait.data.dates import AMBIGUOUS, ISO, clean, format_of, is_aware, naive_form, stamps
from plait.data.numbers import Style, number_style, read, style_of
from plait.data.values import MISSING_WORDS, Distinct, distinct, nulls, plain, text_of

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

    @property
    def share(self) -> float:
        """Share of the cells that hold anything and were understood; 0 for an empty column."""
        there = int((~self.missing).sum())
        return 1.0 - float(self.bad.sum()) / there if there else 0.0


def _words(series: pd.Series, known: Distinct | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct texts (k + 1,), None where missing, that mask, and where each row finds its own (n,).

    What is read is read once per distinct text; a row that holds nothing points at the last entry, which is missing.
    """
    codes, values = known or distinct(series)
    result = np.empty(len(values) + 1, dtype=object)
    result[:-1] = [_word(value) for value in values]
    missing = np.array([t is None for t in result], dtype=bool)
    return result, missing, codes


def _word(value: Any) -> str | None:
    if isinstance(value, str) and (not value or value.isspace()):
        return None
    text = text_of(value)
    return None if text.lower() in MISSING_WORDS else text


def _parsed(values: np.ndarray, missing: np.ndarray, odd: np.ndarray | None = None) -> Parsed:
    return Parsed(values, missing, ~missing & np.isnan(values), np.zeros(len(values), bool) if odd is None else odd)


def numbers(series: pd.Series, style: str | Style = "plain", known: Distinct | None = None) -> Parsed:
    """A column as numbers; infinity stays infinity, the caller decides.

    Args:
        series: cells of any type. Real numbers are taken as they are, whatever the style.
        style: how texts are written, as ``number_style`` finds it at the fit.
        known: what ``distinct`` gave of the series, where it was asked already.
    """
    cells = plain(series)
    if cells.dtype != object:
        values = cells.astype(np.float64)
        return _parsed(values, np.isnan(values))
    style = Style.parse(style) if isinstance(style, str) else style
    codes, result = known or distinct(series)
    missing = np.array([*(_word(v) is None for v in result), True], dtype=bool)
    values, odd = np.full(len(result) + 1, np.nan), np.zeros(len(result) + 1, dtype=bool)
    for i in np.flatnonzero(~missing):
        values[i], odd[i] = read(result[i], style)
    return _parsed(values[codes], missing[codes], odd[codes])


def booleans(series: pd.Series, known: Distinct | None = None) -> Parsed:
    """A column as 1.0 and 0.0."""
    words, missing, codes = _words(series, known)
    low = [None if w is None else w.lower() for w in words]
    values = np.array([1.0 if w in TRUE else 0.0 if w in FALSE else np.nan for w in low], dtype=np.float64)
    return _parsed(values[codes], missing[codes])


def dates(series: pd.Series, form: str = ISO, known: Distinct | None = None, *, utc: bool = False) -> Parsed:
    """A column as days since 1970, read in one format (``ISO8601`` or one of strptime).

    The clock of the place counts: ``2020-01-03T20:00-05:00`` is Friday at eight in the evening. ``utc`` turns all to UTC, as
    models of the first version were fitted.
    """
    if isinstance(series.dtype, pd.DatetimeTZDtype | np.dtype) and series.dtype.kind == "M":
        aware = isinstance(series.dtype, pd.DatetimeTZDtype)
        result = (series.dt.tz_convert("UTC") if utc else series).dt.tz_localize(None) if aware else series
        return _days(result, nulls(series))
    words, there, codes = _words(series, known)
    if utc:
        read_at = pd.to_datetime(pd.Series(words, dtype=object), format=form, errors="coerce", utc=True)
        read_at = read_at if read_at.dtype == object else read_at.dt.tz_localize(None)
    else:
        bare = [None if w is None else clean(w)[0] for w in words]
        read_at = stamps(bare, ISO if form == AMBIGUOUS else naive_form(form))
        odd = read_at.isna() & ~pd.Series(there)
        if form != ISO and odd.any():  # true dates, or the form that leaves no doubt, in a column of another one
            again = stamps([w if o else None for w, o in zip(bare, odd, strict=True)], ISO)
            read_at = (
                read_at.where(~odd, again) if again.dtype == read_at.dtype or not read_at.notna().any() else read_at
            )
    return _days(read_at.iloc[codes], there[codes])


def _days(series: pd.Series, missing: np.ndarray) -> Parsed:
    if series.dtype == object:  # nothing there
        return _parsed(np.full(len(series), np.nan), missing)
    stamp = series.to_numpy().astype("datetime64[us]")  # in ns, the year 1132 overflows
    days, rest = np.divmod(
        stamp.astype(np.int64), _DAY
    )  # whole numbers first: one time has one float, whatever its unit
    return _parsed(np.where(np.isnat(stamp), np.nan, days + rest / _DAY), missing)


_DAY = 86_400_000_000  # microseconds


def zones(series: pd.Series) -> str:
    """Whether the times of a column name their zone: ``aware``, ``naive``, ``both``, or nothing when there are none."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return "aware" if series.notna().any() else ""
    result = {is_aware(v) for v in distinct(series)[1] if any(c.isdigit() for c in text_of(v))}
    return "both" if len(result) > 1 else {True: "aware", False: "naive"}[result.pop()] if result else ""


def date_format(series: pd.Series, known: Distinct | None = None) -> str | None:
    """The one format of a column of dates, ``"ambiguous"`` where day and month look alike, None where there is none.

    A few words (``unknown``, ``TBD``) and impossible dates beside many dates do not hinder it: they count as missing.
    """
    if series.dtype.kind == "M":
        return ISO
    words, missing, codes = _words(series, known)
    rows = Counter(codes.tolist())
    there = [i for i in range(len(words) - 1) if not missing[i]]
    dated = [i for i in there if any(c.isdigit() for c in words[i])]
    if not dated:
        return None
    held, all_held = sum(rows[i] for i in dated), sum(rows[i] for i in there)
    if held < (0.5 if len(there) - len(dated) <= _ODD_WORDS and len(dated) > 1 else 0.95) * all_held:
        return None
    step = max(1, len(dated) // _SAMPLE)
    return format_of([words[i] for i in dated[::step]][:_SAMPLE]) or _without_odd(words, dated, rows)


def _without_odd(words: np.ndarray, dated: list[int], rows: Counter[int]) -> str | None:
    """The format of nearly all when a few cells are written otherwise."""
    if len(dated) < 20:
        return None
    shapes = [_shape(words[i]) for i in dated]
    counts: Counter[str] = Counter()
    for i, shape in zip(dated, shapes, strict=True):
        counts[shape] += rows[i]
    usual, held = counts.most_common(1)[0]
    if held < 0.95 * sum(counts.values()):
        return None
    return format_of([words[i] for i, shape in zip(dated, shapes, strict=True) if shape == usual][:_SAMPLE])


def _shape(word: str) -> str:
    """The marks of a word, its digits and letters left out."""
    return "".join("" if c.isdigit() else "a" * c.isalpha() or c for c in word)[:20]
