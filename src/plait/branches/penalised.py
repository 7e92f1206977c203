"""Linear maps under a ridge penalty: a number by its normal equations, classes and labels by L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[Any]
Map = tuple[Array, Array]


def least_squares(x: Array, y: Array, weight: Array) -> Callable[[float], Map]:
    """Strength -> weights (D, k) and biases (k,) for values y (n, k) of rows that count ``weight`` (n,).

    Formula: ``argmin sum_i w_i |W x_i + b - y_i|^2 / 2 + |W|^2 / (2 strength)``, from one decomposition for all strengths.

    Source: Hoerl and Kennard 1970, Ridge Regression.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0]])
        >>> weights, bias = least_squares(x, 3 * x + 1, np.ones(3))(1e6)
        >>> round(float(weights[0, 0]), 3), round(float(bias[0]), 3)
        (3.0, 1.0)
    """
    centre, mean = np.average(x, axis=0, weights=weight), np.average(y, axis=0, weights=weight)
    root = np.sqrt(weight)[:, None]
    x, y = (x - centre).astype(np.float64) * root, (y - mean) * root
    wide = x.shape[1] > len(x)
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    turned = vectors.T @ (y if wide else x.T @ y)

    def solved(strength: float) -> Map:
        weights = vectors @ (turned / (np.maximum(values, 0.0) + 1 / strength)[:, None])
        weights = x.T @ weights if wide else weights
        return weights, mean - centre @ weights

    return solved


def logistic(
    x: Array,
    goal: Array,
    *,
    strength: float,
    steps: int,
    together: bool,
    weight: Array | None = None,
    start: Map | None = None,
) -> Map:
    """Weights (D, k) and biases (k,) for shares ``goal`` (n, k) of rows x (n, D) float32; its products are in single precision.

    ``together``: of each row the shares are one in all, as those of classes; else each is a label's.

    Formula: ``argmin sum_i w_i loss(W x_i + b, y_i) + |W|^2 / (2 strength)``; the loss is the log loss.

    Source: Byrd et al. 1995, A Limited Memory Algorithm for Bound Constrained Optimization; scipy's.
    """
    rows, shape = len(x), (x.shape[1] + 1, goal.shape[1])
    goal = np.ascontiguousarray(goal.T)
    counts = np.ones(1, np.float32) if weight is None else weight.astype(np.float32)

    def objective(flat: Array) -> tuple[float, Array]:
        both = flat.reshape(shape)
        # (k, n): sums over few classes and the second product take a third less in this order.
        raw = np.ascontiguousarray((x @ both[:-1].astype(np.float32) + both[-1].astype(np.float32)).T)
        if together:
            answer = softmax(raw)
            losses = -np.log(np.maximum((answer * goal).sum(0), 1e-30))
        else:
            answer = expit(raw)
            losses = (np.logaddexp(0.0, raw) - raw * goal).sum(0)
        loss = (losses * counts).sum(dtype=np.float64)
        wrong = (answer - goal) * counts
        gradient = np.vstack([(wrong @ x).T + both[:-1] / strength, wrong.sum(1, dtype=np.float64)])
        return (loss + 0.5 * float((both[:-1] ** 2).sum()) / strength) / rows, gradient.ravel() / rows

    begin = np.zeros(shape) if start is None else np.vstack([start[0], start[1][None]])
    options = {"maxiter": steps, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    result = minimize(objective, begin.ravel(), jac=True, method="L-BFGS-B", options=options).x
    both = result.reshape(shape).astype(np.float32)
    return both[:-1], both[-1]


def softmax(raw: Array) -> Array:
    """Probabilities (k, n) of raw outputs (k, n)."""
    powers = np.exp(raw - raw.max(0))
    return np.asarray(powers / powers.sum(0))
