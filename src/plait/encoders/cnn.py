"""A small convolutional network for images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from plait.base.checks import Width
from plait.encoders.from_scratch import ScratchImage


@dataclass(eq=False)
class CNN(ScratchImage):
    """Four convolutions with batch normalisation, trained from scratch, averaged over the picture.

    Attributes:
        width: channels of the first convolution; the others have 2, 3 and 4 times as many.

    Formula: per block max-pool(ReLU(BatchNorm(3 x 3 convolution))), the last without pooling; then the mean over H, W.
    Shape: images in, (n, 1, 4 * width) out; 186,000 weights with the defaults.
    Source: the usual small network (Simonyan and Zisserman 2015, arXiv 1409.1556, cut down).
    Use when: there are thousands of pictures unlike photographs, or single channels of an instrument.
    Not when: pictures are photographs or few: frozen features of a trained network are better.
    """

    width: Width = 32

    def network(self) -> nn.Module:
        sizes = [self.channels, *(self.width * factor for factor in (1, 2, 3, 4))]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            # Pooling before the ReLU gives the same and leaves it a quarter of the work.
            layers += [convolution, nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ReLU()]
        del layers[-2]  # the last block keeps its size
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    @property
    def dim(self) -> int:
        return 4 * self.width
