"""Statistics of log-mel spectra: sound features of our own, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from plait.encoders.packages import Given
from plait.encoders.sound_frames import COEFFICIENTS, FrozenSound, cepstrum, course, statistics


@dataclass(eq=False)
class LogMel(FrozenSound):
    """How the spectrum of a sound is on average, how it varies, and how it goes from beginning to end.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.

    Formula: 20 cepstral coefficients of 64 log-mel bins every 16 ms; their mean, deviation, largest, deviation of the
    change, and the means of four equal parts.
    Shape: sounds in, (n, 1, 160) out.
    Source: Davis and Mermelstein 1980, mel-frequency cepstral coefficients.
    Use when: no sound package is installed, or sounds differ in timbre and loudness.
    Not when: words matter: the speech embedding hears them.

    Example:
        >>> LogMel().prepare([np.zeros(16000, np.float32)])["x"].shape
        (1, 160)
    """

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``x`` (n, 160)."""
        result = (cepstrum(cell, self.max_seconds) for cell in cells)
        return {"x": np.stack([np.concatenate([statistics(frames), course(frames)]) for frames in result])}

    def module(self) -> nn.Module:
        return Given()

    @property
    def dim(self) -> int:
        return 8 * COEFFICIENTS
