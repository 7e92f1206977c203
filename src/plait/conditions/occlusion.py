"""A condition that covers part of a picture with a grey box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plait.base.checks import Share
from plait.conditions.base import Strength
from plait.conditions.cells import SignalCondition


@dataclass(kw_only=True)
class Occlusion(SignalCondition):
    """One grey box of the picture's proportions over a part of it; in a film it stays where it is.

    Attributes:
        grey: of the box, 0 (black) to 1 (white).

    Formula: y = grey within a box of sides sqrt(strength) H and sqrt(strength) W, x elsewhere; its place is random.
    Shape: pictures (H, W, 3), films (T, H, W, 3).
    Source: DeVries and Taylor 2017, Cutout, arXiv 1708.04552.
    Use when: things may be covered, or it is asked which part of a picture a model needs.
    Not when: the whole picture is gone: ``absent``.

    Example:
        >>> half = Occlusion(strength=0.25).changed(np.ones((4, 8, 3)), np.random.default_rng(0), None)
        >>> float((half == 0.5).mean())
        0.25
    """

    kinds = ("image", "video")
    measure = "covered area / area"

    strength: Strength = 0.25
    grey: Share = 0.5

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The pictures with the box."""
        top, left = generator.random(2)  # drawn first: a larger box lies about where a smaller one does
        covered = np.array(signal, dtype=np.float32)
        rows, columns = (
            _span(size, self.strength, u) for size, u in zip(signal.shape[-3:-1], (top, left), strict=True)
        )
        covered[..., rows, columns, :] = self.grey
        return covered


def _span(size: int, strength: float, place: float) -> slice:
    length = min(size, max(1, round(size * math.sqrt(strength))))
    start = int(place * (size - length + 1))
    return slice(start, start + length)
