"""Decisions weighted by learned trust."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.base.fusion import Fusion, shares
from plait.base.tokens import Tokens


class Weighted(Fusion):
    """The weighted mean of the present heads' outputs, with a learned weight per modality and output.

    Formula: z_c = sum_m w_mc o_mc, w_c = softmax over the present m of t_mc; t starts at 0, the mean.
    Shape: outputs (B, T, C) each; out (B, C).
    Source: Kuncheva 2014, Combining Pattern Classifiers, chapter 5 (weighted average, a weight per class).
    Use when: some modalities are better at some classes, and rows are too few for ``stacking``.
    Not when: which modality to believe depends on the row (take ``gated`` at a feature depth).

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.tensor([[2.0, 0.0]])), "b": Tokens.of_vectors(torch.tensor([[0.0, 4.0]]))}
        >>> Weighted({"a": 2, "b": 2})(x).tolist()
        [[1.0, 2.0]]
    """

    levels = ("decision",)
    equal_widths = True
    interacts = False

    def __init__(self, dims: Mapping[str, int], *, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        self.trust = nn.Parameter(torch.zeros(len(self.names), self.width))

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, C)
        return (shares(self.trust.expand_as(x), present) * x).sum(1)
