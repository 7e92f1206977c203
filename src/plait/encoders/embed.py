"""Cells in, embeddings out: each distinct cell is encoded once, and never again while the store has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from safetensors import numpy as safetensors

from plait.base import mapped
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError
from plait.base.inputs import Columns, columns_together
from plait.base.tokens import Tokens
from plait.data.row_numbers import row_numbers
from plait.encoders.batches import RESTED, Forward, Keep, Memory
from plait.encoders.column import Column, How
from plait.store import Store

if TYPE_CHECKING:
    import pandas as pd


#: Cells that are read from the store at a time.
CHUNK = 2048
#: Rows of a table whose features are computed at a time.
ROWS = 65_536


@dataclass(frozen=True)
class Embedded:
    """The embeddings of one column.

    Attributes:
        unreadable: (row, reason) of the cells that count as absent because they could not be read.

    Shape:
        x: (n, T, D) float32, zeros where the mask is False.
        mask: (n, T) bool; False everywhere in absent rows.
    """

    x: np.ndarray
    mask: np.ndarray
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def tokens(self) -> Tokens:
        """The arrays as tensors, without a copy."""
        return Tokens(torch.from_numpy(self.x), torch.from_numpy(self.mask))


def embed(encoder: Encoder, cells: Sequence[object], store: Store | None, **how: Unpack[How]) -> Embedded:
    """Embed the cells of a modality; None is absent.

    Only what the store lacks is encoded; the encoder's weights are loaded only then. Numbers are the same whether they
    come from the encoder, from the store, or were never stored.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    known: How = {"rows": np.arange(len(cells)), **how}
    whole = Column([], **known)
    result = embed_pieces(encoder, [cells], store, whole)
    whole.warn()
    return result


def embed_pieces(encoder: Encoder, pieces: Iterable[Sequence[object]], store: Store | None, whole: Column) -> Embedded:
    """As ``embed``, of cells that come piece by piece, so that only one piece's are in memory.

    ``whole``: the column without its cells, but with all of its rows; it learns what cannot be read.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=not encoder.stored)
    keyed = encoder.stored or encoder.kinds != ("vector",)  # a vector's key takes as long as what is done with it
    forward, start, result = Forward(encoder), 0, mapped.TokenRows(len(whole.numbers), whole.limits.memory)
    for cells in pieces:
        column = whole.piece(cells, start, keyed=keyed)
        if keyed:
            _gather(column, column.encode(encoder, keep, forward, encoder.name()), encoder, result, start)
        else:
            _computed(column, encoder, forward, result, start)
        whole.present += column.present
        whole.unreadable |= {start + row: reason for row, reason in column.unreadable.items()}
        start += len(cells)
    forward.rest()
    x, mask = result.arrays(encoder.dim)
    for row in _blank(x, mask):
        whole.refuse([int(row)], f"the encoder '{encoder.name()}' gives numbers that are not finite")
    return Embedded(x, mask, sorted(whole.unreadable.items()))


def embed_rows(encoder: Encoder, frame: pd.DataFrame, memory: int = mapped.USUAL) -> tuple[Embedded, Columns | None]:
    """Embed the rows of a table with a ``tabular`` encoder, all at once and without the store; and their plain view."""
    forward, result = Forward(encoder), mapped.TokenRows(len(frame), memory)
    views: list[Columns | None] = []
    for start in range(0, max(1, len(frame)), ROWS):
        part = frame.iloc[start : start + ROWS]
        prepared, view = encoder.prepare_with_columns(part)  # type: ignore[arg-type]  # rows, not a sequence of cells
        views.append(view)
        if len(frame):
            result.put(start + np.arange(len(part)), forward(prepared))
            result.release()
    x, mask = result.arrays(encoder.dim)
    known = [view for view in views if view is not None]
    columns = columns_together(known) if known else None
    bad = _blank(x, mask)
    if len(bad):
        raise PlaitError(
            f"the encoder '{encoder.name()}' gives numbers that are not finite, first in row {row_numbers(frame)[bad[0]]}"
        )
    return Embedded(x, mask), columns


def _gather(column: Column, lengths: dict[bytes, int], encoder: Encoder, result: mapped.TokenRows, start: int) -> None:
    """Read everything into the rows from ``start`` on, a chunk at a time."""
    first = next(iter(column.read(list(column.rows)[:1])), None)
    if first is None:
        return
    x, mask = result.room(start, max(lengths.values()), first.shape[1])
    for at, chunk in column.chunks(CHUNK):
        for key, array in zip(chunk, column.read(chunk), strict=True):
            if array.shape[1] != x.shape[2]:
                raise PlaitError(f"'{column.name}': '{encoder.name()}' gives widths {x.shape[2]} and {array.shape[1]}")
            for row in column.rows[key]:
                x[row, : len(array)], mask[row, : len(array)] = array, True
        result.release()
        if at % RESTED == 0:
            column.rest()


def _computed(column: Column, encoder: Encoder, forward: Forward, result: mapped.TokenRows, start: int) -> None:
    """Compute the rows of an encoder whose results are not stored: in batches, without keys."""
    present = [row for row, cell in enumerate(column.cells) if cell is not None]
    for at in range(0, len(present), encoder.batch_size):
        rows = present[at : at + encoder.batch_size]
        for done, arrays in _readable(column, encoder, rows):
            result.put(start + np.array(done), forward(arrays))
    result.release()


def _readable(column: Column, encoder: Encoder, rows: list[int]) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """The cells of some rows prepared, all at once where each can be read."""
    try:
        yield rows, encoder.prepare([column.cells[row] for row in rows])
    except CellError as error:
        if len(rows) == 1:
            column.refuse(rows, str(error))
            return
        for row in rows:
            yield from _readable(column, encoder, [row])


def _blank(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Make rows with a number that is not finite absent; which they were."""
    step = max(1, (1 << 24) // max(1, x[:1].size))  # rows: the test needs a byte per number
    bad = []
    for start in range(0, len(x), step):
        bad.append(start + np.flatnonzero(~np.isfinite(x[start : start + step]).all((1, 2))))
        mapped.release(torch.from_numpy(x))
    rows = np.concatenate(bad) if bad else np.zeros(0, np.int64)
    x[rows], mask[rows] = 0.0, False
    return rows


#: Cells that are read from the store at a time.
PREPARED_CHUNK = 512


def prepare_distinct(
    encoder: Encoder, cells: Sequence[object], store: Store | None, **how: Unpack[How]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run ``prepare`` over the distinct cells of a modality: a picture that is in a thousand rows is in memory once.

    Arrays of different shape are filled with zeros at the end, up to the largest.

    Shape:
        arrays: (m + 1, ...) each, the last zeros; no arrays at all when no cell is present.
        place: (n,) where each row's cell is; m for absent rows.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=False)
    column = Column(cells, **how)
    column.encode(encoder, keep, _split, f"{encoder.name()}, prepared", f"{encoder.fingerprint()} prepared")
    result = _gather_prepared(column)
    column.warn()
    return result


def _split(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """One row of bytes (1, N) per cell: its arrays in the safetensors format."""
    n = len(next(iter(arrays.values())))
    cells = ({key: np.array(array[i], order="C") for key, array in arrays.items()} for i in range(n))
    return [np.frombuffer(safetensors.save(cell), dtype=np.uint8)[None] for cell in cells]


def _gather_prepared(column: Column) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read everything twice, first the shapes, so that nothing is in memory twice."""
    keys = list(column.rows)
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype[Any]] = {}
    for _, chunk in column.chunks(PREPARED_CHUNK):
        for cell in map(_joined, column.read(chunk)):
            for name, array in cell.items():
                shapes[name] = tuple(np.maximum(shapes.get(name, array.shape), array.shape).tolist())
                types[name] = array.dtype
    arrays = {name: np.zeros((len(keys) + 1, *shape), types[name]) for name, shape in shapes.items()}
    place = np.full(column.n, len(keys), np.int64)
    for start, chunk in column.chunks(PREPARED_CHUNK):
        for row, cell in enumerate(map(_joined, column.read(chunk)), start):
            place[column.rows[keys[row]]] = row
            for name, array in cell.items():
                filled: tuple[Any, ...] = tuple(slice(size) for size in array.shape)
                arrays[name][(row, *filled)] = array
    return arrays, place


def _joined(record: np.ndarray) -> dict[str, np.ndarray]:
    """What ``_split`` made of a cell."""
    return safetensors.load(record.tobytes())
