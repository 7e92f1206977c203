"""One linear map over all modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from plait.base.tokens import Tokens
from plait.networks.base import Linear, Network


class LinearNetwork(Network):
    """A linear map over the concatenation: multinomial logistic regression, or ridge for a number.

    Formula: out = b + sum over present m of W_m x_m, so an absent modality drops out by itself.

    Shape: tokens (B, T, D_m) each; out (B, out_dim).

    Source: the usual linear probe.

    Use when: rows are few, or to see what a network adds.

    Not when: modalities matter only together, as in a product of two.

    Example:
        >>> import torch
        >>> LinearNetwork({"text": 3}, 2)({"text": Tokens.of_vectors(torch.rand(4, 3))}).tolist()[0]
        [0.0, 0.0]
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int) -> None:
        """Build for modalities of the widths ``dims``; starts at zero, as a convex problem may."""
        super().__init__()
        self.names = sorted(dims)
        self.linear = Linear(sum(dims.values()), out_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def entries(self) -> Sequence[Linear]:
        """The map itself."""
        return [self.linear]

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        features = torch.cat([tokens[name].pooled() for name in self.names], dim=1)  # (B, sum of D)
        out: Tensor = self.linear(features)
        return out
