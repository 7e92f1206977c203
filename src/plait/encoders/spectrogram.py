"""A sound kept as a sequence of spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from scipy import fft
from torch import Tensor, nn

from plait.base.checks import Count, Within
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.data.media.sounds import audio
from plait.encoders.from_scratch import ScratchEncoder, longest, padded, readable
from plait.encoders.sound_frames import Heard

#: With ``log``: this many times under the mean power the scale turns from straight to logarithmic.
_BEND = 1000.0


@dataclass(eq=False)
class Spectrogram(Heard, ScratchEncoder):
    """The spectrogram and nothing else, one token per frame: for networks that make their own features.

    Silence is exactly zero on every scale, and the last frame ends with the last sample. So a sound with silence in front has
    the frames of the sound with frames of zeros in front, and a sound shorter than a window has one frame.

    Attributes:
        rate: Hz; other sounds are resampled.
        window: samples; a frame has window / 2 + 1 frequencies.
        stride: samples from frame to frame, no more than the window.
        scale: ``magnitude``, ``power`` (the paper), or ``log``; all are divided by their root mean square in training. Of
            these only ``magnitude`` did well on spoken digits both without noise and in it (``docs/conv_lstm.md``): ``log``
            lifts the noise between the formants as high as they are.
        max_seconds: only the beginning of longer sounds is heard.

    Formula: p = |FFT(hann * frame)|^2; sqrt p, p, or log(1 + 1000 p / mean p).
    Shape: sounds in, (n, F, window // 2 + 1) out, F = ceil(samples / stride); no weights.
    Source: Barnum et al. 2020, section A.3: 400 samples, 201 bins, stride 200 (at the 8 kHz of its digits).
    Use when: the network is ``conv_lstm``, which joins modalities before features are made.
    Not when: the network is another: it averages the tokens; ``logmel`` is made for that.

    Example:
        >>> found = Spectrogram().fit([]).prepare([(np.ones(1000, np.float32), 8000)])
        >>> found["spectrogram"].shape
        (1, 5, 201)
    """

    frozen: ClassVar[bool] = False
    trainable: ClassVar[bool] = False
    raw: ClassVar[bool] = True

    rate: Annotated[int, Within(1, 1_000_000)] = 8000
    window: Annotated[int, Within(2, 1_000_000)] = 400
    stride: Count = 200
    scale: Literal["magnitude", "power", "log"] = "magnitude"
    max_seconds: Annotated[float, Within(0.05, 120)] = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.window:
            raise ConfigError(
                f"encoder {self.name()}: stride {self.stride} leaves out samples between windows of {self.window}; "
                f"expected at most {self.window}"
            )
        self._mean, self._level = 1.0, 0.0

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the mean power and the root mean square of what comes out."""
        result = readable(cells, self._power)
        everything = np.concatenate(result) if result else np.ones((1, 1), np.float32)
        self._mean = float(everything.mean()) or 1.0  # nothing but silence
        self._level = float(np.sqrt(np.square(self._scaled(everything), dtype=np.float64).mean())) or 1.0
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``spectrogram`` float16 (n, F, bins), F of the longest here, and ``mask`` bool (n, F)."""
        if not self._level:
            raise self.unfitted()
        frames = [self._scaled(self._power(cell)) / self._level for cell in cells]
        arrays = padded(frames, max(map(len, frames), default=1), self.dim, np.float16)
        return dict(zip(("spectrogram", "mask"), arrays, strict=True))

    def _power(self, cell: Any) -> np.ndarray:
        """(F, bins) float32."""
        wave = audio(cell, self.rate, self.max_seconds)
        frames = -(-len(wave) // self.stride)
        # The first window begins a whole stride before its first new sample: more silence in front adds frames of zeros.
        front = self.stride * frames + self.window - self.stride - len(wave)
        wave = np.pad(wave, (front, 0))
        windows = np.lib.stride_tricks.sliding_window_view(wave, self.window)[:: self.stride]
        hann = np.hanning(self.window + 1)[:-1].astype(np.float32)
        return np.asarray(np.abs(fft.rfft(windows * hann, axis=1)) ** 2, dtype=np.float32)

    def _scaled(self, power: np.ndarray) -> np.ndarray:
        if self.scale == "log":
            return np.asarray(np.log1p(power * np.float32(_BEND / self._mean)))
        return np.sqrt(power) if self.scale == "magnitude" else power

    def module(self) -> nn.Module:
        return _Frames()

    @property
    def dim(self) -> int:
        return self.window // 2 + 1

    def state(self) -> dict[str, Any]:
        return {"mean": self._mean, "level": self._level} if self._level else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._mean, self._level = float(state["mean"]), float(state["level"])


class _Frames(nn.Module):
    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        mask = batch["mask"]
        return Tokens(batch["spectrogram"][:, : (end := longest(mask))].float(), mask[:, :end])
