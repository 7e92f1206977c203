"""Targets: one class, several classes, or a number, however the table writes them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.errors import PlaitWarning, TableError, nearest
from plait.table._parse import numbers
from plait.table._row_numbers import numbered, row_numbers
from plait.table._values import items, nulls, text_of, texts
from plait.table._write import printable


@dataclasses.dataclass(frozen=True)
class Labels:
    """Several classes per row: ``indicator`` (n, C) of 0 and 1, and the names of its columns."""

    indicator: np.ndarray
    classes: tuple[Any, ...]

    def __len__(self) -> int:
        """Rows."""
        return len(self.indicator)

    def take(self, rows: np.ndarray) -> Labels:
        """The given rows."""
        return Labels(self.indicator[rows], self.classes)


def indicator_of(y: Any, classes: Sequence[Any] | None = None) -> Labels:
    """Labels from an indicator matrix, or from cells that hold lists or words joined by a bar.

    Args:
        y: (n, C) of 0 and 1, or (n,) cells.
        classes: the classes that the model knows; others are left out with a counted warning.
    """
    if isinstance(y, pd.DataFrame):
        return Labels(y.to_numpy(dtype=np.int64), tuple(y.columns))
    if isinstance(y, np.ndarray) and y.ndim == 2:
        return Labels(y.astype(np.int64), tuple(classes or range(y.shape[1])))
    found = items(pd.Series(y, dtype=object) if isinstance(y, list) else pd.Series(y))
    rows = [tuple(map(printable, row or ())) for row in found]
    names = tuple(sorted({item for row in rows for item in row})) if classes is None else tuple(classes)
    place = {text_of(name): i for i, name in enumerate(names)}
    indicator = np.zeros((len(rows), len(names)), dtype=np.int64)
    unknown = 0
    for i, row in enumerate(rows):
        for item in row:
            if item in place:
                indicator[i, place[item]] = 1
            else:
                unknown += 1
    if unknown:
        message = f"{unknown} labels of the target are not among the {len(names)} classes of the model and are left out"
        warnings.warn(message, PlaitWarning, stacklevel=2)
    return Labels(indicator, names)


def with_target(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows that have a target; the others are left out with a counted warning.

    Raises:
        TableError: there is no such column, or no row has a target.
    """
    if target not in frame.columns:
        raise TableError(f"the table has no column '{target}' to predict; {nearest(target, map(str, frame.columns))}")
    frame = numbered(frame)
    holes = nulls(frame[target])
    if holes.all():
        raise TableError(f"the target '{target}' is empty in every row; name another column")
    if holes.any():
        message = f"{int(holes.sum()):,} of {len(frame):,} rows have no '{target}' and are left out"
        warnings.warn(message, PlaitWarning, stacklevel=2)
        frame = frame[~holes]
    return frame


def target_values(series: pd.Series, task: str) -> Any:
    """The target as ``fit`` takes it: classes (n,), ``Labels``, or floats (n,)."""
    if task == "multilabel":
        return indicator_of(series)
    if task == "regression":
        return _numbers(series)
    if series.dtype.kind in "iub":
        return series.to_numpy()
    return np.asarray([printable(str(v)) for v in texts(series)])


def target_array(series: pd.Series, task: str, classes: Sequence[Any]) -> np.ndarray:
    """The target in the words of a fitted model: classes (n,), indicators (n, C), or floats (n,).

    A class that the model does not know stays as it is, and no prediction will equal it.
    """
    if task == "multilabel":
        return indicator_of(series, classes).indicator
    if task == "regression":
        return _numbers(series)
    known = {text_of(c): c for c in classes}
    words = [printable(str(v)) for v in texts(series)]
    found = [known.get(word, word) for word in words]
    unknown = {v for v in found if v not in known.values()}
    if unknown:
        return np.asarray(found, dtype=object)
    return np.asarray(found, dtype=np.asarray(classes).dtype)


def _numbers(series: pd.Series) -> np.ndarray:
    parsed = numbers(series)
    values = np.asarray(parsed.values, dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise TableError(
            f"target '{series.name}', row {row_numbers(series)[row]}: {series.iloc[row]!r} is not a number "
            f"({int(bad.sum())} such rows); "
            "leave those rows out, or choose task classification"
        )
    return values
