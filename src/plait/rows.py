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
from plait.table._values import each_once
from plait.table._write import printable


def column_keys(column: pd.Series) -> np.ndarray:
    """A 64-bit key per cell (n,), equal for equal cells, the same in every process."""
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return np.asarray(pd.util.hash_array(column.to_numpy()))
    keys = each_once(column, lambda cell: int.from_bytes(_cell_digest(cell)[:8], "little"))
    return np.fromiter(keys, dtype=np.uint64, count=len(column))


def _cell_digest(cell: Any) -> bytes:
    if isinstance(cell, str | bytes | np.ndarray):
        return cell_key(cell)
    if isinstance(cell, tuple | list):  # their text would shorten the arrays within
        parts = b"".join(_cell_digest(part) for part in cell)
        return hashlib.blake2b(f"{type(cell).__name__} {len(cell)} ".encode() + parts, digest_size=16).digest()
    return hashlib.blake2b(f"{type(cell).__name__}:{cell!r}".encode(), digest_size=16).digest()


def merge_equal(
    frame: pd.DataFrame, y: np.ndarray, weight: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Rows without weight dropped, equal rows with equal targets made one with the sum of their weights, in an order of content.

    So a weight of two is the same as the row given twice, the order of a table does not matter, and a repeated row is never
    both trained on and held out.

    Returns:
        Rows, targets, weights, and where each given row went (n,); -1: nowhere.
    """
    kept = weight > 0
    if not kept.any():
        raise TableError("every sample_weight is zero; at least one row must count")
    if not kept.all():
        frame, y, weight = frame[kept], y[kept], weight[kept]
    keys = [column_keys(frame.iloc[:, i]) for i in range(frame.shape[1])]
    targets = y[:, None] if y.ndim == 1 else y
    kind = object if targets.dtype.kind in "OU" else None  # pandas' own type of text cannot hold half a surrogate pair
    keys += [column_keys(pd.Series(targets[:, i], dtype=kind)) for i in range(targets.shape[1])]
    digests = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(keys))), index=False).to_numpy()
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    went = np.full(len(kept), -1)
    went[kept] = group
    return frame.iloc[first], y[first], np.bincount(group, weights=weight), went


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
    if (
        values.dtype.kind in "OU" and values.size
    ):  # half a surrogate pair is a text that neither pandas nor a file can hold
        kind = object if values.dtype.kind == "O" else None
        words = [printable(v) if isinstance(v, str) else v for v in values.flat]
        values = np.asarray(words, dtype=kind).reshape(values.shape)
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
