"""Cells in, embeddings out: each distinct cell is encoded once, and never again while the store has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from plait.embedding._batches import Keep, Memory
from plait.embedding._column import Column
from plait.encoders._base import Encoder
from plait.errors import PlaitError
from plait.media.keys import cell_key
from plait.store import Store
from plait.table._row_numbers import row_numbers
from plait.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Embedded", "cell_key", "embed", "embed_rows"]

#: Cells that are read from the store at a time.
CHUNK = 2048


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
        """As tensors, without a copy."""
        return Tokens(torch.from_numpy(self.x), torch.from_numpy(self.mask))


def embed(
    encoder: Encoder,
    cells: Sequence[Any],
    store: Store | None,
    *,
    name: str,
    strict: bool = False,
    progress: bool | None = None,
    rows: np.ndarray | None = None,
) -> Embedded:
    """Embed the cells of the modality ``name``; None is absent. Messages call the cells by ``rows`` (n,), else by position.

    Only what the store lacks is encoded; the encoder's weights are loaded only then. Numbers are the same whether they
    come from the encoder, from the store, or were never stored.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    column = Column(cells, name, strict, rows)
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=not encoder.stored)
    fingerprint = encoder.store_key()
    lengths = column.encode(encoder, keep, fingerprint, Forward(encoder), progress, encoder.name())
    embedded = _gather(column, keep, fingerprint, lengths, encoder)
    column.warn()
    return embedded


def embed_rows(encoder: Encoder, frame: pd.DataFrame) -> Embedded:
    """Embed the rows of a table with a ``tabular`` encoder, all at once and without the store."""
    if len(frame) == 0:
        return Embedded(np.zeros((0, 1, encoder.dim), np.float32), np.zeros((0, 1), bool))
    rows = Forward(encoder)(encoder.prepare(frame))  # type: ignore[arg-type]  # rows, not a sequence of cells
    x, mask = _empty(len(rows), max(map(len, rows)), rows[0].shape[1])
    for i, row in enumerate(rows):
        x[i, : len(row)], mask[i, : len(row)] = row, True
    bad = _blank(x, mask)
    if len(bad):
        raise PlaitError(
            f"the encoder '{encoder.name()}' gives numbers that are not finite, first in row {row_numbers(frame)[bad[0]]}"
        )
    return Embedded(x, mask)


class Forward:
    """An encoder's network, built when the first batch needs it."""

    def __init__(self, encoder: Encoder) -> None:
        """Nothing is loaded yet."""
        self._encoder = encoder
        self._module: nn.Module | None = None

    def __call__(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Prepared arrays of a batch -> the tokens (T, D) of each cell, float32."""
        if self._module is None:
            self._module = self._encoder.module().eval()
        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        tensors = {
            key: torch.from_numpy(np.require(a, requirements=["C", "W"])).to(device) for key, a in arrays.items()
        }
        with torch.inference_mode():
            tokens: Tokens = self._module(tensors)
        x, mask = tokens.x.float().cpu().numpy(), tokens.mask.cpu().numpy()
        return [row[there] for row, there in zip(x, mask, strict=True)]


def _gather(column: Column, keep: Keep, fingerprint: str, lengths: dict[bytes, int], encoder: Encoder) -> Embedded:
    """Read everything into one array, a chunk at a time."""
    keys = list(column.rows)
    first = next(iter(keep.get_many(fingerprint, keys[:1])), None)
    width = encoder.dim if first is None else first.shape[1]
    x, mask = _empty(column.n, max(lengths.values(), default=1), width)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        for key, array in zip(chunk, keep.get_many(fingerprint, chunk), strict=True):
            if array is None:
                raise column.lost()
            if array.shape[1] != width:
                raise PlaitError(f"'{column.name}': '{encoder.name()}' gives widths {width} and {array.shape[1]}")
            for row in column.rows[key]:
                x[row, : len(array)], mask[row, : len(array)] = array, True
    for row in _blank(x, mask):
        column.refuse([int(row)], f"the encoder '{encoder.name()}' gives numbers that are not finite")
    return Embedded(x, mask, sorted(column.unreadable.items()))


def _empty(n: int, tokens: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (n, max(1, tokens))
    return np.zeros((*shape, width), np.float32), np.zeros(shape, bool)


def _blank(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Make rows with a number that is not finite absent; which they were."""
    step = max(1, (1 << 24) // max(1, x[:1].size))  # rows: the test needs a byte per number
    bad = [
        start + np.flatnonzero(~np.isfinite(x[start : start + step]).all((1, 2))) for start in range(0, len(x), step)
    ]
    rows = np.concatenate(bad) if bad else np.zeros(0, np.int64)
    x[rows], mask[rows] = 0.0, False
    return rows
