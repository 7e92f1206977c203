"""The registry of metrics, and what each of them is told by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.errors import ConfigError, nearest

Array = NDArray[Any]
Point = Callable[[Array, Array], "float | Score"]
Resampled = Callable[[Array, Array, Array], Array]

#: The metric that a task is led by (the same as ``Task.main_metric``).
MAIN = {"classification": "accuracy", "multilabel": "f1_samples", "regression": "r2"}


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
        input: ``labels``, ``probabilities``, ``values`` or ``intervals``: what ``output`` holds.
        direction: ``higher`` or ``lower`` is better; ``nominal``: near its nominal level is better.
        range: least and greatest value.
        point: the value on rows as they are.
        resampled: the values (b,) on resamples of the rows, told by how often each row was drawn: counts (n, b).
        rows: per-row terms (n,) whose mean is the metric, where it is such a mean: it then resamples by one product.
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
    rows: Callable[[Array, Array], Array] | None = None
    biased: bool = False
    ranked: bool = False

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.point) or "").partition("\n")[0]

    def score(self, y: Array, output: Array) -> Score:
        """The value, or NaN and the reason."""
        try:
            found = self.point(y, output)
        except UndefinedError as reason:
            return Score(float("nan"), str(reason))
        return found if isinstance(found, Score) else Score(float(found))


#: (task, name) -> metric, in the order in which tables show them.
METRICS: dict[tuple[str, str], Metric] = {}


def metrics(task: str) -> dict[str, Metric]:
    """Every metric of a task by name.

    Example:
        >>> metrics("regression")["mae"].direction
        'lower'
    """
    found = {name: metric for (owner, name), metric in METRICS.items() if owner == task}
    if not found:
        raise ConfigError(f"unknown task '{task}': {nearest(task, MAIN)}")
    return found


def register(
    task: str,
    label: str,
    *,
    input: str,
    direction: str,
    range: tuple[float, float],
    resampled: Resampled | None = None,
    rows: Callable[[Array, Array], Array] | None = None,
    biased: bool = False,
    ranked: bool = False,
) -> Callable[[Point], Point]:
    """Enter a function into the registry under its own name."""
    told = resampled or (by_rows(rows) if rows else None)
    if told is None:
        raise TypeError(f"metric '{label}': say how it is resampled")

    def enter(point: Point) -> Point:
        name = getattr(point, "__name__", label)
        METRICS[task, name] = Metric(name, label, task, input, direction, range, point, told, rows, biased, ranked)
        return point

    return enter


def by_rows(rows: Callable[[Array, Array], Array]) -> Resampled:
    """Resampling of a metric that is the mean of a term per row."""

    def resampled(y: Array, output: Array, counts: Array) -> Array:
        return np.asarray(rows(y, output) @ counts / counts.sum(0))

    return resampled


def ratio(above: Array, below: Array, empty: float = np.nan) -> Array:
    """``above / below``, and ``empty`` where nothing is below; without a warning."""
    room = np.full(np.broadcast(above, below).shape, empty)
    return np.asarray(np.divide(above, below, out=room, where=below > 0))


def mean_defined(values: Array) -> Array:
    """Mean over the first axis of what is not NaN; NaN where nothing is left; without a warning."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0.0).sum(0), there.sum(0).astype(float))
