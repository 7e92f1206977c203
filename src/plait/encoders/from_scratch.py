"""What the encoders that are trained from scratch share; the vocabulary of those that read text."""

from __future__ import annotations

import re
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from plait.base import checks
from plait.base.checks import Count, Width, Within
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError
from plait.base.tokens import Tokens, tracing
from plait.data.media.images import image
from plait.encoders.packages import filled
from plait.encoders.syntax import cut

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


def readable(cells: Sequence[object], read: Callable[[Any], T], limit: int = SAMPLE) -> list[T]:
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
    if tracing():  # plait export: which rows are there is not known yet
        return Tokens.of_vectors(compute(torch.arange(present.shape[0])), present)
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


def longest(mask: Tensor) -> int:
    """Places (of T) up to which any row of a mask (B, T) goes: what is padding in every row costs nothing."""
    return mask.shape[1] if tracing() or not len(mask) else max(1, int(mask.sum(1).max()))


def padded(sequences: Sequence[np.ndarray], length: int, width: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T, D) as x (n, length, D), filled up with zeros, and mask (n, length) bool."""
    x, lengths = filled([*sequences, np.zeros((length, width))], dtype, (width,))  # the last one: of that length
    return x[:-1], np.arange(length) < lengths[:-1]


class Scaled(nn.Module):
    """Base of the networks over numbers that are centred and scaled first."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        # Not saved with the weights: they are the encoder's state already.
        self.register_buffer("mean", torch.from_numpy(mean.copy()), persistent=False)
        self.register_buffer("std", torch.from_numpy(std.copy()), persistent=False)

    def scaled(self, x: Tensor) -> Tensor:
        """Mean 0 and deviation 1, as in training."""
        return (x.float() - self.mean) / self.std


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

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
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
        return _Normalised(self.network(), self._mean, self._std, self.dim)

    @abstractmethod
    def network(self) -> nn.Module:
        """(B, channels, size, size) -> (B, dim)."""

    def state(self) -> dict[str, Any]:
        return {"mean": self._mean, "std": self._std} if self._fitted else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._mean, self._std = (np.asarray(state[key], dtype=np.float32) for key in ("mean", "std"))
            self._fitted = True


class _Normalised(Scaled):
    """Pixels to the network's input, and its output to tokens."""

    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray, dim: int) -> None:
        super().__init__(mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1))
        self.network, self.dim = network.to(memory_format=torch.channels_last), dim  # type: ignore[call-overload]

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return where_present(batch["present"][:, 0], lambda rows: self._features(batch["pixels"][rows]), self.dim)

    def _features(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 255  # (B, C, H, W), in memory still (B, H, W, C): channels last
        result: Tensor = self.network(self.scaled(x))
        return result


#: Ids that are no words.
PADDING, UNKNOWN, RESERVED = 0, 1, 2
#: Thai, kana, Han: scripts that put no space between words.
_UNSPACED = "\\u0e00-\\u0e7f\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff"
#: Words, single characters of unspaced scripts, single signs.
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def words(cell: object, limit: int) -> list[str]:
    """The first lower-case words and signs of a text.

    Example:
        >>> words("Don't stop, 2nd try!", 7)
        ['don', "'", 't', 'stop', ',', '2nd', 'try']
    """
    text = unicodedata.normalize("NFKC", cut(cell)).lower()
    return [result[0] for result in islice(_WORD.finditer(text), limit)]


@dataclass(eq=False)
class ScratchText(ScratchEncoder):
    """Base of the text networks.

    Attributes:
        max_tokens: longer cells are cut after so many words and signs.
        vocabulary: most frequent words that get a vector of their own; the others share one.
        min_count: training cells that a word must be in to get a vector of its own.
        width: of a word's vector.
        dropout: chance that a number of a word's vector is hidden while learning.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "code")

    max_tokens: Count = 128
    vocabulary: Width = 10_000
    min_count: Count = 2
    width: Width = 64
    dropout: Annotated[float, Within(0, 0.95)] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ids: dict[str, int] | None = None

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the vocabulary: by how many cells have a word, then by alphabet."""
        counts: Counter[str] = Counter()
        for cell in cells:
            if isinstance(cell, str):
                counts.update(set(words(cell, self.max_tokens)))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        self._take([word for word, count in ranked if count >= self.min_count][: self.vocabulary])
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``words`` int32 (n, max_tokens), zero where the cell has ended."""
        ids = self._vocabulary()
        result = np.full((len(cells), self.max_tokens), PADDING, np.int32)
        for row, cell in enumerate(cells):
            values = [ids.get(word, UNKNOWN) for word in words(cell, self.max_tokens)]
            result[row, : max(1, len(values))] = values or [UNKNOWN]  # a cell without words is present all the same
        return {"words": result}

    def module(self) -> nn.Module:
        embedding = nn.Embedding(RESERVED + len(self._vocabulary()), self.width, padding_idx=PADDING)
        return _Words(embedding, nn.Dropout(self.dropout), self.network(), self.dim)

    @abstractmethod
    def network(self) -> nn.Module:
        """Words' vectors (B, T, width) and mask (B, T) with at least one word each -> (B, dim)."""

    def state(self) -> dict[str, Any]:
        return {} if self._ids is None else {"words": list(self._ids)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self._take([str(word) for word in state["words"]])

    def _take(self, vocabulary: list[str]) -> None:
        self._ids = {word: RESERVED + i for i, word in enumerate(vocabulary)}

    def _vocabulary(self) -> dict[str, int]:
        if self._ids is None:
            raise self.unfitted()
        return self._ids


class _Words(nn.Module):
    """Ids to vectors, and the network's output to tokens."""

    def __init__(self, embedding: nn.Embedding, dropout: nn.Module, network: nn.Module, dim: int) -> None:
        super().__init__()
        self.embedding, self.dropout, self.network, self.dim = embedding, dropout, network, dim

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        ids = batch["words"]
        return where_present((ids != PADDING).any(1), lambda rows: self._features(ids[rows]), self.dim)

    def _features(self, ids: Tensor) -> Tensor:
        mask = ids != PADDING
        ids, mask = ids[:, : (end := longest(mask))], mask[:, :end]
        result: Tensor = self.network(self.dropout(self.embedding(ids)), mask)
        return result
