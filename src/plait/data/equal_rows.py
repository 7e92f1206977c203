"""Rows told apart by what their cells hold: equal ones made one, and those that are draws, not copies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import CellError, TableError
from plait.data.cells import vector_of
from plait.data.dates import ISO
from plait.data.media import Blob
from plait.data.media.given import Changed, as_array, cell_key, comparable
from plait.data.parse import booleans, date_format, dates, numbers, style_in
from plait.data.typed import typed_array
from plait.data.values import items_of, text_of


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

    def digests(values: Sequence[Any]) -> np.ndarray:
        keys = [int.from_bytes(digest[:8], "little") for digest in (*(_cell_digest(make(v)) for v in values), _NOTHING)]
        return np.array(keys, dtype=np.uint64)

    cells = typed_array(column)
    return np.asarray(cells.source.once(("digest", word), digests)[cells.codes])


#: Rows whose keys are made one at a time.
PIECE = 100_000
#: A row that was given more often stands by itself so often; all such rows together, where they are few, at most so often.
MOST_REPEATS, MOST_REPEATED = 20, 20_000
_NOTHING = hashlib.blake2b(b"NoneType:None", digest_size=16).digest()


def _vector(cell: Any) -> Any:
    result = vector_of(cell)
    return cell if result is None else result


def _read(column: pd.Series, word: str, form: str) -> np.ndarray:
    if word == "number":
        return numbers(column, style_in(column)).values
    return booleans(column).values if word == "boolean" else dates(column, form or date_format(column) or ISO).values


def _number_keys(values: np.ndarray) -> np.ndarray:
    values = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, and no minus zero
    return np.asarray(pd.util.hash_array(values))


def _cell_digest(cell: object) -> bytes:
    """A cell by what it holds: never by where an object lies in memory, nor by the order of a set."""
    if isinstance(cell, Mapping):
        cell = ["mapping", *(part for key in sorted(cell, key=str) for part in (str(key), cell[key]))]
    if isinstance(cell, set | frozenset):
        cell = ["set", *sorted(map(text_of, cell))]
    if isinstance(cell, np.ndarray) and cell.dtype.hasobject:
        cell = cell.tolist()  # as Parquet gives lists of lists
    if isinstance(cell, list) and cell and isinstance(cell[0], list) and (array := as_array(cell)) is not None:
        return cell_key(array)
    if isinstance(cell, tuple | list):  # their text would shorten the arrays within
        parts = b"".join(_cell_digest(part) for part in cell)
        return hashlib.blake2b(f"list {len(cell)} ".encode() + parts, digest_size=16).digest()
    if isinstance(cell, Blob) and cell.address is not None:
        return cell_key(cell.address)  # the same wherever fetched files are kept
    if isinstance(cell, Blob) and cell.path is not None:
        return cell_key(repr(cell))  # its file need not be read for an order of rows
    if isinstance(cell, bytes | bytearray | memoryview | np.ndarray | Blob | Changed):
        return cell_key(cell)
    try:
        held = comparable(cell)
    except CellError as error:  # it counts as absent, for this reason
        held = f"broken {error}"
    if held is not cell:
        return _cell_digest(held)
    said_by: Any = type(cell)
    if said_by.__repr__ is object.__repr__ and said_by.__str__ is object.__str__:
        raise TableError(
            f"cells of type {type(cell).__name__} cannot be told apart by what they hold; give plain values"
        )
    return _NOTHING if cell is None or pd.isna(cell) else cell_key(text_of(cell))


def merge_equal(
    frame: pd.DataFrame, y: np.ndarray, weight: np.ndarray, types: Mapping[str, str] | None = None
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
    keys = _keys(frame, types or {})
    targets = y[:, None] if y.ndim == 1 else y
    kind = object if targets.dtype.kind in "OU" else None  # pandas' own type of text cannot hold half a surrogate pair
    keys += [column_keys(pd.Series(targets[:, i], dtype=kind)) for i in range(targets.shape[1])]
    digests = _digests(keys, len(y))
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    row_index = np.full(len(kept), -1)
    row_index[kept] = group
    return frame.iloc[first], y[first], np.bincount(group, weights=weight), row_index


def repeats(frame: pd.DataFrame, counts: np.ndarray, types: Mapping[str, str] | None = None) -> np.ndarray:
    """How often each distinct row (m,) stands by itself: once, but where rows of the same cells have other targets, too.

    There a row is no copy but one draw of many, as in a table of a few categories: some of its draws may be learned from and
    others held out, as those of new rows will be. ``counts`` (m,): how often each was given; very many times are fewer.

    Example:
        >>> repeats(pd.DataFrame({"a": ["x", "x", "y", "z"]}), np.array([3.0, 1.0, 5.0, 1.0])).tolist()
        [3, 1, 1, 1]
    """
    several = (counts >= 2) & (counts == np.rint(counts))
    if several.any():
        cells, sizes = np.unique(
            _digests(_keys(frame, types or {}), len(frame)), return_inverse=True, return_counts=True
        )[1:]
        several &= sizes[cells] > 1
    most = max(MOST_REPEATS, MOST_REPEATED // max(1, int(several.sum())))
    return np.where(several, np.minimum(counts, most), 1).astype(np.int64)


def _keys(frame: pd.DataFrame, types: Mapping[str, str]) -> list[np.ndarray]:
    return [column_keys(frame.iloc[:, i], types.get(str(name))) for i, name in enumerate(frame.columns)]


def _digests(keys: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """One number for each row (rows,) of all its cells' keys."""
    pieces = [slice(start, start + PIECE) for start in range(0, rows, PIECE)]
    tables = (pd.DataFrame({i: key[part] for i, key in enumerate(keys)}) for part in pieces)
    return np.concatenate([pd.util.hash_pandas_object(table, index=False).to_numpy() for table in tables])
