"""Google's speech embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.encoder import Encoder
from plait.base.tokens import Tokens
from plait.encoders.sound_frames import (
    OPENWAKEWORD,
    OPENWAKEWORD_LICENCE,
    SILENCE,
    WIDTH,
    SpeechEmbedding,
    mean_and_max,
    milliseconds,
    waves,
)


@dataclass(eq=False)
class Speech(Encoder):
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

    Example:
        >>> Speech(pool="none").dim
        96
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    extra: ClassVar[str | None] = None
    licence: ClassVar[str] = OPENWAKEWORD_LICENCE
    frozen_weights: ClassVar[int | None] = 328_217
    batch_size: ClassVar[int] = 16

    pool: Literal["mean_max", "none"] = "mean_max"
    max_seconds: Annotated[float, Within(0.05, 3600)] = 60.0

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        return milliseconds(self, cells, self.max_seconds)

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``wave`` int16 (n, samples) and ``length`` (n, 1)."""
        return waves(cells, self.max_seconds, SILENCE)

    def module(self) -> nn.Module:
        return SpeechEmbedding(OPENWAKEWORD) if self.pool == "none" else _Pooled()

    @property
    def dim(self) -> int:
        return WIDTH if self.pool == "none" else 2 * WIDTH

    def weights_id(self) -> str:
        return OPENWAKEWORD.id


class _Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = SpeechEmbedding(OPENWAKEWORD)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(mean_and_max(self.network(batch)))
