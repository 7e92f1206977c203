"""What all encoders that are trained from scratch share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from plait.encoders._base import Encoder
from plait.errors import CellError, ConfigError
from plait.tokens import Tokens

T = TypeVar("T")

#: Cells that statistics are learned from: more make them no better and decoding them takes time.
SAMPLE = 1000


@dataclass(eq=False)
class ScratchEncoder(Encoder):
    """Base of the encoders that learn with the model."""

    frozen: ClassVar[bool] = False
    trainable: ClassVar[bool] = True

    def unfitted(self) -> ConfigError:
        """What to raise when the encoder is asked for something that ``fit`` learns."""
        return ConfigError(f"encoder {self.name()}: it is not fitted; call fit with the training cells first")


def readable(cells: Sequence[Any], read: Callable[[Any], T], limit: int = SAMPLE) -> list[T]:
    """What ``read`` makes of evenly spaced cells, ``limit`` at most.

    Unreadable cells are left out here: preparing them is what counts and reports them.
    """
    step = max(1, -(-len(cells) // limit))
    found = []
    for cell in cells[::step]:
        try:
            found.append(read(cell))
        except CellError:
            continue
    return found


def where_present(present: Tensor, compute: Callable[[Tensor], Tensor], dim: int) -> Tokens:
    """Run ``compute`` on the rows that are there and give one token for each; the others are absent.

    Absent rows never reach the network, so that they change no batch statistics either.

    Shape:
        present: (B,) bool.
        compute: rows (K,) -> (K, dim).
    """
    rows = present.nonzero()[:, 0]
    if len(rows) == len(present) and len(rows):
        return Tokens.of_vectors(compute(rows))
    if not len(rows):
        return Tokens.of_vectors(torch.zeros(len(present), dim, device=present.device), present)
    found = compute(rows)  # (K, dim)
    x = torch.zeros(len(present), found.shape[1], dtype=found.dtype, device=found.device).index_copy(0, rows, found)
    return Tokens.of_vectors(x, present)


def present_column(n: int) -> np.ndarray:
    """(n, 1) bool, True: prepared cells are all there; whoever adds absent rows fills them with zeros."""
    return np.ones((n, 1), dtype=bool)


def floored(std: np.ndarray, least: float) -> np.ndarray:
    """Deviations that can be divided by."""
    return np.asarray(np.maximum(std, least), dtype=np.float32)
