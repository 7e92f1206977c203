"""What the networks over log spectrograms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from plait.base.checks import Within
from plait.data.media.sounds import seconds
from plait.encoders.from_scratch import ScratchEncoder, floored, readable
from plait.encoders.sound_frames import frames_in, log_spectrogram, milliseconds


@dataclass(eq=False)
class ScratchSound(ScratchEncoder):
    """Base of the networks that learn from log spectrograms: frames of 25 ms, one every 16 ms.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard, and never more than of the longest training sound.
        bins: of frequency, equally wide on the mel scale.
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)

    max_seconds: Annotated[float, Within(0.05, 120)] = 10.0
    bins: Annotated[int, Within(8, 1024)] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames, self._mean, self._std = 0, np.zeros(0, np.float32), np.ones(0, np.float32)

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the longest sound, and mean and deviation of each bin."""
        longest = max((seconds(cell) for cell in cells), default=0.0)
        result = readable(cells, self._spectrogram)
        self._frames = max([frames_in(min(longest, self.max_seconds)), *map(len, result)])
        frames = np.concatenate(result).astype(np.float32) if result else np.zeros((1, self.bins), np.float32)
        self._mean, self._std = frames.mean(0), floored(frames.std(0), 0.1)
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``spectrogram`` float16 (n, F, bins) and ``mask`` bool (n, F)."""
        if not self._frames:
            raise self.unfitted()
        result = np.zeros((len(cells), self._frames, self.bins), np.float16)
        mask = np.zeros((len(cells), self._frames), bool)
        for row, cell in enumerate(cells):
            frames = self._spectrogram(cell)[: self._frames]
            result[row, : len(frames)], mask[row, : len(frames)] = frames, True
        return {"spectrogram": result, "mask": mask}

    def _spectrogram(self, cell: object) -> np.ndarray:
        return log_spectrogram(cell, self.bins, self.max_seconds)

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Milliseconds, from the headers; sounds that are cut are told of."""
        return milliseconds(self, cells, self.max_seconds)

    def state(self) -> dict[str, Any]:
        return {"frames": self._frames, "mean": self._mean, "std": self._std} if self._frames else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._frames = int(state["frames"])
            self._mean, self._std = (np.asarray(state[key], dtype=np.float32) for key in ("mean", "std"))
