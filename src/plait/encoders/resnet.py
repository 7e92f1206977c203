"""ResNet-18 and ResNet-34."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from plait.base.checks import Width
from plait.encoders.from_scratch import ScratchImage
from plait.encoders.resnet_network import STAGES, ResNetNetwork

#: From this size on the first layer halves the picture twice, as for ImageNet; below it not at all, as for CIFAR.
_LARGE = 64


@dataclass(eq=False)
class ResNet(ScratchImage):
    """ResNet-18 or ResNet-34 without its head, trained from scratch.

    Layers are called as in torchvision. Pictures of less than 64 pixels keep their size in the first layer.

    Attributes:
        depth: 18 (11.2 million weights) or 34 (21.3 million).
        width: channels of the first stage; the paper's 64.
        out: a linear map to so many numbers at the end (128 in Task-specific pre-trained encoders, section 7.1.1); None: none.

    Formula: y = ReLU(x + BatchNorm(conv(ReLU(BatchNorm(conv(x)))))) per block, four stages, then the mean over H and W.
    Shape: images in, (n, 1, 8 * width) out, or (n, 1, out).
    Source: He et al. 2016, Deep Residual Learning, arXiv 1512.03385, table 1.
    Use when: there are tens of thousands of pictures and time to train on them.
    Not when: the model should stay light: it has more than ten times the weights that a fused model should have.
    """

    least_size = 32
    later: ClassVar[tuple[str, ...]] = ("width", "out")

    depth: Literal[18, 34] = 18
    width: Width = 64
    out: Width | None = None

    def network(self) -> nn.Module:
        large = self.size >= _LARGE
        return ResNetNetwork(self.channels, self.depth, large=large, width=self.width, out=self.out)

    @property
    def dim(self) -> int:
        return self.out or self.width * 2 ** (STAGES - 1)
