"""Fixed statistics between encoders and network: every modality enters with the same weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from plait.base import mapped
from plait.base.errors import ModelError
from plait.base.tokens import Tokens

#: Rows, evenly spread, from which directions are found: covariances need no more, and a fit waits for them.
_AXES_ROWS = 4096


def soft_clip(z: np.ndarray, limit: float = 3.0) -> np.ndarray:
    """Nearly the identity around zero, never beyond ``limit``; so one wild value rules nothing.

    Formula: z / sqrt(1 + (z / limit)^2).
    Source: Holzmueller et al. 2024, Better by Default (RealMLP), section 3.
    """
    z = np.clip(z, -1e9, 1e9)  # the square of 1e300 is infinite
    return np.asarray(z / np.sqrt(1.0 + (z / limit) ** 2))


def robust_scale(values: np.ndarray) -> tuple[float, float]:
    """Median, and one over the distance of the quartiles (half the range where they coincide, 0 if nothing varies)."""
    if not len(values):
        return 0.0, 0.0
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    with np.errstate(over="ignore"):  # numbers as far apart as they go: no scale, and trees take them as they are
        width = high - low if high > low else (values.max() - values.min()) / 2
    scale = 1.0 / width if np.isfinite(width) and width > 1e-300 else 0.0
    return float(centre), float(scale)


class Scaler:
    """Standardises one frozen modality, and beyond ``components`` features keeps the directions of most variance.

    Without it a concatenation listens to whoever has most features: 1,280 image features outshout 200 flags of a table
    (measured in ``docs/early_fusion.md``). Nothing here is trained by gradient.

    Shape: (B, T, D) in, (B, T, min(D, components)) out.
    """

    def __init__(self, components: int, *, standardise: bool = True) -> None:
        """Keep at most ``components`` features; unless ``standardise`` they are neither centred nor scaled nor held."""
        self.components, self.standardise = components, standardise
        self.mean = torch.zeros(0)
        self.scale = torch.zeros(0)
        self.axes: Tensor | None = None

    def fit(self, tokens: Tokens) -> Scaler:
        """Learn from the present tokens of the training rows, each counted once.

        No weights: these are all rows, held-out ones too, and weights that follow the target would tell it of them.
        """
        count, summed = int(tokens.mask.sum()), torch.zeros(())
        for x in _present(tokens):
            summed = summed + x.sum(0)
        self.mean = summed / max(count, 1)
        step, seen, squared, sample = -(-count // _AXES_ROWS) or 1, 0, torch.zeros(()), []
        for x in _present(tokens):
            centred = x - self.mean
            sample.append(centred[-seen % step :: step].clone())  # a view would hold all rows
            seen += len(x)
            squared = squared + centred.square_().sum(0)
        variance = squared / max(count, 1)
        still = variance <= 1e-10 * (1 + self.mean.square())
        self.scale = torch.where(still, 0.0, variance.clamp_min(1e-30).rsqrt())
        if tokens.dim > self.components:
            few = torch.cat(sample)
            self.axes = _principal(few * self.scale if self.standardise else few, self.components)
        if not self.standardise:
            self.mean, self.scale = torch.zeros_like(self.mean), torch.ones_like(self.scale)
        self.mean, self.scale = self.mean.float(), self.scale.float()
        return self

    @property
    def dim(self) -> int:
        return len(self.mean) if self.axes is None else self.axes.shape[1]

    @property
    def width(self) -> int:
        """Features that go in."""
        return len(self.mean)

    def undone(self, x: Tensor) -> Tensor:
        """Features (B, D) from scaled ones (B, dim), as far as the kept directions and the limits tell."""
        if self.axes is not None:
            axes = self.axes.contiguous()  # as they are read back from a file
            x = x @ (axes / axes.square().sum(0)).T
        return self.mean + torch.where(self.scale > 0, x / self.scale.clamp_min(1e-12), 0.0)

    def __call__(self, tokens: Tokens) -> Tokens:
        """Scaled tokens; wild values are held within 10 standard deviations of what was seen.

        Raises:
            ModelError: it learned another number of features than these have: a folder that somebody changed.
        """
        if tokens.dim != self.width:
            raise ModelError(f"scaler: {tokens.dim} features where {self.width} were learned; copy the folder again")
        if not mapped.is_mapped(tokens.x):
            return Tokens(self._scaled(tokens.x), tokens.mask)
        result = mapped.zeros((*tokens.x.shape[:2], self.dim), limit=0)
        for rows in mapped.blocks(tokens.x):
            result[rows] = self._scaled(tokens.x[rows])
            mapped.release(result)
        return Tokens(result, tokens.mask)

    def _scaled(self, x: Tensor) -> Tensor:
        x = (x - self.mean).mul_(self.scale).clamp_(-10, 10) if self.standardise else x
        return x if self.axes is None else x @ self.axes

    def state(self) -> dict[str, Tensor]:
        axes = {} if self.axes is None else {"axes": self.axes}
        plain = {} if self.standardise else {"plain": torch.ones(1)}
        return {"mean": self.mean, "scale": self.scale, **axes, **plain}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Scaler:
        """Rebuild a scaler from saved arrays."""
        axes, mean, scale = state.get("axes"), state["mean"], state["scale"]
        if mean.ndim != 1 or scale.shape != mean.shape or (axes is not None and axes.shape[:1] != mean.shape):
            raise ModelError(f"scaler: mean {tuple(mean.shape)} and scale {tuple(scale.shape)} do not belong together")
        scaler = cls(len(state["mean"]) if axes is None else axes.shape[1], standardise="plain" not in state)
        scaler.mean, scaler.scale, scaler.axes = state["mean"], state["scale"], axes
        return scaler


def _present(tokens: Tokens) -> Iterator[Tensor]:
    """Present tokens (N, D): all at once, or of features that lie in a file block by block."""
    for rows in mapped.blocks(tokens.x):
        mask = tokens.mask[rows]
        x = tokens.x[rows].flatten(0, 1) if bool(mask.all()) else tokens.x[rows][mask]
        yield x.double() if len(tokens) * tokens.dim < 1_000_000 else x


def _principal(x: Tensor, count: int) -> Tensor:
    """Directions of most variance of x (n, D), each with the sign of its largest entry: (D, count).

    They are scaled together, so that what comes out has a mean variance of one.
    """
    covariance = x.T @ x / max(len(x), 1)
    first = len(covariance) - count
    # LAPACK's own threads: torch's spin where a machine is shared, ten times slower.
    values, vectors = linalg.eigh(
        covariance.numpy(), subset_by_index=[first, len(covariance) - 1], driver="evr", check_finite=False
    )
    top = torch.from_numpy(values).flip(0).clamp_min(0)
    axes = torch.from_numpy(vectors).flip(1)  # (D, count)
    sign = torch.sign(axes.gather(0, axes.abs().argmax(0, keepdim=True)))  # eigenvectors have no sign of their own
    return (axes * sign / top.mean().clamp_min(1e-12).sqrt()).float()
