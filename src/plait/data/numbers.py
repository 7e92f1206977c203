"""Numbers as people write them: separators, signs, units, bounds, durations; what is not understood is counted.

A column has one style, found from the cells that show it and kept with the fitted column; real numbers have none and
are taken as they are.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real

import numpy as np

from plait.data.values import MISSING_WORDS, text_of

_SIGNS = str.maketrans({"−": "-", "‒": "-", "–": "-", "⁄": "/", "’": "'", "≤": "<", "≥": ">"})
_VULGAR = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")
_POWER = re.compile(r"\d[²³¹⁰⁴-⁹]")  # 5² is not 52
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MONEY_WORDS = "USD|EUR|GBP|CHF|JPY|INR|CNY|CAD|AUD|BRL|SEK|NOK|DKK|PLN|zł|kr|Rs|Fr"
_CURRENCY = rf"(?:US|CA?|AU?|NZ|HK|R|S)?\$|[€£¥₹₽₩₺₪₫₴฿]|(?:{_MONEY_WORDS})(?![^\W\d_])\.?"
_UNIT = rf"%|‰|°\s?[CFK]?|{_CURRENCY}|[^\W\d_]{{1,12}}\.?(?:[/·][^\W\d_]{{1,8}}|[ ][^\W\d_]{{1,8}})?\d?"
_BODY = r"\d(?:[\d.,' ]*\d)?\.?|[.,]\d+"
_NUMBER = re.compile(
    rf"(?P<open>\()?\s*(?P<bound>[<>]=?|~|≈)?\s*(?P<sign>[+-]?)\s*(?:(?P<before>{_CURRENCY})\s*(?P<minus>-?))?(?P<body>{_BODY})"
    rf"(?P<exponent>[eE][+-]?\d+)?(?:\s?(?P<scale>[kKM]|bn|B|mio|mn|thousand|million|billion)(?![^\W_]))?\s*(?P<unit>{_UNIT})?\s*(?P<close>\)|-|(?<=\d)\+)?"
)
_RANGE = re.compile(rf"(?P<low>{_BODY})\s*(?:-|\.\.|to|bis)\s*(?P<high>{_BODY})\s*(?P<unit>{_UNIT})?")
_FRACTION = re.compile(r"(?P<sign>-?)(?:(?P<whole>\d+) )?(?P<over>\d+)\s*/\s*(?P<under>\d+)")
_CLOCK = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d+) days?(?P<on>,? \+?))?(?P<hours>\d+):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d(?:[.,]\d+)?))?"
)
_SPANS = re.compile(r"(?:(\d+(?:[.,]\d+)?)\s*([a-z]+)\.?)(?:,?\s+|,|(?=\d)|$)", re.IGNORECASE)
_SCALES = {
    **dict.fromkeys(("k", "K", "thousand"), 1e3),
    **dict.fromkeys(("M", "mn", "mio", "million"), 1e6),
    **dict.fromkeys(("B", "bn", "billion"), 1e9),
}
_ORDINAL = frozenset(("st", "nd", "rd", "th"))
_MONEY = frozenset("$€£¥₹%")

#: Seconds in each unit of time.
SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 604800.0),
    **dict.fromkeys(("month", "months", "mo", "mos"), 2629746.0),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 31556952.0),
}

#: Ways of writing that a style notes: bounds, ranges, fractions, thousands as k, negatives in brackets, signs of typesetting.
BOUND, RANGE, FRACTION, SCALED, BRACKETS, TYPESET = "<", "~", "/", "k", "(", "u"
_MARKS = ("plain", "comma", "thousands", "duration")
_USUAL = {"comma": {"comma", "spaces"}, "thousands": {"point", "thousands", "spaces"}, "plain": {"point"}}


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written.

    Attributes:
        mark: ``plain`` (12.5), ``comma`` (1.234,5), ``thousands`` (1,234.5), or ``duration`` (1:30:00, 2 days; in seconds).
        unit: the one unit or currency that stands beside them; empty: none was seen.
        forms: other ways of writing that were seen, a character each.
        ambiguous: nothing tells whether ``1,234`` holds thousands or decimals.
    """

    mark: str = "plain"
    unit: str = ""
    forms: str = ""
    ambiguous: bool = False

    def __str__(self) -> str:
        """The style as one text, which ``parse`` reads back."""
        forms, unit = f" forms={self.forms}" * bool(self.forms), f" unit={self.unit}" * bool(self.unit)
        return f"{self.mark}{forms}{unit}"

    @classmethod
    def parse(cls, text: str) -> Style:
        """Rebuild a style from its text."""
        result = re.fullmatch(rf"({'|'.join(_MARKS)})(?: forms=(\S+))?(?: unit=(.+))?", text)
        if result is None:
            raise ValueError(f"unknown style of numbers '{text}'")
        return cls(result[1], result[3] or "", result[2] or "")


@dataclass(frozen=True)
class Written:
    """One number taken apart: digits as they stand, what they are multiplied by, and what stands beside them."""

    bodies: tuple[str, ...]
    factor: float = 1.0
    unit: str = ""
    form: str = ""
    seconds: float | None = None


@functools.lru_cache(
    maxsize=1 << 16
)  # the words of a column are read by the schema, the merging of rows and the encoder
def written(word: str) -> Written | None:
    """Take a word apart that may be a number, or None.

    Example:
        >>> written("(1,234.50)")
        Written(bodies=('1,234.50',), factor=-1.0, unit='', form='(', seconds=None)
    """
    if len(word) > 60 or not any(c.isnumeric() for c in word) or _POWER.search(word):
        return None
    given = " ".join(word.split())
    word = unicodedata.normalize("NFKC", _VULGAR.sub(" ", given)).translate(_SIGNS).strip()
    parts = _parts(word)
    if parts is None or given.isascii() or parts.form or not _TYPESET.search(given):
        return parts
    return replace(parts, form=TYPESET)


#: A minus that is none of ASCII, or digits of another width.
_TYPESET = re.compile("[−‒–\uff01-\uff5e]")


def _parts(word: str) -> Written | None:
    result = _NUMBER.fullmatch(word)
    if result is not None and bool(result["open"]) == (result["close"] == ")") and not _seat(result):
        return _simple(result)
    seconds = _duration(word)
    if seconds is not None:
        return Written((), seconds=seconds, unit="s", form="")
    result = _FRACTION.fullmatch(word)
    if result is not None and int(result["under"]):
        sign = -1.0 if result["sign"] else 1.0
        return Written((result["whole"] or "0", result["over"], result["under"]), sign, "", FRACTION)
    result = _RANGE.fullmatch(word)
    return None if result is None else Written((result["low"], result["high"]), 1.0, result["unit"] or "", RANGE)


def _seat(result: re.Match[str]) -> bool:
    """``12B`` is a seat or a house; a billion has decimals or a currency."""
    return result["scale"] == "B" and not (result["before"] or "." in result["body"] or "," in result["body"])


def _simple(result: re.Match[str]) -> Written:
    negative = bool(result["open"]) != ("-" in f"{result['sign']}{result['minus'] or ''}{result['close']}")
    unit = result["before"] or result["unit"] or ""
    forms = (
        BRACKETS * bool(result["open"])
        + SCALED * bool(result["scale"])
        + BOUND * bool(result["bound"] or result["close"] == "+")
    )
    body = result["body"] + (result["exponent"] or "")
    return Written(
        (body,),
        (-1.0 if negative else 1.0) * _SCALES.get(result["scale"] or "", 1.0),
        "" if unit in _ORDINAL else unit.strip(),
        forms,
    )


def _duration(word: str) -> float | None:
    """Seconds of ``1:30:00``, ``2 days 03:00:00`` or ``1h 30min``."""
    result = _CLOCK.fullmatch(word)
    if result is not None:
        parts = (86400, result["days"]), (3600, result["hours"]), (60, result["minutes"]), (1, result["seconds"])
        total = sum(size * float((text or "0").replace(",", ".")) for size, text in parts)
        if result["sign"] and result["on"] not in (None, " "):  # -1 day, 23:00:00 and -1 days +23:00:00: an hour before
            return total - 2 * 86400 * float(result["days"])
        return -total if result["sign"] else total
    pairs = _SPANS.findall(word)
    if (
        len(pairs) < 2
        or _SPANS.sub("", word).strip()
        or any(unit.lower() not in SECONDS | _MINUTES for _, unit in pairs)
    ):
        return None
    return sum(float(n.replace(",", ".")) * (SECONDS | _MINUTES)[unit.lower()] for n, unit in pairs)


_MINUTES = {"m": 60.0}  # beside other units of time only: alone it may be metres


def _body(body: str, mark: str) -> tuple[float, str]:
    """The value of digits with their separators under a mark, and the mark that they show (empty: either)."""
    if body.isdigit():
        return float(body), ""
    if "'" in body or " " in body:
        if not re.fullmatch(r"\d{1,3}(?:[' ]\d{3})+(?:[.,]\d+)?", body):
            return np.nan, ""
        body = body.replace("'", "").replace(" ", "")
        return float(body.replace(",", ".")), "comma" if "," in body else "thousands" if "." in body else "spaces"
    digits = re.split("[eE]", body, maxsplit=1)[0]
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        return _both(body, digits)
    separator = "," if commas else "."
    grouped = re.fullmatch(
        rf"[1-9]\d{{0,2}}(?:{re.escape(separator)}\d{{{2 if commas else 3},3}})*{re.escape(separator)}\d{{3}}", digits
    )
    if commas + points > 1:
        return (float(digits.replace(separator, "")), "thousands" if commas else "comma") if grouped else (np.nan, "")
    if not commas:
        thousands = grouped and mark == "comma"
        return float(body.replace(".", "") if thousands else body), "" if grouped or body.endswith(".") else "point"
    if not grouped:
        return float(body.replace(",", ".")), "comma"
    return {"comma": float(body.replace(",", ".")), "plain": np.nan}.get(mark, float(digits.replace(",", ""))), "either"


def _both(body: str, digits: str) -> tuple[float, str]:
    """Points and commas in one number: the last one is the decimal mark."""
    decimal = "," if digits.rfind(",") > digits.rfind(".") else "."
    group = "." if decimal == "," else ","
    whole = digits.partition(decimal)[0]
    if digits.count(decimal) > 1 or not re.fullmatch(
        rf"\d{{1,3}}(?:{re.escape(group)}\d{{2,3}})*{re.escape(group)}\d{{3}}", whole
    ):
        return np.nan, ""
    return float(body.replace(group, "").replace(",", ".")), "comma" if decimal == "," else "thousands"


def read(value: object, style: Style) -> tuple[float, bool]:
    """A cell as a number (NaN: it is none), and whether it is written in another way than the style."""
    if not isinstance(value, str) and isinstance(value, Real | np.bool_ | Decimal):
        return float(str(value) if isinstance(value, np.float16 | np.float32) else value), False
    word = value.strip() if isinstance(value, str) else text_of(value)
    if style.mark != "comma" and _PLAIN.fullmatch(word):
        return float(word), False
    if word.lower().lstrip("+-") in ("inf", "infinity"):
        return float(word), False
    parts = written(word)
    return (np.nan, False) if parts is None else _valued(parts, style)


def _valued(parts: Written, style: Style) -> tuple[float, bool]:
    if parts.seconds is not None:
        return (parts.seconds, False) if style.mark == "duration" else (np.nan, False)
    if parts.form in (RANGE, FRACTION) and parts.form not in style.forms:
        return np.nan, False
    factor = parts.factor
    if style.mark == "duration" and parts.unit:
        factor *= (SECONDS | _MINUTES).get(parts.unit.lower(), np.nan)
    elif (
        parts.unit
        and parts.unit != style.unit
        and not (style.mark != "plain" and not style.unit and parts.unit in _MONEY)
    ):
        return np.nan, False
    result = [_body(b, style.mark) for b in parts.bodies]
    values = [v for v, _ in result]
    value = values[0] + values[1] / values[2] if parts.form == FRACTION else float(np.mean(values))
    shown = {s for _, s in result} - {"", "either"}
    usual = _USUAL.get(style.mark, shown)
    odd = not shown <= usual or any(f not in style.forms for f in parts.form)
    return value * factor, odd and not np.isnan(value)


def style_of(values: Sequence[object]) -> Style:
    """How the distinct cells of a column write their numbers, from the cells that show it."""
    odd = [w for v in values if needs_style(v) and (w := _written_cell(v)) is not None]
    if not odd:
        return Style()
    step = max(1, len(odd) // 5000)
    parts = [p for w in odd[::step] if (p := written(w)) is not None]
    if not parts:
        return Style()
    units = Counter(p.unit for p in parts if p.unit)
    times = [p for p in parts if p.seconds is not None or p.unit.lower() in SECONDS]
    if len(times) > 0.5 * len(parts) and (any(p.seconds is not None for p in times) or len(units) > 1):
        return Style("duration")
    plain = [v.strip() for v in values if isinstance(v, str) and _PLAIN.fullmatch(v.strip())]
    marks = Counter(_body(b, "plain")[1] for p in parts for b in p.bodies if p.form != FRACTION)
    points = marks["point"] + marks["thousands"]
    if not points and marks["comma"]:
        points = sum(map(_decimals, plain)) if marks["comma"] < len(odd) else 0
    grouped = marks["thousands"] or marks["either"] or marks["spaces"]
    mark = "comma" if marks["comma"] > points else "thousands" if grouped else "plain"
    unit = units.most_common(1)[0][0] if units else ""
    forms = "".join(f for f in (BOUND, RANGE, FRACTION, SCALED, BRACKETS, TYPESET) if any(f in p.form for p in parts))
    unclear = bool(marks["either"]) and not (marks["comma"] or marks["thousands"] or marks["point"]) and not unit
    return Style(mark, unit, forms, unclear and not any(map(_decimals, plain)))


def needs_style(value: object) -> bool:
    """Whether a cell, if it is a number, is one that is written in a way of its own: with a unit, separators, a clock."""
    word = _written_cell(value)
    return word is not None and not _PLAIN.fullmatch(word) and word.lower() not in MISSING_WORDS


def _written_cell(value: object) -> str | None:
    """The text of a cell that holds text or a duration."""
    if isinstance(value, str):
        return value.strip()
    return text_of(value) if type(value).__name__ in ("timedelta", "timedelta64", "Timedelta") else None


def _decimals(word: str) -> bool:
    """Whether the point of a plain number can only be a decimal one."""
    return "." in word and not re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", word)
