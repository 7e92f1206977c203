"""A picture kept as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.tokens import Tokens
from plait.data.media.images import pixels
from plait.encoders.from_scratch import ScratchEncoder, present_column

#: Share of red, green and blue in grey (ITU-R 601), as Pillow has it.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(eq=False)
class Pixels(ScratchEncoder):
    """Resized pixels and nothing else, one token per place, row by row: for networks that make their own features.

    Black is zero, so a zeroed picture, a black one and what lies beyond the edge are the same to a convolution. Noise that
    leaves the range of a picture is kept as it is.

    Attributes:
        size: pictures are resized to size x size pixels, all of the picture, whatever its shape.
        channels: 3 for colour, 1 for grey.

    Formula: value / 255.
    Shape: images in, (n, size * size, channels) out; no weights.
    Source: Barnum et al. 2020, section A.1: the image as it enters the first layer.
    Use when: the network is ``conv_lstm``, which joins modalities before features are made.
    Not when: the network is another: it averages the tokens, and an average colour says little.

    Example:
        >>> encoder = Pixels(size=2, channels=1)
        >>> encoder.prepare([np.full((4, 4), 255, np.uint8)])["pixels"].shape, encoder.picture
        ((1, 2, 2, 1), (2, 2))
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    frozen: ClassVar[bool] = False
    trainable: ClassVar[bool] = False
    raw: ClassVar[bool] = True

    size: Annotated[int, Within(1, 4096)] = 28
    channels: Literal[1, 3] = 3

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``pixels`` float16 (n, size, size, channels)."""
        result = np.zeros((len(cells), self.size, self.size, self.channels), np.float16)
        for row, cell in enumerate(cells):
            values = pixels(cell)  # (H, W, 3)
            if self.channels == 1:
                values = (values @ _GREY)[..., None]
            result[row] = _resized(values, self.size)
        return {"pixels": result, "present": present_column(len(cells))}

    def module(self) -> nn.Module:
        return _Places()

    @property
    def dim(self) -> int:
        return self.channels

    @property
    def picture(self) -> tuple[int, int]:
        return self.size, self.size


def _resized(values: np.ndarray, size: int) -> np.ndarray:
    """(H, W, C) floats to (size, size, C), by the area of each pixel where it shrinks."""
    if values.shape[:2] == (size, size):
        return values
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, -1, 0))
    return np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR)) for p in planes], -1)


class _Places(nn.Module):
    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        result = batch["pixels"].flatten(1, 2)  # (B, H W, C)
        return Tokens(result.float(), batch["present"].expand(-1, result.shape[1]))
