"""Root of the mean square over the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait import Fusion, Tokens


class RootMeanSquare(Fusion):
    """The root of the mean square of the present modalities' features.

    Formula: z = sqrt(e + sum_m p_m x_m^2 / max(1, sum_m p_m)), p_m = 1 where modality m is present, e = 1e-6.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: the generalised mean of exponent 2.
    Use when: it matters how strongly anything speaks, and not in which direction.
    Not when: signs carry the answer.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.full((2, 1), 3.0)), "b": Tokens.of_vectors(torch.full((2, 1), -3.0))}
        >>> round(RootMeanSquare({"a": 1, "b": 1})(x)[0].item(), 3)
        3.0
    """

    levels = ("feature",)
    equal_widths = True
    interacts = False

    @property
    def out_dim(self) -> int:
        """The common width."""
        return self.width

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, D)."""
        total = torch.stack([tokens[name].pooled() ** 2 for name in self.names]).sum(0)
        count = torch.stack([tokens[name].present for name in self.names]).sum(0)
        return (total / count.clamp_min(1)[:, None].to(total.dtype) + 1e-6).sqrt()
