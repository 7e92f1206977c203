"""A condition that turns pictures black and sounds silent; they stay present."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.conditions.base import Strength
from plait.conditions.cells import SignalCondition


@dataclass(kw_only=True)
class Zeroed(SignalCondition):
    """A signal turned down, at strength 1 to nothing, as models of one modality are made by zeroed input.

    It is still there, and a sound is as long as it was; with ``absent`` it is not there at all.

    Formula: y = (1 - strength) x.
    Shape: sounds (n,), pictures (..., H, W, 3).
    Source: Barnum et al. 2020, On the Benefits of Early Fusion, section 5.3.
    Use when: a network is to be tried without a modality that it cannot lack, or as the paper did it.
    Not when: a modality is missing: ``absent``.

    Example:
        >>> Zeroed().changed(np.array([0.5, -1.0], np.float32), None, 8000).tolist()
        [0.0, -0.0]
    """

    kinds = ("image", "audio", "video")
    measure = "1 - amplitude / what it was"

    strength: Strength = 1.0

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The signal turned down."""
        return np.asarray(signal * np.float32(1.0 - self.strength), dtype=np.float32)
