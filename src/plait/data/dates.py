"""Dates, times of day and months as people write them: one format a column, its local time kept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd

ISO = "ISO8601"
#: The format of a column whose day and month look alike.
AMBIGUOUS = "ambiguous"

_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?|(?:19|20)\d{6}T\d{4}(\d\d)?")
_MONTH = re.compile(r"(?:19|20)\d\d([-/.])(?:0[1-9]|1[0-2])")
_BASIC = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_PLAIN_NUMBER = re.compile(r"[+-]?\d*\.?\d+")
_NUMERIC = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d\d)")
_CLOCK = r"(\d{1,2}):(\d\d)(?::(\d\d)([.,]\d+)?)?(?: ?([AaPp])\.?[Mm]\.?)?"
_TIME = re.compile(rf"(.*?)(^|[T ]|, )+{_CLOCK}")
#: ``Z``, ``UTC``, ``+02:00``, ``CET`` or ``Europe/Berlin`` behind a time, or before the year that stands last.
_ZONE = re.compile(
    r"(?<=\d)(?: ?[AaPp][Mm])?( ?(?:Z|(?!AM|PM)[A-Z]{3,4}|(?:UTC|GMT)?[+-]\d\d:?(?:\d\d)?)?"
    r"(?: ?\[?[A-Z][a-z]+/\w+(?:/\w+)?\]?)?)(?=$| (?:19|20)\d\d$)"
)
_HAS_CLOCK = re.compile(r"\d:\d\d|\dT\d{4}")
#: ``2020Q1``, ``2020-Q1``, ``Q1 2020``; ``2020-W05``, ``2020-W05-3``.
_PART_OF_YEAR = re.compile(
    r"(?P<year>(?:19|20)\d\d)[- ]?(?:Q(?P<quarter>[1-4])|W(?P<week>\d\d)(?:-?(?P<day>[1-7]))?)"
    r"|Q(?P<first>[1-4])[-/ ]?(?P<last>(?:19|20)\d\d)"
)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y", "%Y %b %d", "%Y %B %d"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
    *("%a, %d %b %Y", "%A, %d %B %Y", "%A %d %B %Y", "%a %d %b %Y", "%A, %B %d, %Y", "%a, %b %d, %Y", "%a %b %d %Y"),
    *("%B %Y", "%b %Y", "%b-%Y", "%m/%Y"),
)
_TEXT_TIMES = ("%a %b %d %H:%M:%S %Y",)  # the time stands within


def clean(word: str) -> tuple[str, bool]:
    """A date without its zone and the ``th`` behind days, and whether it named a zone.

    Example:
        >>> clean("2020-01-03T20:00:00-05:00"), clean("January 3rd, 2020")
        (('2020-01-03T20:00:00', True), ('January 3, 2020', False))
    """
    word = " ".join(word.split())
    if (part := _PART_OF_YEAR.fullmatch(word)) is not None:
        return _first_day(part), False
    zone = _ZONE.search(word) if _HAS_CLOCK.search(word) else None
    if zone is not None and zone[1]:
        word = word[: zone.start(1)] + word[zone.end(1) :]
    word = re.sub(r"([AaPp])\.[Mm]\.", r"\1M", re.sub(r"(?<=:\d\d),(?=\d)", ".", _ORDINAL.sub("", word)))
    return word, bool(zone and zone[1])


def _first_day(part: re.Match[str]) -> str:
    """The month in which a quarter begins, or the day on which a week does."""
    year, quarter = part["year"] or part["last"], part["quarter"] or part["first"]
    if quarter:
        return f"{year}-{3 * int(quarter) - 2:02d}"
    try:
        return date.fromisocalendar(int(year), int(part["week"]), int(part["day"] or 1)).isoformat()
    except ValueError:  # a year without a 53rd week
        return part[0]


def is_number(word: str) -> bool:
    """Whether a word is a number and no date: ``12.5`` is one, ``20200131`` and ``2020.01`` may be dates."""
    return bool(_PLAIN_NUMBER.fullmatch(word)) and not _BASIC.fullmatch(word) and not _MONTH.fullmatch(word)


def format_of(words: Sequence[str]) -> str | None:
    """The one format that reads the words, ``"ambiguous"`` where day and month look alike, None where there is none."""
    cleaned = [clean(w)[0] for w in words]
    if not cleaned or not all(any(c.isdigit() for c in w) for w in cleaned):
        return None
    if all(_ISO.fullmatch(w) for w in cleaned):
        return ISO
    if all(w.isdigit() for w in cleaned):
        return "%Y%m%d" if all(_BASIC.fullmatch(w) for w in cleaned) else None
    months = [_MONTH.fullmatch(w) for w in cleaned]
    if all(months):
        marks = {m[1] for m in months if m}
        return f"%Y{marks.pop()}%m" if len(marks) == 1 else None
    return _split_format(cleaned)


def _split_format(cleaned: Sequence[str]) -> str | None:
    """Format of the dates and format of the times behind them, apart."""
    result = [_TIME.fullmatch(w) for w in cleaned]
    days = [w if m is None else m[1].rstrip(", ") for w, m in zip(cleaned, result, strict=True)]
    times = [m for m in result if m is not None]
    clock = _clock_format(times) if times else ""
    if clock is None:
        return None
    if not any(days):
        return clock or None
    if not all(days):
        return None
    form = _day_format(days)
    if form is None:
        return next((f for f in _TEXT_TIMES if _reads(cleaned, f)), None)
    if form == AMBIGUOUS or not clock:
        return form
    between = ", " if all(m[2] == ", " for m in times) else "T" if all(m[2] == "T" for m in times) else " "
    return f"{form}{between}{clock}"


def _clock_format(times: Sequence[re.Match[str]]) -> str | None:
    """Format of the times of day, which must all be of one form."""
    halves, seconds, parts = ({bool(m[g]) for m in times} for g in (7, 5, 6))
    most = 12 if halves == {True} else 23
    if len(halves) > 1 or len(seconds) > 1 or len(parts) > 1 or any(int(m[3]) > most or int(m[4]) > 59 for m in times):
        return None
    hour = "%I" if halves == {True} else "%H"
    tail = (":%S" if seconds == {True} else "") + (".%f" if parts == {True} else "")
    spaced = " " if halves == {True} and " " in times[0][0][-3:] else ""
    return f"{hour}:%M{tail}" + (f"{spaced}%p" if halves == {True} else "")


def _day_format(days: Sequence[str]) -> str | None:
    numeric = [_NUMERIC.fullmatch(d) for d in days]
    if all(numeric):
        return _order([m.groups() for m in numeric if m])
    if all(_ISO.fullmatch(d) for d in days):
        return "%Y-%m-%d"
    return next((f for f in _DATES if _reads(days[:5], f) and _reads(days, f)), None)


def _reads(words: Sequence[str], form: str) -> bool:
    return bool(stamps(words, form).notna().mean() >= (1.0 if len(words) < 20 else 0.95))


def _order(result: Sequence[Sequence[str]]) -> str | None:
    """The order that the column's own values leave: a 13th month gives it away."""
    first, second = max(int(f[0]) for f in result), max(int(f[2]) for f in result)
    marks, digits = {f[1] for f in result}, {len(f[3]) for f in result}
    if len(marks) > 1 or len(digits) > 1:
        return None
    mark, year = marks.pop(), "%Y" if digits == {4} else "%y"
    if first > 31 and year == "%y" and second <= 12:
        return f"%y{mark}%m{mark}%d"
    if max(first, second) > 31 or min(first, second) > 12:
        return None
    if first <= 12 and second <= 12:
        return AMBIGUOUS
    return f"%d{mark}%m{mark}{year}" if first > 12 else f"%m{mark}%d{mark}{year}"


def stamps(words: Sequence[str | None], form: str) -> pd.Series:
    """Words without zones as times, NaT where one is none; where a format has a time, the date alone will do."""
    series = pd.Series(list(words), dtype=object)
    result = _times(series, form)
    short = re.sub(r"(, |T| )%[HI].*", "", form)
    if short and short != form:
        days = _times(series.where(result.isna(), None), short)
        result = result.where(result.notna(), days)
    return result


def _times(series: pd.Series, form: str) -> pd.Series:
    """Words as times; pandas 2 reads none before 1677 or after 2262, which ``datetime`` then does."""
    result = pd.to_datetime(series, format=form, errors="coerce")
    if result.dtype != "datetime64[ns]":
        return result
    result = result.astype("datetime64[us]")
    for row in map(int, np.flatnonzero(result.isna() & series.notna())):
        word = str(series.iloc[row])
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(word) if form == ISO else datetime.strptime(word, form)
            result.iloc[row] = pd.Timestamp(time).as_unit("us")
    return result


def unknown_directives(form: str) -> list[str]:
    """What in a format no reader of dates knows.

    Example:
        >>> unknown_directives("%d.%m.%Y"), unknown_directives("%Q %Y %")
        ([], ['%Q', '%'])
    """
    return [d for d in re.findall("%.?", form) if d not in {f"%{letter}" for letter in "aAbBcdfGHIjmMpSuUVwWxXyYzZ%"}]


def naive_form(form: str) -> str:
    """A format without its zone, for words without theirs."""
    return re.sub(r" ?%[zZ]", "", form)


def is_aware(value: object) -> bool:
    """Whether a cell, text or time, names its zone."""
    if isinstance(value, str):
        return clean(value)[1]
    return getattr(value, "tzinfo", None) is not None
