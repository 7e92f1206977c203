"""Linear probes: what a linear model reads from a representation that stays as it is."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from plait.metrics.base import MAIN, metrics
from plait.metrics.bootstrap import interval, resample_outputs

#: Inverse strengths of the penalty, one of which a fifth of the training rows chooses.
STRENGTHS = (0.003, 0.03, 0.3, 3.0)
#: Rows a probe learns from at most, drawn with the seed.
ROWS = 4000


@dataclass(frozen=True)
class Probe:
    """What a probe reached on rows it did not learn from.

    Attributes:
        metric: name; the task's main one.
        value: on the test rows; NaN where it could not be fitted.
        low: lower end of the 95 % bootstrap interval over test rows.
        high: upper end.
        chance: of an answer that looks at nothing (the largest class, the labels that most have, the mean).
        rows: it learned from.
        test_rows: it was judged on.
    """

    metric: str
    value: float
    low: float
    high: float
    chance: float
    rows: int
    test_rows: int


def linear_probe(
    train: np.ndarray, y: np.ndarray, test: np.ndarray, y_test: np.ndarray, task: str, *, seed: int = 0
) -> Probe:
    """Logistic regression (several labels: one each; a number: ridge) on standardised features, judged on other rows.

    The strength of its penalty is chosen on a fifth of its training rows; the test rows are looked at once.

    Formula: ``argmin_W sum_i loss(W z_i, y_i) + |W|^2 / (2 C)``, ``z`` standardised by the training rows, C of ``STRENGTHS``.

    Shape: train (n, D), y (n,) codes, indicators (n, C) or values (n,); test (m, D), y_test alike.

    Source: Alain and Bengio 2017, Understanding Intermediate Layers Using Linear Classifier Probes.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> linear_probe(x[:150], (x > 0)[:150, 0] * 1, x[150:], (x > 0)[150:, 0] * 1, "classification").value > 0.9
        True
    """
    metric = metrics(task)[MAIN[task]]
    if len(train) < 10 or len(test) < 2 or (task != "regression" and not _varies(y)):
        return Probe(metric.name, math.nan, math.nan, math.nan, math.nan, len(train), len(test))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))[:ROWS]
    mean, scale = train[order].mean(0), train[order].std(0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    x, held, known = (train[order] - mean) / scale, (test - mean) / scale, y[order]
    cut = len(order) // 5
    strength = max(STRENGTHS, key=lambda c: _sign(metric) * _score(x[cut:], known[cut:], x[:cut], known[:cut], task, c))
    output = _output(x, known, held, task, strength)
    value = metric.score(y_test, output).value
    drawn = resample_outputs(metric, y_test, [output], 500, seed)
    low, high = interval(drawn[:, 0], centre=value if metric.biased else None, limits=metric.range)
    blind = metric.score(y_test, _blind(known, len(y_test), task)).value
    return Probe(metric.name, value, low, high, blind, len(order), len(test))


def _varies(y: np.ndarray) -> bool:
    return bool((y != y[:1]).any())


def _sign(metric: object) -> float:
    return -1.0 if getattr(metric, "direction", "higher") == "lower" else 1.0


def _score(x: np.ndarray, y: np.ndarray, held: np.ndarray, y_held: np.ndarray, task: str, strength: float) -> float:
    if task == "classification" and not _varies(y):
        return -math.inf
    value = metrics(task)[MAIN[task]].score(y_held, _output(x, y, held, task, strength)).value
    return value if math.isfinite(value) else -math.inf


def _output(x: np.ndarray, y: np.ndarray, held: np.ndarray, task: str, strength: float) -> np.ndarray:
    """Labels (m,), indicators (m, C) or values (m,): what the main metric of the task takes."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if task == "regression":
        result: np.ndarray = Ridge(alpha=1 / strength).fit(x, y).predict(held)
        return result
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lbfgs failed to converge.*")  # a probe stops after 300 steps
        if task == "classification":
            answer: np.ndarray = LogisticRegression(C=strength, max_iter=300).fit(x, y).predict(held)
            return answer
        columns = [
            LogisticRegression(C=strength, max_iter=300).fit(x, label).predict(held)
            if _varies(label)
            else np.full(len(held), label[0])
            for label in y.T
        ]
    return np.stack(columns, axis=1)


def _blind(y: np.ndarray, rows: int, task: str) -> np.ndarray:
    """The answer that looks at nothing."""
    if task == "regression":
        return np.full(rows, y.mean())
    if task == "classification":
        values, counts = np.unique(y, return_counts=True)
        return np.full(rows, values[counts.argmax()])
    share = y.mean(0)
    return np.tile((share >= min(0.5, share.max())).astype(np.int64), (rows, 1))
