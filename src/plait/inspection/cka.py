"""How alike two representations of the same rows are, whatever their widths and rotations."""

from __future__ import annotations

import numpy as np

#: Rows below which the unbiased estimate divides by nothing.
LEAST = 4


def gram(x: np.ndarray) -> np.ndarray:
    """Inner products of all rows, (n, D) to (n, n), in double precision."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(0)  # changes nothing of either estimate, and keeps large means from eating the digits
    found: np.ndarray = x @ x.T
    return found


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment: 1 for rotations and scalings of each other, 0 for nothing in common.

    Formula: ``CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))``, ``K = X X^T``, ``L = Y Y^T``,
        ``HSIC(K, L) = tr(K H L H)``, ``H = I - 1/n``. Biased upwards where rows are few beside the widths.

    Shape: (n, D) and (n, E) to a number from 0 to 1; NaN where one of them does not vary.

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, section 3.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4))
        >>> round(linear_cka(x, 3 * x[:, ::-1]), 6)
        1.0
    """
    return cka_of_grams(gram(x), gram(y), debiased=False)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The same with the unbiased estimate of HSIC: near 0 for independent noise even where D is far above n.

    Formula: ``HSIC_1(K, L) = [tr(K~ L~) + 1^T K~ 1 1^T L~ 1 / ((n-1)(n-2)) - 2/(n-2) 1^T K~ L~ 1] / (n(n-3))``,
        ``K~`` is ``K`` with a diagonal of zeros; then as ``linear_cka``. May be a little below 0.

    Shape: (n, D) and (n, E), n >= 4, to a number up to about 1; NaN where there are fewer rows or one does not vary.

    Source: Song et al. 2012, Feature Selection via Dependence Maximization, equation 5; in CKA: Nguyen et al. 2021, Do Wide
        and Deep Networks Learn the Same Things?, equation 3.

    Example:
        >>> draws = np.random.default_rng(0)
        >>> x, y = draws.normal(size=(60, 500)), draws.normal(size=(60, 500))
        >>> round(linear_cka(x, y), 1), round(abs(debiased_cka(x, y)), 1)
        (0.9, 0.0)
    """
    return cka_of_grams(gram(x), gram(y), debiased=True)


def cka_of_grams(k: np.ndarray, m: np.ndarray, *, debiased: bool) -> float:
    """Either from Gram matrices (n, n) that are there already."""
    hsic = _unbiased if debiased else _biased
    if k.shape != m.shape:
        raise ValueError(f"CKA compares the same rows; found {len(k)} and {len(m)}")
    if len(k) < (LEAST if debiased else 2):
        return float("nan")
    both, own = hsic(k, m), hsic(k, k) * hsic(m, m)
    return float(both / np.sqrt(own)) if own > 0 else float("nan")


def _biased(k: np.ndarray, m: np.ndarray) -> float:
    centred = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    return float((centred * m).sum())


def _unbiased(k: np.ndarray, m: np.ndarray) -> float:
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    together = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
    return float(together / (n * (n - 3)))
