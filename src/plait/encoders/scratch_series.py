"""What the networks over series of numbers share: vectors, sequences of vectors, log spectrograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from plait.base.checks import Count, Within
from plait.base.errors import CellError, TableError
from plait.data.media.sounds import seconds
from plait.encoders.from_scratch import ScratchEncoder, floored, padded, readable
from plait.encoders.sound_frames import Heard, frames_in, log_spectrogram


def sequence(cell: Any, *, finite: bool = True) -> np.ndarray:
    """A vector (D,) or a sequence (T, D) as float32 (T, D)."""
    try:
        result = np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise CellError(f"a cell of type {type(cell).__name__}; expected numbers (D,) or (T, D)") from error
    if result.ndim not in (1, 2) or not result.size:
        raise CellError(f"an array of shape {result.shape}; expected (D,) or (T, D)")
    if finite and not np.isfinite(result).all():
        raise CellError("a vector with NaN or infinity; expected finite numbers")
    return result.reshape(-1, result.shape[-1])


@dataclass(eq=False)
class ScaledEncoder(ScratchEncoder):
    """Base of those that centre and scale what they read by the training cells, and cut it where the longest of these ended."""

    #: What the saved state calls that length.
    length_name: ClassVar[str] = "tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._length, self._mean, self._std = 0, np.zeros(0, np.float32), np.ones(0, np.float32)

    def learn(self, x: np.ndarray, length: int, least: float) -> Self:
        """Take mean and deviation, which is never below ``least``, of each column of x (n, D), and the length."""
        self._length, self._mean, self._std = length, x.mean(0).astype(np.float32), floored(x.std(0), least)
        return self

    def check_fitted(self) -> None:
        """Refuse to go on before ``fit``."""
        if not self._length:
            raise self.unfitted()

    def state(self) -> dict[str, Any]:
        return {self.length_name: self._length, "mean": self._mean, "std": self._std} if self._length else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._length = int(state[self.length_name])
            self._mean, self._std = (np.asarray(state[key], dtype=np.float32) for key in ("mean", "std"))


@dataclass(eq=False)
class ScratchSequence(ScaledEncoder):
    """Base of the networks over vectors and sequences of vectors.

    Attributes:
        max_tokens: longer sequences are cut.
    """

    max_tokens: Count = 128

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the width of the vectors, the longest sequence, mean and deviation of each number."""
        result = readable(cells, sequence, limit=max(1, len(cells)))
        if not result:
            raise TableError(f"encoder {self.name()}: no cell holds a vector of finite numbers")
        wide = Counter(x.shape[1] for x in result).most_common(1)[0][0]
        kept = [x[: self.max_tokens] for x in result if x.shape[1] == wide]
        return self.learn(np.concatenate(kept).astype(np.float64), max(map(len, kept)), 1e-6)

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``steps`` float32 (n, T, D) and ``mask`` bool (n, T)."""
        self.check_fitted()
        return self.filled([sequence(cell) for cell in cells], np.float32)

    def filled(self, sequences: Sequence[np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
        """What ``prepare`` gives for sequences (T, D), cut to the longest of training."""
        wide, kept = len(self._mean), [x[: self._length] for x in sequences]
        if odd := [x.shape[1] for x in kept if x.shape[1] != wide]:
            raise CellError(f"a vector of {odd[0]} numbers; the training cells had {wide}")
        return dict(zip(("steps", "mask"), padded(kept, self._length, wide, dtype), strict=True))


@dataclass(eq=False)
class ScratchSound(Heard, ScaledEncoder):
    """Base of the networks that learn from log spectrograms: frames of 25 ms, one every 16 ms.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard, and never more than of the longest training sound.
        bins: of frequency, equally wide on the mel scale.
    """

    length_name: ClassVar[str] = "frames"

    max_seconds: Annotated[float, Within(0.05, 120)] = 10.0
    bins: Annotated[int, Within(8, 1024)] = 64

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the longest sound, and mean and deviation of each bin."""
        longest = max((seconds(cell) for cell in cells), default=0.0)
        result = readable(cells, self._spectrogram)
        frames = np.concatenate(result).astype(np.float32) if result else np.zeros((1, self.bins), np.float32)
        return self.learn(frames, max([frames_in(min(longest, self.max_seconds)), *map(len, result)]), 0.1)

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``spectrogram`` float16 (n, F, bins) and ``mask`` bool (n, F)."""
        self.check_fitted()
        frames = [self._spectrogram(cell)[: self._length] for cell in cells]
        return dict(zip(("spectrogram", "mask"), padded(frames, self._length, self.bins, np.float16), strict=True))

    def _spectrogram(self, cell: object) -> np.ndarray:
        return log_spectrogram(cell, self.bins, self.max_seconds)
