"""Mean, spread and interval of a group of runs, by a two-level bootstrap: seeds are drawn, and test rows are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.base.errors import PlaitError
from plait.evaluation.baselines import constant_answer
from plait.metrics.base import Metric, inputs
from plait.metrics.bootstrap import affordable, interval
from plait.study.results import Results
from plait.study.statistics.scores import PLACE, datasets, headline, metric_of
from plait.study.statistics.scores import scores as scores_of

Array = NDArray[Any]

#: Resamples of test rows and seeds.
RESAMPLES = 1_000
#: Cells (rows x resamples) of counts held at once, one byte each.
CELLS = 1e8
#: Resamples in one product.
BLOCK = 200
#: In place of an evaluation's number: the same answer for every row.
CONSTANT = -1


class Resampler:
    """One metric of a data set's runs on resamples of the test rows.

    A row of the table is drawn equally often for every run, so that runs stay paired whichever rows they share.
    ``table`` is what ``scores`` gave: the rows of all its runs are drawn from; fewer ``resamples`` for very many rows.
    """

    def __init__(
        self, results: Results, table: pd.DataFrame, metric: Metric, *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        self.metric, self.seed = metric, seed
        self._results = results
        self._known: dict[tuple[str, int], Array | None] = {}
        self._right: dict[tuple[str, int], Array | None] = {}
        self._rows = {str(run): self._rows_of(str(run)) for run in table["run"].unique()}
        there = [rows for rows in self._rows.values() if rows is not None]
        self._places = np.unique(np.concatenate(there)) if there else np.zeros(0, dtype=int)
        n = len(self._places)
        self.resamples = int(min(affordable(resamples, n), max(CELLS // max(n, 1), 100)))
        rng = np.random.default_rng(seed)
        self._counts = np.zeros((n, self.resamples), dtype=np.uint8)
        for column in range(self.resamples):
            drawn = np.bincount(rng.integers(0, n, n), minlength=n) if n else np.zeros(0)
            self._counts[:, column] = np.minimum(drawn, 255)

    def rows(self, run: str) -> Array | None:
        """Test rows of a run; None where its predictions are not kept."""
        return self._rows.get(run)

    def values(self, run: str, evaluation: int, value: float) -> Array | None:
        """The metric (R,) of one evaluation on the resamples, moved to the value that was recorded where the two differ.

        They differ where a metric is off on average on resamples, or the model had read labels by a threshold of its own.
        """
        key = (run, evaluation)
        if key not in self._known:
            self._known[key] = self._resampled(run, evaluation, value)
        return self._known[key]

    def right(self, run: str, evaluation: int) -> Array | None:
        """Whether each test row's class is right (n,); None where there are no classes or no predictions."""
        key = (run, evaluation)
        if key not in self._right:
            self._right[key] = self._judged(run, evaluation)
        return self._right[key]

    def _judged(self, run: str, evaluation: int) -> Array | None:
        if self.metric.task != "classification" or self._rows.get(run) is None:
            return None
        value = self._results.predictions(run, evaluation)
        return np.asarray(inputs("classification", value.output)["labels"] == np.asarray(value.target))

    def constant(self, run: str) -> float | None:
        """The metric of the best constant answer to a run's test rows: their class shares, or their mean.

        None where the predictions are not kept or the metric says nothing of a constant. It knows the test rows' shares, which
        a model does not: a model that is better than it is better than any answer without inputs.
        """
        given = None if self._rows.get(run) is None else self._given(run, CONSTANT)
        if given is None:
            return None
        value = self.metric.score(given[1], given[0]).value
        if not np.isnan(value):
            return value
        return 0.0 if self.metric.range[0] < 0 else None  # a correlation with a constant is undefined: it tells nothing

    def _given(self, run: str, evaluation: int) -> tuple[Array, Array] | None:
        """What the metric reads of one evaluation, and the targets; None where it cannot be had."""
        value = self._results.predictions(run, max(evaluation, 0))
        y = np.asarray(value.target)
        given = inputs(self.metric.task, value.output, 0.5 if value.threshold is None else value.threshold)
        if self.metric.input not in given:
            return None
        if evaluation == CONSTANT:
            return constant_answer(self.metric.task, y, self.metric, np.asarray(value.output).shape[-1]), y
        return given[self.metric.input], y

    def _rows_of(self, run: str) -> Array | None:
        try:
            return np.asarray(self._results.predictions(run, 0).rows)
        except PlaitError:  # not kept: the rows' part of the uncertainty is then not known, which summaries say
            return None

    def _resampled(self, run: str, evaluation: int, value: float) -> Array | None:
        rows = self._rows.get(run)
        if rows is None:
            return None
        given = self._given(run, evaluation)
        if given is None:
            return None
        output, y = given
        counts = self._counts[np.searchsorted(self._places, rows)]
        blocks = [
            self.metric.resampled(y, output, counts[:, start : start + BLOCK].astype(np.float64))
            for start in range(0, self.resamples, BLOCK)
        ]
        result = np.concatenate(blocks)
        again = self.metric.score(y, output).value
        if not self.metric.biased and abs(again - value) <= 1e-6 * max(1.0, abs(value)):
            return result
        defined = result[~np.isnan(result)]
        return result + (value - defined.mean()) if len(defined) else result


def seed_weights(seeds: int, resamples: int, seed: int = 0) -> Array:
    """Weight of each seed in each resample (R, S): of S seeds S - 1 are drawn, with replacement.

    Drawing S of them would make the variance of their mean too small by (S - 1) / S: a fifth with five seeds.

    Source: Rao and Wu 1988, Resampling inference with complex survey data, JASA 83 (their n - 1 of n).

    Example:
        >>> seed_weights(3, 2).sum(1).tolist(), seed_weights(1, 2).tolist()
        ([1.0, 1.0], [[1.0], [1.0]])
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    drawn = np.random.default_rng([seed, seeds]).integers(0, seeds, size=(resamples, seeds - 1))
    return np.stack([np.bincount(row, minlength=seeds) for row in drawn]) / (seeds - 1)


def two_level(by_seed: list[Array], value: float, metric: Metric, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over seeds, from each seed's values (R,) on the same resamples of the rows."""
    weights = seed_weights(len(by_seed), len(by_seed[0]), seed)
    mixed = (weights * np.stack(by_seed, axis=1)).sum(1)
    return interval(mixed, centre=value, limits=metric.range)


@dataclass(frozen=True)
class Summary:
    """What a group of runs that differ by seed and split only gave.

    Attributes:
        mean: of the seeds' means over their splits.
        sd: standard deviation over the seeds; over the splits where there is one seed; NaN with one run.
        low: and ``high``: ends of the 95 % interval.
        over: what the interval covers: ``seeds and rows``, ``rows`` (one seed), ``seeds`` (no predictions kept) or nothing.
    """

    runs: int
    seeds: int
    mean: float
    sd: float
    low: float
    high: float
    over: str


def summary(part: pd.DataFrame, metric: Metric, resampler: Resampler | None = None) -> Summary:
    """Summarise rows of ``scores`` that differ by seed and split only.

    The interval is a two-level bootstrap: seeds are drawn, test rows are drawn, the mean is taken.
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


def unit(part: pd.DataFrame) -> str:
    """What is drawn as a whole: a seed with all its splits, or a split where there is one seed."""
    return "seed" if part["seed"].nunique() > 1 or part["split"].nunique() == 1 else "split"


def drawn_by(part: pd.DataFrame, column: str, resampler: Resampler | None) -> dict[Any, Any] | None:
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
    results: Results, metric: str | None = None, *, everything: bool = False, resamples: int = 1_000, seed: int = 0
) -> pd.DataFrame:
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
        records += sorted(result, key=lambda r: -known.sign * r["mean"])
    return pd.DataFrame(records)
