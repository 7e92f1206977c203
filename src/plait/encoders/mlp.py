"""A small network over ready-made vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Layers, Width, Within
from plait.base.errors import CellError, TableError
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import ScratchEncoder, floored, readable


@dataclass(eq=False)
class MLP(ScratchEncoder):
    """Layers of a perceptron over vectors, or over each step of a sequence of vectors, trained from scratch.

    Attributes:
        width: of every layer.
        layers: how many.
        max_tokens: longer sequences are cut.
        dropout: chance that a number is hidden after each layer while learning.

    Formula: x <- Dropout(GELU(LayerNorm(W x + b))), ``layers`` times, of numbers scaled to mean 0 and deviation 1.
    Shape: vectors (D,) or sequences (T, D) in, (n, T, width) out.
    Source: the usual perceptron; layer normalisation as in Ba et al. 2016, arXiv 1607.06450.
    Use when: features of some other model are to be bent towards the task before they are joined.
    Not when: they are already good: joined as they are they need fewer weights.
    """

    kinds: ClassVar[tuple[str, ...]] = ("vector",)

    width: Width = 128
    layers: Layers = 2
    max_tokens: Count = 128
    dropout: Annotated[float, Within(0, 0.95)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tokens, self._mean, self._std = 0, np.zeros(0, np.float32), np.ones(0, np.float32)

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the width of the vectors, the longest sequence, mean and deviation of each number."""
        result = readable(cells, _sequence, limit=max(1, len(cells)))
        if not result:
            raise TableError(f"encoder {self.name()}: no cell holds a vector of finite numbers")
        wide = Counter(len(x[0]) for x in result).most_common(1)[0][0]
        kept = [x[: self.max_tokens] for x in result if len(x[0]) == wide]
        steps = np.concatenate(kept).astype(np.float64)
        self._tokens = max(map(len, kept))
        self._mean, self._std = steps.mean(0).astype(np.float32), floored(steps.std(0), 1e-6)
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``steps`` float32 (n, T, D) and ``mask`` bool (n, T)."""
        if not self._tokens:
            raise self.unfitted()
        wide = len(self._mean)
        steps = np.zeros((len(cells), self._tokens, wide), np.float32)
        mask = np.zeros((len(cells), self._tokens), bool)
        for row, cell in enumerate(cells):
            result = _sequence(cell)[: self._tokens]
            if result.shape[1] != wide:
                raise CellError(f"a vector of {result.shape[1]} numbers; the training cells had {wide}")
            steps[row, : len(result)], mask[row, : len(result)] = result, True
        return {"steps": steps, "mask": mask}

    def module(self) -> nn.Module:
        if not self._tokens:
            raise self.unfitted()
        return _Perceptron(self._mean, self._std, self.width, self.layers, self.dropout)

    @property
    def dim(self) -> int:
        return self.width

    def state(self) -> dict[str, Any]:
        return {"tokens": self._tokens, "mean": self._mean, "std": self._std} if self._tokens else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._tokens = int(state["tokens"])
            self._mean, self._std = (np.asarray(state[key], dtype=np.float32) for key in ("mean", "std"))


class _Perceptron(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, mean: np.ndarray, std: np.ndarray, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        # Not saved with the weights: they are the encoder's state already.
        self.register_buffer("mean", torch.from_numpy(mean.copy()), persistent=False)
        self.register_buffer("std", torch.from_numpy(std.copy()), persistent=False)
        sizes = [len(mean)] + [width] * layers
        blocks = [
            nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(dropout))
            for before, after in pairwise(sizes)
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens(self.blocks((batch["steps"] - self.mean) / self.std), batch["mask"])  # (B, T, width)


def _sequence(cell: Any) -> np.ndarray:
    """A cell as float32 (T, D).

    Raises:
        CellError: it is no vector, or holds NaN or infinity.
    """
    try:
        result = np.atleast_2d(np.asarray(cell, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise CellError(f"a cell of type {type(cell).__name__}; expected numbers (D,) or (T, D)") from error
    if result.ndim != 2 or not result.size:
        raise CellError(f"an array of shape {np.shape(cell)}; expected (D,) or (T, D)")
    if not np.isfinite(result).all():
        raise CellError("a vector with NaN or infinity; expected finite numbers")
    return result
