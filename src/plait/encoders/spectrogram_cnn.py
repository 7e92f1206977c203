"""A convolutional network over log spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Width
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import Scaled, longest, where_present
from plait.encoders.scratch_series import ScratchSound

#: Blocks, of which all but the last halve time and frequency.
_FACTORS = (1, 2, 3, 4)
_HALVINGS = len(_FACTORS) - 1


@dataclass(eq=False)
class SpectrogramCNN(ScratchSound):
    """Four convolutions over a log spectrogram, trained from scratch; the mean and the largest over time.

    Frames beyond the end of a sound are known as such in every layer, batch normalisation included.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard, and never more than of the longest training sound.
        bins: of frequency, equally wide on the mel scale; a multiple of 8.
        width: channels of the first convolution; the others have 2, 3 and 4 times as many.

    Formula: per block max-pool(ReLU(BatchNorm(3 x 3 convolution))), the last without pooling, then ReLU of one linear
    map over all frequencies of a step; [mean over time; max over time].
    Shape: sounds in, (n, 1, 8 * width) out; 178,000 weights with the defaults. Frames of 25 ms, one every 16 ms.
    Source: Kong et al. 2020, PANNs, arXiv 1912.10211, cut down.
    Use when: there are thousands of sounds of a kind that no trained model knows.
    Not when: sounds are few, or speech: frozen features are better.
    """

    width: Width = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins % 2**_HALVINGS:
            raise ConfigError(f"encoder {self.name()}: bins must be a multiple of {2**_HALVINGS}, found {self.bins}")

    def module(self) -> nn.Module:
        self.check_fitted()
        return _Network(self._mean, self._std, self.width, self.dim)

    @property
    def dim(self) -> int:
        return 2 * _FACTORS[-1] * self.width


class _Network(Scaled):
    def __init__(self, mean: np.ndarray, std: np.ndarray, width: int, dim: int) -> None:
        super().__init__(mean, std)
        self.dim = dim
        sizes = [1, *(width * factor for factor in _FACTORS)]
        pairs = list(pairwise(sizes))
        convolutions = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairs])
        self.convolutions = convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.norms = nn.ModuleList([FrameNorm(b) for _, b in pairs])
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # ceil: an odd last frame counts, as it does with padding behind it
        self.across = nn.Linear(sizes[-1] * (len(mean) >> _HALVINGS), sizes[-1])

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        mask = batch["mask"]
        x, mask = batch["spectrogram"][:, : (end := longest(mask))], mask[:, :end]
        return where_present(mask.any(1), lambda rows: self._features(x[rows], mask[rows]), self.dim)

    def _features(self, frames: Tensor, mask: Tensor) -> Tensor:
        scaled = self.scaled(frames).masked_fill(~mask.unsqueeze(-1), 0.0)
        x = scaled.unsqueeze(1)  # (B, 1, F, bins)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            # Beyond the end all is zero, as beyond the edge of the picture, so that padding changes nothing.
            x = norm(convolution(x), mask)
            if number < _HALVINGS:
                x, mask = self.pool(x), mask[:, ::2]
        steps = torch.relu(self.across(x.permute(0, 2, 3, 1).flatten(2)))  # (B, F / 8, dim / 2)
        largest = steps.masked_fill(~mask.unsqueeze(-1), 0.0).amax(1)  # nothing is below zero after the ReLU
        return torch.cat([Tokens(steps, mask).pooled(), largest], 1)


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation and ReLU of the frames that are there; the others become zero and change no statistics."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise x (B, C, F, W), mask (B, F)."""
        frames = x.permute(0, 2, 3, 1)  # (B, F, W, C), as it lies in memory
        rows = frames.reshape(-1, *frames.shape[2:])  # (B * F, W, C)
        there = mask.flatten().nonzero()[:, 0]
        kept = rows.index_select(0, there)  # (K, W, C)
        normal = torch.relu(super().forward(kept.flatten(0, 1))).view_as(kept)
        result = torch.zeros_like(rows).index_copy(0, there, normal)
        return result.view_as(frames).permute(0, 3, 1, 2)
