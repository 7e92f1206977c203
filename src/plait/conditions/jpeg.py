"""A condition that compresses pictures as JPEG."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Annotated, Any, Self

import numpy as np
from PIL import Image

from plait.base import checks
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

    strength: Strength = math.nan
    quality: Annotated[int, Within(1, 100)] | None = None

    def __post_init__(self) -> None:
        """Turn quality into strength."""
        value = not (isinstance(self.strength, float) and math.isnan(self.strength))
        if self.quality is not None:
            if value:
                raise self.refusal("quality", "the only way that it is given (strength is given too)")
            checks.whole(self.quality, "condition jpeg: quality", 1, 100)
        if not value:
            self.strength = 1 - (10 if self.quality is None else self.quality) / 100
        super().__post_init__()

    def options(self) -> dict[str, Any]:
        """The quality where it was given as such, else the strength."""
        result = super().options()
        if self.quality is not None:
            result.pop("strength", None)
        return result

    def at(self, strength: float) -> Self:
        """The same condition at another strength."""
        return self._replaced(strength=strength, quality=None)

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
