"""Least squares from one space into another."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from plait.alignment._solved import Towards
from plait.errors import ConfigError


@dataclasses.dataclass(eq=False, kw_only=True)
class Ridge(Towards):
    """The linear map with the least squared error into the space of one modality, held back by a penalty.

    Attributes:
        penalty: None chooses among powers of ten by the error of leaving each row out.

    Formula: W = (X'X + penalty I)^-1 X'Y, of centred rows.
    Shape: (B, D) in, (B, E) out, E the width of ``towards``.
    Source: Hoerl and Kennard 1970; leave-one-out in closed form as in scikit-learn's ``RidgeCV``.
    Use when: you want a shared space in seconds, and as the baseline that everything learned must beat.
    Not when: the space to map into is the poorer one: errors in directions nobody needs count as much as others.

    Example:
        >>> Ridge(towards="text", penalty=1.0).network({"image": 6, "text": 4}).out_dim
        4
    """

    penalty: float | None = None

    def __post_init__(self) -> None:
        """Refuse a penalty below zero."""
        if self.penalty is not None and not self.penalty > 0:
            raise ConfigError(f"alignment ridge: penalty {self.penalty}: expected more than 0")

    def _map(self, x: Tensor, y: Tensor) -> Tensor:
        from sklearn.linear_model import RidgeCV

        scale = float(x.square().mean(0).sum())  # the mean squared length of a row: the penalty is told in units of it
        choices = [self.penalty] if self.penalty is not None else list(10.0 ** np.arange(-4.0, 4.5, 0.5))
        model = RidgeCV([c * scale for c in choices], fit_intercept=False).fit(x.numpy(), y.numpy())
        return torch.from_numpy(np.atleast_2d(model.coef_)).T
