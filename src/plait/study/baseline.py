"""Models without fusion on the same features and rows: what a fusion must be better than."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier

from plait.inputs import Inputs
from plait.metrics import metrics

Array = NDArray[Any]
#: ``fusion`` is the estimator itself.
ESTIMATORS = ("fusion", "linear", "majority")
#: Inverse strengths of the penalty that are tried on standardised features.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Thresholds of several labels, as the estimator's own.
THRESHOLDS = tuple(np.linspace(0.1, 0.6, 26).tolist())
#: Rows from which on strength is chosen on one fold instead of five.
LARGE = 4000


@dataclass
class Columns:
    """Standardised features of the training rows: (n, D) of all modalities beside each other, 0 where one is absent."""

    means: dict[str, Array]
    scales: dict[str, Array]

    @classmethod
    def of(cls, inputs: Inputs) -> Columns:
        """Means and deviations of the present rows of each modality."""
        means, scales = {}, {}
        for name, tokens in inputs.tokens.items():
            x = tokens.pooled().numpy()[tokens.present.numpy()]
            x = x if len(x) else np.zeros((1, tokens.dim), np.float32)
            deviation = x.std(0)
            means[name], scales[name] = x.mean(0), np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
        return cls(means, scales)

    def matrix(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """(n, D): an absent modality stands at its mean."""
        parts = []
        for name, tokens in inputs.tokens.items():
            there = tokens.present.numpy() & (name in present)
            x = (tokens.pooled().numpy() - self.means[name]) * self.scales[name]
            parts.append(np.where(there[:, None], x, 0.0).astype(np.float32))
        return np.hstack(parts)


class Baseline:
    """scikit-learn's linear model, its penalty chosen on training rows; or what is most frequent there."""

    def __init__(self, name: str, task: str, seed: int) -> None:
        """``name`` is one of ``ESTIMATORS`` but the first."""
        self.name, self.task, self.seed = name, task, seed
        self.threshold = 0.5
        self.weights = 0

    def fit(self, inputs: Inputs, y: Array) -> Baseline:
        """Class indices (n,), indicators (n, C) or values (n,)."""
        self._y = y
        self._columns = Columns.of(inputs)
        x = self._columns.matrix(inputs, list(inputs.tokens))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a label that is never or always there
            self._model = None if self.name == "majority" else self._fitted(x, y)
        self.weights = 0 if self._model is None else x.shape[1] * (y.shape[1] if y.ndim == 2 else self.outputs_per_row)
        if self._model is None and self.task == "multilabel":
            self.threshold = max(THRESHOLDS, key=lambda t: _f1(y, np.repeat(y.mean(0)[None] >= t, len(y), 0)))
        return self

    @property
    def outputs_per_row(self) -> int:
        """Columns of coefficients."""
        return 1 if self.task == "regression" else int(self._y.max()) + 1

    def outputs(self, inputs: Inputs, patterns: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Array]:
        """Probabilities (n, C) or values (n,) with only the modalities of each pattern present."""
        return {pattern: self._output(self._columns.matrix(inputs, pattern)) for pattern in patterns}

    def _fitted(self, x: Array, y: Array) -> Any:
        if self.task == "regression":
            return RidgeCV(np.logspace(0, 5, 11)).fit(x, y)
        if self.task == "classification" and len(np.unique(y)) < 2:
            return None
        strength, self.threshold = self._chosen(x, y)
        return self._linear(strength).fit(x, y)

    def _chosen(self, x: Array, y: Array) -> tuple[float, float]:
        """Strength, and threshold for several labels, with the best score on held-out folds (one on large tables)."""
        folds = list(KFold(5, shuffle=True, random_state=self.seed).split(x))[: 5 if len(x) < LARGE else 1]
        scores: dict[tuple[float, float], float] = defaultdict(float)
        for (fit, held), strength in itertools.product(folds, STRENGTHS):
            if self.task == "classification" and len(np.unique(y[fit])) < 2:
                continue
            model = self._linear(strength).fit(x[fit], y[fit])
            if self.task == "multilabel":
                probabilities = model.predict_proba(x[held])
                for threshold in THRESHOLDS:
                    scores[strength, threshold] += _f1(y[held], probabilities >= threshold)
            else:
                scores[strength, 0.5] += float(np.mean(model.predict(x[held]) == y[held]))
        return max(scores, key=scores.__getitem__) if scores else (1.0, 0.5)

    def _linear(self, strength: float) -> Any:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        return OneVsRestClassifier(model) if self.task == "multilabel" else model

    def _output(self, x: Array) -> Array:
        if self._model is None:
            share = np.bincount(self._y) / len(self._y) if self.task == "classification" else np.mean(self._y, 0)
            return np.repeat(np.asarray(share, np.float64)[None], len(x), axis=0)
        if self.task == "regression":
            return np.asarray(self._model.predict(x), np.float64)
        found = np.asarray(self._model.predict_proba(x), np.float64)
        if self.task == "multilabel":
            return found
        spread = np.zeros((len(x), int(self._y.max()) + 1))
        spread[:, self._model.classes_] = found
        return spread


def _f1(y: Array, answers: Array) -> float:
    rows = metrics("multilabel")["f1_samples"].rows
    assert rows is not None
    return float(rows(y, answers.astype(np.int64)).mean())


def check_name(told: Mapping[str, Any]) -> str:
    """The estimator that a model's fields name."""
    return str(told.get("estimator", ESTIMATORS[0]))
