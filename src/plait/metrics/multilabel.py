"""Any number of classes at once: y, labels (0 or 1) and probabilities are (n, C)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn import metrics as sk

from plait.metrics import base
from plait.metrics.base import (
    Array,
    ByRows,
    Resampled,
    Score,
    UndefinedError,
    calibration,
    calibration_resampled,
    mean_defined,
    ratio,
    register,
)
from plait.metrics.classification import LEAST

TASK = "multilabel"


def _row_f1(y: Array, predicted: Array) -> Array:
    both = (y * predicted).sum(1)
    return ratio(2.0 * both, (y.sum(1) + predicted.sum(1)).astype(float), empty=1.0)


def _label_f1(y: Array, predicted: Array, counts: Array) -> tuple[Array, Array]:
    """F1 and true rows of every label (C, b); F1 is NaN where a label is neither true nor predicted."""
    true = y.T.astype(float) @ counts
    guessed = predicted.T.astype(float) @ counts
    return ratio(2.0 * ((y * predicted).T.astype(float) @ counts), true + guessed), true


def _micro(y: Array, predicted: Array, counts: Array) -> Array:
    both = (y * predicted).sum(1).astype(float) @ counts
    return ratio(2.0 * both, (y.sum(1) + predicted.sum(1)).astype(float) @ counts)


def _macro(y: Array, predicted: Array, counts: Array) -> Array:
    return mean_defined(_label_f1(y, predicted, counts)[0])


def _weighted(y: Array, predicted: Array, counts: Array) -> Array:
    values, true = _label_f1(y, predicted, counts)
    return ratio((np.nan_to_num(values) * true).sum(0), true.sum(0))


def at_least_two(labels: Array) -> Array:
    """Indicators (n, C) of one label with an empty one beside it: scikit-learn takes (n, 1) for one class of two."""
    return labels if labels.shape[1] > 1 else np.hstack([labels, np.zeros_like(labels)])


def _f1(y: Array, predicted: Array, average: str, empty: float) -> float:
    value = float(sk.f1_score(*map(at_least_two, (y, predicted)), average=average, zero_division=empty))
    if np.isnan(value) or (average == "weighted" and not y.any()):
        raise UndefinedError("no row has a label" + ("" if average == "weighted" else ", and none is predicted"))
    return value


@register(TASK, "F1 per row", input="labels", direction="higher", range=(0, 1), resampled=ByRows(_row_f1))
def f1_samples(y: Array, predicted: Array) -> float:
    """F1 of each row's labels, mean over rows; a row rightly left without labels counts 1."""
    return _f1(y, predicted, "samples", 1.0)


@register(TASK, "F1, micro", input="labels", direction="higher", range=(0, 1), resampled=_micro)
def f1_micro(y: Array, predicted: Array) -> float:
    """F1 of all cells of all labels together."""
    return _f1(y, predicted, "micro", np.nan)


@register(TASK, "F1, macro", input="labels", direction="higher", range=(0, 1), resampled=_macro, biased=True)
def f1_macro(y: Array, predicted: Array) -> float:
    """F1 of each label, plain mean over the labels that occur or are predicted."""
    return _f1(y, predicted, "macro", np.nan)


@register(TASK, "F1, weighted", input="labels", direction="higher", range=(0, 1), resampled=_weighted)
def f1_weighted(y: Array, predicted: Array) -> float:
    """F1 of each label, mean weighted by the labels' rows."""
    return _f1(y, predicted, "weighted", 0.0)


def _exact(y: Array, predicted: Array) -> Array:
    return np.asarray((y == predicted).all(1), dtype=float)


@register(TASK, "subset accuracy", input="labels", direction="higher", range=(0, 1), resampled=ByRows(_exact))
def subset_accuracy(y: Array, predicted: Array) -> float:
    """Share of rows whose labels are all right."""
    return float(sk.accuracy_score(y, predicted))


def _cell_losses(y: Array, p: Array) -> Array:
    right = np.clip(np.where(y > 0, p, 1.0 - p), LEAST, 1.0)
    return np.asarray(-np.log(right).mean(1))


@register(TASK, "log loss", input="probabilities", direction="lower", range=(0, np.inf), resampled=ByRows(_cell_losses))
def log_loss(y: Array, p: Array) -> float:
    """Binary cross-entropy, mean over all cells."""
    return float(sk.log_loss(y.ravel(), np.column_stack([1.0 - p.ravel(), p.ravel()]), labels=[0, 1]))


def _defined(y: Array, both_sides: bool) -> list[int]:
    return [c for c in range(y.shape[1]) if y[:, c].any() and not (both_sides and y[:, c].all())]


def _mean_of_labels(function: Callable[[Array, Array], float], y: Array, p: Array, both_sides: bool) -> Score:
    there = _defined(y, both_sides)
    if not there:
        raise UndefinedError("no label has both rows with and rows without it" if both_sides else "no row has a label")
    left = y.shape[1] - len(there)
    note = f"{left} of {y.shape[1]} labels are on no row or every row here and are left out" if left else ""
    return Score(float(np.mean([function(y[:, c], p[:, c]) for c in there])), note)


def _ranks_of_labels(function: Resampled, y: Array, p: Array, counts: Array, both_sides: bool) -> Array:
    there = _defined(y, both_sides)
    values = [function(y[:, c] > 0, p[:, c], counts) for c in there]
    return mean_defined(np.array(values).reshape(len(there), counts.shape[1]))


@register(
    TASK, "AUC", input="probabilities", direction="higher", range=(0, 1), ranked=True,
    resampled=lambda y, p, c: _ranks_of_labels(base.auc, y, p, c, True),
)  # fmt: skip
def auc_macro(y: Array, p: Array) -> Score:
    """Area under the ROC curve of each label, plain mean over the labels that have rows."""
    return _mean_of_labels(sk.roc_auc_score, y, p, True)


@register(
    TASK, "average precision", input="probabilities", direction="higher", range=(0, 1), ranked=True, biased=True,
    resampled=lambda y, p, c: _ranks_of_labels(base.average_precision, y, p, c, False),
)  # fmt: skip
def map_macro(y: Array, p: Array) -> Score:
    """Mean average precision: precision at every threshold, plain mean over the labels that have rows."""
    return _mean_of_labels(sk.average_precision_score, y, p, False)


@register(
    TASK, "calibration error", input="probabilities", direction="lower", range=(0, 1), biased=True,
    resampled=lambda y, p, c: calibration_resampled(p, y.astype(float), c),
)  # fmt: skip
def ece(y: Array, p: Array) -> float:
    """Gap between probability and rate over all cells, mean over 15 bins of equal width weighted by cells."""
    return calibration(p.ravel(), y.ravel().astype(float))
