"""Attention pooling over modalities."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from plait.base.fusion import Fusion, shares
from plait.base.tokens import Tokens


class Attention(Fusion):
    """A weighted mean of the present modalities, one weight each, given by a small network that sees them all.

    Formula: a = softmax over the present m of (U tanh(W [x_1 ; ... ; x_M] + b) + c)_m, z = sum_m a_m x_m.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Task-specific pre-trained encoders in late fusion, section 6.2.3 (attention pooling, without a formula; the scores
    are the additive ones of Bahdanau et al. 2015, of all modalities together).
    Use when: the whole of one modality is to be believed or not, row by row, and one wants to read off which.
    Not when: one modality is stronger in training and may be absent later: the others are then hardly trained (the paper's
    image-only collapse); train with ``modality_dropout``, or take ``mean``.

    Example:
        >>> fusion = Attention({"a": 4, "b": 4})
        >>> sum(p.numel() for p in fusion.parameters())  # 8 * 4 + 4 and 4 * 2 + 2
        46
    """

    equal_widths = True
    interacts = False  # a linear head could tell an XOR by the weights alone, but does not learn to (0.75 of 1.00, 8 of 8 seeds)

    def __init__(self, dims: Mapping[str, int], *, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        joined = len(self.names) * self.width
        self.scores = nn.Sequential(nn.Linear(joined, self.width), nn.Tanh(), nn.Linear(self.width, len(self.names)))

    def weights(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """Share of each modality, in the order of ``names`` (B, M): together 1, or 0 where nothing is there."""
        x, present = self.pooled(tokens)  # (B, M, D)
        return shares(self.scores(x.flatten(1)), present)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        return (self.weights(tokens)[:, :, None] * self.pooled(tokens)[0]).sum(1)
