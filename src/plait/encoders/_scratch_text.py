"""Words for networks that are trained from scratch: a vocabulary learned from the training cells."""

from __future__ import annotations

import re
import sys
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Width, Within
from plait.base.tokens import Tokens
from plait.encoders._scratch import ScratchEncoder, where_present
from plait.encoders._texts import cut

#: Ids that are no words.
PADDING, UNKNOWN, RESERVED = 0, 1, 2
#: Thai, kana, Han: scripts that put no space between words.
_UNSPACED = "\\u0e00-\\u0e7f\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff"
#: Words, single characters of unspaced scripts, single signs.
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def words(cell: Any, limit: int) -> list[str]:
    """The first lower-case words and signs of a text.

    Raises:
        CellError: not a text.

    Example:
        >>> words("Don't stop, 2nd try!", 7)
        ['don', "'", 't', 'stop', ',', '2nd', 'try']
    """
    text = unicodedata.normalize("NFKC", cut(cell, sys.maxsize)).lower()
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
        """Refuse what is no size."""
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

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``words`` int32 (n, max_tokens), zero where the cell has ended."""
        ids = self._vocabulary()
        result = np.full((len(cells), self.max_tokens), PADDING, np.int32)
        for row, cell in enumerate(cells):
            values = [ids.get(word, UNKNOWN) for word in words(cell, self.max_tokens)]
            result[row, : max(1, len(values))] = values or [UNKNOWN]  # a cell without words is present all the same
        return {"words": result}

    def module(self) -> nn.Module:
        """The network, freshly initialised."""
        embedding = nn.Embedding(RESERVED + len(self._vocabulary()), self.width, padding_idx=PADDING)
        return _Words(embedding, nn.Dropout(self.dropout), self.network(), self.dim)

    @abstractmethod
    def network(self) -> nn.Module:
        """Words' vectors (B, T, width) and mask (B, T) with at least one word each -> (B, dim)."""

    def state(self) -> dict[str, Any]:
        """The vocabulary, in the order of its ids."""
        return {} if self._ids is None else {"words": list(self._ids)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
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
        """One token per row."""
        ids = batch["words"]
        return where_present((ids != PADDING).any(1), lambda rows: self._features(ids[rows]), self.dim)

    def _features(self, ids: Tensor) -> Tensor:
        mask = ids != PADDING
        longest = int(mask.sum(1).max())  # what is padding in every row costs nothing
        ids, mask = ids[:, :longest], mask[:, :longest]
        result: Tensor = self.network(self.dropout(self.embedding(ids)), mask)
        return result


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Largest over the tokens that are there: x (B, T, D), mask (B, T) -> (B, D)."""
    return x.masked_fill(~mask.unsqueeze(-1), torch.finfo(x.dtype).min).amax(1)
