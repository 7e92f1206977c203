"""Equivalence: "no difference" as a statement, not as a silence."""

from __future__ import annotations

import math

from scipy import stats

from plait.metrics.base import Metric
from plait.study.statistics.paired import Difference

#: Differences below this do not matter, for metrics on a scale from 0 (or -1) to 1: one point of a hundred.
POINT = 0.01
#: The same for metrics in a unit of their own (errors, losses): this share of the reference's mean.
SHARE = 0.02


def tost(difference: Difference, margin: float) -> float:
    """The p of two one-sided tests: that the true difference lies outside ``-margin .. margin``.

    Below 0.05 the two are equivalent within the margin. Not significant and not equivalent means: not decided.

    Formula: ``max(P(T > (value + margin) / error), P(T < (value - margin) / error))``.

    Source: Schuirmann 1987, A comparison of the two one-sided tests procedure, J. Pharmacokinetics and
    Biopharmaceutics 15.

    Args:
        difference: with its standard error and degrees of freedom, of whichever test the design asks for.
        margin: what does not matter, in the metric's unit, above 0.

    Example:
        >>> from plait.study.statistics.paired import resampled_t
        >>> round(tost(resampled_t([0.004, -0.001, 0.0, 0.006, -0.002], 0.0), 0.01), 4)
        0.0025
    """
    if math.isnan(difference.error):
        same = difference.pairs > 1 and difference.value == 0 and difference.spread == 0
        return 0.0 if same else math.nan
    below = stats.t.sf((difference.value + margin) / difference.error, difference.df)
    above = stats.t.cdf((difference.value - margin) / difference.error, difference.df)
    return float(max(below, above))


def default_margin(metric: Metric, reference: float) -> float:
    """What does not matter where the study does not say: 0.01, or 2 % of the reference for metrics without an upper end.

    Example:
        >>> from plait.metrics import metrics
        >>> default_margin(metrics("classification")["accuracy"], 0.7)
        0.01
        >>> default_margin(metrics("regression")["mae"], 50.0)
        1.0
    """
    return POINT if math.isfinite(metric.range[1]) else SHARE * abs(reference)
