"""Frames of a video through an image encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from torch import Tensor, nn

from plait import registry
from plait.checks import Within
from plait.encoders._base import Encoder
from plait.encoders._default import default_encoder
from plait.errors import ConfigError
from plait.media import video
from plait.tokens import Tokens

#: Films are scaled down to this while they are decoded (pixels of the longer side): image encoders need 224.
_AT_MOST = 448


@dataclass(eq=False)
class VideoFrames(Encoder):
    """Evenly spaced frames, each through an image encoder, and the largest over time of every feature.

    Attributes:
        frames: how many.
        image_encoder: name of a frozen image encoder; empty takes the best that is installed.
        pool: ``max`` or ``mean`` gives one token; ``none`` gives the sequence.

    Formula: max over t of image_encoder(frame t), for the middles t of equal parts of the video.
    Shape: videos in, (n, 1, D) or (n, frames, D) out, D of the image encoder.
    Source: the early-fusion paper, section 4.1: 15 frames, max-pooled.
    Use when: what is to be seen matters, not how it moves.
    Not when: motion is the matter, or only the sound is: give that as an ``audio`` column.

    Example:
        >>> VideoFrames(image_encoder="pixel_statistics").dim
        774
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)
    extra: ClassVar[str | None] = "video"
    licence: ClassVar[str] = "code Apache-2.0; weights as the image encoder's"
    batch_size: ClassVar[int] = 8

    frames: Annotated[int, Within(1, 1000)] = 15
    image_encoder: str = ""
    pool: Literal["max", "mean", "none"] = "max"

    def __post_init__(self) -> None:
        """Make the image encoder."""
        super().__post_init__()
        # Told by name from here on, so that a saved model does not change when another package is installed.
        self.image_encoder = self.image_encoder or default_encoder("image")
        variant = cast(type[Encoder], registry.find("encoders", self.image_encoder))
        if "image" not in variant.kinds or not variant.frozen:
            raise ConfigError(f"encoder {self.name()}: '{self.image_encoder}' is no frozen image encoder")
        self._image = variant()

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """What the image encoder makes of the frames, each array (n, frames, ...)."""
        parts = [self._image.prepare(list(video(cell, self.frames, _AT_MOST))) for cell in cells]
        return {key: np.stack([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def module(self) -> nn.Module:
        """The image encoder's network and the pooling."""
        return _Pooled(self._image.module(), self.pool)

    @property
    def dim(self) -> int:
        """That of the image encoder."""
        return self._image.dim

    def weights_id(self) -> str:
        """The image encoder as a whole."""
        return self._image.fingerprint()


class _Pooled(nn.Module):
    def __init__(self, image: nn.Module, pool: str) -> None:
        super().__init__()
        self.image, self.pool = image, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """Frames as if they were rows, then one token per row or per frame."""
        rows, frames = next(iter(batch.values())).shape[:2]
        found: Tokens = self.image({key: array.flatten(0, 1) for key, array in batch.items()})
        x = found.pooled().view(rows, frames, -1)  # (B, T, D)
        if self.pool == "none":
            return Tokens(x, x.new_ones(x.shape[:2]).bool())
        return Tokens.of_vectors(x.amax(1) if self.pool == "max" else x.mean(1))
