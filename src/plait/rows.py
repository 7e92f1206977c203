"""Rows before anything is learned: arrays as tables, targets checked, equal rows made one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import type_of_target

from plait.embedding import cell_key
from plait.errors import PlaitError, TableError
from plait.media import Blob, Changed
from plait.table._cells import vector_of
from plait.table._parse import ISO, booleans, date_format, dates, number_style, numbers
from plait.table._values import distinct, items_of, text_of


def column_keys(column: pd.Series, type: str | None = None) -> np.ndarray:
    """A 64-bit key per cell (n,): equal for cells that an encoder could not tell apart, the same in every process.

    It hangs on what a cell says, not on the type that it is kept in, so that a table in three formats is one table.

    Args:
        column: cells of any type.
        type: how the column is read (``number``, ``boolean``, ``date %d/%m/%Y``, ``list``, ``vector``); None: as it stands.
    """
    word, _, form = (type or "").partition(" ")
    if word in ("number", "boolean", "date"):
        return _number_keys(_read(column, word, form))
    make = {"list": items_of, "vector": _vector}.get(word, lambda cell: cell)
    codes, values = distinct(column)
    digests = [_cell_digest(make(value)) for value in values]
    keys = [int.from_bytes(digest[:8], "little") for digest in (*digests, _NOTHING)]
    return np.array(keys, dtype=np.uint64)[codes]


_NOTHING = hashlib.blake2b(b"NoneType:None", digest_size=16).digest()


def _vector(cell: Any) -> Any:
    found = vector_of(cell)
    return cell if found is None else found


def _read(column: pd.Series, word: str, form: str) -> np.ndarray:
    if word == "number":
        return numbers(column, number_style(column)).values
    return booleans(column).values if word == "boolean" else dates(column, form or date_format(column) or ISO).values


def _number_keys(values: np.ndarray) -> np.ndarray:
    values = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, and no minus zero
    return np.asarray(pd.util.hash_array(values))


def _cell_digest(cell: Any) -> bytes:
    if isinstance(cell, Mapping):
        cell = ["mapping", *(part for key in sorted(cell, key=str) for part in (str(key), cell[key]))]
    if isinstance(cell, set | frozenset):
        cell = ["set", *sorted(map(text_of, cell))]
    if isinstance(cell, tuple | list):  # their text would shorten the arrays within
        parts = b"".join(_cell_digest(part) for part in cell)
        return hashlib.blake2b(f"list {len(cell)} ".encode() + parts, digest_size=16).digest()
    if isinstance(cell, np.ndarray) and cell.dtype.hasobject:
        return _cell_digest(cell.tolist())
    if isinstance(cell, bytes | np.ndarray | Blob | Changed) or hasattr(cell, "getbands"):
        return cell_key(cell)
    if hasattr(cell, "__array__") and not isinstance(cell, np.generic):
        return cell_key(np.asarray(cell))
    return _NOTHING if cell is None or pd.isna(cell) else cell_key(text_of(cell))


def merge_equal(
    frame: pd.DataFrame, y: np.ndarray, weight: np.ndarray, types: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Rows without weight dropped, equal rows with equal targets made one with the sum of their weights, in an order of content.

    So a weight of two is the same as the row given twice, the order of a table does not matter, and a repeated row is never
    both trained on and held out.

    Args:
        frame: the rows.
        y: targets (n,) or (n, C).
        weight: (n,).
        types: how columns are read, as ``column_keys`` takes them.

    Returns:
        Rows, targets, weights, and where each given row went (n,); -1: nowhere.
    """
    kept = weight > 0
    if not kept.any():
        raise TableError("every sample_weight is zero; at least one row must count")
    if not kept.all():
        frame, y, weight = frame[kept], y[kept], weight[kept]
    read_as = types or {}
    keys = [column_keys(frame.iloc[:, i], read_as.get(str(name))) for i, name in enumerate(frame.columns)]
    targets = y[:, None] if y.ndim == 1 else y
    keys += [column_keys(pd.Series(targets[:, i])) for i in range(targets.shape[1])]
    digests = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(keys))), index=False).to_numpy()
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    went = np.full(len(kept), -1)
    went[kept] = group
    return frame.iloc[first].reset_index(drop=True), y[first], np.bincount(group, weights=weight), went


def infer_task(y: np.ndarray, regressor: bool) -> str:
    """The task that a target asks for."""
    if regressor:
        return "regression"
    kind = type_of_target(y, input_name="y")
    if kind in ("binary", "multiclass"):
        return "classification"
    if kind == "multilabel-indicator":
        return "multilabel"
    raise TableError(f"Unknown label type: {kind}; expected one class per row, or an indicator matrix of classes")


def checked_number(y: Any) -> np.ndarray:
    """A target of numbers (n,) as float, finite."""
    try:
        values = np.asarray(y, dtype=np.float64)
        values = column_or_1d(values, warn=True) if values.ndim == 2 and values.shape[1] == 1 else values
    except (TypeError, ValueError):
        raise TableError("the target of a regression must be numbers; found text") from None
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise TableError(f"the target y contains NaN or infinity in {count} rows; leave those rows out")
    return values


def checked_classes(y: Any) -> np.ndarray:
    """A target of classes (n,), without holes."""
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    holes = pd.isna(values)
    if holes.any():
        raise TableError(f"the target y contains NaN or nothing in {int(holes.sum())} rows; leave those rows out")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise TableError("the target y contains infinity; leave those rows out")
    return values


def class_weights(y: np.ndarray, told: str | Mapping[Any, float] | None, task: str) -> np.ndarray:
    """Weight of each row (n,) from its class."""
    if told is None:
        return np.ones(len(y))
    if task != "classification":
        raise PlaitError(f"class_weight is for one class of several; the task is {task}")
    classes = np.unique(y)
    table = dict(told) if isinstance(told, Mapping) else told
    try:
        per_class = compute_class_weight(table, classes=classes, y=y)
    except ValueError as error:
        raise PlaitError(f"class_weight: {error}") from None
    return np.asarray(per_class)[np.searchsorted(classes, y)]
