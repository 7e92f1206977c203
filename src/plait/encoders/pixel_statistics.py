"""Colours, thumbnails and edges: image features of our own, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.encoders.packages import Computed
from plait.encoders.pixel_arrays import squeezed

_SIDE = 64
#: Levels per colour of the histogram, cells per side and directions of the edges, side of the thumbnail.
_LEVELS, _CELLS, _DIRECTIONS, _THUMBNAIL = 4, 8, 8, 8
_WIDTHS = {"colours": _LEVELS**3, "edges": _CELLS * _CELLS * _DIRECTIONS, "thumbnail": 3 * _THUMBNAIL**2, "channels": 6}


@dataclass(eq=False)
class PixelStatistics(Computed):
    """How often which colour is there, which way edges run where, and a thumbnail.

    Formula: square roots of a 4 x 4 x 4 colour histogram; of histograms of gradient directions in 8 x 8 places, each
    weighted by the gradient's length and divided by the whole; an 8 x 8 thumbnail; mean and deviation per channel.
    Shape: pictures in, (n, 1, 774) out; all computed at 64 x 64 pixels.
    Source: Dalal and Triggs 2005, histograms of oriented gradients; Swain and Ballard 1991, colour indexing.
    Use when: no image package is installed, or pictures are simple: digits, icons, textures.
    Not when: what a photograph shows matters: a trained network tells far more.

    Example:
        >>> PixelStatistics().prepare([np.zeros((5, 9, 3), np.uint8)])["x"].shape
        (1, 774)
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    batch_size: ClassVar[int] = 256

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``x`` (n, 774)."""
        pixels = squeezed(cells, _SIDE)
        scaled = pixels.astype(np.float32) / 255  # (n, H, W, 3)
        places = scaled.reshape(len(pixels), _THUMBNAIL, _SIDE // _THUMBNAIL, _THUMBNAIL, -1, 3)
        thumbnail = places.mean((2, 4)).reshape(len(pixels), -1)
        channels = np.hstack([scaled.mean((1, 2)), scaled.std((1, 2))])
        return {"x": np.hstack([_colours(pixels), _edges(scaled.mean(3)), thumbnail, channels]).astype(np.float32)}

    @property
    def dim(self) -> int:
        return sum(_WIDTHS.values())


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Square roots of the shares of each colour: (n, 64)."""
    levels = (pixels // (256 // _LEVELS)).astype(np.int64)
    colour = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]  # (n, H, W)
    return np.asarray(np.sqrt(_counted(colour, np.ones(colour.shape, np.float32), _LEVELS**3) / _SIDE**2))


def _edges(grey: np.ndarray) -> np.ndarray:
    """Square roots of the shares of each direction in each place: (n, 512)."""
    down, across = np.gradient(grey, axis=(1, 2))
    direction = np.floor((np.arctan2(down, across) / np.pi % 1) * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    place = np.arange(_SIDE) * _CELLS // _SIDE
    bins = (place[:, None] * _CELLS + place) * _DIRECTIONS + direction  # (n, H, W)
    counts = _counted(bins, np.hypot(down, across), _CELLS * _CELLS * _DIRECTIONS)
    # One grey level of 255 at every pixel is as good as nothing: noise is not blown up to edges.
    return np.asarray(np.sqrt(counts / (counts.sum(1, keepdims=True) + _SIDE**2 / 255)))


def _counted(bins: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Weights summed by bin, per picture: (n, count)."""
    n = len(bins)
    offset = np.arange(n)[:, None] * count
    flat = (bins.reshape(n, -1) + offset).ravel()
    return np.bincount(flat, weights.reshape(n, -1).ravel(), n * count).reshape(n, count)
