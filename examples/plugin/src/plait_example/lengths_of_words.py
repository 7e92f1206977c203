"""How long the words of a text are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from plait import Cells, Encoder, Tokens
from plait.base.checks import Count


@dataclass(eq=False)
class LengthsOfWords(Encoder):
    """How often a text has words of each length.

    Attributes:
        longest: longer words count as this long.

    Formula: x_l = number of words of l letters.
    Shape: texts in, (n, 1, longest + 1) out.
    Source: Mendenhall 1887, The characteristic curves of composition.
    Use when: style tells more than topic.
    Not when: it matters what a text says.

    Example:
        >>> LengthsOfWords(longest=5).prepare(["a red house"])["x"].tolist()
        [[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    longest: Count = 12

    def prepare(self, cells: Cells) -> dict[str, np.ndarray]:
        """``x`` (n, longest + 1)."""
        lengths = [[min(len(word), self.longest) for word in cell.split()] for cell in cells]
        return {"x": np.stack([np.bincount(row, minlength=self.longest + 1) for row in lengths]).astype(np.float32)}

    def module(self) -> nn.Module:
        """Nothing is left to compute."""
        return AsTheyAre()

    @property
    def dim(self) -> int:
        """One more than the longest."""
        return self.longest + 1


class AsTheyAre(nn.Module):
    """Prepared vectors as tokens."""

    def forward(self, prepared: Mapping[str, Tensor]) -> Tokens:
        """(n, 1, D)."""
        return Tokens.of_vectors(prepared["x"])
