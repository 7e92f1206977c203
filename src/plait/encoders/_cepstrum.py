"""Cepstra of sounds (the shape of their log spectra), summed up over time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dct

from plait.encoders._scratch_audio import log_spectrogram

_BINS = 64
#: Coefficients: 20 of 64 hold the rough shape of the spectrum; with 32 the probes got worse.
COEFFICIENTS = 20
_PARTS = 4


def cepstrum(cell: Any, max_seconds: float) -> np.ndarray:
    """Coefficients over time (frames, 20)."""
    frames = log_spectrogram(cell, _BINS, max_seconds).astype(np.float32)
    return np.asarray(dct(frames, norm="ortho", axis=1)[:, :COEFFICIENTS], dtype=np.float32)


def statistics(frames: np.ndarray) -> np.ndarray:
    """Mean, deviation, largest, and deviation of the change from frame to frame: (80,)."""
    change = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)
    return np.concatenate([frames.mean(0), frames.std(0), frames.max(0), change.std(0)])


def course(frames: np.ndarray) -> np.ndarray:
    """Means of four equal parts in order: (80,)."""
    edges = np.arange(_PARTS + 1) * len(frames) // _PARTS
    starts = np.minimum(edges[:-1], len(frames) - 1)
    stops = np.maximum(edges[1:], starts + 1)
    return np.concatenate([frames[a:b].mean(0) for a, b in zip(starts, stops, strict=True)])
