"""A condition that compresses pictures as JPEG."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image

from plait.base.checks import Within
from plait.conditions.base import Strength
from plait.conditions.cells import SignalCondition
from plait.data.media.images import fitted


@dataclasses.dataclass(kw_only=True)
class Jpeg(SignalCondition):
    """JPEG at a low quality: blocks, ringing, lost colours.

    Attributes:
        quality: 1 to 100 as Pillow takes it, in place of the strength; with neither given it is 10.

    Formula: decode(encode(x, quality)), quality = 100 (1 - strength), at least 1.
    Shape: pictures (H, W, 3), films frame by frame.
    Source: Wallace 1991, The JPEG Still Picture Compression Standard; Hendrycks and Dietterich 2019 (ImageNet-C).
    Use when: pictures come from chats, the web or old archives.
    Not when: the model was trained on strong JPEGs already: it changes little.

    Example:
        >>> Jpeg(quality=25).strength, Jpeg(strength=0.5).label
        (0.75, 'jpeg:strength=0.5')
    """

    kinds = ("image", "video")
    measure = "1 - quality / 100"
    usual = 0.9
    ways: ClassVar[Mapping[str, Callable[[float], float]]] = {"quality": lambda quality: 1 - quality / 100}

    strength: Strength = math.nan
    quality: Annotated[int, Within(1, 100)] | None = None

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The pictures, saved and opened again."""
        quality = max(1, round(100 * (1 - self.strength)))
        flat = fitted(signal).reshape(-1, *signal.shape[-3:])
        return np.stack([_saved(picture, quality) for picture in flat]).reshape(signal.shape) / np.float32(255)


def _saved(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as opened:
        return np.asarray(opened.convert("RGB"))
