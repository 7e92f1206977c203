"""Attention bottlenecks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from plait.base.checks import Count, Layers
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.fusion.layers import Block, chained, filled


class Bottleneck(Fusion):
    """Each modality's tokens look at each other and at a few shared tokens, through which alone modalities meet (MBT).

    Formula: per layer [x_m ; s_m] <- block_m([x_m ; s]) for each m, s <- mean over present m of s_m; z = mean over present m
    of x_m's mean token.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Nagrani et al. 2021, Attention Bottlenecks for Multimodal Fusion, section 3 (mean token for their class token).
    Use when: sequences are long: the cost grows with the sum of their squares, not with the square of their sum.
    Not when: ``layers`` is 1: the first layer only gathers, so nothing has been exchanged yet.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.randn(2, 8)), "b": Tokens(torch.randn(2, 5, 8), torch.ones(2, 5) > 0)}
        >>> Bottleneck({"a": 8, "b": 8}, heads=2)(x).shape
        torch.Size([2, 8])
    """

    equal_widths = True
    sequences = True

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        tokens: Count = 4,
        layers: Layers = 2,
        heads: Count = 4,
        level: str | None = None,
    ) -> None:
        """Build with so many shared ``tokens``, ``layers`` and attention ``heads``."""
        super().__init__(dims, level=level)
        self.shared = nn.Parameter(torch.randn(tokens, self.width) * 0.02)
        rows = [nn.ModuleDict({name: Block(self.width, heads) for name in self.names}) for _ in range(layers)]
        self.layers = nn.ModuleList(rows)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        own = {name: filled(tokens[name]) for name in self.names}
        _, present = self.pooled(own)  # (B, M)
        shared = self.shared.expand(present.shape[0], -1, -1)  # (B, S, D)
        weight = present[:, :, None, None].to(shared.dtype)
        for layer in self.layers:
            own, heard = self._layer(cast("Mapping[str, Block]", layer), own, shared)
            mean = (heard * weight).sum(1) / weight.sum(1).clamp_min(1.0)
            shared = torch.where(present.any(1)[:, None, None], mean, shared)
        x, _ = self.pooled(own)
        return x.sum(1) / present.sum(1, keepdim=True).clamp_min(1).to(x.dtype)

    def _layer(
        self, blocks: Mapping[str, Block], own: Mapping[str, Tokens], shared: Tensor
    ) -> tuple[dict[str, Tokens], Tensor]:
        """The modalities' tokens after a layer, and what each makes of the shared ones: (B, M, S, D)."""
        everywhere = torch.ones(shared.shape[:2], dtype=torch.bool, device=shared.device)
        result, heard = {}, []
        for name in self.names:
            length = own[name].x.shape[1]
            both = blocks[name](chained([own[name], Tokens(shared, everywhere)]))
            result[name] = Tokens(both.x[:, :length], own[name].mask)
            heard.append(both.x[:, length:])
        return result, torch.stack(heard, 1)
