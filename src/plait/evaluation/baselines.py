"""What a model must beat: the majority (or mean), and a linear model on the same features; one of each for fits and studies.

The linear one is scikit-learn's: logistic regression for classes, one sigmoid per label for several labels, ridge regression
for a number. Its penalty, and whether it sees all features or the table beside 30 principal components of each embedding, are
chosen by cross-validation within the training rows; its solver stops early, to stay within about a second at 12,000 rows. It is
no straw man: components alone would be one where words count (0.64 against 0.84 on Hearthstone's cards).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from plait.base.errors import TableError
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data.labels import classes_of, codes_of, label_array
from plait.encoders.scale import Scaler
from plait.metrics.base import metrics
from plait.metrics.inputs import measure

Array = NDArray[Any]
#: What a study may fit; ``fusion`` is the estimator itself.
ESTIMATORS = ("fusion", "linear", "majority")
#: Inverse strengths of the penalty that are tried.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
#: Principal components of each embedding beside the table.
COMPONENTS = 30
#: Features of the table that are kept at most, as the estimator keeps them.
TABLE_FEATURES = 1024
#: Training rows on which penalties are tried, and rows up to which there are five folds instead of one.
TRIED_ROWS, FEW_ROWS = 3000, 1000
#: Steps of the solver while trying, and at last.
STEPS = (10, 30)

#: Task -> baseline -> what it is, for tables and the report.
_CHOSEN = "L2 penalty, and all of them or 30 components of each embedding, chosen by cross-validation on training rows"
ABOUT = {
    "classification": {
        "majority": "the most frequent class, with the training part's class shares as probabilities",
        "linear": f"logistic regression on the same features, standardised; {_CHOSEN}",
    },
    "multilabel": {
        "majority": "every label's share in the training part as its probability; answered from where F1 is best there",
        "linear": f"one logistic regression per label on the same features, standardised; {_CHOSEN}, as is the threshold",
    },
    "regression": {
        "majority": "the training part's mean",
        "linear": f"ridge regression on the same features, standardised; {_CHOSEN}",
    },
}


class Baseline:
    """A linear model, its penalty chosen on training rows; or what is most frequent there.

    Attributes:
        threshold: from where on a multi-label probability is answered.
        weights: how many were learned.
    """

    def __init__(self, name: str, task: str, seed: int = 0, table: Sequence[str] = ()) -> None:
        """Nothing is learned yet.

        Args:
            name: ``linear`` or ``majority``.
            task: the task's name.
            seed: of folds.
            table: modalities whose features are never reduced to components.
        """
        self.name, self.task, self.seed, self.table = name, task, seed, frozenset(table)
        self.threshold, self.weights = 0.5, 0
        self._model: Any = None
        self._axes: dict[str, Array] = {}

    def fit(self, inputs: Inputs, y: Array) -> Baseline:
        """Learn from scaled features, and class indices (n,), indicators (n, C) or values (n,)."""
        self._y = np.asarray(y)
        if self.name == "linear" and len(y) >= 8 and (self._y != self._y[0]).any():
            # One thread: products this narrow gain nothing from more, and on a busy machine lose ten times.
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore", UserWarning)  # stopping early is meant, many classes are fine
                self._fit_linear(inputs)
        else:
            self.threshold = _threshold(self.task, self._y, self._constant(len(y)))
        return self

    def outputs(self, inputs: Inputs, patterns: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Array]:
        """Probabilities (n, C) or values (n,) with only the modalities of each pattern present."""
        if self._model is None:
            return {pattern: self._constant(len(inputs)) for pattern in patterns}
        return {pattern: self._answers(self._model, self._matrix(inputs, self._axes, pattern)) for pattern in patterns}

    def _constant(self, rows: int) -> Array:
        share = np.bincount(self._y) / len(self._y) if self.task == "classification" else self._y.mean(0)
        return np.repeat(np.asarray(share, np.float64)[None], rows, axis=0)

    def _fit_linear(self, inputs: Inputs) -> None:
        views: list[dict[str, Array]] = [{}]
        narrow = {n: _axes(t) for n, t in inputs.tokens.items() if t.dim > COMPONENTS and n not in self.table}
        if narrow:
            views.insert(0, narrow)
        x = [self._matrix(inputs, axes, tuple(inputs.tokens)) for axes in views]
        order = np.random.default_rng(self.seed).permutation(len(self._y))[:TRIED_ROWS]
        folds = list(KFold(min(5, len(order) // 2) if len(order) <= FEW_ROWS else 4).split(order))
        folds = [(order[fit], order[held]) for fit, held in (folds if len(order) <= FEW_ROWS else folds[:1])]
        held = np.concatenate([part for _, part in folds])
        judge = metrics(self.task)["rmse" if self.task == "regression" else "log_loss"]
        best = np.inf
        for view, strength in itertools.product(range(len(views)), STRENGTHS):
            tried = [self._tried(x[view], fit, part, strength) for fit, part in folds]
            output = np.concatenate(tried)
            loss = judge.score(self._y[held], output).value
            if loss < best or not np.isfinite(best):
                best, chosen, self.threshold = loss, (view, strength), _threshold(self.task, self._y[held], output)
        view, strength = chosen
        self._axes, self._model = views[view], self._learned(x[view], self._y, strength, STEPS[1])
        self.weights = x[view].shape[1] * (1 if self.task == "regression" else len(self._constant(1)[0]))

    def _matrix(self, inputs: Inputs, axes: Mapping[str, Array], present: Sequence[str]) -> Array:
        """(n, D): all features beside each other; an absent modality stands at its mean, which is zero."""
        parts = [np.zeros((len(inputs), 1), np.float32)]
        for name, tokens in inputs.tokens.items():
            x = np.where((tokens.present.numpy() & (name in present))[:, None], tokens.pooled().numpy(), 0.0)
            parts.append((x @ axes[name] if name in axes else x).astype(np.float32))
        return np.hstack(parts)

    def _tried(self, x: Array, fit: Array, held: Array, strength: float) -> Array:
        return self._answers(self._learned(x[fit], self._y[fit], strength, STEPS[0]), x[held])

    def _learned(self, x: Array, y: Array, strength: float, steps: int) -> Any:
        """A fitted model of scikit-learn, or the one class that there is."""
        if self.task == "regression":
            return Ridge(alpha=1.0 / strength, solver="lsqr", max_iter=3 * steps).fit(x, y)
        one = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y  # scikit-learn takes one label for one class of two
        if one.ndim == 1:
            return LogisticRegression(C=strength, max_iter=steps).fit(x, one) if (one != one[0]).any() else int(one[0])
        # Without hidden layers this is one logistic regression per label, all solved together (35 times faster).
        return MLPClassifier((), alpha=1.0 / strength, solver="lbfgs", max_iter=steps, random_state=0).fit(x, y)

    def _answers(self, model: Any, x: Array) -> Array:
        """Probabilities (m, C), C as in the training rows, or values (m,)."""
        if self.task == "regression":
            return np.asarray(model.predict(x), dtype=np.float64)
        if self.task == "multilabel" and self._y.shape[1] > 1:
            return np.asarray(model.predict_proba(x), dtype=np.float64).reshape(len(x), -1)
        result = np.zeros((len(x), 2 if self.task == "multilabel" else int(self._y.max()) + 1))
        if isinstance(model, int):
            result[:, model] = 1.0
        else:
            result[:, model.classes_] = model.predict_proba(x)
        return result[:, 1:] if self.task == "multilabel" else result


def scaled(
    inputs: Inputs, table: Sequence[str], scalers: Mapping[str, Scaler] | None = None
) -> tuple[Inputs, dict[str, Scaler]]:
    """Raw features standardised as an estimator does it, by the scalers given or by new ones."""
    known = dict(scalers or {})
    for name, tokens in inputs.tokens.items():
        if name not in known:
            known[name] = Scaler(TABLE_FEATURES if name in table else 256).fit(tokens, torch.ones(len(inputs)))
    result = {name: known[name](tokens) for name, tokens in inputs.tokens.items()}
    return Inputs(result, {}, inputs.present, inputs.columns), known


def baselines(
    task: str,
    train: Inputs | Array,
    y_train: Any,
    test: Inputs | Array,
    y_test: Any,
    *,
    seed: int = 0,
    table: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Scores of ``majority`` and ``linear`` on the test rows: name -> metric -> value.

    Args:
        task: the task's name.
        train: scaled features; or (n, D) of a table, in which NaN counts as the feature's mean.
        y_train: labels (n,), indicators (n, C) or values (n,).
        test: as ``train``.
        y_test: like ``y_train``.
        seed: of the rows on which penalties are tried.
        table: modalities whose features are never reduced to components.
    """
    if not len(y_train) or not len(y_test):
        raise TableError(f"baselines need rows: found {len(y_train)} to train on and {len(y_test)} to test on")
    if task == "classification":
        classes, y_train = classes_of(label_array(y_train))
        y_test = codes_of(y_test, classes)
    if not isinstance(train, Inputs) or not isinstance(test, Inputs):
        table = ("table",)
        train, scalers = scaled(_inputs(train), table)
        test, _ = scaled(_inputs(test), table, scalers)
    every = tuple(train.tokens)
    varies = len(y_train) >= 8 and bool((y_train != y_train[0]).any())
    result = {}
    for name in ("majority", "linear") if varies else ("majority",):
        model = Baseline(name, task, seed, table).fit(train, y_train)
        output = model.outputs(test, [every])[every]
        result[name] = {k: s.value for k, s in measure(task, y_test, output, threshold=model.threshold).items()}
    return result


def _inputs(x: Any) -> Inputs:
    x = np.array(x, dtype=np.float32)
    there = np.isfinite(x)
    mean = np.where(there, x, 0.0).sum(0, dtype=np.float64) / np.maximum(there.sum(0), 1)
    tokens = Tokens.of_vectors(torch.from_numpy(np.where(there, x, mean).astype(np.float32)), torch.ones(len(x)).bool())
    return Inputs({"table": tokens}, {}, {"table": tokens.present})


def _axes(tokens: Tokens) -> Array:
    """Directions of most variance (D, 30) of features that are scaled already, scaled together to a mean variance of one."""
    x = tokens.pooled()[tokens.present].double()
    x = x[:: max(1, len(x) // 4096)]
    values, directions = torch.linalg.eigh(x.T @ x / max(1, len(x)))
    scale = values[-COMPONENTS:].mean().clamp_min(1e-12).rsqrt()
    result: Array = (directions[:, -COMPONENTS:] * scale).float().numpy()
    return result


def _threshold(task: str, y: Array, p: Array) -> float:
    """The probability from which on a label is answered, best on these rows, as a model chooses its own."""
    if task != "multilabel":
        return 0.5
    f1 = metrics(task)["f1_samples"].rows
    assert f1 is not None
    tried = np.unique(np.r_[np.linspace(0.02, 0.98, 49), np.clip(np.quantile(p, np.linspace(0.5, 1, 21)), 1e-6, 1.0)])
    return float(max(tried, key=lambda t: float(f1(y, (p >= t).astype(np.int64)).mean())))
