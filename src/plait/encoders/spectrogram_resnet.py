"""ResNet-18 and ResNet-34 over log spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Width
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import Scaled, where_present
from plait.encoders.resnet_network import STAGES, ResNetNetwork
from plait.encoders.scratch_series import ScratchSound


@dataclass(eq=False)
class SpectrogramResNet(ScratchSound):
    """ResNet-18 or ResNet-34 over a log spectrogram taken as a picture of one channel, trained from scratch.

    What is beyond the end of a sound is the mean of each bin, and every sound has the frames of the longest training sound.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard, and never more than of the longest training sound.
        bins: of frequency, equally wide on the mel scale.
        depth: 18 (11.2 million weights) or 34 (21.3 million).
        width: channels of the first stage; the paper's 64.
        out: a linear map to so many numbers at the end; None: none.
        halved: the first layer halves time and frequency twice, which costs a sixteenth.

    Formula: as ``resnet``, x the spectrogram (1, frames, bins), each bin scaled to mean 0 and deviation 1.
    Shape: sounds in, (n, 1, out) out.
    Source: He et al. 2016, arXiv 1512.03385; Task-specific pre-trained encoders in late fusion, section 7.1.1: ResNet-18 for
    one channel of sound, 64 numbers out.
    Use when: there are tens of thousands of sounds.
    Not when: the model should stay light; ``spectrogram_cnn`` has a sixtieth of the weights.
    """

    depth: Literal[18, 34] = 18
    width: Width = 64
    out: Width | None = 64
    halved: bool = False

    def module(self) -> nn.Module:
        self.check_fitted()
        network = ResNetNetwork(1, self.depth, large=self.halved, width=self.width, out=self.out)
        return _Pictures(network, self._mean, self._std, self.dim)

    @property
    def dim(self) -> int:
        return self.out or self.width * 2 ** (STAGES - 1)


class _Pictures(Scaled):
    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray, dim: int) -> None:
        super().__init__(mean, std)
        self.network, self.dim = network.to(memory_format=torch.channels_last), dim  # type: ignore[call-overload]

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        mask, x = batch["mask"], batch["spectrogram"]

        def features(rows: Tensor) -> Tensor:
            result: Tensor = self.network(self.scaled(x[rows]).masked_fill(~mask[rows].unsqueeze(-1), 0.0).unsqueeze(1))
            return result

        return where_present(mask.any(1), features, self.dim)
