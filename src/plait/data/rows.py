"""Rows before anything is learned: targets checked, classes weighed, samples drawn, a table's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import type_of_target

from plait.base.errors import PlaitError, TableError
from plait.data.cells import is_media
from plait.data.equal_rows import PIECE
from plait.data.labels import codes_of, label_array, label_text
from plait.data.typed import typed_array
from plait.data.values import answers, object_array, text_of

#: Rows that a sample has of a class, if there are so many.
ROWS_OF_CLASS = 10


def evening(target: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Factors (n,) by which classes weigh in the rows ``kept`` what they weigh in all; of labels and values one.

    Example:
        >>> evening(np.array([0, 0, 0, 1]), np.ones(4), np.array([0, 3])).tolist()
        [1.5, 1.5, 1.5, 0.5]
    """
    if target.ndim == 2 or target.dtype.kind == "f":
        return np.ones(len(target))
    whole = np.bincount(target, weight)
    part = np.bincount(target[kept], weight[kept], minlength=len(whole))
    share = (whole / whole.sum()) / np.maximum(part / part.sum(), 1e-12)
    return np.asarray(share[target])


def seen_before(target: np.ndarray) -> np.ndarray:
    """How many rows before each one have its class, or the rarest so far of its labels (n,); ``ROWS_OF_CLASS`` at most.

    Example:
        >>> seen_before(np.array([0, 0, 1, 0])).tolist(), seen_before(np.array([[1, 0], [1, 1], [0, 0]])).tolist()
        ([0, 1, 0, 2], [0, 0, 10])
    """
    if target.ndim == 2:
        labels = target > 0
        before = np.where(labels, np.cumsum(labels, axis=0) - labels, ROWS_OF_CLASS)
        return np.asarray(before.min(axis=1, initial=ROWS_OF_CLASS))
    if target.dtype.kind == "f":
        return np.full(len(target), ROWS_OF_CLASS)
    return np.minimum(pd.Series(target).groupby(target).cumcount().to_numpy(), ROWS_OF_CLASS)


def only(
    kept: np.ndarray, frame: pd.DataFrame, y: np.ndarray, weight: np.ndarray, row_index: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Some of the distinct rows, by their places; given rows that are none of them went nowhere (-1)."""
    place = np.full(len(frame) + 1, -1)
    place[kept] = np.arange(len(kept))
    return frame.iloc[kept], y[kept], weight[kept], place[row_index]


def infer_task(y: np.ndarray, regressor: bool) -> str:
    """The task that a target asks for: labels (n,) or a matrix (n, C)."""
    if regressor:
        return "regression"
    if y.ndim == 1 and y.dtype.kind in "OM":
        return "classification"  # dates, tuples and such, which scikit-learn has no name for
    kind = type_of_target(y, input_name="y")
    if kind in ("binary", "multiclass"):
        return "classification"
    if kind == "multilabel-indicator":
        return "multilabel"
    raise TableError(f"Unknown label type: {kind}; expected one class per row, or an indicator matrix of classes")


def checked_number(y: object) -> np.ndarray:
    """A target of numbers (n,) as float, finite; durations in seconds, as columns of them are read."""
    given = np.asarray(y)
    if given.dtype.kind in "Mc":
        what = "dates; turn them into numbers, as days since a date" if given.dtype.kind == "M" else "complex numbers"
        raise TableError(f"the target of a regression must be numbers; found {what}")
    if given.dtype.kind == "m":
        y = np.where(np.isnat(given), np.nan, given / np.timedelta64(1, "s"))
    try:
        values = np.asarray(y, dtype=np.float64)
        values = column_or_1d(values, warn=True) if values.ndim == 2 and values.shape[1] == 1 else values
    except (TypeError, ValueError):
        odd = next((v for v in given.ravel().tolist() if not isinstance(v, int | float)), "")
        what = "text" if isinstance(odd, str) else type(odd).__name__
        raise TableError(f"the target of a regression must be numbers; found {what}") from None
    except OverflowError:
        raise TableError("the target of a regression holds a number beyond what a float can be (1.8e308)") from None
    if values.ndim != 1:
        raise TableError(f"the target of a regression must be one number per row; found shape {values.shape}")
    bad = ~np.isfinite(values)
    if bad.any():
        raise TableError(f"the target y contains NaN or infinity in {_where(bad)}; leave those rows out")
    return checked_size(values)


def checked_size(values: np.ndarray) -> np.ndarray:
    """Numbers of a target (n,), refused where 32 bits, in which networks compute, could not hold them."""
    most = float(np.abs(values).max(initial=0.0))
    if most > 1e37 or 0 < most < 1e-37:
        way = "divide" if most > 1 else "multiply"
        raise TableError(
            f"the largest number of the target is {most:g}; expected 1e-37 to 1e37: {way} all of them by a power of ten"
        )
    return values


#: Flags of several labels, as text.
_FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}


def checked_classes(y: Any) -> np.ndarray:
    """A target of classes: labels (n,) without holes, or a matrix (n, C)."""
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        column_or_1d(np.empty((len(y), 1)), warn=True)
        y = y.iloc[:, 0]
    elif isinstance(y, list | tuple):
        y = np.asarray(y) if _is_matrix(y) else object_array(y)
    elif not isinstance(y, pd.Series):
        y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    words = y.ndim == 2 and y.shape[1] > 1 and np.asarray(y).dtype.kind not in "biuf"
    if words and not {str(v) for v in np.ravel(y).tolist()} <= _FLAGS | {"nan", "None", "<NA>"}:
        raise TableError(
            f"the target has {y.shape[1]} columns that are no flags; expected one column, or flags of 0 and 1; several targets "
            "at once: plait fit --target A --target B, or a model for each"
        )
    holes = np.asarray(pd.isna(y))
    if holes.any():
        raise TableError(f"the target y contains NaN or nothing in {_where(holes)}; leave those rows out")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise TableError("the target y contains infinity; leave those rows out")
    return label_array(y) if y.ndim == 1 else np.asarray(y)


def _where(bad: np.ndarray) -> str:
    return f"{int(bad.sum())} rows (the first is row {int(np.flatnonzero(bad)[0])})"


def _is_matrix(cells: Sequence[Any]) -> bool:
    """Rows of numbers of one width; tuples of 0 and 1 only, since other tuples are labels."""
    if not len(cells) or not all(isinstance(cell, list | tuple | np.ndarray) for cell in cells):
        return False
    numbers = all(isinstance(v, bool | int | float | np.generic) for cell in cells for v in cell)
    flags = all(isinstance(cell, list | np.ndarray) or set(cell) <= {0, 1} for cell in cells) if numbers else False
    return flags and len({len(cell) for cell in cells}) == 1


def class_weights(
    codes: np.ndarray, spec: str | Mapping[Any, float] | None, task: str, classes: Sequence[object] = ()
) -> np.ndarray:
    """Weight of each row (n,) from its class, a place among ``classes``."""
    if spec is None:
        return np.ones(len(codes))
    if task != "classification":
        raise PlaitError(f"class_weight is for one class of several; the task is {task}")
    table: Any = spec
    if isinstance(spec, Mapping):
        names = list(spec)
        places = codes_of(names, classes)
        unknown = [name for name, place in zip(names, places, strict=True) if place < 0]
        if unknown:
            known = ", ".join(label_text(label) for label in classes[:20])
            raise PlaitError(f"class_weight: {unknown[0]!r} is no class of the target; it has: {known}")
        table = {int(place): spec[name] for place, name in zip(places, names, strict=True)}
    present = np.unique(codes)
    try:
        per_class = compute_class_weight(table, classes=present, y=codes)
    except ValueError as error:
        raise PlaitError(f"class_weight: {error}") from None
    return np.asarray(per_class)[np.searchsorted(present, codes)]


def data_hash(frame: pd.DataFrame) -> str:
    """Hex digest of the names and cells of a table, whatever types the cells are kept in.

    Example:
        >>> data_hash(pd.DataFrame({"a": ["1", None]})) == data_hash(pd.DataFrame({"a": [1.0, float("nan")]}))
        True
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in frame.columns:
        digest.update(f"\x1d{name}\x1d".encode())
        for start in range(0, len(frame), PIECE):
            digest.update(b"".join([b"%b\x1e" % cell for cell in _bytes_of(frame[name].iloc[start : start + PIECE])]))
    return digest.hexdigest()


def _bytes_of(column: pd.Series) -> Sequence[bytes]:
    """What each cell of a column is known by."""
    if column.dtype == np.float64:  # as ``text_of`` has it, without asking cell by cell
        values = column.to_numpy()
        result = [repr(value).encode() for value in values.tolist()]
        for i in np.flatnonzero(~np.isfinite(values) | (values == np.floor(values))):
            result[i] = _cell_bytes(values[i])
        return result
    cells = typed_array(column)
    if not cells.source.is_text or 2 * len(cells.source.values) > len(cells.source.cells):
        return [_cell_bytes(cell) for cell in cells.cells().tolist()]  # nothing is kept of what hardly comes twice
    known = answers(cells, _cell_bytes)
    return [b"" if code < 0 else known[code] for code in cells.codes.tolist()]


def _cell_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return text_of(cell).encode("utf-8", "surrogatepass")
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}".encode() + (
            repr(cell.tolist()).encode() if cell.dtype == object else cell.tobytes()
        )
    if isinstance(cell, tuple | list):  # their text would shorten the arrays within
        return f"{type(cell).__name__}{len(cell)}".encode() + b"\x1f".join(_cell_bytes(part) for part in cell)
    if isinstance(cell, dict | set):
        return repr(_contents(cell)).encode()
    if is_media(cell):  # what they print as holds an address
        from plait.data.media.given import cell_key  # late: it needs this package

        return cell_key(cell)
    return b"" if pd.isna(cell) else text_of(cell).encode()


def _contents(cell: object) -> object:
    """A mapping or a set in an order of its own, with media in it by what they hold; all else as it is."""
    if isinstance(cell, dict):
        return {key: _contents(value) for key, value in cell.items()}
    if isinstance(cell, set):
        return sorted(cell, key=str)
    return _cell_bytes(cell) if isinstance(cell, np.ndarray) or is_media(cell) else cell
