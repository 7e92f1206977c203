"""A small network over ready-made vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from torch import Tensor, nn

from plait.base.checks import Layers, Width, Within
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import Scaled
from plait.encoders.scratch_series import ScratchSequence


@dataclass(eq=False)
class MLP(ScratchSequence):
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
    dropout: Annotated[float, Within(0, 0.95)] = 0.1

    def module(self) -> nn.Module:
        self.check_fitted()
        return _Perceptron(self._mean, self._std, self.width, self.layers, self.dropout)

    @property
    def dim(self) -> int:
        return self.width


class _Perceptron(Scaled):
    def __init__(self, mean: np.ndarray, std: np.ndarray, width: int, layers: int, dropout: float) -> None:
        super().__init__(mean, std)
        sizes = [len(mean)] + [width] * layers
        blocks = [
            nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(dropout))
            for before, after in pairwise(sizes)
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens(self.blocks(self.scaled(batch["steps"])), batch["mask"])  # (B, T, width)
