"""The one plain linear model: logistic regression for classes and labels, ridge regression for a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.linalg import lsqr
from scipy.special import expit

Array = NDArray[Any]


@dataclass(frozen=True)
class LinearModel:
    """A fitted linear model.

    Attributes:
        task: ``classification``, ``multilabel`` or ``regression``.
        weight: (D, k); of two classes, and of a number, k = 1.
        bias: (k,).
        seen: classes that the columns stand for; None of labels and of a number.
        outputs: classes, labels, or 1.
    """

    task: str
    weight: Array
    bias: Array
    seen: Array | None
    outputs: int

    def __call__(self, x: Array) -> Array:
        """Probabilities (n, C), zero of a class that no training row had; or values (n,)."""
        raw = (x.astype(np.float32) @ self.weight + self.bias).astype(np.float64)
        if self.task == "regression":
            return np.asarray(raw[:, 0])
        if self.seen is None:
            return np.asarray(expit(raw))
        result = np.zeros((len(x), self.outputs))
        result[:, self.seen] = (
            np.stack([expit(-raw[:, 0]), expit(raw[:, 0])], 1) if raw.shape[1] == 1 else _softmax(raw)
        )
        return result


def fit_linear(x: Array, y: Array, task: str, outputs: int, *, strength: float, steps: int) -> LinearModel:
    """A linear model of few features that are scaled already; its products are in single precision.

    Formula: ``argmin sum_i loss(W x_i + b, y_i) + |W|^2 / (2 strength)``; the loss is the log loss (of classes together, of
        labels each), or half the squared error.

    Args:
        x: (n, D).
        y: codes (n,), indicators (n, C) or values (n,).
        task: the task's name.
        outputs: classes or labels; 1 of a number.
        strength: of the fit against the penalty.
        steps: of the solver, at most.

    Example:
        >>> x = np.array([[-1.0], [-2.0], [1.0], [2.0]])
        >>> fit_linear(x, np.array([0, 0, 1, 1]), "classification", 2, strength=1.0, steps=30)(x).argmax(1).tolist()
        [0, 0, 1, 1]
    """
    x = np.ascontiguousarray(x, np.float32)
    if task == "regression":
        centre, mean = x.mean(0), float(np.mean(y))
        result = lsqr(x - centre, y - mean, damp=strength**-0.5, atol=1e-4, btol=1e-4, iter_lim=3 * steps)[0]
        return LinearModel(task, result[:, None].astype(np.float32), np.full(1, mean - centre @ result), None, 1)
    seen = np.unique(y) if task == "classification" else None
    if seen is not None and len(seen) == 1:
        return LinearModel(task, np.zeros((x.shape[1], 1), np.float32), np.full(1, np.inf), seen[[0, 0]], outputs)
    known = y if seen is None else np.searchsorted(seen, y)
    goal = np.eye(len(seen), dtype=np.float32)[known] if seen is not None else known.astype(np.float32)
    goal = goal[:, 1:] if seen is not None and len(seen) == 2 else goal
    weight, bias = _logistic(x, goal, strength, steps, together=seen is not None and len(seen) > 2)
    return LinearModel(task, weight, bias, seen, outputs)


def _logistic(x: Array, goal: Array, strength: float, steps: int, *, together: bool) -> tuple[Array, Array]:
    """Weights (D, k) and biases (k,) for shares (n, k), by L-BFGS from zero; ``together``: of each row they are one in all."""
    rows, shape = len(x), (x.shape[1] + 1, goal.shape[1])

    def objective(flat: Array) -> tuple[float, Array]:
        both = flat.reshape(shape)
        raw = x @ both[:-1].astype(np.float32) + both[-1].astype(np.float32)
        if together:
            answer = _softmax(raw)
            loss = -np.log(np.maximum((answer * goal).sum(1), 1e-30)).sum(dtype=np.float64)
        else:
            answer = expit(raw)
            loss = (np.logaddexp(0.0, raw) - raw * goal).sum(dtype=np.float64)
        wrong = answer - goal
        gradient = np.vstack([x.T @ wrong + both[:-1] / strength, wrong.sum(0, dtype=np.float64)])
        return (loss + 0.5 * float((both[:-1] ** 2).sum()) / strength) / rows, gradient.ravel() / rows

    options = {"maxiter": steps, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    result = minimize(objective, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options=options).x
    both = result.reshape(shape).astype(np.float32)
    return both[:-1], both[-1]


def _softmax(raw: Array) -> Array:
    powers = np.exp(raw - raw.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
