"""Sizes of the convolutional LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from plait import checks
from plait.checks import Count, Natural, Width, Within
from plait.errors import ConfigError


@dataclass(frozen=True)
class ConvLSTMOptions:
    """All that may be chosen beside width, depth and layers; the defaults are the paper's.

    Attributes:
        kernel: side of the square that a unit sees, odd; where the map is smaller, of as much as it can see of it: 1 where
            it is one place, as without a picture.
        pool: side of the square that is made one, by its largest, after each joint layer.
        own_pool: the same after each convolution that the picture runs alone. A.2 names none there; 2 keeps the depths
            alike in the size of their pictures, 1 is A.2 to the letter.
        dense: units before the last layer.
        least_steps: a shorter sequence, and an absent one, is front-padded with silence to so many steps. The paper pads
            to the longest sound of its data.
        checkpoint: longer sequences are computed in pieces of so many steps, and all but the last once more on the way
            back, so that memory grows with the piece and not with the length; 0: never.
        precision: ``auto`` trains in bf16 where the processor has it and the layers are large enough to gain by it, and
            predicts in float32; ``fast`` does both so; ``float32`` neither.
    """

    kernel: Annotated[int, Within(1, 999)] = 3
    pool: Annotated[int, Within(1, 999)] = 2
    own_pool: Annotated[int, Within(1, 999)] = 2
    dense: Width = 128
    least_steps: Count = 8
    checkpoint: Natural = 64
    precision: Literal["auto", "fast", "float32"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        checks.check(self, "network conv_lstm")
        if self.kernel % 2 == 0:
            raise ConfigError(f"network conv_lstm: kernel must be odd, so that it has a middle; found {self.kernel}")
