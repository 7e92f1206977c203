"""Many comparisons at once: the more there are, the more chance alone would bring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


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


Array = NDArray[Any]


def cohens_d(differences: Array) -> float:
    """Cohen's d for pairs: the mean difference in standard deviations of the differences.

    NaN with fewer than two pairs; infinite where all pairs differ by the same, 0 where by nothing. Between runs of one
    study it is often above 2, as seeds change little; the d of psychology's "0.8 is large" is another scale.

    Formula: ``d_z = mean(x - y) / sd(x - y)`` (Cohen 1988, section 2.3.5).

    Example:
        >>> round(cohens_d(np.array([1.0, 2.0, 3.0])), 3)
        2.0
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < 2:
        return math.nan
    mean = float(differences.mean())
    if np.ptp(differences) <= 1e-9 * float(np.abs(differences).max()):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / float(differences.std(ddof=1))


def cliffs_delta(x: Array, y: Array) -> float:
    """Cliff's delta: chance that a value of x is above one of y, less the chance that it is below; from -1 to 1.

    Source: Cliff 1993, Dominance statistics, Psychological Bulletin 114.

    Example:
        >>> cliffs_delta(np.array([3.0, 4.0]), np.array([1.0, 3.0]))
        0.75
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(x) or not len(y):
        return math.nan
    return float(np.sign(x[:, None] - y).mean())


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
