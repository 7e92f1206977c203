"""Log spectrograms for networks that are trained from scratch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy import fft

from plait.media import audio

#: Hz; frequencies above 8 kHz tell little and cost half the time.
RATE = 16_000
#: Samples of a window (25 ms in a transform of 512) and between two (16 ms).
_WINDOW, _TRANSFORM, HOP = 400, 512, 256
#: Hz: below it is hum.
_LOWEST = 30.0
#: Added before the logarithm: about the noise of 16 bits.
_FLOOR = 1e-6


def frames_in(seconds: float) -> int:
    """Frames of a sound of that length."""
    return 1 + max(0, int(seconds * RATE) - _WINDOW) // HOP


def log_spectrogram(cell: Any, bins: int, max_seconds: float) -> np.ndarray:
    """One sound as float16 (frames, bins): logarithm of the energy in bins of equal width on the mel scale.

    Raises:
        CellError: it cannot be read.
    """
    wave = audio(cell, RATE, max_seconds)
    if len(wave) < _WINDOW:
        wave = np.pad(wave, (0, _WINDOW - len(wave)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::HOP]  # (F, window)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    energy = np.abs(fft.rfft(frames * window, _TRANSFORM, axis=1)) ** 2  # (F, 257)
    return np.asarray(np.log(energy @ _mel(bins) + _FLOOR), dtype=np.float16)


@cache
def _mel(bins: int) -> np.ndarray:
    """Triangles on the mel scale of O'Shaughnessy, (257, bins); each sums to one."""
    hertz = np.linspace(0.0, RATE / 2, _TRANSFORM // 2 + 1)
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bins + 2) / 2595) - 1)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (hertz[:, None] - left) / (middle - left)
    falling = (right - hertz[:, None]) / (right - middle)
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    # A triangle narrower than a step of the transform may miss every frequency: it then takes the nearest.
    empty = np.flatnonzero(triangles.sum(0) == 0)
    triangles[np.abs(hertz[:, None] - middle[empty]).argmin(0), empty] = 1.0
    return np.asarray(triangles / triangles.sum(0), dtype=np.float32)
