"""Zero-shot classification: is the right name among the k most likely?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.errors import TableError


def top_k(probabilities: np.ndarray, truth: np.ndarray, ks: Sequence[int] = (1, 2, 3, 4, 5)) -> dict[int, float]:
    """Share of rows whose class (n,) is among the k most likely of (n, C); where probabilities are equal, the last.

    A row without probabilities (NaN: it is absent) is wrong at every k but the number of classes.

    Source: Faye et al., Context-Based Multimodal Fusion, table IV.

    Example:
        >>> top_k(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([1, 2]), ks=(1, 2))
        {1: 0.5, 2: 1.0}
        >>> top_k(np.array([[np.nan, np.nan, np.nan], [0.1, 0.2, 0.7]]), np.array([1, 2]), ks=(1, 2))
        {1: 0.5, 2: 0.5}
    """
    probabilities, truth = np.nan_to_num(np.asarray(probabilities)), np.asarray(truth)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise TableError(
            f"top-k: probabilities {probabilities.shape} and classes {truth.shape}; expected (n, C) and (n,)"
        )
    own = probabilities[np.arange(len(truth)), truth]
    rank = (probabilities >= own[:, None]).sum(1)  # a model that knows nothing is not right by chance of the order
    return {k: float((rank <= k).mean()) for k in ks if k <= probabilities.shape[1]}
