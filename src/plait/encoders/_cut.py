"""An encoder's network in two: the layers that stay as they are, and the last ones, which a task may adapt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Cut:
    """What ``Encoder.cut`` gives.

    Attributes:
        lower: prepared tensors -> ``Tokens`` (B, T, D'): what goes into the last layers, as sequences with their masks; in
            the number type that the processor is fastest in.
        upper: these ``Tokens`` -> the encoder's own ``Tokens``; its weights in float32 and not learning.
        targets: names of the linear maps and convolutions within ``upper`` that may be adapted.
    """

    lower: nn.Module
    upper: nn.Module
    targets: tuple[str, ...]
