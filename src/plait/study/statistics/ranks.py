"""Mean ranks of a study's variants over its data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from plait.study.statistics.scores import StudyResults, datasets, headline, metric_of, scores


def rank_variants(results: StudyResults, metric: str | None = None) -> Ranks | None:
    """Rank the variants that have runs on every data set, by their means over the seeds.

    Args:
        results: of a study.
        metric: name; None: each data set's main one.

    Returns:
        None with fewer than three data sets or two such variants: there is nothing that ranks could prove.
    """
    means: dict[str, dict[str, float]] = {}
    for dataset in datasets(results, metric):
        known = metric_of(results, dataset, metric)
        table = headline(scores(results, dataset, known.name))
        sign = 1.0 if known.direction == "higher" else -1.0
        if len(table):
            means[dataset] = {str(k): sign * float(v) for k, v in table.groupby("label")["value"].mean().items()}
    values: list[Any] = list(means.values())
    names = [name for name in values[0] if all(name in other for other in values)] if values else []
    if len(values) < LEAST or len(names) < 2:
        return None
    return rank(np.array([[there[name] for name in names] for there in values]), names, list(means))


def tables(datasets: tuple[str, ...]) -> int:
    """How many different tables the data sets are targets of.

    Example:
        >>> tables(("pokemon/type_1", "pokemon/type_2", "movies/genres"))
        2
    """
    return len({name.rpartition("/")[0] or name for name in datasets})


#: Data sets from which on mean ranks are worth a test.
LEAST = 3


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over data sets; 1 is best.

    Attributes:
        names: variants, best first.
        mean: mean rank of each.
        datasets: names of the data sets.
        chi2: Friedman's statistic, corrected for ties.
        p: of Iman and Davenport's F, that all variants are level.
        critical: mean ranks that differ by more than this differ significantly (Nemenyi).
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    datasets: tuple[str, ...]
    chi2: float
    p: float
    critical: float

    @property
    def level(self) -> list[tuple[int, int]]:
        """Stretches (first, last) of variants that differ by less than the critical difference, none within another.

        Example:
            >>> Ranks(("a", "b", "c"), (1.0, 1.8, 2.9), ("x",), 0.0, 1.0, 1.2).level
            [(0, 1), (1, 2)]
        """
        result: list[tuple[int, int]] = []
        for first, rank in enumerate(self.mean):
            last = max(i for i, other in enumerate(self.mean) if other - rank < self.critical or i == first)
            if last > first and (not result or last > result[-1][1]):
                result.append((first, last))
        return result


def rank(scores: NDArray[Any], names: Sequence[str], datasets: Sequence[str], *, alpha: float = 0.05) -> Ranks:
    """Rank variants on every data set, best first, ties sharing their mean rank.

    Formula: with k variants, N data sets and mean ranks ``R``: ``chi2 = (k - 1) sum (N (R - (k + 1) / 2)^2) / s``, where
    ``s`` is the ranks' variance (N (k^2 - 1) / 12 less the ties); ``F = (N - 1) chi2 / (N (k - 1) - chi2)``;
    ``critical = q_alpha sqrt(k (k + 1) / (6 N))``, q the studentised range by sqrt(2).

    Source: Demsar 2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7, sections 3.2.2, 3.2.4.

    Args:
        scores: (N, k), higher is better, none missing.
        names: k variants.
        datasets: N data sets; they must be independent of each other, as the targets of one table are not.
        alpha: level of the critical difference.

    Example:
        >>> ranking = rank(np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]]), ["a", "b"], ["x", "y", "z"])
        >>> ranking.names, ranking.mean, round(ranking.critical, 2)
        (('a', 'b'), (1.0, 2.0), 1.13)
    """
    n, k = scores.shape
    ranks = stats.rankdata(-np.round(scores, 12), axis=1)
    mean = ranks.mean(0)
    order = np.argsort(mean, kind="stable")
    total = float(((ranks - (k + 1) / 2) ** 2).sum()) / (k - 1)  # N k (k + 1) / 12 less the ties
    chi2 = n**2 * float(((mean - (k + 1) / 2) ** 2).sum()) / total if total else 0.0
    critical = critical_difference(k, n, alpha)
    return Ranks(
        tuple(names[i] for i in order),
        tuple(float(mean[i]) for i in order),
        tuple(datasets),
        chi2,
        _iman_davenport(chi2, n, k),
        critical,
    )


def _iman_davenport(chi2: float, n: int, k: int) -> float:
    left = n * (k - 1) - chi2
    if n < 2:
        return math.nan
    if left <= 1e-9:  # every data set gives the same order: F is infinite
        return float(math.factorial(k) ** (1.0 - n))  # the chance of that
    return float(stats.f.sf((n - 1) * chi2 / left, k - 1, (k - 1) * (n - 1)))


def critical_difference(variants: int, datasets: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks.

    Example:
        >>> round(critical_difference(4, 14), 2), round(critical_difference(10, 30), 2)
        (1.25, 2.47)
    """
    q = float(stats.studentized_range.ppf(1 - alpha, variants, np.inf)) / math.sqrt(2)
    return q * math.sqrt(variants * (variants + 1) / (6 * datasets))
