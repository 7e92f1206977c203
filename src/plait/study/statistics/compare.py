"""Every variant against the best, or against a reference, with words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from plait.base.errors import ConfigError, nearest
from plait.metrics.base import Metric
from plait.study.results import Results
from plait.study.statistics.comparison import Comparison, better_than_constant, compare_pairs, paired
from plait.study.statistics.paired import family_variance, holm
from plait.study.statistics.scores import datasets, first, headline, metric_of, plain, scores
from plait.study.statistics.summary import RESAMPLES, Resampler
from plait.study.statistics.verdicts import default_margin

BEST = "best"
#: What is said of a reference that is not the best.
ITSELF = {"verdict": "reference", "words": "the reference"}
#: What runs can be compared by.
COMPARABLE = ("label", "subset", "condition", "present")


def compare(
    results: Results,
    metric: str | None = None,
    *,
    against: str = BEST,
    by: str = "label",
    dataset: str | None = None,
    margin: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare variants pair by pair on the seeds and splits that both have; p-values corrected by Holm.

    Where runs share their test rows the test counts seeds and rows (``crossed_t``), where each has its own it is the
    corrected resampled t-test (``resampled_t``). The other tests stand beside it. Against the best, remember that it was
    chosen by these very scores: p is then somewhat too small; a reference named beforehand has no such fault.

    Args:
        results: of a study.
        metric: name; None: each data set's main one.
        against: ``best`` (by mean, among those with most runs), or one of the values of ``by``.
        by: what is compared: ``label`` (variants) on all modalities, or ``subset`` (what it was trained on), ``condition``
            or ``present`` of the variant that is best on all of them.
        dataset: only this one.
        margin: differences below it do not matter; None: see ``default_margin``.
        resamples: of the bootstrap over test rows.
        seed: of the bootstrap.

    Returns:
        One row per data set and variant, best first: dataset, metric, label, reference, runs, seeds, mean, difference, low,
        high, p, p_holm, d, delta, wilcoxon, permutation, least_p, mcnemar, equivalence, margin, needed, design, above,
        verdict and words. ``low`` and ``high`` belong to the difference, before correction; ``above``:
        better than a constant answer to the same test rows (None: not known).

    Raises:
        ConfigError: an unknown metric, data set or reference.
    """
    known = datasets(results, metric)
    if dataset is not None and dataset not in known:
        raise ConfigError(f"unknown data set '{dataset}': {nearest(dataset, known)}")
    result = []
    for name in [dataset] if dataset else known:
        measure = metric_of(results, name, metric)
        table = chosen(scores(results, name, measure.name), by, measure)
        if table.empty:
            continue
        resampler = Resampler(results, table, measure, resamples=resamples, seed=seed)
        value = against_reference(table, by, measure, resampler, against=against, margin=margin)
        result.append(value.assign(dataset=name, metric=measure.name))
    if not result:
        return pd.DataFrame(columns=["dataset", "metric", by, "reference", "verdict", "words"])
    whole = pd.concat(result, ignore_index=True)
    return whole[["dataset", "metric", *[c for c in whole if c not in ("dataset", "metric")]]]


def chosen(table: pd.DataFrame, by: str, metric: Metric) -> pd.DataFrame:
    """The rows of ``scores`` that differ in ``by``, seed and split only, but for other variants where ``by`` is label."""
    if by not in COMPARABLE:
        raise ConfigError(f"cannot compare by '{by}': {nearest(by, COMPARABLE)}")
    value = headline(table)
    if by == "label" or value.empty:
        return value
    mine = table[table["label"] == best_of(value, "label", metric)]
    if by == "subset":
        return plain(mine)
    kept = mine["subset"] == value["subset"].iloc[0]
    if by == "condition":
        kept &= mine["present"] == mine["subset"]
    else:
        kept &= mine["condition"] == first(table["condition"])
    result: pd.DataFrame = mine[kept]
    return result


def best_of(table: pd.DataFrame, by: str, metric: Metric) -> str:
    """The best by mean among those with the most runs: one that failed on the hard seeds is not the best."""
    groups = table.groupby(by, sort=False)["value"]
    counts = groups.size()
    means = groups.mean()[counts == counts.max()]
    return str(means.idxmax() if metric.direction == "higher" else means.idxmin())


def against_reference(
    table: pd.DataFrame,
    by: str,
    metric: Metric,
    resampler: Resampler | None,
    *,
    against: str = BEST,
    margin: float | None = None,
) -> pd.DataFrame:
    """Every value of a column of ``scores`` against one of them; rows must otherwise differ by seed and split only."""
    names = [str(name) for name in dict.fromkeys(table[by])]
    reference = best_of(table, by, metric) if against == BEST else against
    if reference not in names:
        raise ConfigError(f"unknown reference '{reference}' in {by}: {nearest(reference, names)}, or '{BEST}'")
    parts = {name: table[table[by] == name] for name in names}
    pairs = {name: paired(part, parts[reference]) for name, part in parts.items() if name != reference}
    least = family_variance([value["difference"].to_numpy() for value in pairs.values()])
    margin = margin or default_margin(metric, float(parts[reference]["value"].mean()))
    value = {name: compare_pairs(both, metric, resampler, margin, least) for name, both in pairs.items()}
    adjusted = dict(zip(value, holm(np.array([c.test.p for c in value.values()])), strict=True))
    itself = {"verdict": "best", "words": "best"} if against == BEST else ITSELF
    records = []
    for name, part in parts.items():
        mean = float(part.groupby("seed")["value"].mean().mean())
        record = {by: name, "reference": reference, "runs": len(part), "seeds": part["seed"].nunique(), "mean": mean}
        if name in value:
            record |= _record(value[name], float(adjusted[name]))
        else:
            record |= itself | {"above": better_than_constant(part, metric, resampler)}
        records.append(record)
    frame = pd.DataFrame(records)
    order = _order([str(row[by]) for row in records], value, reference, first=against == BEST)
    return frame.iloc[order].reset_index(drop=True)


def _order(names: list[str], options: dict[str, Comparison], reference: str, *, first: bool) -> list[int]:
    """Best first, by the difference on the pairs that both have: a mean over fewer seeds is not comparable."""

    def key(place: int) -> tuple[bool, float]:
        name = names[place]
        gain = 0.0 if name == reference else options[name].gain
        return not (first and name == reference), math.inf if math.isnan(gain) else -gain

    return sorted(range(len(names)), key=key)


def _record(comparison: Comparison, p: float) -> dict[str, object]:
    test, names = comparison.test, ("d", "delta", "wilcoxon", "permutation", "least_p", "mcnemar")
    result: dict[str, object] = {"difference": test.value, "low": test.low, "high": test.high, "p": test.p, "p_holm": p}
    result |= {name: getattr(comparison, name) for name in (*names, "equivalence", "margin", "needed")}
    result |= {"pairs": test.pairs, "design": comparison.design, "above": comparison.above[0]}
    return {**result, "verdict": comparison.verdict(p), "words": comparison.words(p)}


def rank_variants(results: Results, metric: str | None = None) -> Ranks | None:
    """Rank the variants that have runs on every data set, by their means over the seeds.

    Returns:
        None with fewer than three data sets or two such variants: there is nothing that ranks could prove.
    """
    means: dict[str, dict[str, float]] = {}
    for dataset in datasets(results, metric):
        known = metric_of(results, dataset, metric)
        table = headline(scores(results, dataset, known.name))
        sign = known.sign
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
        for start, rank in enumerate(self.mean):
            last = max(i for i, other in enumerate(self.mean) if other - rank < self.critical or i == start)
            if last > start and (not result or last > result[-1][1]):
                result.append((start, last))
        return result


def rank(scores: NDArray[Any], names: Sequence[str], datasets: Sequence[str], *, alpha: float = 0.05) -> Ranks:
    """Rank variants on every data set, best first, ties sharing their mean rank.

    ``scores`` (N, k), higher is better; the N data sets must be independent, as the targets of one table are not.

    Formula: with k variants, N data sets and mean ranks ``R``: ``chi2 = (k - 1) sum (N (R - (k + 1) / 2)^2) / s``, where
    ``s`` is the ranks' variance (N (k^2 - 1) / 12 less the ties); ``F = (N - 1) chi2 / (N (k - 1) - chi2)``;
    ``critical = q_alpha sqrt(k (k + 1) / (6 N))``, q the studentised range by sqrt(2).

    Source: Demsar 2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7, sections 3.2.2, 3.2.4.

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
    best = tuple(names[i] for i in order), tuple(mean[order].tolist())
    return Ranks(*best, tuple(datasets), chi2, _iman_davenport(chi2, n, k), critical_difference(k, n, alpha))


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
