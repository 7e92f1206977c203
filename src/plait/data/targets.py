"""Targets: one class, several classes, or a number, however the table writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import TableError, nearest, warn
from plait.data.labels import codes_of, label_array, label_text, written_labels
from plait.data.parse import number_style, numbers
from plait.data.row_numbers import numbered, row_numbers
from plait.data.rows import checked_size
from plait.data.values import items, nulls, object_array, text_of


@dataclasses.dataclass(frozen=True)
class Labels:
    """Several classes per row: ``indicator`` (n, C) of 0 and 1, and the names of its columns."""

    indicator: np.ndarray
    classes: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.indicator)

    def take(self, rows: np.ndarray) -> Labels:
        """The given rows."""
        return Labels(self.indicator[rows], self.classes)


def holds_lists(y: object) -> bool:
    """Whether the cells of a target are lists or sets of labels, and not rows of a matrix of numbers."""
    if isinstance(y, pd.DataFrame) or (isinstance(y, np.ndarray) and (y.ndim != 1 or y.dtype != object)):
        return False
    cells = list(y) if isinstance(y, list | tuple | np.ndarray | pd.Series) else []
    if not any(isinstance(cell, list | set | frozenset | np.ndarray) for cell in cells):
        return False
    rows = [cell for cell in cells if isinstance(cell, list | np.ndarray)]
    widths = {len(row) for row in rows}
    numeric = all(isinstance(v, bool | int | float | np.number | np.bool_) for row in rows for v in row)
    return not (numeric and len(rows) == len(cells) and len(widths) == 1)


def indicator_of(y: Any, classes: Sequence[Any] | np.ndarray | None = None) -> Labels:
    """Labels from an indicator matrix, or from cells that hold lists or words joined by a bar.

    Args:
        y: (n, C) of 0 and 1, or (n,) cells.
        classes: the classes that the model knows; others are left out with a counted warning.
    """
    if isinstance(y, pd.DataFrame):
        return Labels(_flags(y.to_numpy()), tuple(y.columns))
    if not isinstance(y, pd.Series) and not holds_lists(y):
        matrix = np.asarray(y)
        if matrix.ndim == 2:
            return Labels(_flags(matrix), tuple(range(matrix.shape[1]) if classes is None else classes))
    rows = [row or () for row in items(y if isinstance(y, pd.Series) else pd.Series(object_array(y)))]
    names = tuple(sorted({item for row in rows for item in row})) if classes is None else tuple(classes)
    label_array(list(names))  # refuses what no file can hold
    place = {text_of(name): i for i, name in enumerate(names)}
    indicator = np.zeros((len(rows), len(names)), dtype=np.int64)
    unknown: list[str] = []
    for i, row in enumerate(rows):
        for item in row:
            if item in place:
                indicator[i, place[item]] = 1
            else:
                unknown.append(label_text(item))
    if unknown:
        result = sorted(set(unknown))
        warn(
            f"{len(unknown)} of the target's labels are not among the {len(names)} classes of the model and are left out "
            f"({', '.join(result[:5])}{', ...' if len(result) > 5 else ''})"
        )
    return Labels(indicator, names)


def _flags(matrix: np.ndarray) -> np.ndarray:
    try:
        values = matrix.astype(np.float64)
    except (TypeError, ValueError):
        raise TableError(
            "a matrix of several labels must hold 0 and 1; found text; give a list of labels per row"
        ) from None
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise TableError(
            f"a matrix of several labels must hold 0 and 1; row {row}, column {column} holds {matrix[row, column]}"
        )
    return values.astype(np.int64)


def with_target(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows that have a target, each under the number it has in the table; the others are left out with a counted warning.

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
        warn(f"{int(holes.sum()):,} of {len(frame):,} rows have no '{target}' and are left out")
        frame = frame[~holes]
    return frame


def target_values(series: pd.Series, task: str) -> Any:
    """The target as ``fit`` takes it: classes (n,), ``Labels``, or floats (n,)."""
    if task == "multilabel":
        return indicator_of(series)
    if task == "regression":
        return checked_size(target_numbers(series))
    if series.dtype.kind in "iubM":
        return label_array(series)
    cells = series.to_numpy(dtype=object)
    if all(isinstance(cell, str) for cell in cells):
        return written_labels(list(cells))
    lists = (list, set, frozenset, np.ndarray)
    labels = label_array([text_of(cell) if isinstance(cell, lists) else cell for cell in cells])
    if labels.dtype.kind == "f" and (labels % 1 == 0).all() and np.abs(labels).max() < 2**53:
        return np.asarray(labels, dtype=np.int64)  # whole numbers that a hole in the column made floats
    return labels


def target_array(y: Any, task: str, classes: Sequence[Any]) -> np.ndarray:
    """The target in the words of a fitted model: classes (n,), indicators (n, C), or floats (n,).

    A class that the model does not know stays as it is, and no prediction will equal it.
    """
    if task == "multilabel":
        return indicator_of(y, classes).indicator
    if task == "regression":
        return target_numbers(y)
    codes = codes_of(y, classes)
    known = label_array(list(classes))
    if (codes >= 0).all():
        return np.asarray(known[codes])
    unknown = object_array(y)
    return object_array(known[c] if c >= 0 else label_text(unknown[i]) for i, c in enumerate(codes))


def target_numbers(y: object) -> np.ndarray:
    """A target of numbers (n,), however they are written.

    Raises:
        TableError: a cell is no number; the message names its row.
    """
    if isinstance(y, np.ndarray) and y.dtype.kind in "iuf" and y.ndim == 1 and np.isfinite(y).all():
        return y.astype(np.float64)
    series = y if isinstance(y, pd.Series) else pd.Series(object_array(np.ravel(np.asarray(y, dtype=object))))
    parsed = numbers(series, number_style(series))
    values = np.asarray(parsed.values, dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        name = "" if series.name is None else f" '{series.name}'"
        raise TableError(
            f"target{name}, row {row_numbers(series)[first]}: {series.iloc[first]!r} is not a number "
            f"({int(bad.sum())} such rows); "
            "leave those rows out, or choose task classification"
        )
    return values
