"""Frames of a video through an image encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.data.media.images import video
from plait.encoders.defaults import default_encoder, encoder_of

#: Films are scaled down to this while they are decoded (pixels of the longer side): image encoders need 224.
_AT_MOST = 448


@dataclass(eq=False)
class VideoFrames(Encoder):
    """Evenly spaced frames, each through an image encoder, and the largest over time of every feature.

    Attributes:
        frames: how many.
        image_encoder: a frozen image encoder: its name, ``{name: ..., option: ...}``, or a folder that ``plait pretrain`` or
            ``plait align`` wrote; empty takes the best that is installed.
        pool: ``max`` or ``mean`` gives one token; ``none`` gives the sequence.

    Formula: max over t of image_encoder(frame t), for the middles t of equal parts of the video.
    Shape: videos in, (n, 1, D) or (n, frames, D) out, D of the image encoder.
    Source: the early-fusion paper, section 4.1: 15 frames, max-pooled.
    Use when: what is to be seen matters, not how it moves.
    Not when: motion is the matter, or only the sound is: give that as an ``audio`` column.
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)
    extra: ClassVar[str | None] = "video"
    licence: ClassVar[str] = "code Apache-2.0; weights as the image encoder's"
    batch_size: ClassVar[int] = 8
    #: 2: films are turned as their display matrix says, and frames chosen by time where it does not run evenly.
    version: ClassVar[int] = 2
    same_as: ClassVar[tuple[int, ...]] = (1,)

    frames: Annotated[int, Within(1, 1000)] = 15
    image_encoder: str | Mapping[str, Any] = ""
    pool: Literal["max", "mean", "none"] = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        # Told by name from here on, so that a saved model does not change when another package is installed.
        self.image_encoder = self.image_encoder or default_encoder("image")
        where = f"encoder {self.name()}, image_encoder"
        self.image_encoder, self._image = encoder_of(self.image_encoder, "image", where)
        if "image" not in self._image.kinds or not self._image.frozen:
            raise ConfigError(f"{where}: '{self._image.name()}' is no frozen image encoder")

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """What the image encoder makes of the frames, each array (n, frames, ...)."""
        parts = [self._image.prepare(list(video(cell, self.frames, _AT_MOST))) for cell in cells]
        return {key: np.stack([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def module(self) -> nn.Module:
        return _Pooled(self._image.module(), self.pool)

    @property
    def dim(self) -> int:
        return self._image.dim

    def weights_id(self) -> str:
        return self._image.fingerprint()

    def state(self) -> dict[str, Any]:
        return self._image.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._image.load_state(state)


class _Pooled(nn.Module):
    def __init__(self, image: nn.Module, pool: str) -> None:
        super().__init__()
        self.image, self.pool = image, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        rows, frames = next(iter(batch.values())).shape[:2]
        result: Tokens = self.image({key: array.flatten(0, 1) for key, array in batch.items()})
        x = result.pooled().view(rows, frames, -1)  # (B, T, D)
        if self.pool == "none":
            return Tokens(x, x.new_ones(x.shape[:2]).bool())
        return Tokens.of_vectors(x.amax(1) if self.pool == "max" else x.mean(1))
