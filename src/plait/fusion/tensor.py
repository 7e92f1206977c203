"""Tensor fusion: all products of features."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated

import torch
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.errors import ConfigError
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens

#: More products than this are refused: a layer of 128 units on them would have 2.5 million weights.
LARGEST = 20_000


class OuterProduct(Fusion):
    """Every product of features of different modalities, singles included: the outer product with an appended 1.

    Formula: u_m = A_m x_m + a_m, z = [u_1 ; 1] (x) [u_2 ; 1] (x) ... (x) [u_M ; 1], u_m = 0 where m is absent.
    Shape: tokens (B, T, D_m) each; out (B, (units + 1)^M), with ``units=None`` (u_m = x_m) the product of D_m + 1.
    Source: Zadeh et al. 2017, Tensor Fusion Network, section 4.2; their embedding networks end in 32 to 128 units, here
    a linear map to ``units`` stands for that layer.
    Use when: two or three modalities whose features matter in combination.
    Not when: there are more: the size grows with the power of M; take ``low_rank``.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.tensor([[2.0]])), "b": Tokens.of_vectors(torch.tensor([[5.0]]))}
        >>> OuterProduct({"a": 1, "b": 1}, units=None)(x).tolist()
        [[10.0, 2.0, 5.0, 1.0]]
    """

    def __init__(
        self, dims: Mapping[str, int], *, units: Annotated[int, Within(1, 10_000)] | None = 16, level: str | None = None
    ) -> None:
        """Build; ``units`` each modality is mapped to, None takes the features as they are."""
        super().__init__(dims, level=level)
        sizes = self.dims if units is None else dict.fromkeys(self.names, units)
        self.size = prod(n + 1 for n in sizes.values())
        if self.size > LARGEST:
            fits = int(LARGEST ** (1 / len(self.names))) - 1
            shown = " x ".join(str(n + 1) for n in sizes.values())
            advice = f"set units to {fits} or fewer, or take 'low_rank'" if fits else "take 'low_rank'"
            raise ConfigError(f"fusion 'tensor': {shown} = {self.size:,} products, more than {LARGEST:,}; {advice}")
        own = {name: nn.Linear(self.dims[name], sizes[name]) for name in self.names if units is not None}
        self.own = nn.ModuleDict(own)

    @property
    def out_dim(self) -> int:
        return self.size

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        out: Tensor | None = None
        for name in self.names:
            x = tokens[name].pooled()
            if name in self.own:
                x = self.own[name](x).masked_fill(~tokens[name].present[:, None], 0.0)
            x = torch.cat([x, x.new_ones(x.shape[0], 1)], 1)  # (B, units + 1)
            out = x if out is None else (out[:, :, None] * x[:, None, :]).flatten(1)
        assert out is not None
        return out
