"""Mean ranks of a study's variants over its data sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.study.statistics.ranks import LEAST, Ranks, rank
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
    told: list[Any] = list(means.values())
    names = [name for name in told[0] if all(name in other for other in told)] if told else []
    if len(told) < LEAST or len(names) < 2:
        return None
    return rank(np.array([[there[name] for name in names] for there in told]), names, list(means))


def tables(datasets: tuple[str, ...]) -> int:
    """How many different tables the data sets are targets of.

    Example:
        >>> tables(("pokemon/type_1", "pokemon/type_2", "movies/genres"))
        2
    """
    return len({name.rpartition("/")[0] or name for name in datasets})
