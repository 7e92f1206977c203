"""The scores of an epoch from counts alone: the values of ``plait.metrics`` at a fraction of their time."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

#: Task -> what is recorded of each pattern.
METRICS = {
    "classification": ("accuracy", "f1_macro", "f1_micro", "f1_weighted"),
    "multilabel": ("accuracy", "f1_samples", "f1_macro", "f1_micro", "f1_weighted"),
    "regression": ("mae", "rmse", "r2"),
}


def scores(task: str, y: Array, found: Array) -> dict[str, float]:
    """Scores of answers.

    Shape:
        classification: y and found are codes (n,), -1 a class never seen; multilabel: indicators (n, C); regression:
        values (n,).

    Example:
        >>> scores("classification", np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))["accuracy"]
        0.75
    """
    if not len(y):
        return {}
    return {"classification": _classes, "multilabel": _labels, "regression": _numbers}[task](y, found)


def _f1(both: Array, either: Array) -> Array:
    """F1 of each class; NaN for one that is neither true nor said."""
    return np.where(either > 0, 2.0 * both / np.maximum(either, 1), np.nan)


def _classes(y: Array, found: Array) -> dict[str, float]:
    count = int(max(y.max(), found.max())) + 1
    true, said = np.bincount(y + 1, minlength=count + 1), np.bincount(found + 1, minlength=count + 1)
    both = np.bincount(y[y == found] + 1, minlength=count + 1)
    of_each = _f1(both, true + said)
    accuracy = float(np.mean(y == found))
    return {
        "accuracy": accuracy,
        "f1_macro": float(np.nanmean(of_each)),
        "f1_micro": accuracy,  # each row has one class and gets one
        "f1_weighted": float(np.nansum(np.nan_to_num(of_each) * true) / len(y)),
    }


def _labels(y: Array, found: Array) -> dict[str, float]:
    y, found = y.astype(bool), found.astype(bool)
    both, size = y & found, y.sum(1) + found.sum(1)
    rows = np.where(size > 0, 2.0 * both.sum(1) / np.maximum(size, 1), 1.0)  # rightly left without labels: 1
    true = y.sum(0)
    of_each = _f1(both.sum(0), true + found.sum(0))
    whole = int(true.sum() + found.sum())
    return {
        "accuracy": float((y == found).all(1).mean()),
        "f1_samples": float(rows.mean()),
        "f1_macro": float(np.nanmean(of_each)) if whole else float("nan"),
        "f1_micro": float(2.0 * both.sum() / whole) if whole else float("nan"),
        "f1_weighted": float(np.nansum(np.nan_to_num(of_each) * true) / true.sum()) if true.sum() else float("nan"),
    }


def _numbers(y: Array, found: Array) -> dict[str, float]:
    error = found - y
    spread = float(np.square(y - y.mean()).sum())
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "r2": 1.0 - float(np.square(error).sum()) / spread if spread > 0 else float("nan"),
    }
