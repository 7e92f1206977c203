"""Counts of words and letter groups, hashed into a vector of fixed width: nothing to learn, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer


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
    found = np.asarray(counts.toarray(), dtype=np.float32)
    length: np.ndarray = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(length, 1e-12), dtype=np.float32)
