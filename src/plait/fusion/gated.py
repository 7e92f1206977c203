"""Gated multimodal unit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from plait.base.fusion import Fusion, shares
from plait.base.tokens import Tokens


class Gated(Fusion):
    """Gates that see all modalities say, feature by feature, how much of each one passes (GMU).

    Formula: h_m = tanh(W_m x_m + b_m), g = softmax over the present m of (V_m [x_1 ; ... ; x_M] + c_m), z = sum_m g_m * h_m.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Arevalo et al. 2017, Gated Multimodal Units, section 3. For two modalities the softmax is their z and 1 - z; for
    more they use a sigmoid per modality, and we keep the softmax, so that an absent modality leaves no hole.
    Use when: which modality to believe depends on the row.
    Not when: rows are few: the gates alone have (M D)^2 weights.

    Example:
        >>> fusion = Gated({"a": 4, "b": 4})
        >>> sum(p.numel() for p in fusion.parameters())  # 2 (16 + 4) + 64 + 8
        112
    """

    equal_widths = True

    def __init__(self, dims: Mapping[str, int], *, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        self.own = nn.ModuleDict({name: nn.Linear(self.width, self.width) for name in self.names})
        self.gates = nn.Linear(len(self.names) * self.width, len(self.names) * self.width)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, D)
        gates = shares(self.gates(x.flatten(1)).view_as(x), present)
        out = x.new_zeros(x.shape[0], self.width)
        for place, name in enumerate(self.names):
            out = out + gates[:, place] * self.own[name](x[:, place]).tanh()
        return out
