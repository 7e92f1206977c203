"""Many comparisons at once: the more there are, the more chance alone would bring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[Any]) -> NDArray[Any]:
    """p-values after Holm's step-down correction, in the order given; NaN stays NaN and is not counted.

    Formula: ordered ``p_(1) <= ... <= p_(m)``: ``max over j <= i of min(1, (m - j + 1) p_(j))``.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian J. of Statistics 6.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist()
        [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted
