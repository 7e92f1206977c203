"""Least squares from one space into another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from plait.alignment.base import Towards
from plait.base.checks import Positive


@dataclasses.dataclass(eq=False, kw_only=True)
class Ridge(Towards):
    """The linear map with the least squared error into the space of one modality, held back by a penalty.

    Attributes:
        penalty: in units of the mean variance of a feature; None takes the one that finds most of held-out pairs.

    Formula: W = (X'X / n + penalty v I)^-1 X'Y / n, of centred rows; v the mean variance of a feature.
    Shape: (B, D) in, (B, E) out, E the width of ``towards``.
    Source: Hoerl and Kennard 1970. The penalty is not chosen by squared error, which asks for far too little (measured in
        ``docs/alignment.md``).
    Use when: you want a shared space in seconds, and as the baseline that everything learned must beat.
    Not when: the space to map into is the poorer one: errors in directions nobody needs count as much as others.

    Example:
        >>> Ridge(towards="text", penalty=1.0).network({"image": 6, "text": 4}).out_dim
        4
    """

    choices = (0.001, 0.01, 0.1, 1.0, 10.0)

    penalty: Positive | None = None

    def _maps(self, x: Tensor, y: Tensor) -> Callable[[float], Tensor]:
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        turned = vectors.T @ (x.T @ y / len(x))  # (D, E)
        unit = values.mean().clamp_min(1e-12)
        return lambda penalty: vectors @ (turned / (values.clamp_min(0) + penalty * unit)[:, None])
