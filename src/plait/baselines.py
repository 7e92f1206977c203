"""What a model must beat: the majority (or mean), and a linear model on the same features.

The linear one is scikit-learn's, on standardised features: logistic regression for classes, one sigmoid per label for
several labels, ridge regression for a number. Its penalty is chosen among a few on held-out training rows, and its
solver stops early, to stay within about two seconds at 11,000 rows of 1,700 features. It is no straw man: projecting
onto 256 directions first would be one (0.64 against 0.84 on words of Hearthstone's cards).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from plait.errors import TableError
from plait.metrics import codes, measure, metrics

Array = NDArray[Any]
#: Inverse strengths of the penalty that are tried.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
#: Training rows on which they are tried, three quarters to fit and one to judge.
TRIED_ROWS = 3000
#: Steps of the solver while trying, and at last.
STEPS = (10, 20)

#: Task -> baseline -> what it is, for tables and the report.
ABOUT = {
    "classification": {
        "majority": "the most frequent class, with the training part's class shares as probabilities",
        "linear": "logistic regression on the same features, standardised; L2 penalty chosen on held-out training rows",
    },
    "multilabel": {
        "majority": "every label's share in the training part as its probability; answered from where F1 is best there",
        "linear": "one logistic regression per label on the same features, standardised; L2 penalty and threshold "
        "chosen on held-out training rows",
    },
    "regression": {
        "majority": "the training part's mean",
        "linear": "ridge regression on the same features, standardised; penalty chosen on held-out training rows",
    },
}


def baselines(
    task: str, features_train: Array, y_train: Array, features_test: Array, y_test: Array, *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Scores of ``majority`` and ``linear`` on the test rows: name -> metric -> value.

    Args:
        task: the task's name.
        features_train: (n, D); NaN counts as the feature's mean.
        y_train: labels (n,), indicators (n, C) or values (n,).
        features_test: (m, D).
        y_test: like ``y_train``.
        seed: of the rows on which penalties are tried.
    """
    if not len(y_train) or not len(y_test):
        raise TableError(f"baselines need rows: found {len(y_train)} to train on and {len(y_test)} to test on")
    if task == "classification":
        classes = np.unique(y_train)
        y_train, y_test = codes(y_train, classes), codes(y_test, classes)
    outputs = {"majority": _majority(task, y_train, len(y_test))}
    thresholds = {"majority": _threshold(task, y_train, _majority(task, y_train, len(y_train)))}
    if _varies(task, y_train):
        train, test = _standardised(features_train, features_test)
        # One thread: products this narrow gain nothing from more, and on a busy machine lose ten times.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", UserWarning)  # stopping early is meant, many classes are fine
            outputs["linear"], thresholds["linear"] = _linear(task, train, y_train, test, seed)
    return {
        name: {k: s.value for k, s in measure(task, y_test, output, threshold=thresholds[name]).items()}
        for name, output in outputs.items()
    }


def _threshold(task: str, y: Array, p: Array) -> float:
    """The probability from which on a label is answered, best on these rows, as a model chooses its own."""
    if task != "multilabel":
        return 0.5
    f1 = metrics(task)["f1_samples"].rows
    assert f1 is not None
    tried = np.unique(np.r_[np.linspace(0.02, 0.98, 49), np.clip(np.quantile(p, np.linspace(0.5, 1, 21)), 1e-6, 1.0)])
    return float(max(tried, key=lambda t: float(f1(y, (p >= t).astype(np.int64)).mean())))


def _majority(task: str, y: Array, rows: int) -> Array:
    share = np.bincount(y) / len(y) if task == "classification" else np.asarray(y, float).mean(0)
    return np.repeat(np.asarray(share)[None], rows, axis=0)


def _varies(task: str, y: Array) -> bool:
    return bool((y != y[0]).any()) and len(y) >= 8


def _standardised(train: Array, test: Array) -> tuple[Array, Array]:
    train, test = np.array(train, dtype=np.float32), np.array(test, dtype=np.float32)
    there = np.isfinite(train)
    rows = np.maximum(there.sum(0), 1)
    train[~there] = 0.0
    mean = train.sum(0, dtype=np.float64) / rows
    test[~np.isfinite(test)] = np.nan
    for x, present in ((train, there), (test, ~np.isnan(test))):
        x -= mean.astype(np.float32)
        x[~present] = 0.0
    scale = np.sqrt(np.einsum("ij,ij->j", train, train) / rows)
    for x in (train, test):
        x *= np.where(scale > 1e-6, 1.0 / np.maximum(scale, 1e-6), 0.0).astype(np.float32)
        np.clip(x, -10, 10, out=x)
    return train, test


def _linear(task: str, train: Array, y: Array, test: Array, seed: int) -> tuple[Array, float]:
    """Answers for the test rows, and the threshold for labels; penalty and threshold chosen on training rows."""
    order = np.random.default_rng(seed).permutation(len(y))[:TRIED_ROWS]
    fit, held = order[len(order) // 4 :], order[: len(order) // 4]
    judge = metrics(task)["mae" if task == "regression" else "log_loss"]
    tried = [_answers(task, train[fit], y[fit], train[held], strength, STEPS[0], y) for strength in STRENGTHS]
    best = int(np.argmin([judge.score(y[held], output).value for output in tried]))
    output = _answers(task, train, y, test, STRENGTHS[best], STEPS[1], y)
    return output, _threshold(task, y[held], tried[best])


def _answers(task: str, train: Array, y: Array, test: Array, strength: float, steps: int, every: Array) -> Array:
    """Fit and predict: probabilities (m, C), C as in ``every``, or values (m,)."""
    if task == "regression":
        model = Ridge(alpha=1.0 / strength, solver="lsqr", max_iter=3 * steps).fit(train, y)
        return np.asarray(model.predict(test), dtype=np.float64)
    if task == "classification":
        found = np.zeros((len(test), int(every.max()) + 1))
        if (y == y[0]).all():
            found[:, y[0]] = 1.0
            return found
        model = LogisticRegression(C=strength, max_iter=steps).fit(train, y)
        found[:, model.classes_] = model.predict_proba(test)
        return found
    if y.shape[1] == 1:  # which scikit-learn takes for one class of two
        return _answers("classification", train, y[:, 0], test, strength, steps, np.array([0, 1]))[:, 1:]
    # Without hidden layers this is one logistic regression per label, all solved together (35 times faster).
    network = MLPClassifier((), alpha=1.0 / strength, solver="lbfgs", max_iter=steps, random_state=0)
    return np.asarray(network.fit(train, y).predict_proba(test), dtype=np.float64).reshape(len(test), -1)
