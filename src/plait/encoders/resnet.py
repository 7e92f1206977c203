"""ResNet-18 and ResNet-34."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from plait.encoders.from_scratch import ScratchImage

#: Depth -> blocks per stage (table 1 of the paper).
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
#: From this size on the first layer halves the picture twice, as for ImageNet; below it not at all, as for CIFAR.
_LARGE = 64


@dataclass(eq=False)
class ResNet(ScratchImage):
    """ResNet-18 or ResNet-34 without its head, trained from scratch.

    Layers are called as in torchvision. Pictures of less than 64 pixels keep their size in the first layer.

    Attributes:
        depth: 18 (11.2 million weights) or 34 (21.3 million).

    Formula: y = ReLU(x + BatchNorm(conv(ReLU(BatchNorm(conv(x)))))) per block, four stages, then the mean over H and W.
    Shape: images in, (n, 1, 512) out.
    Source: He et al. 2016, Deep Residual Learning, arXiv 1512.03385, table 1.
    Use when: there are tens of thousands of pictures and time to train on them.
    Not when: the model should stay light: it has more than ten times the weights that a fused model should have.
    """

    least_size = 32

    depth: Literal[18, 34] = 18

    def network(self) -> nn.Module:
        """Stem, four stages, mean."""
        return _Network(self.channels, _BLOCKS[self.depth], large=self.size >= _LARGE)

    @property
    def dim(self) -> int:
        """Channels of the last stage."""
        return _WIDTHS[-1]


class _Network(nn.Module):
    def __init__(self, channels: int, blocks: tuple[int, ...], *, large: bool) -> None:
        super().__init__()
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        before = _WIDTHS[0]
        for number, (width, count) in enumerate(zip(_WIDTHS, blocks, strict=True), start=1):
            first, others = _Block(before, width, 1 if number == 1 else 2), range(1, count)
            self.add_module(f"layer{number}", nn.Sequential(first, *(_Block(width, width, 1) for _ in others)))
            before = width
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3))  # (B, 512)


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(inner + self.downsample(x))
        return out
