"""Element-wise maximum over the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Max(Fusion):
    """The largest value of each feature among the present modalities.

    Formula: z_d = max over present m of x_md; 0 where all are absent.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Task-specific pre-trained encoders in late fusion, section 6.2.3 (max pooling), over the present.
    Use when: one modality showing a feature is enough; a negative value of a present one must beat nothing at all.
    Not when: modalities must back each other up: all but the largest are lost, and get no gradient.

    Example:
        >>> x = {"a": Tokens.of_vectors(torch.tensor([[1.0, -5.0]])), "b": Tokens.of_vectors(torch.tensor([[2.0, -3.0]]))}
        >>> Max({"a": 2, "b": 2})(x).tolist()
        [[2.0, -3.0]]
    """

    equal_widths = True

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, D)
        largest = x.masked_fill(~present[:, :, None], torch.finfo(x.dtype).min).amax(1)  # (B, D)
        return largest.masked_fill(~present.any(1, keepdim=True), 0.0)
