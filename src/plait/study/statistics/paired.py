"""Tests of one mean difference between two variants that were run on the same seeds and splits."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]

#: Pairs up to which every way of swapping them is tried; beyond, ``RESAMPLES`` random ones.
EXACT = 12
RESAMPLES = 9_999
#: Two values count as tied where they differ by less than this share of the larger: rounding, not a difference.
TIED = 1e-9


@dataclass(frozen=True)
class Difference:
    """A mean difference with what its uncertainty is made of.

    Attributes:
        value: mean of the pairs' differences.
        error: its standard error; NaN where there is no telling.
        df: degrees of freedom of Student's t.
        p: two-sided, against no difference; NaN where there is no telling.
        low: and ``high``: ends of the 95 % interval.
        spread: standard deviation over the pairs that the test reckons with.
        floor: part of ``error ** 2`` that more pairs of the same kind would not lessen.
    """

    value: float
    error: float
    df: float
    p: float
    low: float
    high: float
    pairs: int
    spread: float
    floor: float = 0.0


def resampled_t(differences: Array, ratio: float, least_variance: float = 0.0) -> Difference:
    """Corrected resampled t-test: for splits that share rows, whose differences are therefore not independent.

    Formula: ``t = mean / sqrt((1 / k + n_test / n_train) * variance)``, ``k - 1`` degrees of freedom; for repeated k-fold
    cross-validation ``k`` counts all folds of all repetitions (Bouckaert and Frank 2004).

    Source: Nadeau and Bengio 2003, Inference for the Generalization Error, Machine Learning 52, section 3.

    Args:
        differences: (k,) of one metric, one per split.
        ratio: test rows by training rows of a split.
        least_variance: the variance is not taken below this; see ``family_variance``.

    Example:
        >>> round(resampled_t(np.array([0.01, 0.02, 0.0, 0.03, 0.01]), 0.25).p, 3)
        0.141
    """
    differences = np.asarray(differences, dtype=np.float64)
    variance = max(_variance(differences), least_variance)
    return _difference(differences, variance / max(len(differences), 1), ratio * variance, len(differences) - 1.0)


def crossed_t(differences: Array, row_variance: float, rows: int, least_variance: float = 0.0) -> Difference:
    """t-test over seeds *and* test rows, for seeds that share their test rows.

    A plain paired t-test over seeds would treat the test rows as all there is; one over rows would do so with the seeds.
    Here both are samples: their variances add up. What seed and row do together is counted in both, which errs on the
    safe side.

    Formula: ``t = mean / sqrt(a + b)``, ``a = variance over seeds / k``, ``b = variance over resampled rows``; degrees of
    freedom ``(a + b)^2 / (a^2 / (k - 1) + b^2 / (n - 1))`` (Satterthwaite).

    Source: the min F' of Clark 1973, The language-as-fixed-effect fallacy, J. Verbal Learning and Verbal Behavior 12,
    with the rows' variance from a bootstrap, so that it serves metrics that are no mean over rows.

    Args:
        differences: (k,) of one metric, one per seed.
        row_variance: of the mean difference, when the test rows are drawn anew.
        rows: number of test rows.
        least_variance: over seeds, it is not taken below this; see ``family_variance``.

    Example:
        >>> round(crossed_t(np.array([0.01, 0.02, 0.0, 0.03, 0.01]), 1e-4, 200).p, 3)
        0.216
    """
    differences = np.asarray(differences, dtype=np.float64)
    k = len(differences)
    by_seed = max(_variance(differences), least_variance) / max(k, 1)
    below = by_seed**2 / max(k - 1, 1) + row_variance**2 / max(rows - 1, 1)
    df = (by_seed + row_variance) ** 2 / below if below > 0 else k - 1.0
    return _difference(differences, by_seed, row_variance, df)


def family_variance(differences: list[Array]) -> float:
    """Median over several comparisons of the variance of their pairs' differences.

    A variance from five seeds is sometimes far too small by luck, and the more comparisons there are the surer one of
    them has it: with 40 variants of equal worth and five seeds, some variant would seem proven worse than the best in up
    to half of all studies, in spite of Holm (docs/statistics.md). Taking no variance below the median of the family's
    brings that down to the level that is named, and can only ever make a test more careful.

    Example:
        >>> round(family_variance([np.array([0.0, 0.0]), np.array([0.0, 2.0]), np.array([0.0, 4.0])]), 9)
        2.0
    """
    result = [_variance(np.asarray(d, dtype=np.float64)) for d in differences if len(d) > 1]
    return float(np.median(result)) if len(result) > 1 else 0.0


def _difference(differences: Array, variable: float, floor: float, df: float) -> Difference:
    """Student's t with a squared standard error of ``variable + floor``."""
    k = len(differences)
    if not k:
        nan = math.nan
        return Difference(nan, nan, nan, nan, nan, nan, pairs=0, spread=nan)
    value, spread = float(differences.mean()), math.sqrt(variable * k) if k > 1 else math.nan
    error = math.sqrt(variable + floor) if k > 1 else math.nan
    if not error > 0:  # one pair, or pairs that differ by nothing or by the same: no spread to judge by
        p = 1.0 if k > 1 and value == 0 else math.nan
        return Difference(value, math.nan, df, p, math.nan, math.nan, k, spread, floor)
    p = float(2 * stats.t.sf(abs(value) / error, df))
    half = float(stats.t.ppf(0.975, df)) * error
    return Difference(value, error, df, p, value - half, value + half, k, spread, floor)


def _variance(values: Array) -> float:
    """Unbiased variance; what is only rounding is 0."""
    if len(values) < 2 or np.ptp(values) <= TIED * max(float(np.abs(values).max()), 1e-300):
        return 0.0
    return float(values.var(ddof=1))


def wilcoxon(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; pairs that differ by nothing are left out, as Wilcoxon did.

    Up to 12 pairs every way of setting the signs is counted, so that ties are exact too.

    Example:
        >>> wilcoxon(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
        0.0625
    """
    differences = np.asarray(differences, dtype=np.float64)
    value = differences[np.abs(differences) > TIED * np.abs(differences).max(initial=0.0)]
    if not len(value):
        return 1.0 if len(differences) else math.nan
    if len(value) > EXACT:
        return float(stats.wilcoxon(value, correction=False).pvalue)
    ranks = stats.rankdata(np.round(np.abs(value), 12))
    return _flipped(np.sign(value) * ranks)


def permutation(differences: Array, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test of the mean: how often do swapped pairs differ as much?

    Up to 12 pairs every way of swapping them is counted; beyond, 9,999 random ones and the one that was seen.

    Example:
        >>> permutation(np.array([0.3, 0.2, 0.4, 0.1]))
        0.125
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) <= EXACT:
        return _flipped(differences) if len(differences) else math.nan
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(RESAMPLES, len(differences)))
    return float((1 + _as_far(signs @ differences, differences.sum())) / (1 + RESAMPLES))


def least_p(pairs: int) -> float:
    """The smallest p that the signed-rank and the permutation test can reach with so many pairs.

    Example:
        >>> least_p(5), least_p(6)
        (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - pairs)) if pairs else math.nan


def _flipped(values: Array) -> float:
    """Share of all ways of setting signs whose sum is as far from 0."""
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
    return _as_far(signs @ values, values.sum()) / len(signs)


def _as_far(sums: Array, seen: float) -> float:
    return float((np.abs(sums) >= abs(seen) * (1 - TIED) - 1e-15).sum())


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

    Example:
        >>> mcnemar(np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 1]))
        0.375
    """
    right, other_right = np.asarray(right, dtype=bool), np.asarray(other_right, dtype=bool)
    only, other_only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    if only + other_only == 0:
        return 1.0
    return float(stats.binomtest(only, only + other_only, 0.5).pvalue)
