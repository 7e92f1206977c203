"""Monotone transforms of a target that is an amount, learned on training rows; networks and trees see what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from plait.base.errors import TableError
from plait.base.tokens import tracing

Array = NDArray[Any]
#: By name; ``auto`` chooses among them.
TRANSFORMS = ("none", "log", "quantile", "yeo-johnson")
#: Quantiles that ``quantile`` keeps at most.
KNOTS = 65


@dataclass(frozen=True)
class Transform:
    """What is done to a target before anything learns from it, and undone to every prediction.

    Formula: ``log``: ln(y + c), c a tenth of the median of the values above 0; ``yeo-johnson``: of (y - median) / spread, its
    lambda (0 to 2) by maximum likelihood; ``quantile``: the normal score of the share of training values below y, linear
    between 65 of them.

    Source: Box and Cox 1964; Yeo and Johnson 2000; scikit-learn's ``QuantileTransformer``.

    Attributes:
        name: one of ``TRANSFORMS``.
        parameters: what was learned: c; lambda, median and spread; or quantiles and their scores, one after the other.
    """

    name: str = "none"
    parameters: tuple[float, ...] = ()

    @classmethod
    def learn(cls, name: str, y: Array) -> Transform:
        """Of the training rows' values (n,).

        Raises:
            TableError: ``log`` of a target with negative values.
        """
        if name == "log":
            if y.min() < 0:
                raise TableError(
                    f"target_transform log: the target has values below 0 (the least is {y.min():g}); take yeo-johnson"
                )
            return cls(name, (float(np.median(y[y > 0])) / 10 if (y > 0).any() else 1.0,))
        if name == "yeo-johnson":
            middle = float(np.median(y))
            spread = float(np.subtract(*np.quantile(y, [0.75, 0.25]))) or float(y.std()) or 1.0
            power = float(np.clip(stats.yeojohnson_normmax((y - middle) / spread), 0, 2)) if np.ptp(y) > 0 else 1.0
            return cls(name, (power, middle, spread))
        if name == "quantile":
            shares = np.linspace(0, 1, min(KNOTS, len(y)))
            knots, first, count = np.unique(np.quantile(y, shares), return_index=True, return_counts=True)
            middle_share = (shares[first] + shares[first + count - 1]) / 2  # of equal values, the middle of their ranks
            scores = special.ndtri(np.clip(middle_share, 0.5 / len(y), 1 - 0.5 / len(y)))
            return cls(name, (*map(float, knots), *map(float, scores)))
        return cls(name)

    def forward(self, y: Array) -> Array:
        """Values (n,) as what is learned from (n,)."""
        if self.name == "log":
            (shift,) = self.parameters
            return np.asarray(np.log(np.maximum(y + shift, 1e-3 * shift)))
        if self.name == "yeo-johnson":
            power, middle, spread = self.parameters
            return np.asarray(stats.yeojohnson((y - middle) / spread, power))
        if self.name == "quantile":
            knots, scores = np.split(np.asarray(self.parameters), 2)
            return np.asarray(np.interp(y, knots, scores))
        return y

    def inverse(self, z: Tensor) -> Tensor:
        """Back again (n,), with gradients."""
        if self.name == "log":
            return torch.exp(z) - self.parameters[0]
        if self.name == "yeo-johnson":
            power, middle, spread = self.parameters
            return _yeo_johnson_inverse(z, power) * spread + middle
        if self.name == "quantile":
            knots, scores = np.split(np.asarray(self.parameters), 2)
            return _interpolated(z, scores, knots)
        return z


def _yeo_johnson_inverse(z: Tensor, power: float) -> Tensor:
    """On either side of 0 a power, or an exponential where the power is 0 (or 2, below)."""
    above, below = z.clamp_min(0), (-z).clamp_min(0)
    if abs(power) < 1e-6:
        up = _expm1(above)
    else:
        up = (power * above + 1).clamp_min(1e-9) ** (1 / power) - 1
    if abs(power - 2) < 1e-6:
        down = _expm1(below)
    else:
        down = ((2 - power) * below + 1).clamp_min(1e-9) ** (1 / (2 - power)) - 1
    return torch.where(z >= 0, up, -down)


def _expm1(x: Tensor) -> Tensor:
    """ONNX (plait export) has no such operator."""
    return torch.exp(x) - 1 if tracing() else torch.expm1(x)


def _interpolated(z: Tensor, x: Array, y: Array) -> Tensor:
    """Linear between (x, y), constant beyond them."""
    if len(x) < 2:
        return torch.full_like(z, float(y[0]))
    edges, values = torch.from_numpy(x).to(z), torch.from_numpy(y).to(z)
    # ONNX (plait export) has no such search.
    place = (z[:, None] > edges).sum(1) if tracing() else torch.searchsorted(edges, z.detach().contiguous())
    right = place.clamp(1, len(x) - 1)
    share = (z - edges[right - 1]) / (edges[right] - edges[right - 1])
    return values[right - 1] + share.clamp(0, 1) * (values[right] - values[right - 1])
