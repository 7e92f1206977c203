"""Text cells as encoders can take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from plait.base.errors import CellError


def cut(cell: Any, characters: int) -> str:
    """The first ``characters`` of a text, with half surrogate pairs, which no tokenizer takes, replaced.

    Raises:
        CellError: not a text.

    Example:
        >>> cut("abc", 2), cut("a" + chr(0xD800), 9)
        ('ab', 'a?')
    """
    if not isinstance(cell, str):
        raise CellError(f"a cell of type {type(cell).__name__}; expected text")
    return cell[:characters].encode("utf-8", "replace").decode("utf-8")


def hashed(texts: Sequence[str], width: int, **analysis: Any) -> np.ndarray:
    """Signed counts (MurmurHash3 decides place and sign), their logarithm, scaled to length one: float32 (n, width).

    Args:
        texts: what to count in.
        width: of the result.
        analysis: how to split, as ``HashingVectorizer`` takes it.
    """
    counter = HashingVectorizer(n_features=width, alternate_sign=True, norm=None, dtype=np.float32, **analysis)
    counts = counter.transform(texts)
    counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
    result = np.asarray(counts.toarray(), dtype=np.float32)
    length: np.ndarray = np.linalg.norm(result, axis=1, keepdims=True)
    return np.asarray(result / np.maximum(length, 1e-12), dtype=np.float32)
