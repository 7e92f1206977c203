"""A number: y and values are (n,)."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from plait.metrics import base
from plait.metrics.base import Array, ByRows, UndefinedError, ratio, register

TASK = "regression"


def _r2(y: Array, values: Array, counts: Array) -> Array:
    centred = y - y.mean()  # before squaring: the difference of two large sums loses digits
    total = counts.sum(0)
    spread = np.asarray((centred**2) @ counts - (centred @ counts) ** 2 / total)
    tiny = 1e-12 * float((centred**2).sum())
    left = np.asarray(((y - values) ** 2) @ counts)
    return np.asarray(1.0 - ratio(left, np.where(spread > tiny, spread, 0.0)))


def _absolute(y: Array, values: Array) -> Array:
    return np.asarray(np.abs(y - values))


@register(TASK, "R²", input="values", direction="higher", range=(-np.inf, 1), resampled=_r2)
def r2(y: Array, values: Array) -> float:
    """Share of the target's variance that is explained; 0 is what the mean of these rows gives."""
    if len(y) < 2 or np.ptp(y) == 0:
        raise UndefinedError("the target does not vary over these rows")
    return float(sk.r2_score(y, values))


@register(
    TASK, "mean absolute error", input="values", direction="lower", range=(0, np.inf), resampled=ByRows(_absolute)
)
def mae(y: Array, values: Array) -> float:
    """Mean absolute error, in the target's unit."""
    return float(sk.mean_absolute_error(y, values))


@register(
    TASK, "root mean squared error", input="values", direction="lower", range=(0, np.inf),
    resampled=lambda y, v, c: np.sqrt((y - v) ** 2 @ c / c.sum(0)),
)  # fmt: skip
def rmse(y: Array, values: Array) -> float:
    """Root of the mean squared error, in the target's unit."""
    return float(np.sqrt(sk.mean_squared_error(y, values)))


@register(
    TASK, "median absolute error", input="values", direction="lower", range=(0, np.inf), ranked=True,
    resampled=lambda y, v, c: base.median(_absolute(y, v), c),
)  # fmt: skip
def median_ae(y: Array, values: Array) -> float:
    """Median absolute error, in the target's unit: half of the rows are nearer."""
    return float(sk.median_absolute_error(y, values))


@register(
    TASK, "Spearman", input="values", direction="higher", range=(-1, 1), ranked=True,
    resampled=lambda y, v, c: base.correlation(base.midranks(y, c), base.midranks(v, c), c),
)  # fmt: skip
def spearman(y: Array, values: Array) -> float:
    """Correlation of the ranks: whether the order is right."""
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(values) == 0:
        raise UndefinedError("the target or the prediction does not vary over these rows")
    one = np.ones((len(y), 1))
    return float(base.correlation(base.midranks(y, one), base.midranks(values, one), one)[0])


def _inside(y: Array, intervals: Array) -> Array:
    return ((intervals[:, 0] <= y) & (y <= intervals[:, 1])).astype(float)


@register(
    TASK, "coverage of 90 % intervals", input="intervals", direction="nominal", range=(0, 1), resampled=ByRows(_inside)
)
def coverage(y: Array, intervals: Array) -> float:
    """Share of rows whose value lies within the predicted interval; it should be the interval's level (0.9)."""
    return float(_inside(y, intervals).mean())


@register(
    TASK, "width of 90 % intervals", input="intervals", direction="lower", range=(0, np.inf),
    resampled=ByRows(lambda y, intervals: intervals[:, 1] - intervals[:, 0]),
)  # fmt: skip
def interval_width(y: Array, intervals: Array) -> float:
    """Mean width of the predicted intervals, in the target's unit."""
    return float((intervals[:, 1] - intervals[:, 0]).mean())
