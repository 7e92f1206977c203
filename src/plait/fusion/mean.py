"""Mean over the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.errors import ConfigError
from plait.fusion._base import Fusion
from plait.tokens import Tokens


class Mean(Fusion):
    """The mean of the present modalities' features.

    Formula: z = sum_m p_m x_m / max(1, sum_m p_m), p_m = 1 where modality m is present.

    Shape: tokens (B, T, D) each, equal D; out (B, D).

    Source: Task-specific pre-trained encoders in late fusion, chapter 6 (mean pooling), masked.

    Use when: modalities were mapped to one space and any of them may be absent.

    Not when: the joint pattern matters (an XOR of two modalities): a mean of own features cannot hold it.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.ones(2, 3)), "b": Tokens.of_vectors(torch.zeros(2, 3))}
        >>> Mean({"a": 3, "b": 3})(x)[0].tolist()
        [0.5, 0.5, 0.5]
    """

    equal_widths = True

    def __init__(self, dims: Mapping[str, int]) -> None:
        """Build; the widths must be equal."""
        super().__init__(dims)
        if len(set(self.dims.values())) > 1:
            raise ConfigError(f"fusion 'mean' needs equal widths, found {self.dims}; use a depth above 0, or 'concat'")

    @property
    def out_dim(self) -> int:
        """The common width."""
        return self.dims[self.names[0]]

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, D)."""
        total = torch.stack([tokens[name].pooled() for name in self.names]).sum(0)  # (B, D)
        count = torch.stack([tokens[name].present for name in self.names]).sum(0)  # (B,)
        return total / count.clamp_min(1)[:, None].to(total.dtype)
