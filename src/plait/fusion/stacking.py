"""Decisions joined by a linear model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Stacking(Fusion):
    """A linear model over the outputs of all heads and over which of them are there.

    Formula: z = W [o_1 ; ... ; o_M ; p_1 ; ... ; p_M] + b, o_m = 0 and p_m = 0 where m is absent; it starts as the mean.
    Shape: outputs (B, T, C) each; out (B, C).
    Source: Wolpert 1992, Stacked Generalization. It learns together with the heads; the branches of an estimator
    (``own``) are what is weighed on predictions for rows not seen.
    Use when: what one modality says of a class tells about another class.
    Not when: rows are few or classes many: M C^2 weights; take ``weighted``.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.tensor([[2.0, 0.0]])), "b": Tokens.of_vectors(torch.tensor([[0.0, 4.0]]))}
        >>> Stacking({"a": 2, "b": 2})(x).tolist()
        [[1.0, 2.0]]
    """

    levels = ("decision",)
    equal_widths = True
    interacts = False

    def __init__(self, dims: Mapping[str, int], *, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        heads = len(self.names)
        self.linear = nn.Linear(heads * (self.width + 1), self.width)
        start = torch.eye(self.width).repeat(1, heads) / heads
        with torch.no_grad():
            self.linear.weight.copy_(torch.cat([start, torch.zeros(self.width, heads)], 1))
            self.linear.bias.zero_()

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, C)
        out: Tensor = self.linear(torch.cat([x.flatten(1), present.to(x.dtype)], 1))
        return out
