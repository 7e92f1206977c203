"""Statistics of order on many resamples at once: each is sorted once, not once per resample.

``counts`` (n, b) says how often each of n rows is in each of b resamples.
"""

from __future__ import annotations

import numpy as np

from plait.metrics._base import Array, ratio


def _groups(ordered: Array) -> tuple[Array, Array]:
    """First and last position of the group of equal values that each position of a sorted array belongs to."""
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    first = np.flatnonzero(new)
    last = np.r_[first[1:], len(ordered)] - 1
    group = np.cumsum(new) - 1
    return first[group], last[group]


def auc(positive: Array, score: Array, counts: Array) -> Array:
    """Area under the ROC curve (b,): a positive's chance to be above a negative, ties half; NaN with one kind only."""
    order = np.argsort(score, kind="stable")
    first, last = _groups(score[order])
    drawn = counts[order]  # (n, b)
    at = np.flatnonzero(positive[order])
    negative = drawn.copy()
    negative[at] = 0.0
    below = np.vstack([np.zeros((1, drawn.shape[1])), negative.cumsum(0)])  # (n + 1, b)
    wins = 0.5 * (drawn[at] * (below[first[at]] + below[last[at] + 1])).sum(0)
    return ratio(wins, drawn[at].sum(0) * below[-1])


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
