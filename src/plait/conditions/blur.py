"""A condition that blurs pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from plait.conditions.base import Strength
from plait.conditions.cells import SignalCondition


@dataclass(kw_only=True)
class Blur(SignalCondition):
    """A Gaussian blur, as wide in small pictures as in large ones.

    Formula: y = x convolved with a Gaussian of standard deviation strength * min(H, W) pixels; borders are continued.
    Shape: pictures (H, W, 3), films frame by frame.
    Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness (ImageNet-C), arXiv 1903.12261.
    Use when: pictures may be out of focus, moved or far too small.
    Not when: fine grain is the matter: ``white_noise``, ``jpeg``.

    Example:
        >>> Blur(strength=0.5).changed(np.eye(2, dtype=np.float32)[..., None].repeat(3, 2), None, None).round(1)[0, :, 0]
        array([0.6, 0.4], dtype=float32)
    """

    kinds = ("image", "video")
    measure = "standard deviation / shorter side"

    strength: Strength = 0.02

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The blurred pictures."""
        sigma = self.strength * min(signal.shape[-3:-1])
        widths = (0.0,) * (signal.ndim - 3) + (sigma, sigma, 0.0)
        return np.asarray(gaussian_filter(signal, widths, mode="nearest", truncate=3.0), dtype=np.float32)
