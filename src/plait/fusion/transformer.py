"""Joint transformer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.base.checks import Count, Layers
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.fusion.layers import Block, chained, filled


class JointTransformer(Fusion):
    """All tokens of all modalities look at each other; a class token of its own is what comes out.

    Formula: t = [c ; x_1 + e_1 ; ... ; x_M + e_M] along T, t <- block(t) per layer, z = t_0.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Vaswani et al. 2017; Kim et al. 2021, ViLT, section 3.1 (one stream, an embedding e_m per modality).
    Use when: modalities are sequences of moderate length and much is known about how their parts relate: many rows.
    Not when: sequences are long (take ``bottleneck``) or the order within one matters: there are no positions here.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.randn(2, 8)), "b": Tokens(torch.randn(2, 5, 8), torch.ones(2, 5) > 0)}
        >>> JointTransformer({"a": 8, "b": 8}, heads=2)(x).shape
        torch.Size([2, 8])
    """

    equal_widths = True
    sequences = True

    def __init__(
        self, dims: Mapping[str, int], *, layers: Layers = 1, heads: Count = 4, level: str | None = None
    ) -> None:
        """Build with so many ``layers`` and attention ``heads``."""
        super().__init__(dims, level=level)
        self.start = nn.Parameter(torch.randn(self.width) * 0.02)
        self.kinds = nn.Parameter(torch.randn(len(self.names), self.width) * 0.02)
        self.layers = nn.ModuleList([Block(self.width, heads) for _ in range(layers)])

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        parts = [filled(tokens[name]) for name in self.names]
        values = [Tokens(part.x + kind, part.mask) for part, kind in zip(parts, self.kinds, strict=True)]
        result = chained([Tokens.of_vectors(self.start.expand(values[0].x.shape[0], -1)), *values])
        for layer in self.layers:
            result = layer(result)
        return result.x[:, 0]
