"""The words for a comparison: five verdicts, the test of equivalence, and how many seeds a difference would need."""

from __future__ import annotations

import bisect
import math

from scipy import stats

from plait.metrics.base import Metric
from plait.study.statistics.paired import Difference

#: Level of every test.
ALPHA = 0.05
BETTER, WORSE, EQUIVALENT, SAME, OPEN = "better", "worse", "equivalent", "identical", "not decided"
#: Test rows below which nothing is decided: resampled rows vary too little by then to be believed.
LEAST_ROWS = 20
#: Seeds (or splits) below which equal scores prove nothing: two may agree by chance.
LEAST_SEEDS = 3


def verdict(
    p: float,
    equivalence: float,
    gain: float,
    *,
    identical: bool = False,
    informed: bool = True,
    comparable: bool = True,
) -> str:
    """One of ``better``, ``worse``, ``equivalent``, ``identical``, ``not decided``.

    In this order: neither side better than a constant answer, or too few rows: not decided. Every pair the same: identical.
    The corrected test below alpha: better or worse. Both one-sided tests of equivalence below alpha: equivalent. Otherwise
    the runs do not decide, and that is what is said. Equal scores count only where both sides are ``comparable``.

    Args:
        p: of the difference, after correction for the number of comparisons.
        equivalence: p of the test of equivalence.
        gain: mean difference, above 0 where it is for the better.
        identical: every pair gave the same value.
        informed: at least one side is better than a constant answer, on enough test rows for any conclusion.
        comparable: both sides are, on enough seeds and rows for equal scores to mean anything.

    Example:
        >>> verdict(0.01, 0.9, -0.1), verdict(0.4, 0.02, 0.001), verdict(0.4, 0.3, 0.02)
        ('worse', 'equivalent', 'not decided')
        >>> verdict(1.0, 0.0, 0.0, identical=True, informed=False, comparable=False)
        'not decided'
    """
    if not informed:
        return OPEN
    if identical:
        return SAME if comparable else OPEN
    if p < ALPHA:
        return BETTER if gain > 0 else WORSE
    return EQUIVALENT if comparable and equivalence < ALPHA else OPEN


def in_words(
    text: str,
    *,
    p: float,
    d: float,
    margin: float,
    equivalence: float,
    seeds: int,
    splits: int = 1,
    needed: int | None = 0,
) -> str:
    """A verdict as a reader sees it.

    ``needed``: seeds that this difference would need; None: no number would do; 0: not asked.

    Example:
        >>> in_words("better", p=0.0123, d=1.84, margin=0.01, equivalence=1.0, seeds=5)
        'better (p = 0.012, d = 1.8)'
        >>> in_words("not decided", p=0.3, d=0.4, margin=0.01, equivalence=0.2, seeds=5, needed=31)
        'not decided with 5 seeds (about 31 would be needed)'
    """
    if text in (BETTER, WORSE):
        small = f", within {short(margin)}" if equivalence < ALPHA else ""
        size = f", d = {short(abs(d), 1)}" if not math.isnan(d) else ""
        return f"{text}{small} ({p_text(p)}{size})"
    if text == EQUIVALENT:
        return f"equivalent within {short(margin)} ({p_text(equivalence)})"
    design = f"{seeds} seed{'s' * (seeds != 1)}" + (f" of {splits} splits" if splits > 1 else "")
    if text == SAME:
        return f"identical in {design}"
    more = " (more rows would be needed)" if needed is None else f" (about {needed} would be needed)" if needed else ""
    return f"not decided with {design}{more}"


def p_text(p: float) -> str:
    """``p = 0.012``; very small ones as a bound.

    Example:
        >>> p_text(0.0123), p_text(0.00001)
        ('p = 0.012', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}"


def short(value: float, digits: int | None = None) -> str:
    """A number in few digits."""
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}f}" if digits is not None else f"{value:.2g}"


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


def reaches(
    value: float, interval: tuple[float, float], margin: float, *, higher: bool = True
) -> tuple[bool | None, str]:
    """Whether an interval of ours reaches a claimed value but for a margin (None: it spans it), and so in words.

    Example:
        >>> reaches(0.8, (0.795, 0.9), 0.01), reaches(5.0, (4.9, 6.0), 0.1, higher=False)
        ((True, 'our whole interval reaches it'), (None, 'our interval spans it'))
    """
    sign = 1.0 if higher else -1.0
    worst, best = sorted(sign * end for end in interval)
    if worst >= sign * value - margin:
        return True, "our whole interval reaches it"
    if best < sign * value - margin:
        return False, "our whole interval falls short of it"
    return None, "our interval spans it"


#: Chance with which a true difference should be found.
POWER = 0.8
#: Seeds beyond which nobody goes.
MOST = 1000


def chance(difference: float, spread: float, seeds: int, *, floor: float = 0.0) -> float:
    """Chance that so many seeds show a true difference of this size (two-sided paired t-test).

    ``floor``: variance that more seeds do not lessen (the shared test rows).

    Formula: non-central t with ``difference / sqrt(spread^2 / seeds + floor)``, ``seeds - 1`` degrees of freedom.

    Example:
        >>> round(chance(0.5, 1.0, 34), 2)
        0.81
    """
    error = math.sqrt(spread**2 / seeds + floor)
    if seeds < 2 or math.isnan(error):
        return math.nan
    if error == 0:
        return 1.0 if difference else ALPHA
    away, limit = abs(difference) / error, stats.t.ppf(1 - ALPHA / 2, seeds - 1)
    # scipy gives NaN for the far tail of a large shift, where nothing is left of it
    wrong_way = float(stats.nct.cdf(-limit, seeds - 1, away)) if away < 4 else 0.0
    return float(stats.nct.sf(limit, seeds - 1, away)) + wrong_way


def seeds_needed(difference: float, spread: float, *, floor: float = 0.0) -> int | None:
    """The fewest seeds with which a true difference of this size would be found with the chance ``POWER``.

    None where no number up to 1,000 does: the test rows limit what can be seen, not the seeds.

    Example:
        >>> seeds_needed(0.5, 1.0), seeds_needed(0.5, 1.0, floor=0.04)
        (34, None)
    """
    if not (math.isfinite(spread) and difference) or chance(difference, spread, MOST, floor=floor) < POWER:
        return None
    # The chance grows with the seeds.
    return 2 + bisect.bisect_left(range(2, MOST), POWER, key=lambda n: chance(difference, spread, n, floor=floor))
