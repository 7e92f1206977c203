"""Reliability: fifteen bins of equal width over the probability, as Guo et al. (2017) have it."""

from __future__ import annotations

import numpy as np

from plait.metrics._base import Array

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
