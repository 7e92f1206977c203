"""How many seeds a difference would need to be seen."""

from __future__ import annotations

import math

from scipy import stats

#: Chance with which a true difference should be found.
POWER = 0.8
#: Seeds beyond which nobody goes.
MOST = 1000


def chance(difference: float, spread: float, seeds: int, *, floor: float = 0.0, alpha: float = 0.05) -> float:
    """Chance that so many seeds show a true difference of this size (two-sided paired t-test).

    Formula: non-central t with ``difference / sqrt(spread^2 / seeds + floor)``, ``seeds - 1`` degrees of freedom.

    Args:
        difference: the true one.
        spread: standard deviation of the pairs' differences.
        seeds: pairs.
        floor: variance that more seeds do not lessen (the shared test rows).
        alpha: level of the test.

    Example:
        >>> round(chance(0.5, 1.0, 34), 2)
        0.81
    """
    error = math.sqrt(spread**2 / seeds + floor)
    if seeds < 2 or math.isnan(error):
        return math.nan
    if error == 0:
        return 1.0 if difference else alpha
    away, limit = abs(difference) / error, stats.t.ppf(1 - alpha / 2, seeds - 1)
    # scipy gives NaN for the far tail of a large shift, where nothing is left of it
    wrong_way = float(stats.nct.cdf(-limit, seeds - 1, away)) if away < 4 else 0.0
    return float(stats.nct.sf(limit, seeds - 1, away)) + wrong_way


def seeds_needed(
    difference: float,
    spread: float,
    *,
    floor: float = 0.0,
    ratio: float = 0.0,
    alpha: float = 0.05,
    power: float = POWER,
) -> int | None:
    """The fewest seeds with which a true difference of this size would be found with that chance.

    Args:
        difference: the true one.
        spread: standard deviation of the pairs' differences.
        floor: see ``chance``.
        ratio: test rows by training rows, where splits share rows: adds ``ratio * spread^2`` to the floor.
        alpha: level of the test.
        power: the chance.

    Returns:
        None where no number up to 1,000 does: the test rows limit what can be seen, not the seeds.

    Example:
        >>> seeds_needed(0.5, 1.0), seeds_needed(0.5, 1.0, floor=0.04)
        (34, None)
    """
    floor += ratio * spread**2
    if not (math.isfinite(spread) and difference) or chance(difference, spread, MOST, floor=floor, alpha=alpha) < power:
        return None
    few, enough = 1, MOST
    while enough - few > 1:  # the chance grows with the seeds
        middle = (few + enough) // 2
        if chance(difference, spread, middle, floor=floor, alpha=alpha) >= power:
            enough = middle
        else:
            few = middle
    return enough
