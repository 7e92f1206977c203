"""Columns read as numbers, yes and no, or dates; what is not understood is counted, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from plait.table._values import MISSING_WORDS, distinct, nulls, text_of

TRUE = frozenset(("true", "yes", "y", "t", "on", "1"))
FALSE = frozenset(("false", "no", "n", "f", "off", "0"))

#: How a number may be written: ``plain`` (12.5), ``comma`` (1.234,5) or ``thousands`` (1,234.5).
STYLES = ("plain", "comma", "thousands")

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_COMMA = re.compile(r"[+-]?(\d{1,3}([. ]\d{3})+|\d+),\d+|[+-]?\d{1,3}(\.\d{3}){2,}")
_UNITS = re.compile(r"[\s\u00a0\u202f'$€£¥%]")  # spaces and apostrophes between thousands, currencies, per cent

ISO = "ISO8601"
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|[+-]\d\d:?\d\d)?)?")
_DAY_MONTH = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:[ T](\d{1,2}:\d\d(?::\d\d)?))?")
_FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
    *("%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y"),
    *("%B %Y", "%b %Y"),
)
_BASIC = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True)
class Parsed:
    """A column as floats.

    Attributes:
        values: (n,) float64, NaN where there is none; dates are days since 1970.
        missing: (n,) bool, empty cells and words such as NA.
        bad: (n,) bool, cells that hold something else.
    """

    values: np.ndarray
    missing: np.ndarray
    bad: np.ndarray

    @property
    def share(self) -> float:
        """Share of the cells that hold anything and were understood; 0 for an empty column."""
        there = int((~self.missing).sum())
        return 1.0 - float(self.bad.sum()) / there if there else 0.0


def _words(series: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct texts (k + 1,), None where missing, that mask, and where each row finds its own (n,).

    What is read is read once per distinct text; a row that holds nothing points at the last entry, which is missing.
    """
    codes, values = distinct(series)
    found = np.empty(len(values) + 1, dtype=object)
    for i, value in enumerate(values):
        text = None if isinstance(value, str) and (not value or value.isspace()) else text_of(value)
        found[i] = None if text is None or text.lower() in MISSING_WORDS else text
    missing = np.array([t is None for t in found], dtype=bool)
    return found, missing, codes


def _parsed(values: np.ndarray, missing: np.ndarray) -> Parsed:
    return Parsed(values, missing, ~missing & np.isnan(values))


def numbers(series: pd.Series, style: str = "plain") -> Parsed:
    """A column as numbers; infinity stays infinity, the caller decides."""
    if series.dtype.kind in "biuf":
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return _parsed(values, np.isnan(values))
    words, missing, codes = _words(series)
    if style != "plain":
        words = np.array([None if w is None else _plain(w, style) for w in words], dtype=object)
    values = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return _parsed(values[codes], missing[codes])


def _plain(word: str, style: str) -> str:
    word = _UNITS.sub("", word)
    return word.replace(".", "").replace(",", ".") if style == "comma" else word.replace(",", "")


def number_style(series: pd.Series) -> str:
    """How the numbers of a column are written; ``plain`` when nothing speaks for another way."""
    words = [w for w in _words(series)[0] if w is not None]
    bare = [_UNITS.sub("", w) for w in words]
    if any(_COMMA.fullmatch(b) and not _THOUSANDS.fullmatch(b) for b in bare):
        return "comma"
    odd = any(b != w or _THOUSANDS.fullmatch(b) for b, w in zip(bare, words, strict=True))
    return "thousands" if odd else "plain"


def booleans(series: pd.Series) -> Parsed:
    """A column as 1.0 and 0.0."""
    words, missing, codes = _words(series)
    low = [None if w is None else w.lower() for w in words]
    values = np.array([1.0 if w in TRUE else 0.0 if w in FALSE else np.nan for w in low], dtype=np.float64)
    return _parsed(values[codes], missing[codes])


def dates(series: pd.Series, form: str = ISO) -> Parsed:
    """A column as days since 1970, read in one format (``ISO8601`` or one of strptime)."""
    if series.dtype.kind == "M" or isinstance(series.dtype, pd.DatetimeTZDtype):
        stamps, missing = pd.to_datetime(series, utc=True), nulls(series)
    else:
        words, there, codes = _words(series)
        read = pd.to_datetime(pd.Series(words, dtype=object), format=form, errors="coerce", utc=True)
        stamps, missing = read.iloc[codes], there[codes]
    if stamps.dtype == object:  # nothing there
        return _parsed(np.full(len(series), np.nan), missing)
    days = (stamps - pd.Timestamp(0, tz="UTC").as_unit("s")) / pd.Timedelta(days=1)  # in ns, the year 1132 overflows
    return _parsed(days.to_numpy(dtype=np.float64), missing)


def date_format(series: pd.Series) -> str | None:
    """The one format of a column of dates, ``"ambiguous"`` where day and month look alike, None where there is none."""
    if series.dtype.kind == "M" or isinstance(series.dtype, pd.DatetimeTZDtype):
        return ISO
    words = [w for w in dict.fromkeys(_words(series)[0]) if w is not None][:2000]
    if not words or not all(any(c.isdigit() for c in w) for w in words[:20]):
        return None
    if all(_ISO.fullmatch(w) for w in words):
        return ISO
    if all(w.isdigit() for w in words):
        return "%Y%m%d" if all(_BASIC.fullmatch(w) for w in words) else None
    if all(_DAY_MONTH.fullmatch(w) for w in words):
        return _day_or_month_first(words)
    sample = pd.Series(words, dtype=object)
    for form in _FORMATS:
        if dates(sample.iloc[:5], form).share == 1.0 and dates(sample, form).share == 1.0:
            return form
    return None


def _day_or_month_first(words: list[str]) -> str | None:
    """The order that the column's own values leave: a 13th month gives it away."""
    found = [m.groups() for m in map(_DAY_MONTH.fullmatch, words) if m]
    first, second = max(int(f[0]) for f in found), max(int(f[2]) for f in found)
    marks, clocks = {f[1] for f in found}, {(f[4] or "").count(":") for f in found}
    if len(marks) > 1 or len(clocks) > 1 or max(first, second) > 31 or min(first, second) > 12:
        return None
    if first <= 12 and second <= 12:
        return "ambiguous"
    mark, clock = marks.pop(), {0: "", 1: " %H:%M", 2: " %H:%M:%S"}[clocks.pop()]
    return (f"%d{mark}%m{mark}%Y" if first > 12 else f"%m{mark}%d{mark}%Y") + clock
