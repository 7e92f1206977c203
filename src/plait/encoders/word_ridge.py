"""A ridge regression on all words of a text at once: what it answers stands beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import ssyrk

Array = NDArray[Any]
#: Parts of the rows: each is answered by what the others teach; by the first one the penalty is chosen, relative to the rows.
PARTS, PENALTIES = 5, (0.0003, 0.001, 0.003, 0.01)
#: Share of counts above zero from which they are multiplied as a dense matrix: it is sooner done.
DENSE = 0.04


@dataclasses.dataclass(frozen=True, eq=False)
class WordRidge:
    """A ridge on weighted counts of several kinds, each of length one.

    Formula: answer = sum over kinds k of u_k W_k; W = U' (U U' + n penalty I)^-1 (y - mean).

    Source: Hoerl and Kennard 1970, Ridge Regression, in its dual form; cross-fitted as stacking is (Wolpert 1992).

    Attributes:
        maps: of each kind W_k (b_k, c).
        crossed: what the ridge answers each row without its part of the rows (n, c).
    """

    maps: tuple[Array, ...]
    crossed: Array

    @classmethod
    def fit(cls, kinds: Sequence[sparse.csr_matrix], y: Array, groups: Array | None = None) -> WordRidge:
        """Learn from kinds (n, b_k) and numbers (n, c); rows of one group are in one part.

        Example:
            >>> rows = sparse.csr_matrix(np.eye(20)[np.arange(60) % 20])
            >>> y = (np.arange(60)[:, None] % 20 < 7).astype(float)
            >>> bool(((WordRidge.fit([rows], y).crossed > 0) == (y > 0)).all())
            True
        """
        alike, y = _products(kinds), (y - y.mean(0)).astype(np.float32)
        known = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
        part = (np.random.default_rng(0).permutation(int(known.max()) + 1) % PARTS)[known]
        errors = [float(np.square(y - _crossed(alike, y, part, [0], p))[part == 0].mean()) for p in PENALTIES]
        penalty = PENALTIES[int(np.argmin(errors))]
        weights = _solved(alike, y, np.arange(len(y)), penalty)
        maps = tuple(np.asarray(kind.T @ weights, np.float32) for kind in kinds)
        return cls(maps, _crossed(alike, y, part, range(PARTS), penalty))


def _products(kinds: Sequence[sparse.csr_matrix]) -> Array:
    """Each row times each other one, of all kinds together (n, n) float32."""
    rows = kinds[0].shape[0]
    result = np.zeros((rows, rows), np.float32, order="F")
    dense = [kind for kind in kinds if kind.nnz >= DENSE * rows * kind.shape[1]]
    if len(dense) < len(kinds):
        thin = sparse.hstack([kind for kind in kinds if kind.nnz < DENSE * rows * kind.shape[1]], format="csr")
        result += (thin @ thin.T).toarray()
    for kind in dense:  # the lower half alone; a turned view is not copied
        turned = kind.toarray().astype(np.float32, copy=False).T
        result = ssyrk(1.0, turned, beta=1.0, c=result, trans=1, lower=1, overwrite_c=1)
    lower = np.tril(result)
    return np.asarray(lower + np.tril(lower, -1).T)


def _solved(alike: Array, y: Array, rows: Array, penalty: float) -> Array:
    matrix = alike[np.ix_(rows, rows)]
    matrix[np.diag_indices(len(rows))] += penalty * len(alike)
    factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, y[rows] - y[rows].mean(0), check_finite=False))


def _crossed(alike: Array, y: Array, part: Array, parts: Sequence[int], penalty: float) -> Array:
    result = np.zeros_like(y)
    for held in parts:
        others, own = np.flatnonzero(part != held), np.flatnonzero(part == held)
        if len(others):  # else all rows are one group's
            result[own] = alike[np.ix_(own, others)] @ _solved(alike, y, others, penalty)
    return result
