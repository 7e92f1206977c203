"""Alignment and uniformity: are rows that belong together near each other, and are all of them spread out?"""

from __future__ import annotations

import math

import numpy as np


def unit(x: np.ndarray) -> np.ndarray:
    """Rows (n, D) of length one; a row of zeros stays."""
    x = np.asarray(x, dtype=np.float64)
    lengths: np.ndarray = np.linalg.norm(x, axis=1, keepdims=True)
    found: np.ndarray = x / np.where(lengths > 0, lengths, 1.0)
    return found


def alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of pairs, on the sphere: 0 where both are the same, 2 on average where they are unrelated.

    Formula: ``mean_i |x_i / |x_i| - y_i / |y_i||^2``.

    Shape: (n, D) and (n, D), row by row a pair, to a number from 0 (best) to 4; NaN without a pair.

    Source: Wang and Isola 2020, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, equation for L_align with alpha = 2.

    Example:
        >>> alignment(np.array([[1.0, 0.0]]), np.array([[0.0, 5.0]]))
        2.0
    """
    if np.shape(x) != np.shape(y):
        raise ValueError(f"alignment compares pairs in one space; found {np.shape(x)} and {np.shape(y)}")
    return float(((unit(x) - unit(y)) ** 2).sum(1).mean()) if len(x) else math.nan


def class_alignment(x: np.ndarray, together: np.ndarray) -> float:
    """``alignment`` of every pair of different rows that belong together.

    Formula: mean of ``|u_i - u_j|^2`` over ``i < j`` with ``together[i, j]``; ``u`` are rows of length one.

    Shape: x (n, D), together (n, n) bool, to a number from 0 to 4; NaN without such a pair.

    Source: Wang and Isola 2020, as ``alignment``, with pairs of one class as the positive pairs.
    """
    pairs = np.triu(np.asarray(together, dtype=bool), k=1)
    return float(_squared_distances(x)[pairs].mean()) if pairs.any() else math.nan


def uniformity(x: np.ndarray, t: float = 2.0) -> float:
    """How evenly rows lie on the sphere: 0 where all are one point, below -3.5 where they are spread over many directions.

    Formula: ``log mean_{i<j} exp(-t |u_i - u_j|^2)``; at least ``-4 t``. Two opposite points give ``-4 t``.

    Shape: (n, D), n >= 2, to a number from -4 t to 0; NaN with fewer rows. What a ReLU gives lies in one corner of the sphere and
        is never as uniform as what may be negative: compare like with like.

    Source: Wang and Isola 2020, equation for L_uniform with t = 2.

    Example:
        >>> uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]]))
        -8.0
    """
    if len(x) < 2:
        return math.nan
    apart = -t * _squared_distances(x)[np.triu_indices(len(x), k=1)]
    top = apart.max()
    return float(top + np.log(np.exp(apart - top).mean()))


def _squared_distances(x: np.ndarray) -> np.ndarray:
    """(n, n) on the sphere; a row of zeros is at distance 1 from all others."""
    u = unit(x)
    square = (u * u).sum(1)
    found: np.ndarray = np.maximum(square[:, None] + square[None] - 2 * u @ u.T, 0.0)
    return found
