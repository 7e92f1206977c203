"""Concatenation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Concat(Fusion):
    """One modality's features beside the other's, zeros where a modality is absent.

    Formula: z = [x_1 ; x_2 ; ... ; x_M], x_m the mean of modality m's tokens, 0 where it is absent.
    Shape: tokens (B, T, D_m) each; out (B, D_1 + ... + D_M).
    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.1; Ngiam et al. 2011.
    Use when: modalities differ in width and meaning; the default.
    Not when: many modalities are often absent together: the zeros then dominate.

    Example:
        >>> fusion = Concat({"text": 3, "image": 2})
        >>> x = Tokens.of_vectors(torch.ones(4, 3)), Tokens.of_vectors(torch.ones(4, 2))
        >>> fusion({"text": x[0], "image": x[1]}).shape
        torch.Size([4, 5])
    """

    interacts = False

    @property
    def out_dim(self) -> int:
        return sum(self.dims.values())

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        parts = [tokens[name].pooled() for name in self.names]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]  # one alone is not copied
