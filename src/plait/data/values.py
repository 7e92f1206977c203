"""What a cell says, whatever type it comes in: ``"3"``, ``3`` and ``3.0`` are one value, ``""`` and NaN are none."""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from plait.data.typed import Source, TypedArray, plain, typed_array

#: Words that stand for a missing value in columns of numbers, dates and booleans; in a category they are a class.
MISSING_WORDS = frozenset(
    ("na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "?", "#value!", "#ref!", "#div/0!")
)

_T = TypeVar("_T")


_WHOLE = re.compile(r"[+-]?\d+\.0+")
_LONGEST_LIST = 100_000  # characters of a list written out in one cell


def object_array(values: Iterable[object]) -> np.ndarray:
    """(n,) of the values as they are; numpy would make a matrix of equally long tuples.

    Example:
        >>> object_array([("a", 1), ("b", 2)]).shape
        (2,)
    """
    values = list(values)
    result = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        result[i] = value
    return result


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, whether or not torch is imported; buffers can be detached as well."""
    return hasattr(value, "detach") and hasattr(value, "ndim")


def nulls(series: pd.Series) -> np.ndarray:
    """(n,) bool: cells that hold nothing: null, NaN, or only white space."""
    if isinstance(series.array, TypedArray):
        return series.array.picked(series.array.source.null, True)
    return np.asarray(series.isna(), dtype=bool) if series.dtype.kind in "biumM" else Source(plain(series)).null


def text_of(value: object) -> str:
    """One cell as text; whole numbers lose their ``.0``, however they were stored.

    Example:
        >>> text_of(3.0), text_of("3.0"), text_of(3), text_of(["a", "b"])
        ('3', '3', '3', 'a|b')
    """
    if isinstance(value, str):
        text = value.strip()
        return text.partition(".")[0] if text[-1:] == "0" and _WHOLE.fullmatch(text) else text
    if isinstance(value, float | np.floating):
        whole = abs(float(value)) < _LONGEST_WHOLE and float(value).is_integer()
        return str(int(value)) if whole else str(value)
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return "|".join(text_of(v) for v in (sorted(value, key=str) if isinstance(value, set | frozenset) else value))
    if isinstance(value, pd.Period) and value.freqstr[0] in "QW":  # 2020Q1, or 2020-01-06/2020-01-12
        value = value.start_time
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    return str(value)


_LONGEST_WHOLE = 1e19  # identifiers of 64 bits stay whole numbers; beyond, 1e+300 is easier to read


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def mapped(series: pd.Series, function: Callable[[Any], Any]) -> np.ndarray:
    """Object array (n,) of ``function`` of each cell, None where there is nothing; called once per distinct value."""
    column = typed_array(series)
    return np.asarray(answers(column, function)[column.codes])


def answers(column: TypedArray, function: Callable[[Any], Any]) -> np.ndarray:
    """Object array (k + 1,) of ``function`` of each distinct value of the source; the last one, None, is that of code -1."""

    def make(values: Sequence[object]) -> np.ndarray:
        result = np.empty(len(values) + 1, dtype=object)
        for i, value in enumerate(values):
            result[i] = function(value)
        return result

    return column.source.once(("each", function), make)


def texts(series: pd.Series) -> np.ndarray:
    """Object array (n,) of ``text_of`` each cell, None where there is nothing."""
    return mapped(series, text_of)


def items_of(value: Any) -> tuple[str, ...]:
    """The items of a cell: of a list, of a list written as text, or the parts between bars.

    Example:
        >>> items_of("Overgrow|Chlorophyll"), items_of(["a", 1]), items_of("['x', 'y']"), items_of("Blaze")
        (('Overgrow', 'Chlorophyll'), ('a', '1'), ('x', 'y'), ('Blaze',))
    """
    if isinstance(value, str):
        written = list_in(value)
        parts: Iterable[Any] = value.split("|") if written is None else written
    elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
        parts = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    else:
        parts = [value]
    result = (text_of(part) for part in parts if part is not None)
    return tuple(dict.fromkeys(item for item in result if item))


def list_in(text: str) -> list[Any] | None:
    """The list that a text writes out (JSON, or as Python prints it), or None."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _LONGEST_LIST:
        return None
    try:
        result = json.loads(text)
    except RecursionError:  # brackets within brackets: a list of no items of ours
        return None
    except ValueError:
        try:
            result = ast.literal_eval(text)  # literals only: it runs nothing
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return result if isinstance(result, list) else None


def items(series: pd.Series) -> np.ndarray:
    """Object array (n,) of tuples of items, None where there is nothing."""
    return mapped(series, items_of)


_ORDERS = tuple(
    tuple(word.strip() for word in line.split("<"))
    for line in (
        "none < very low < low < medium low < medium < moderate < medium high < high < very high < critical < extreme",
        "xxxs < xxs < xs < s < m < l < xl < xxl < 2xl < xxxl < 3xl < 4xl < 5xl",
        "tiny < extra small < very small < small < medium < large < very large < extra large < huge < giant",
        "terrible < very bad < bad < very poor < poor < fair < average < ok < good < very good < excellent < outstanding",
        "never < rarely < seldom < occasionally < sometimes < often < frequently < usually < very often < always",
        "strongly disagree < disagree < somewhat disagree < neutral < neither agree nor disagree < somewhat agree < agree < "
        "strongly agree",
        "very dissatisfied < dissatisfied < neutral < satisfied < very satisfied",
        "minor < major < critical < blocker",
        "beginner < novice < intermediate < advanced < expert",
        "junior < mid < senior < lead < principal",
        "bronze < silver < gold < platinum < diamond",
        "common < uncommon < rare < epic < legendary",
        "child < teen < young adult < adult < senior",
        "daily < weekly < monthly < quarterly < yearly",
        "monday < tuesday < wednesday < thursday < friday < saturday < sunday",
        "mon < tue < wed < thu < fri < sat < sun",
        "january < february < march < april < may < june < july < august < september < october < november < december",
        "jan < feb < mar < apr < may < jun < jul < aug < sep < oct < nov < dec",
    )
)
#: Words beside them that have no place in an order.
_PLACELESS = frozenset(("unknown", "unspecified", "not specified", "other", "n/a", "na", "missing", "?", "-"))


def known_order(words: Iterable[str]) -> tuple[str, ...] | None:
    """The words from low to high where they have a usual order, as sizes, grades and frequencies do; else None.

    Words such as *unknown* beside them are left out.

    Example:
        >>> known_order(["High", "low", "medium"]), known_order(["L", "S", "M"]), known_order(["red", "blue"])
        (('low', 'medium', 'High'), ('S', 'M', 'L'), None)
    """
    distinct = sorted({word.strip() for word in words if word.strip()})
    placed = [word for word in distinct if word.lower() not in _PLACELESS]
    low = {word.lower().replace("_", " ").replace("-", " "): word for word in placed}
    if len(low) < 2 or len(low) < len(placed):
        return None
    order = next((o for o in _ORDERS if low.keys() <= set(o)), None)
    return None if order is None else tuple(low[word] for word in order if word in low)
