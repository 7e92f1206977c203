"""McNemar's test: do two trained models err on different rows?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def mcnemar(right: NDArray[Any], other_right: NDArray[Any]) -> float:
    """Exact two-sided p; 1 where both are right and wrong on the same rows.

    It compares two *trained models* on these test rows and knows nothing of what another seed would have trained.

    Formula: of the ``b + c`` rows that only one of them gets right, ``b ~ Binomial(b + c, 1/2)``.

    Source: McNemar 1947; Dietterich 1998, Approximate Statistical Tests, Neural Computation 10 (the exact form).

    Args:
        right: (n,) whether the one is right.
        other_right: (n,) whether the other is.

    Example:
        >>> mcnemar(np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 1]))
        0.375
    """
    right, other_right = np.asarray(right, dtype=bool), np.asarray(other_right, dtype=bool)
    only, other_only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    if only + other_only == 0:
        return 1.0
    return float(stats.binomtest(only, only + other_only, 0.5).pvalue)
