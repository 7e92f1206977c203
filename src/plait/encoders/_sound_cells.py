"""Sound cells as the frozen encoders take them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.encoders._base import Encoder
from plait.errors import PlaitWarning
from plait.media import audio, seconds

RATE = 16_000


def milliseconds(encoder: Encoder, cells: Sequence[Any], max_seconds: float) -> np.ndarray:
    """Length of each sound, from the headers (n,); those that are cut are counted and told of, once."""
    found = np.array([seconds(cell) for cell in cells])
    cut = int((found > max_seconds).sum())
    if cut:
        warnings.warn(
            f"{cut:,} of {len(cells):,} sounds are longer than {max_seconds:g} s: only that much of their beginning "
            f"is heard (max_seconds of the encoder '{encoder.name()}')",
            PlaitWarning,
            stacklevel=2,
        )
    return np.asarray(np.round(1000 * np.minimum(found, max_seconds)), dtype=np.int64)


def waves(cells: Sequence[Any], max_seconds: float, silence: float) -> dict[str, np.ndarray]:
    """``wave`` int16 (n, samples), each with ``silence`` (seconds) on both sides, and ``length`` (n, 1) with it."""
    margin = round(RATE * silence)
    found = [np.pad(audio(cell, RATE, max_seconds), margin) for cell in cells]
    length = np.array([[len(sound)] for sound in found], dtype=np.int32)
    wave = np.zeros((len(found), length.max(initial=0)), dtype=np.int16)
    for row, sound in enumerate(found):
        wave[row, : len(sound)] = np.clip(sound * 32767, -32768, 32767)
    return {"wave": wave, "length": length}
