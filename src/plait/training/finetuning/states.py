"""What goes into the last layers: computed once per distinct cell, and kept in the store in half precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Encoder
from plait.base.tokens import Tokens
from plait.encoders.batches import Keep
from plait.encoders.embed import Column, Forward

#: Cells that are read from the store at a time.
_CHUNK = 512


class Lower(Encoder):
    """The layers of an encoder that stay as they are."""

    def __init__(self, base: Encoder, layers: int) -> None:
        """All but the last ``layers`` of ``base``."""
        self.base, self.layers = base, layers
        self.batch_size, self.arithmetic = base.batch_size, base.arithmetic  # type: ignore[misc]  # of the class there

    def options(self) -> dict[str, Any]:
        """Which encoder, and how many of its layers are cut off."""
        return {"encoder": self.base.fingerprint(), "layers": self.layers}

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """The encoder's own."""
        return self.base.lengths(cells)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """As the encoder does."""
        return self.base.prepare(cells)

    def module(self) -> nn.Module:
        """The lower layers."""
        return self.base.cut(self.layers).lower

    @property
    def dim(self) -> int:
        """The encoder's; what lies between its layers may have another width."""
        return self.base.dim


class Sequences(Protocol):
    """Cells as the upper layers take them."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each cell (m,)."""

    def batch(self, cells: np.ndarray) -> Tokens:
        """The given cells (B,), padded to the longest of them."""


@dataclass(frozen=True)
class States:
    """What the lower layers made of the distinct cells: arrays (T, D) in half precision, each with a length of its own."""

    arrays: Sequence[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each cell (m,)."""
        return np.array([len(array) for array in self.arrays], dtype=np.int64)

    def batch(self, cells: np.ndarray) -> Tokens:
        """The given cells (B,), padded to the longest of them, in float32."""
        result = [torch.from_numpy(self.arrays[cell]) for cell in cells]
        length = torch.tensor([len(part) for part in result])
        x = nn.utils.rnn.pad_sequence(result, batch_first=True).float()  # (B, T, D)
        return Tokens(x, torch.arange(x.shape[1]) < length[:, None])


def states(base: Encoder, layers: int, column: Column, keep: Keep, progress: bool | None) -> dict[bytes, np.ndarray]:
    """What the lower layers make of every readable cell of the column, by its key; only what is missing is computed."""
    lower = Lower(base, layers)
    fingerprint = lower.store_key()
    column.encode(lower, keep, fingerprint, Forward(lower), progress, f"{base.name()}, below its last {layers} layers")
    keys, result = list(column.rows), {}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        for key, array in zip(chunk, keep.get_many(fingerprint, chunk), strict=True):
            if array is None:
                raise column.lost()
            result[key] = np.array(array)  # a copy: what the store gives cannot be written to, which torch warns of
    return result


def batches(lengths: np.ndarray, size: int, generator: torch.Generator | None = None) -> Iterator[np.ndarray]:
    """Places (B,) of ``lengths`` in batches: of like length and drawn anew with a generator, else of one length each.

    Without padding what comes out of a cell does not depend on the cells beside it.

    Example:
        >>> [b.tolist() for b in batches(np.array([1, 9, 1, 1]), 2)]
        [[1], [0, 2], [3]]
    """
    if generator is None:
        for length in sorted(set(lengths.tolist()), reverse=True):
            same = np.flatnonzero(lengths == length)
            yield from (same[start : start + size] for start in range(0, len(same), size))
        return
    order = torch.randperm(len(lengths), generator=generator).numpy()
    pool = 8 * size  # sorted within, so that little is padded and yet no two epochs have the same batches
    result = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(-lengths[part], kind="stable")]
        result += [part[i : i + size] for i in range(0, len(part), size)]
    for number in torch.randperm(len(result), generator=generator).tolist():
        yield result[number]


@torch.inference_mode()
def embedded(uppers: Sequence[nn.Module], cells: Sequences, chosen: np.ndarray, size: int = 64) -> np.ndarray:
    """The mean over the upper networks of what they make of the chosen cells: (m, T, D) float32."""
    lengths = cells.lengths[chosen]
    result: dict[int, np.ndarray] = {}
    for places in batches(lengths, size):
        tokens = cells.batch(chosen[places])
        parts: list[Tensor] = [upper(tokens).x for upper in uppers]
        mean = torch.stack(parts).mean(0).numpy()
        result |= dict(zip(places.tolist(), mean, strict=True))
    return np.stack([result[i] for i in range(len(chosen))]) if result else np.zeros((0, 1, 0), np.float32)
