"""How large a difference is, beside how certain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
