"""What a cell says, whatever type it comes in: ``"3"``, ``3`` and ``3.0`` are one value, ``""`` and NaN are none."""

from __future__ import annotations

import ast
import datetime
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import pandas as pd

#: Words that stand for a missing value in columns of numbers, dates and booleans; in a category they are a class.
MISSING_WORDS = frozenset(
    ("na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "?", "#value!", "#ref!", "#div/0!")
)

_T = TypeVar("_T")

#: What ``distinct`` gives of a column; whoever has it hands it on, so that cells are told apart once.
Distinct = tuple[np.ndarray, list[Any]]

_WHOLE = re.compile(r"[+-]?\d+\.0+")
_LONGEST_LIST = 100_000  # characters of a list written out in one cell


def plain(series: pd.Series) -> np.ndarray:
    """The cells (n,) as one canonical array, whatever type the column is kept in.

    Whole numbers and booleans stay; every float is float64 with NaN where there is none, and a narrow one is the shortest
    decimal that it stands for, so that float32 2.3 is the 2.3 of a text table; all else is ``object`` with None.

    Example:
        >>> plain(pd.Series([2.3, None], dtype="float32")).tolist()
        [2.3, nan]
        >>> plain(pd.Series(["a", None], dtype="string")).tolist()
        ['a', None]
    """
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        series = pd.Series(np.asarray(series.array))
        dtype = series.dtype
    if dtype.kind == "f" and not _is_decimal(dtype):
        return _floats(series)
    if isinstance(dtype, np.dtype) and dtype.kind in "biu":
        return np.asarray(series.to_numpy())
    if dtype.kind in "biu" and not series.isna().any():
        return np.asarray(series.to_numpy(dtype=np.bool_ if dtype.kind == "b" else None))
    cells = np.array(series.astype(object).to_numpy() if dtype.name == "category" else series.to_numpy(dtype=object))
    cells[np.asarray(series.isna(), dtype=bool)] = None
    return cells


def _is_decimal(dtype: Any) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("decimal")


def _floats(series: pd.Series) -> np.ndarray:
    result = np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    size = series.dtype.itemsize if hasattr(series.dtype, "itemsize") else 8
    if size >= 8:
        return result
    codes, values = pd.factorize(result)
    narrow = values.astype(np.float32 if size == 4 else np.float16)
    shortest = np.array([*(float(str(v)) for v in narrow), np.nan])
    return np.asarray(shortest[codes])


def nulls(series: pd.Series) -> np.ndarray:
    """(n,) bool: cells that hold nothing: null, NaN, or only white space."""
    if series.dtype.kind in "biumM":
        return np.asarray(series.isna(), dtype=bool)
    cells = plain(series)
    if cells.dtype != object:
        return np.asarray(pd.isna(cells), dtype=bool)
    return np.fromiter((_empty(v) for v in cells), dtype=bool, count=len(cells))


def _empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, _REAL) and value != value)


_REAL = (float, np.floating, Decimal)


def text_of(value: Any) -> str:
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
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    return str(value)


_LONGEST_WHOLE = 1e19  # identifiers of 64 bits stay whole numbers; beyond, 1e+300 is easier to read


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def each_once(series: pd.Series, make: Callable[[Any], _T]) -> Iterator[_T]:
    """What ``make`` gives for each cell; equal strings, of which a category has many, are asked once.

    Example:
        >>> list(each_once(pd.Series(["a", "bb", "a"]), len))
        [1, 2, 1]
    """
    known: dict[str, _T] = {}
    for cell in plain(series).tolist():
        if type(cell) is not str:
            yield make(cell)
        else:
            if cell not in known:
                known[cell] = make(cell)
            yield known[cell]


def distinct(series: pd.Series) -> Distinct:
    """Code of each cell (n,), -1 where there is nothing, and the distinct values in order of appearance.

    ``1`` and ``1.0`` are one value; ``True`` and ``"1"`` are others, whichever comes first.
    """
    cells = plain(series)
    if cells.dtype != object or pd.api.types.infer_dtype(cells, skipna=True) == "string":
        codes, result = pd.factorize(cells)
        values = list(result.tolist())
        blank = np.array([_empty(v) for v in values], dtype=bool)
        return (np.where((codes >= 0) & blank[codes], -1, codes) if blank.any() else codes), values
    place: dict[Hashable, int] = {}
    values = []
    codes = np.empty(len(cells), dtype=np.int64)
    for i, value in enumerate(cells):
        codes[i] = -1 if _empty(value) else place.setdefault(value if type(value) is str else _key(value), len(place))
        if codes[i] == len(values):
            values.append(value)
    return codes, values


def _key(value: Any) -> Hashable:
    """What equal cells share and others do not."""
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, int | float | Decimal | np.number):
        return ("number", float(str(value)) if isinstance(value, np.float16 | np.float32) else value)
    if isinstance(value, np.ndarray):
        return (
            "array",
            value.dtype.str,
            value.shape,
            _key(value.tolist()) if value.dtype.hasobject else value.tobytes(),
        )
    if isinstance(value, Mapping):
        return ("mapping", tuple(sorted((str(k), _key(v)) for k, v in value.items())))
    if isinstance(value, set | frozenset):
        return ("set", tuple(sorted(map(text_of, value))))
    if isinstance(value, list | tuple):
        return ("list", tuple(map(_key, value)))
    if isinstance(value, os.PathLike):
        return ("text", os.fspath(value))
    return (type(value).__name__, value if isinstance(value, Hashable) else id(value))


def mapped(series: pd.Series, function: Callable[[Any], Any], known: Distinct | None = None) -> np.ndarray:
    """Object array (n,) of ``function`` of each cell, None where there is nothing; called once per distinct value."""
    codes, values = known or distinct(series)
    blank = [isinstance(v, str) and (not v or v.isspace()) for v in values]
    answers = np.empty(len(values) + 1, dtype=object)  # the last one answers code -1
    for i, value in enumerate(values):
        answers[i] = None if blank[i] else function(value)
    result: np.ndarray = answers[codes]
    return result


def texts(series: pd.Series, known: Distinct | None = None) -> np.ndarray:
    """Object array (n,) of ``text_of`` each cell, None where there is nothing."""
    return mapped(series, text_of, known)


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
