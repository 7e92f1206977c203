"""Prepared arrays of trainable encoders: decoded and resized once, kept in the same store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from plait.embedding._batches import Keep, Memory
from plait.embedding._column import Column
from plait.encoders._base import Encoder
from plait.store import Store

#: Cells that are read from the store at a time.
CHUNK = 512


def prepare_distinct(
    encoder: Encoder,
    cells: Sequence[Any],
    store: Store | None,
    *,
    name: str,
    strict: bool = False,
    progress: bool | None = None,
    rows: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run ``prepare`` over the distinct cells of the modality ``name``: a picture that is in a thousand rows is in memory once.

    None and unreadable cells are absent; messages call the cells by ``rows`` (n,), else by position.

    Arrays of different shape are filled with zeros at the end, up to the largest.

    Shape:
        arrays: (m + 1, ...) each, the last zeros; no arrays at all when no cell is present.
        place: (n,) where each row's cell is; m for absent rows.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    column = Column(cells, name, strict, rows)
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=False)
    fingerprint = f"{encoder.fingerprint()} prepared"
    column.encode(encoder, keep, fingerprint, _split, progress, f"{encoder.name()}, prepared")
    found = _gather(column, keep, fingerprint)
    column.warn()
    return found


def _split(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """One row of bytes (1, N) per cell: its arrays in the safetensors format."""
    n = len(next(iter(arrays.values())))
    cells = ({key: np.array(array[i], order="C") for key, array in arrays.items()} for i in range(n))
    return [np.frombuffer(safetensors.save(cell), dtype=np.uint8)[None] for cell in cells]


def _gather(column: Column, keep: Keep, fingerprint: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read everything twice, first the shapes, so that nothing is in memory twice."""
    keys = list(column.rows)
    chunks = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype[Any]] = {}
    for chunk in chunks:
        for cell in _read(column, keep, fingerprint, chunk):
            for field, array in cell.items():
                shapes[field] = tuple(np.maximum(shapes.get(field, array.shape), array.shape).tolist())
                types[field] = array.dtype
    arrays = {field: np.zeros((len(keys) + 1, *shape), types[field]) for field, shape in shapes.items()}
    place = np.full(column.n, len(keys), np.int64)
    for number, chunk in enumerate(chunks):
        for row, cell in enumerate(_read(column, keep, fingerprint, chunk), number * CHUNK):
            place[column.rows[keys[row]]] = row
            for field, array in cell.items():
                filled: tuple[Any, ...] = tuple(slice(size) for size in array.shape)
                arrays[field][(row, *filled)] = array
    return arrays, place


def _read(column: Column, keep: Keep, fingerprint: str, keys: list[bytes]) -> list[dict[str, np.ndarray]]:
    found = keep.get_many(fingerprint, keys)
    if any(record is None for record in found):
        raise column.lost()
    return [safetensors.load(record.tobytes()) for record in found if record is not None]
