"""Hashed words and letter groups: text features of our own, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from plait.base.checks import Count, Within
from plait.encoders.packages import Computed
from plait.encoders.syntax import cut, hashed


@dataclass(eq=False)
class HashedNgrams(Computed):
    """Words, pairs of words and groups of 3 to 5 letters, counted in hashed places.

    Attributes:
        width: places; half for words and pairs of them, half for letters.
        max_characters: what is longer is cut.

    Formula: place and sign by MurmurHash3; sign(c) log(1 + |c|) of the summed signs c; each half of length one.
    Shape: texts in, (n, 1, width) out.
    Source: Weinberger et al. 2009, feature hashing, arXiv 0902.2206.
    Use when: no text package is installed, the language is rare, or what counts are words, not meaning.
    Not when: the table is small: a trained encoder knows that two words are alike.

    Example:
        >>> HashedNgrams(width=512).prepare(["a card", "a car"])["x"].shape
        (2, 512)
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "code")
    batch_size: ClassVar[int] = 256

    width: Annotated[int, Within(2, 1_000_000)] = 1024
    max_characters: Count = 20_000

    def prepare(self, cells: Sequence[str]) -> dict[str, np.ndarray]:
        """``x`` (n, width)."""
        texts = [cut(cell, self.max_characters) for cell in cells]
        words = hashed(texts, self.width // 2, ngram_range=(1, 2), token_pattern=r"\w+")
        letters = hashed(texts, self.width - self.width // 2, ngram_range=(3, 5), analyzer="char_wb")
        return {"x": np.hstack([words, letters])}

    @property
    def dim(self) -> int:
        return self.width
