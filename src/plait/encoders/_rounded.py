"""EfficientNet-Lite0 in bfloat16, with biases that make up for what rounding the weights does on average."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from plait.encoders._efficientnet_lite import Block, Convolution, EfficientNetLite0, Normalisation


@torch.no_grad()
def round_to_bfloat16(network: EfficientNetLite0) -> None:
    """Turn all units but the exact ones to bfloat16.

    Rounding moves every weight by up to 0.4 %, and these errors add up to a shift of each channel. The shift's mean is
    known without any picture: the normalisations tell the mean of every input. It is taken off the biases, as is what
    the rounding of the biases before does (Nagel et al. 2019, data-free quantisation, arXiv 1906.04721, section 4.2).
    Measured on 201 Hearthstone and Pokemon pictures: cosine to float32 at least 0.9996 instead of 0.9972.
    """
    exact = network.exact()
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
            inner, _ = _after_relu6(net.told[_stem(net)])
            inner_error = torch.zeros_like(inner)
            continue
        left = torch.zeros(convolution.inner.out_channels) if exact else _make_up(convolution, inner, inner_error)
        if convolution.act:
            inner, passed = _after_relu6(net.told[convolution])
            inner_error = left * passed
        else:
            inner, inner_error = net.told[convolution].mean, left
    return (mean + inner, error + inner_error) if block.added else (inner, inner_error)


def _stem(net: EfficientNetLite0) -> Convolution:
    stem = net.units[0]
    assert isinstance(stem, Convolution)
    return stem


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


def _after_relu6(told: Normalisation) -> tuple[Tensor, Tensor]:
    """Mean of ReLU6 of a normal variable, and how often it is neither 0 nor 6."""
    mean, deviation = told.mean, told.deviation.clamp_min(1e-6)
    low, high = -mean / deviation, (6 - mean) / deviation
    passed = _below(high) - _below(low)
    return mean * passed + deviation * (_density(low) - _density(high)) + 6 * (1 - _below(high)), passed


def _below(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
