"""What all encoders that are trained from scratch share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from plait.base import checks
from plait.base.checks import Within
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError
from plait.base.tokens import Tokens
from plait.data.media.images import image

T = TypeVar("T")

#: Cells that statistics are learned from: more make them no better and decoding them takes time.
SAMPLE = 1000


@dataclass(eq=False)
class ScratchEncoder(Encoder):
    """Base of the encoders that learn with the model."""

    frozen: ClassVar[bool] = False
    trainable: ClassVar[bool] = True

    def unfitted(self) -> ConfigError:
        """What to raise when the encoder is asked for something that ``fit`` learns."""
        return ConfigError(f"encoder {self.name()}: it is not fitted; call fit with the training cells first")


def readable(cells: Sequence[Any], read: Callable[[Any], T], limit: int = SAMPLE) -> list[T]:
    """What ``read`` makes of evenly spaced cells, ``limit`` at most.

    Unreadable cells are left out here: preparing them is what counts and reports them.
    """
    step = max(1, -(-len(cells) // limit))
    result = []
    for cell in cells[::step]:
        try:
            result.append(read(cell))
        except CellError:
            continue
    return result


def where_present(present: Tensor, compute: Callable[[Tensor], Tensor], dim: int) -> Tokens:
    """Run ``compute`` on the rows that are there and give one token for each; the others are absent.

    Absent rows never reach the network, so that they change no batch statistics either.

    Shape:
        present: (B,) bool.
        compute: rows (K,) -> (K, dim).
    """
    rows = present.nonzero()[:, 0]
    if len(rows) == len(present) and len(rows):
        return Tokens.of_vectors(compute(rows))
    if not len(rows):
        return Tokens.of_vectors(torch.zeros(len(present), dim, device=present.device), present)
    result = compute(rows)  # (K, dim)
    x = torch.zeros(len(present), result.shape[1], dtype=result.dtype, device=result.device).index_copy(0, rows, result)
    return Tokens.of_vectors(x, present)


def present_column(n: int) -> np.ndarray:
    """(n, 1) bool, True: prepared cells are all there; whoever adds absent rows fills them with zeros."""
    return np.ones((n, 1), dtype=bool)


def floored(std: np.ndarray, least: float) -> np.ndarray:
    """Deviations that can be divided by."""
    return np.asarray(np.maximum(std, least), dtype=np.float32)


#: A deviation of two levels of 255: below it a channel holds nothing.
_LEAST_STD = 2 / 255


@dataclass(eq=False)
class ScratchImage(ScratchEncoder):
    """Base of the image networks.

    Attributes:
        size: pictures are resized to size x size pixels, all of the picture, whatever its shape.
        channels: 3 for colour, 1 for grey.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    #: The network halves the picture so often that it must be this large.
    least_size: ClassVar[int] = 16

    size: Annotated[int, Within(1, 4096)] = 64
    channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        """Refuse sizes the network cannot take."""
        super().__post_init__()
        checks.whole(self.size, f"encoder {self.name()}: size", self.least_size, 4096)
        self._mean = np.full(self.channels, 0.5, np.float32)
        self._std = np.full(self.channels, 0.25, np.float32)
        self._fitted = False

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn mean and deviation of each channel."""
        result = readable(cells, self._pixels)
        if result:
            x = np.stack(result).reshape(-1, self.channels).astype(np.float32) / 255
            self._mean, self._std = x.mean(0), floored(x.std(0), _LEAST_STD)
        self._fitted = True
        return self

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, size, size, channels)."""
        pixels = np.zeros((len(cells), self.size, self.size, self.channels), np.uint8)
        for row, cell in enumerate(cells):
            pixels[row] = self._pixels(cell)
        return {"pixels": pixels, "present": present_column(len(cells))}

    def _pixels(self, cell: Any) -> np.ndarray:
        picture = Image.fromarray(image(cell, 2 * self.size))
        if self.channels == 1:
            picture = picture.convert("L")
        small = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(small).reshape(self.size, self.size, self.channels)

    def module(self) -> nn.Module:
        """The network, freshly initialised."""
        return _Normalised(self.network(), self._mean, self._std, self.dim)

    @abstractmethod
    def network(self) -> nn.Module:
        """(B, channels, size, size) -> (B, dim)."""

    def state(self) -> dict[str, Any]:
        """Mean and deviation."""
        return {"mean": self._mean, "std": self._std} if self._fitted else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if state:
            self._mean, self._std = (np.asarray(state[key], dtype=np.float32) for key in ("mean", "std"))
            self._fitted = True


class _Normalised(nn.Module):
    """Pixels to the network's input, and its output to tokens."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray, dim: int) -> None:
        super().__init__()
        self.network, self.dim = network.to(memory_format=torch.channels_last), dim  # type: ignore[call-overload]
        # Not saved with the weights: they are the encoder's state already.
        self.register_buffer("mean", torch.from_numpy(mean.copy()).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.from_numpy(std.copy()).view(1, -1, 1, 1), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return where_present(batch["present"][:, 0], lambda rows: self._features(batch["pixels"][rows]), self.dim)

    def _features(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 255  # (B, C, H, W), in memory still (B, H, W, C): channels last
        result: Tensor = self.network((x - self.mean) / self.std)
        return result
