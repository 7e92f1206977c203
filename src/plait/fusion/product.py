"""Element-wise product of features, product of probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Product(Fusion):
    """The product of the present modalities: of their features, or of the probabilities of their heads.

    Formula: z = prod over present m of x_m, 0 where all are absent. At decision level x_m are raw outputs, which are
    logarithms of probabilities up to a constant: z = sum_m p_m x_m, whose softmax (or logistic) is the product, normalised.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Kim et al. 2017, Hadamard Product for Low-rank Bilinear Pooling; Context-based fusion (multiply); at
    decision level Hinton 2002, Training Products of Experts; Kittler et al. 1998 (product rule).
    Use when: a feature counts only where all modalities show it; experts that err independently.
    Not when: there are many modalities (products of small numbers vanish); experts that repeat each other: they grow too sure.

    Example:
        >>> import torch
        >>> x = {"a": Tokens.of_vectors(torch.tensor([[2.0, 3.0]])), "b": Tokens.of_vectors(torch.tensor([[4.0, 5.0]]))}
        >>> Product({"a": 2, "b": 2})(x).tolist(), Product({"a": 2, "b": 2}, level="decision")(x).tolist()
        ([[8.0, 15.0]], [[6.0, 8.0]])
    """

    levels = ("feature", "decision")
    equal_widths = True

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, D)
        if self.level == "decision":  # a product of probabilities is a sum of logarithms
            return x.sum(1)
        product = x.masked_fill(~present[:, :, None], 1.0).prod(1)
        return product.masked_fill(~present.any(1, keepdim=True), 0.0)
