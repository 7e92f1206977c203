"""The registry of metrics, and what describes each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.base.errors import ConfigError, ModelError, TableError, nearest

Array = NDArray[Any]
Point = Callable[[Array, Array], "float | Score"]
Resampled = Callable[[Array, Array, Array], Array]

#: The metric that a task is led by (the same as ``Task.main_metric``).
MAIN = {"classification": "accuracy", "multilabel": "f1_samples", "regression": "r2"}
#: Beside the main metric, the finer one: it also sees changes that turn no answer.
SECOND = {"classification": "log_loss", "multilabel": "log_loss", "regression": "mae"}


#: Names that a metric also goes by.
ALIASES = {"auc": "auc_macro", "roc_auc": "auc_macro", "map": "map_macro", "logloss": "log_loss"}


class UndefinedError(Exception):
    """A metric has no value on these rows; the text says why. It never leaves this package."""


@dataclass(frozen=True)
class Score:
    """A metric's value, and a note where it is undefined (NaN) or does not speak for everything."""

    value: float
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric of one task.

    Attributes:
        name: key, the function's name.
        label: as a table's heading shows it.
        task: ``classification``, ``multilabel`` or ``regression``.
        input: ``labels``, ``probabilities``, ``values``, ``intervals``, or ``costs`` (n, C), what a row's answer costs if a class
            is the true one: what ``output`` holds.
        direction: ``higher`` or ``lower`` is better; ``nominal``: near its nominal level is better.
        range: least and greatest value.
        point: the value on rows as they are.
        resampled: the values (b,) on resamples of the rows, given how often each row was drawn: counts (n, b);
            ``ByRows`` of terms (n,) whose mean the metric is.
        biased: off on average on resamples (gaps in small bins do not cancel, rare classes drop out of a plain mean, a
            row drawn twice ties with itself); its interval is centred on the value.
        ranked: sorts the rows of every class, so that resampling costs more.
    """

    name: str
    label: str
    task: str
    input: str
    direction: str
    range: tuple[float, float]
    point: Point
    resampled: Resampled
    biased: bool = False
    ranked: bool = False

    @property
    def sign(self) -> float:
        """1; -1 where lower is better: times it, more is better."""
        return -1.0 if self.direction == "lower" else 1.0

    @property
    def rows(self) -> Callable[[Array, Array], Array] | None:
        """Terms (n,) of the rows whose mean the metric is; None where it is no such mean."""
        return self.resampled.rows if isinstance(self.resampled, ByRows) else None

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.point) or "").partition("\n")[0]

    def score(self, y: Array, output: Array) -> Score:
        """The value, or NaN and the reason."""
        try:
            result = self.point(y, output)
        except UndefinedError as reason:
            return Score(float("nan"), str(reason))
        return result if isinstance(result, Score) else Score(float(result))


#: (task, name) -> metric, in the order in which tables show them.
METRICS: dict[tuple[str, str], Metric] = {}


def metrics(task: str) -> dict[str, Metric]:
    """Every metric of a task by name.

    Example:
        >>> metrics("regression")["mae"].direction
        'lower'
    """
    result = {name: metric for (owner, name), metric in METRICS.items() if owner == task}
    if not result:
        raise ConfigError(f"unknown task '{task}': {nearest(task, MAIN)}")
    return result


def metric_name(name: str, task: str | None = None) -> str:
    """The registered name of a metric that may lead, however it is written.

    ``name`` in small letters or large, or one of ``ALIASES``.

    Raises:
        ConfigError: there is none of that name, it is another task's, or it judges no answers.

    Example:
        >>> metric_name("AUC", "classification"), metric_name("RMSE")
        ('auc_macro', 'rmse')
    """
    result = ALIASES.get(name.lower(), name.lower())
    owners = [owner for owner, known in METRICS if known == result]
    leading = [
        known for (owner, known), metric in METRICS.items() if metric.input != "intervals" and task in (None, owner)
    ]
    if not owners:
        raise ConfigError(f"unknown metric '{name}': {nearest(name, sorted({*leading, 'auc'}))}")
    if task is not None and task not in owners:
        raise ConfigError(f"metric '{name}': is for {' or '.join(owners)}; the task is {task} ({', '.join(leading)})")
    if result not in leading:
        raise ConfigError(
            f"metric '{name}': judges intervals, not answers; expected one of {', '.join(dict.fromkeys(leading))}"
        )
    return result


def register(task: str, label: str, **fields: Any) -> Callable[[Point], Point]:
    """Enter a function into the registry under its own name; the fields are those of ``Metric``."""

    def enter(point: Point) -> Point:
        name = getattr(point, "__name__", label)
        METRICS[task, name] = Metric(name, label, task, point=point, **fields)
        return point

    return enter


@dataclass(frozen=True)
class ByRows:
    """Resampling of a metric that is the mean of a term per row."""

    rows: Callable[[Array, Array], Array]

    def __call__(self, y: Array, output: Array, counts: Array) -> Array:
        """The means (b,) of resamples that draw each row so often: counts (n, b)."""
        return np.asarray(self.rows(y, output) @ counts / counts.sum(0))


def ratio(above: Array, below: Array, empty: float = np.nan) -> Array:
    """``above / below``, and ``empty`` where nothing is below; without a warning."""
    room = np.full(np.broadcast(above, below).shape, empty)
    return np.asarray(np.divide(above, below, out=room, where=below > 0))


def mean_defined(values: Array) -> Array:
    """Mean over the first axis of what is not NaN; NaN where nothing is left; without a warning."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0.0).sum(0), there.sum(0).astype(float))


#: Bins of equal width between 0 and 1. Equal width, not equal mass: comparable with what papers report.
BINS = 15


def bin_of(confidence: Array) -> Array:
    """Index of each probability's bin; bins are closed above, as in the paper, and 0 belongs to the first."""
    return np.asarray(np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1))


def bin_sums(confidence: Array, hit: Array) -> tuple[Array, Array, Array]:
    """Rows, summed probability and hits of every bin (BINS,)."""
    at = bin_of(confidence)
    return (
        np.bincount(at, minlength=BINS),
        np.bincount(at, weights=confidence, minlength=BINS),
        np.bincount(at, weights=hit, minlength=BINS),
    )


def calibration(confidence: Array, hit: Array) -> float:
    """Expected calibration error of (n,) probabilities and hits."""
    _, summed, hits = bin_sums(confidence, hit)
    return float(np.abs(summed - hits).sum() / len(confidence))


def calibration_resampled(confidence: Array, hit: Array, counts: Array) -> Array:
    """The same on resamples (b,): counts (n, b) of rows; confidence and hit (n,), or (n, C) for a bin of all cells."""
    n = len(confidence)
    at = bin_of(confidence).reshape(n, -1)
    gap = (confidence - hit).reshape(n, -1)
    rows = np.zeros((n, BINS))  # what each row adds to each bin's gap
    np.add.at(rows, (np.arange(n)[:, None], at), gap)
    return np.asarray(np.abs(rows.T @ counts).sum(0) / (counts.sum(0) * at.shape[1]))


def _groups(ordered: Array) -> tuple[Array, Array]:
    """First and last position of the group of equal values that each position of a sorted array belongs to."""
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    first = np.flatnonzero(new)
    last = np.r_[first[1:], len(ordered)] - 1
    group = np.cumsum(new) - 1
    return first[group], last[group]


def auc(positive: Array, score: Array, counts: Array) -> Array:
    """Area under the ROC curve (b,): a positive's chance to be above a negative, ties half; NaN with one kind only.

    ``counts`` (n, b) may be fractions, as weights are.
    """
    order = np.argsort(score, kind="stable")
    first, last = _groups(score[order])
    at = np.flatnonzero(positive[order])
    drawn = counts[order]
    own = drawn[at]
    drawn[at] = 0  # what remains are negatives: all rows less the positives would leave rounding where there is none
    below = np.zeros((len(order) + 1, counts.shape[1]))  # before each position
    drawn.cumsum(0, out=below[1:])
    wins = 0.5 * (own * (below[first[at]] + below[last[at] + 1])).sum(0)
    return ratio(wins, own.sum(0) * below[-1])


def average_precision(positive: Array, score: Array, counts: Array) -> Array:
    """Sum over thresholds of precision times the step in recall (b,); NaN without positives."""
    order = np.argsort(-score, kind="stable")
    _, last = _groups(score[order])
    drawn = counts[order]
    at = np.flatnonzero(positive[order])
    ends = np.unique(last[at])  # only thresholds at which a positive comes in matter
    hit = drawn[at].cumsum(0)[np.searchsorted(at, ends, side="right") - 1]  # (thresholds, b)
    precision = ratio(hit, drawn.cumsum(0)[ends], empty=0.0)
    steps = np.diff(hit, axis=0, prepend=0.0)
    return ratio((steps * precision).sum(0), hit[-1])


def median(values: Array, counts: Array) -> Array:
    """Median of each resample (b,)."""
    order = np.argsort(values, kind="stable")
    upto = counts[order].cumsum(0)  # (n, b)
    total = upto[-1]
    low = (upto > np.floor((total - 1) / 2)).argmax(0)
    high = (upto > np.floor(total / 2)).argmax(0)
    ordered = values[order]
    return np.asarray((ordered[low] + ordered[high]) / 2)


def midranks(values: Array, counts: Array) -> Array:
    """Rank of each row within each resample, ties shared (n, b)."""
    order = np.argsort(values, kind="stable")
    first, last = _groups(values[order])
    upto = np.vstack([np.zeros((1, counts.shape[1])), counts[order].cumsum(0)])
    ranks = np.empty(counts.shape)
    ranks[order] = (upto[first] + upto[last + 1] + 1) / 2
    return ranks


def correlation(a: Array, b: Array, counts: Array) -> Array:
    """Pearson correlation of each resample (b,); NaN where one side does not vary."""
    total = counts.sum(0)
    a = a - (a * counts).sum(0) / total
    b = b - (b * counts).sum(0) / total
    both = np.sqrt((a * a * counts).sum(0) * (b * b * counts).sum(0))
    return ratio((a * b * counts).sum(0), np.where(both > 1e-9, both, 0.0))


def inputs(
    task: str,
    output: Array,
    threshold: float | Array = 0.5,
    intervals: Array | None = None,
    costs: Array | None = None,
) -> dict[str, Array]:
    """A model's output as each kind of input: probabilities and the labels read from them, or values.

    Args:
        task: the task's name.
        output: probabilities (n, C), or values (n,).
        threshold: multi-label probabilities from here on are a label; one for all, or (C,).
        intervals: (n, 2) lower and upper bounds beside ``values``.
        costs: of one class of several: what answering a class costs where another one is true (C, C), which answers keep
            low; or weights of the classes (C,): the largest product with the probability is answered.
    """
    output = np.asarray(output, dtype=np.float64)
    bad = int((~np.isfinite(output)).reshape(len(output), -1).any(1).sum())
    if bad:
        raise ModelError(f"the model gives NaN or infinity for {bad} of {len(output)} rows; it cannot be scored")
    if task == "classification":
        labels = answered(output, costs)
        each = {} if costs is None or costs.ndim < 2 else {"costs": costs[:, labels].T}
        return {"labels": labels, "probabilities": output, **each}
    if task == "multilabel":
        return {"labels": (output >= threshold).astype(np.int64), "probabilities": output}
    return {"values": output} if intervals is None else {"values": output, "intervals": np.asarray(intervals, float)}


def answered(probabilities: Array, costs: Array | None = None) -> Array:
    """The class (n,) that is answered: the most probable one, or by costs or weights (see ``inputs``)."""
    if costs is None or not costs.size:
        return np.asarray(probabilities.argmax(1))
    return np.asarray((probabilities @ costs).argmin(1) if costs.ndim == 2 else (probabilities * costs).argmax(1))


def measure(
    task: str,
    y: Array,
    output: Array,
    *,
    threshold: float | Array = 0.5,
    intervals: Array | None = None,
    costs: Array | None = None,
) -> dict[str, Score]:
    """Every metric of the task that this output allows.

    Example:
        >>> measure("regression", np.array([1.0, 2.0]), np.array([1.0, 4.0]))["mae"].value
        1.0
    """
    if len(y) != len(output) or not len(y):
        raise TableError(
            f"nothing to score: {len(y)} rows of target, {len(output)} of output; expected as many, and some"
        )
    given = inputs(task, output, threshold, intervals, costs)
    return {name: m.score(y, given[m.input]) for name, m in metrics(task).items() if m.input in given}
