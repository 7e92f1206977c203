"""A rotation from one space into another: the cheapest alignment there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from plait.alignment.base import Towards


@dataclasses.dataclass(eq=False, kw_only=True)
class Procrustes(Towards):
    """The rotation (and reflection) that takes a modality nearest to another; where widths differ, a partial one.

    Formula: W = U V', U S V' = svd(X' Y), of centred rows of length one.
    Shape: (B, D) in, (B, E) out, E the width of ``towards``.
    Source: Schoenemann 1966, A generalized solution of the orthogonal Procrustes problem.
    Use when: both encoders saw much the same data and only their axes differ.
    Not when: the encoders know different things (pictures and words): ``ridge`` may scale and drop directions.

    Example:
        >>> Procrustes(towards="text").network({"image": 6, "text": 4}).out_dim
        4
    """

    def _maps(self, x: Tensor, y: Tensor) -> Callable[[float], Tensor]:
        x, y = torch.nn.functional.normalize(x), torch.nn.functional.normalize(y)
        u, _, v = torch.linalg.svd(x.T @ y, full_matrices=False)
        return lambda penalty: u @ v
