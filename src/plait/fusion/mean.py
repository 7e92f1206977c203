"""Mean over the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Mean(Fusion):
    """The mean of the present modalities' features, or of their heads' outputs.

    Formula: z = sum_m p_m x_m / max(1, sum_m p_m), p_m = 1 where modality m is present. At decision level x_m are raw
    outputs, so that for classes it is the geometric mean of the probabilities, normalised (a log-linear pool).
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Task-specific pre-trained encoders in late fusion, section 6.2.3 (average pooling), over the present.
    Use when: any modality may be absent: the scale of the result does not depend on how many are there.
    Not when: the joint pattern matters and no joint layer follows (depth ``decision``): a mean cannot hold an XOR.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.ones(2, 3)), "b": Tokens.of_vectors(torch.zeros(2, 3))}
        >>> Mean({"a": 3, "b": 3})(x)[0].tolist()
        [0.5, 0.5, 0.5]
    """

    levels = ("feature", "decision")
    equal_widths = True
    interacts = False

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        total = torch.stack([tokens[name].pooled() for name in self.names]).sum(0)  # (B, D)
        count = torch.stack([tokens[name].present for name in self.names]).sum(0)  # (B,)
        return total / count.clamp_min(1)[:, None].to(total.dtype)
