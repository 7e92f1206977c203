"""Where a score comes from: class by class, confusions, reliability, the target's distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from plait.base.errors import hidden
from plait.metrics.base import BINS, Metric, bin_sums
from plait.metrics.classification import one_against_rest
from plait.metrics.multilabel import at_least_two

Array = NDArray[Any]
#: Classes that a confusion matrix shows one by one; the others are one row and one column.
SHOWN = 20
#: Rows kept for a picture of predicted against true values.
POINTS = 500
#: Rows with the largest loss that are kept, and characters of each of their cells.
WORST, CELL = 10, 120
#: What stands for rows of a class that the model does not know.
UNKNOWN = "(unknown class)"


class Confusion(TypedDict):
    """Rows by true class (down) and predicted class (across)."""

    labels: list[str]
    counts: list[list[int]]


def per_class(classes: Sequence[str], y: Array, labels: Array, probabilities: Array) -> list[dict[str, Any]]:
    """Precision, recall, F1, rows, times predicted and AUC of each class; NaN where undefined.

    ``y`` and ``labels``: class indices (n,), or indicators (n, C).
    """
    places = np.arange(len(classes))
    both = (y, labels) if y.ndim == 1 else (at_least_two(y), at_least_two(labels))
    precision, recall, f1, _ = precision_recall_fscore_support(*both, labels=places, average=None, zero_division=np.nan)
    true = y == places[:, None] if y.ndim == 1 else y.T > 0  # (C, n)
    predicted = labels == places[:, None] if y.ndim == 1 else labels.T > 0
    auc = one_against_rest(true, probabilities)
    columns = {"support": true.sum(1), "predicted": predicted.sum(1), "precision": precision, "recall": recall}
    columns |= {"f1": f1, "auc": np.asarray(auc)}
    return [{"label": name, **{key: v[c].item() for key, v in columns.items()}} for c, name in enumerate(classes)]


def confusion(classes: Sequence[str], y: Array, predicted: Array) -> Confusion:
    """The classes with most rows one by one, the rest together, and rows of unknown classes on a line of their own."""
    size = len(classes)
    counts = np.zeros((size + 1, size), dtype=np.int64)  # the last line: unknown classes
    np.add.at(counts, (np.where(y < 0, size, y), predicted), 1)
    known, unknown = counts[:-1], counts[-1:]
    names = list(classes)
    if size > SHOWN:
        order = np.argsort(-(known.sum(1)), kind="stable")
        top, rest = np.sort(order[:SHOWN]), np.sort(order[SHOWN:])
        known = np.vstack([known[top], known[rest].sum(0, keepdims=True)])
        both = np.vstack([known, unknown])
        both = np.hstack([both[:, top], both[:, rest].sum(1, keepdims=True)])
        known, unknown = both[:-1], both[-1:]
        names = [names[i] for i in top] + [f"({len(rest)} others)"]
    if unknown.any():
        known = np.hstack([np.vstack([known, unknown]), np.zeros((len(known) + 1, 1), dtype=np.int64)])
        names.append(UNKNOWN)
    return {"labels": names, "counts": known.tolist()}


def reliability(confidence: Array, hit: Array) -> list[dict[str, float]]:
    """Each bin that holds rows: its bounds, rows, mean probability and hit rate."""
    rows, summed, hits = bin_sums(confidence, hit)
    there = np.flatnonzero(rows)
    columns = {"low": there / BINS, "high": (there + 1) / BINS, "rows": rows[there]}
    shares = {"confidence": summed[there] / rows[there], "hit_rate": hits[there] / rows[there]}
    result: list[Any] = pd.DataFrame(columns | shares).to_dict("records")
    return result


def distribution(classes: Sequence[str], y: Array) -> list[dict[str, Any]]:
    """Rows of each class or label, most first; of a number the rows of up to 20 ranges of equal width."""
    if classes:
        counts = [int((y == c).sum()) for c in range(len(classes))] if y.ndim == 1 else y.sum(0).tolist()
        options: list[dict[str, Any]] = [{"label": n, "rows": int(k)} for n, k in zip(classes, counts, strict=True)]
        options.sort(key=lambda record: -record["rows"])
        unknown = int((y < 0).sum()) if y.ndim == 1 else 0
        return options + ([{"label": UNKNOWN, "rows": unknown}] if unknown else [])
    values = np.unique(y)
    edges = np.histogram_bin_edges(y, bins=min(20, max(len(values), 1)))
    rows, _ = np.histogram(y, edges)
    bounds = zip(edges[:-1], edges[1:], rows, strict=True)
    return [
        {"label": f"{low:.4g} to {high:.4g}", "low": float(low), "high": float(high), "rows": int(k)}
        for low, high, k in bounds
    ]


def worst_rows(
    metric: Metric, y: Array, output: Array, frame: pd.DataFrame, said: Sequence[Any]
) -> list[dict[str, Any]]:
    """The rows with the largest loss, most first: where they are, their loss, what is true and answered, and their cells.

    ``said``: true values and answers (2, n), as a reader knows them.
    """
    assert metric.rows is not None
    losses = np.asarray(metric.rows(y, output), dtype=float)
    chosen = np.argsort(-losses, kind="stable")[:WORST]
    return [
        {
            "row": frame.index[i] if isinstance(frame.index[i], str) else int(frame.index[i]),
            "loss": float(losses[i]),
            "true": said[0][i],
            "answer": said[1][i],
            "cells": {str(c): _short(v) for c, v in zip(frame.columns, frame.iloc[i], strict=True)},
        }
        for i in chosen.tolist()
    ]


def _short(cell: object) -> str:
    """A cell in at most a line; an empty one is an empty text."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    text = " ".join(hidden(str(cell)).split())
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def points(y: Array, values: Array, seed: int) -> list[list[float]]:
    """Pairs of true and predicted values, at most ``POINTS`` of them drawn at random."""
    chosen = np.arange(len(y))
    if len(y) > POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(y), POINTS, replace=False))
    return [[float(y[i]), float(values[i])] for i in chosen]
