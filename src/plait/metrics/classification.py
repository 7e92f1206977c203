"""One class of several. An unknown class in ``y`` (-1) is always a miss, at probability 0."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
from sklearn import metrics as sk

from plait.metrics import base
from plait.metrics.base import (
    Array,
    ByRows,
    Score,
    UndefinedError,
    calibration,
    calibration_resampled,
    mean_defined,
    ratio,
    register,
)

TASK = "classification"
#: Probabilities below this count as this much in a logarithm, as scikit-learn has it for float64.
LEAST = float(np.finfo(np.float64).eps)


def true_probability(y: Array, p: Array) -> Array:
    """Probability of the true class (n,); 0 for a class that the model does not know."""
    return np.where(y >= 0, p[np.arange(len(y)), np.maximum(y, 0)], 0.0)


def _tallies(y: Array, predicted: Array, counts: Array) -> tuple[Array, Array, Array]:
    """How often each label that occurs is true, is predicted, and is both: (K, b) each."""
    labels = np.union1d(y, predicted)[:, None]
    true = (labels == y).astype(float)
    guessed = (labels == predicted).astype(float)
    return true @ counts, guessed @ counts, (true * guessed) @ counts


def _averaged(part: str, weighted: bool, y: Array, predicted: Array, counts: Array) -> Array:
    true, guessed, both = _tallies(y, predicted, counts)
    below = {"precision": guessed, "recall": true, "f1": (true + guessed) / 2}[part]
    values = ratio(both, below, empty=0.0)
    if weighted:
        return np.asarray((values * true).sum(0) / true.sum(0))
    return mean_defined(np.where(true + guessed > 0, values, np.nan))


def _hits(y: Array, predicted: Array) -> Array:
    return np.asarray(y == predicted, dtype=float)


def _losses(y: Array, p: Array) -> Array:
    return np.asarray(-np.log(np.clip(true_probability(y, p), LEAST, 1.0)))


def _squares(y: Array, p: Array) -> Array:
    known = (np.arange(p.shape[1]) == y[:, None]).astype(float)
    unknown = (y < 0).astype(float)  # the missing column of a class the model does not know
    return np.asarray((((p - known) ** 2).sum(1) + unknown) / (2 if p.shape[1] == 2 else 1))


def _top(y: Array, p: Array) -> tuple[Array, Array]:
    return p.max(1), _hits(y, p.argmax(1))


@register(TASK, "accuracy", input="labels", direction="higher", range=(0, 1), resampled=ByRows(_hits))
def accuracy(y: Array, predicted: Array) -> float:
    """Share of rows whose class is right."""
    return float(sk.accuracy_score(y, predicted))


def _recall_of_true(y: Array, predicted: Array, counts: Array) -> Array:
    true, _, both = _tallies(y, predicted, counts)
    return mean_defined(ratio(both, true))


@register(
    TASK, "balanced accuracy", input="labels", direction="higher", range=(0, 1), resampled=_recall_of_true, biased=True
)
def balanced_accuracy(y: Array, predicted: Array) -> float:
    """Mean over the classes that occur of the share found."""
    return float(sk.recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=np.nan))


@register(TASK, "log loss", input="probabilities", direction="lower", range=(0, np.inf), resampled=ByRows(_losses))
def log_loss(y: Array, p: Array) -> float:
    """Mean of minus the natural logarithm of the true class's probability."""
    # Not scikit-learn's: it cannot say "a class without a column", and warns of the rounding in a float32 softmax.
    return float(_losses(y, p).mean())


_PARTS = {
    "precision": "right among the predicted",
    "recall": "found among the true",
    "f1": "precision and recall in one",
}
_MEANS = {
    "weighted": "mean over the classes weighted by their rows",
    "macro": "plain mean over the classes that occur or are predicted",
}


def _register_average(part: str, average: str) -> None:
    # A class that is never predicted has precision 0 in averages (scikit-learn's default), NaN in the per-class table.
    def point(y: Array, predicted: Array) -> float:
        labels = np.union1d(y, predicted)
        return float(getattr(sk, f"{part}_score")(y, predicted, average=average, labels=labels, zero_division=0))

    point.__name__, point.__doc__ = f"{part}_{average}", f"{_PARTS[part].capitalize()}, {_MEANS[average]}."
    label, weighted = f"{'F1' if part == 'f1' else part}, {average}", average == "weighted"
    known: dict[str, Any] = {"input": "labels", "direction": "higher", "range": (0, 1), "biased": not weighted}
    register(TASK, label, **known, resampled=partial(_averaged, part, weighted))(point)


for _average, _part in product(_MEANS, _PARTS):
    _register_average(_part, _average)


def one_against_rest(true: Array, p: Array) -> Array:
    """AUC of each class (C,): true (C, n) bool, p (n, C); NaN where the rows hold only one side."""
    once = np.ones((len(p), 1))
    return np.array([base.auc(t, p[:, c], once)[0] for c, t in enumerate(true)])


def _auc_resampled(y: Array, p: Array, counts: Array) -> Array:
    values = [base.auc(y == c, p[:, c], counts) for c in range(p.shape[1]) if (y == c).any()]
    return mean_defined(np.array(values).reshape(len(values), counts.shape[1]))


@register(TASK, "AUC", input="probabilities", direction="higher", range=(0, 1), resampled=_auc_resampled, ranked=True)
def auc_macro(y: Array, p: Array) -> Score:
    """Area under the ROC curve, each class against the rest, plain mean over the classes that have rows."""
    values = one_against_rest(y == np.arange(p.shape[1])[:, None], p)
    left = int(np.isnan(values).sum())
    if left == len(values):
        raise UndefinedError("no class has both rows of its own and rows of others")
    note = f"{left} of {len(values)} classes have no rows here and are left out" if left else ""
    return Score(float(np.nanmean(values)), note)


@register(
    TASK, "calibration error", input="probabilities", direction="lower", range=(0, 1), biased=True,
    resampled=lambda y, p, c: calibration_resampled(*_top(y, p), c),
)  # fmt: skip
def ece(y: Array, p: Array) -> float:
    """Gap between the top class's probability and its hit rate, mean over 15 bins of equal width weighted by rows."""
    return calibration(*_top(y, p))


@register(TASK, "Brier score", input="probabilities", direction="lower", range=(0, 2), resampled=ByRows(_squares))
def brier(y: Array, p: Array) -> float:
    """Squared error of the probabilities, summed over classes (halved for two classes, as is usual)."""
    return float(_squares(y, p).mean())


def _paid(y: Array, costs: Array) -> Array:
    return np.where(y >= 0, costs[np.arange(len(y)), np.maximum(y, 0)], costs.max(1))


@register(TASK, "mean cost", input="costs", direction="lower", range=(0, np.inf), resampled=ByRows(_paid))
def cost(y: Array, costs: Array) -> float:
    """Mean of what the answers cost, by the costs that were given; an unknown class costs as much as the worst error."""
    return float(_paid(y, costs).mean())
