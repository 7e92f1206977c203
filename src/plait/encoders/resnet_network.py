"""The layers of ResNet-18 and ResNet-34, for pictures and for spectrograms."""

from __future__ import annotations

from torch import Tensor, nn

#: Depth -> blocks per stage (table 1 of the paper).
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
#: Channels of the first stage; each stage has twice those of the one before.
WIDTH, STAGES = 64, 4


class ResNetNetwork(nn.Module):
    """Stem, four stages, mean, and a linear map to ``out`` numbers where that is told.

    Shape: x (B, channels, H, W); out (B, 8 * width), or (B, out).

    Source: He et al. 2016, Deep Residual Learning, arXiv 1512.03385.
    """

    def __init__(self, channels: int, depth: int, *, large: bool, width: int = WIDTH, out: int | None = None) -> None:
        """``large``: the first layer halves the picture twice, as for ImageNet; else not at all, as for CIFAR."""
        super().__init__()
        kernel, stride = (7, 2) if large else (3, 1)
        widths = [width * 2**stage for stage in range(STAGES)]
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        before = width
        for number, (after, count) in enumerate(zip(widths, BLOCKS[depth], strict=True), start=1):
            first, others = _Block(before, after, 1 if number == 1 else 2), range(1, count)
            self.add_module(f"layer{number}", nn.Sequential(first, *(_Block(after, after, 1) for _ in others)))
            before = after
        self.fc = nn.Identity() if out is None else nn.Linear(before, out)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, STAGES + 1):
            x = self.get_submodule(f"layer{number}")(x)
        result: Tensor = self.fc(x.mean((2, 3)))
        return result


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
