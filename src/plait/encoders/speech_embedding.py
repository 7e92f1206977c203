"""Google's speech embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import nn

from plait.encoders.packages import Pooled, mean_and_max
from plait.encoders.sound_frames import (
    OPENWAKEWORD,
    OPENWAKEWORD_LICENCE,
    SILENCE,
    WIDTH,
    FrozenSound,
    SpeechEmbedding,
    waves,
)


@dataclass(eq=False)
class Speech(FrozenSound):
    """What is said, in 96 numbers every 80 ms, pooled or as a sequence.

    Needs ``pip install openwakeword==0.4.0``, which calls the models in it CC BY-NC-SA 4.0.

    Attributes:
        pool: ``mean_max`` gives one token, the mean beside the largest over time; ``none`` gives the sequence.
        max_seconds: only the beginning of longer sounds is heard.

    Formula: a convolutional network over windows of 76 mel frames (0.77 s); half a second of silence is put around.
    Shape: sounds in, (n, 1, 192) or (n, T, 96) out.
    Source: Lin et al. 2020, speech embedding for keyword spotting, arXiv 2002.01322.
    Use when: sounds are words or short sentences.
    Not when: sounds are no speech: ``speech`` and ``yamnet`` hear more.
    """

    extra: ClassVar[str | None] = None
    licence: ClassVar[str] = OPENWAKEWORD_LICENCE
    frozen_weights: ClassVar[int | None] = 328_217
    batch_size: ClassVar[int] = 16

    pool: Literal["mean_max", "none"] = "mean_max"

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``wave`` int16 (n, samples) and ``length`` (n, 1)."""
        return waves(cells, self.max_seconds, SILENCE)

    def module(self) -> nn.Module:
        network = SpeechEmbedding(OPENWAKEWORD)
        return network if self.pool == "none" else Pooled(network, mean_and_max)

    @property
    def dim(self) -> int:
        return WIDTH if self.pool == "none" else 2 * WIDTH

    def weights_id(self) -> str:
        return OPENWAKEWORD.id
