"""Cosine similarity that no vector breaks."""

from __future__ import annotations

import torch
from torch import Tensor

#: A vector whose largest entry is below this counts as zero.
_ZERO = 1e-30


def unit(x: Tensor) -> Tensor:
    """Vectors (..., D) of length one; a zero vector stays zero and gets no gradient.

    Dividing by the largest entry first keeps squares within float32 whatever the vectors' size.

    Example:
        >>> unit(torch.tensor([[3e30, 4e30], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    largest = x.detach().abs().amax(-1, keepdim=True)
    there = largest > _ZERO
    x = x * torch.where(there, 1.0 / torch.where(there, largest, 1.0), 0.0)
    square = x.square().sum(-1, keepdim=True)
    return x * torch.where(there, square, 1.0).rsqrt()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Similarities (N, K) of vectors (N, D) and (K, D); zero wherever one of the two is a zero vector."""
    return unit(a) @ unit(b).T
