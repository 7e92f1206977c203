"""Sum over the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Sum(Fusion):
    """The sum of the present modalities' features.

    Formula: z = sum_m p_m x_m, p_m = 1 where modality m is present.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Task-specific pre-trained encoders in late fusion, section 6.2.3 (sum pooling); Context-based fusion (add).
    Use when: evidence adds up, and how many modalities are present may itself say something.
    Not when: one modality is often absent: the size of the result then depends on it; take ``mean``.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.ones(2, 3)), "b": Tokens.of_vectors(torch.ones(2, 3))}
        >>> Sum({"a": 3, "b": 3})(x)[0].tolist()
        [2.0, 2.0, 2.0]
    """

    equal_widths = True
    interacts = False

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        return torch.stack([tokens[name].pooled() for name in self.names]).sum(0)
