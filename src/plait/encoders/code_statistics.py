"""Hashed tokens and syntax statistics: code features of our own, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.base.checks import Count, Width
from plait.encoders import syntax
from plait.encoders.packages import Computed
from plait.encoders.syntax import cut, hashed


@dataclass(eq=False)
class CodeStatistics(Computed):
    """Tokens and pairs of them in hashed places; lengths, layout, signs, keywords and, for Python, the syntax tree.

    Attributes:
        width: places of the hashed tokens.
        max_characters: what is longer is cut.

    Formula: [hashed tokens, pairs and triples, of length one; statistics, each the logarithm of a count or a share].
    Shape: code in, (n, 1, width + 129) out.
    Source: Weinberger et al. 2009, feature hashing, arXiv 0902.2206; the statistics are plait's own.
    Use when: no text package is installed, or form tells more than meaning.
    Not when: the code's comments and names carry the meaning: ``minilm_code`` or ``codebert`` read them.

    Example:
        >>> CodeStatistics(width=256).prepare(["x = [1, 2]"])["x"].shape == (1, CodeStatistics(width=256).dim)
        True
    """

    kinds: ClassVar[tuple[str, ...]] = ("code",)
    batch_size: ClassVar[int] = 256

    width: Width = 512
    max_characters: Count = 20_000

    def prepare(self, cells: Sequence[str]) -> dict[str, np.ndarray]:
        """``x`` (n, dim)."""
        texts = [cut(cell, self.max_characters) for cell in cells]
        counted = hashed(
            texts, self.width, tokenizer=syntax.tokens, token_pattern=None, lowercase=False, ngram_range=(1, 3)
        )
        return {"x": np.hstack([counted, np.stack([syntax.statistics(text) for text in texts])])}

    @property
    def dim(self) -> int:
        return self.width + syntax.WIDTH
