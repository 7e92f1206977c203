"""A condition that adds white noise at a chosen signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from plait.base.checks import Count
from plait.conditions.noise import Noise
from plait.data.media.images import fitted


@dataclass(kw_only=True)
class WhiteNoise(Noise):
    """Gaussian noise on every sample of a sound, or on every pixel of a picture or film.

    Power is the mean square about the mean (of pictures: about each channel's), because a constant is neither heard nor
    seen: a picture of one colour and a silent sound have no ratio and stay as they are. The noise is scaled by its own
    power, so the ratio holds for each cell, not on average. On grey pictures it is grey.

    A sound takes it at its file's own rate, channels averaged, over what the encoder hears of it (its first
    ``max_seconds``). What leaves the range is never cut off: sounds and pictures keep the sum as it is, encoders that take
    8-bit pictures narrow them as a whole, which changes no ratio; ``turn_down`` does the same to sounds.

    Attributes:
        side: pictures whose shorter side is longer (pixels) are scaled down to it first. None: as they are; an encoder
            that then scales a large picture down averages much of the noise away: with the encoder's own ``size`` here, the
            ratio is that of what enters the network (at 14 x 14 an amplitude ratio of 0.25 of the 28 x 28 picture is 0.63).

    The paper gives its ratios without a formula. ``amplitude_ratio`` agrees better with what it says of them: at a visual
    0.25 it sees confusion that sound resolves, and there a small network trained with this noise reads 0.71 of MNIST's
    digits; as a ratio of powers 0.25 is so little noise that it reads 0.90 (one seed, 8,000 training images).

    Formula: y = x + strength * sqrt(P(x) / P(e)) * e, e standard normal; snr = P(x) / P(y - x).
    Shape: sounds (n,), pictures (H, W, 3), films (T, H, W, 3), which share one ratio.
    Source: Barnum et al. 2020, On the Benefits of Early Fusion, appendix A.3.
    Use when: robustness to noise is asked for, or a modality is to be weakened in measured steps.
    Not when: noise as it is in the world matters: ``background_noise``, ``blur``, ``jpeg``.

    Example:
        >>> WhiteNoise(snr_db=-20).strength, WhiteNoise(snr=0.25).strength, WhiteNoise(amplitude_ratio=0.25).strength
        (10.0, 2.0, 4.0)
    """

    kinds = ("image", "audio", "video")

    side: Count | None = None

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The signal with noise."""
        if rate is not None:
            return self.with_noise(signal, generator.standard_normal(signal.shape, np.float32), sound=True)
        pictures = signal if self.side is None else _scaled_down(signal, self.side)
        grey = all(np.array_equal(pictures[..., 0], pictures[..., c]) for c in (1, 2))
        noise = generator.standard_normal((*pictures.shape[:-1], 1 if grey else 3), np.float32)
        return self.with_noise(pictures, noise, sound=False)


def _scaled_down(pictures: np.ndarray, side: int) -> np.ndarray:
    height, width = pictures.shape[-3:-1]
    if min(height, width) <= side:
        return pictures
    size = (round(width * side / min(height, width)), round(height * side / min(height, width)))
    flat = fitted(pictures).reshape(-1, height, width, 3)
    scaled = [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)) for picture in flat]
    return np.stack(scaled).reshape(*pictures.shape[:-3], size[1], size[0], 3).astype(np.float32) / np.float32(255)
