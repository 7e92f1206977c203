"""What a cell says, whatever type it comes in: ``"3"``, ``3`` and ``3.0`` are one value, ``""`` and NaN are none."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import pandas as pd

#: Words that stand for a missing value in columns of numbers, dates and booleans; in a category they are a class.
MISSING_WORDS = frozenset(("na", "n/a", "#n/a", "nan", "nat", "null", "none", "-", "--", "?"))

_T = TypeVar("_T")

_WHOLE = re.compile(r"[+-]?\d+\.0+")
_LONGEST_LIST = 100_000  # characters of a list written out in one cell


def nulls(series: pd.Series) -> np.ndarray:
    """(n,) bool: cells that hold nothing: null, NaN, or only white space."""
    gone = np.asarray(series.isna(), dtype=bool)
    if series.dtype.kind in "biufcmM":
        return gone
    blank = [isinstance(v, str) and (not v or v.isspace()) for v in series.to_numpy(dtype=object)]
    return np.asarray(gone | np.asarray(blank, dtype=bool))


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
        whole = abs(float(value)) < 1e15 and float(value).is_integer()
        return str(int(value)) if whole else str(value)
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return "|".join(text_of(v) for v in (sorted(value, key=str) if isinstance(value, set | frozenset) else value))
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    return str(value)


def each_once(series: pd.Series, make: Callable[[Any], _T]) -> Iterator[_T]:
    """What ``make`` gives for each cell; equal strings, of which a category has many, are asked once.

    Example:
        >>> list(each_once(pd.Series(["a", "bb", "a"]), len))
        [1, 2, 1]
    """
    known: dict[str, _T] = {}
    for cell in series.to_numpy(dtype=object):
        if type(cell) is not str:
            yield make(cell)
        else:
            if cell not in known:
                known[cell] = make(cell)
            yield known[cell]


def distinct(series: pd.Series) -> tuple[np.ndarray, list[Any]]:
    """Code of each cell (n,), -1 where there is nothing, and the distinct values in order of appearance."""
    codes: np.ndarray
    try:
        codes, found = pd.factorize(series.astype(object) if series.dtype.name == "category" else series)
        values = list(found)
    except TypeError:  # lists and arrays have no hash
        place: dict[str, int] = {}
        values = []
        codes = np.empty(len(series), dtype=np.int64)
        gone = nulls(series)
        for i, value in enumerate(series.to_numpy(dtype=object)):
            codes[i] = -1 if gone[i] else place.setdefault(text_of(value), len(place))
            if codes[i] == len(values):
                values.append(value)
        return codes, values
    blank = np.array([isinstance(v, str) and (not v or v.isspace()) for v in values], dtype=bool)
    if blank.any():
        codes = np.where((codes >= 0) & blank[codes], -1, codes)
    return codes, values


def mapped(series: pd.Series, function: Callable[[Any], Any]) -> np.ndarray:
    """Object array (n,) of ``function`` of each cell, None where there is nothing; called once per distinct value."""
    codes, values = distinct(series)
    blank = [isinstance(v, str) and (not v or v.isspace()) for v in values]
    answers = np.empty(len(values) + 1, dtype=object)  # the last one answers code -1
    for i, value in enumerate(values):
        answers[i] = None if blank[i] else function(value)
    found: np.ndarray = answers[codes]
    return found


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
    found = (text_of(part) for part in parts if part is not None)
    return tuple(dict.fromkeys(item for item in found if item))


def list_in(text: str) -> list[Any] | None:
    """The list that a text writes out (JSON, or as Python prints it), or None."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _LONGEST_LIST:
        return None
    try:
        found = json.loads(text)
    except RecursionError:  # brackets within brackets: a list of no items of ours
        return None
    except ValueError:
        try:
            found = ast.literal_eval(text)  # literals only: it runs nothing
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, list) else None


def items(series: pd.Series) -> np.ndarray:
    """Object array (n,) of tuples of items, None where there is nothing."""
    return mapped(series, items_of)
