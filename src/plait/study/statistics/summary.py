"""Mean, spread and interval of a group of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.metrics.base import Metric
from plait.study.statistics.resampling import Resampler, two_level
from plait.study.statistics.scores import PLACE, StudyResults, datasets, headline, metric_of
from plait.study.statistics.scores import scores as scores_of

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Summary:
    """What a group of runs that differ by seed and split only gave.

    Attributes:
        runs: how many.
        seeds: different ones.
        mean: of the seeds' means over their splits.
        sd: standard deviation over the seeds; over the splits where there is one seed; NaN with one run.
        low: lower end of the 95 % interval.
        high: upper end.
        over: what the interval covers: ``seeds and rows``, ``rows`` (one seed), ``seeds`` (no predictions kept) or nothing.
    """

    runs: int
    seeds: int
    mean: float
    sd: float
    low: float
    high: float
    over: str


def summary(part: DataFrame, metric: Metric, resampler: Resampler | None = None) -> Summary:
    """Summarise rows of ``scores`` that differ by seed and split only.

    The interval is a two-level bootstrap: seeds are drawn, test rows are drawn, the mean is taken.

    Args:
        part: rows of ``scores``, at least one.
        metric: theirs.
        resampler: of their data set; None: over seeds only.
    """
    column = unit(part)
    means = part.groupby(column, sort=True)["value"].mean()
    mean = float(means.mean())
    sd = float(means.std(ddof=1)) if len(means) > 1 else math.nan
    drawn = drawn_by(part, column, resampler)
    low, high, over = math.nan, math.nan, ""
    if drawn is not None and resampler is not None:
        low, high = two_level(list(drawn.values()), mean, metric, resampler.seed)
        over = "seeds and rows" if len(means) > 1 else "rows"
    elif len(means) > 1:
        low, high = two_level([np.full(2_000, v) for v in means], mean, metric)
        over = "seeds"
    return Summary(len(part), part["seed"].nunique(), mean, sd, low, high, over)


def unit(part: DataFrame) -> str:
    """What is drawn as a whole: a seed with all its splits, or a split where there is one seed."""
    return "seed" if part["seed"].nunique() > 1 or part["split"].nunique() == 1 else "split"


def drawn_by(part: DataFrame, column: str, resampler: Resampler | None) -> dict[Any, Any] | None:
    """Each unit's values (R,) on the resamples of the rows; None where any lacks its predictions."""
    if resampler is None:
        return None
    result: dict[Any, list[Any]] = {}
    names = (column, "split", "run", "evaluation", "value")
    for key, _, run, evaluation, value in sorted(zip(*(part[name].tolist() for name in names), strict=True)):
        values = resampler.values(run, evaluation, value)
        if values is None:
            return None
        result.setdefault(key, []).append(values)
    return {key: np.mean(setting, axis=0) for key, setting in result.items()}


def summarise(
    results: StudyResults, metric: str | None = None, *, everything: bool = False, resamples: int = 1_000, seed: int = 0
) -> DataFrame:
    """Mean, spread and interval of every variant.

    Args:
        results: of a study.
        metric: name; None: each data set's main one.
        everything: every subset, condition and pattern of presence too, not only the plain ones.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One row per data set and variant, best first: the columns of ``PLACE``, metric, and the fields of ``Summary``.
    """
    import pandas as pd

    records = []
    for dataset in datasets(results, metric):
        known = metric_of(results, dataset, metric)
        table = scores_of(results, dataset, known.name)
        table = table if everything else headline(table)
        if table.empty:
            continue
        resampler = Resampler(results, table, known, resamples=resamples, seed=seed)
        result = [
            dict(zip(PLACE, key, strict=True)) | {"metric": known.name} | vars(summary(part, known, resampler))
            for key, part in table.groupby(list(PLACE), sort=False)
        ]
        records += sorted(result, key=lambda r: -r["mean"] if known.direction == "higher" else r["mean"])
    return pd.DataFrame(records)
