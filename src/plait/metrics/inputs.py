"""From raw targets and a model's output to what metrics take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ModelError, TableError
from plait.metrics.base import Array, Score, metrics


def codes(y: Array, classes: Sequence[Any] | Array) -> Array:
    """Place of each label among ``classes`` (n,), -1 where the model does not know it.

    Example:
        >>> codes(np.array(["b", "a", "x"]), ["a", "b"]).tolist()
        [1, 0, -1]
    """
    return np.asarray(pd.Index(classes).get_indexer(pd.Index(y)), dtype=np.int64)


def inputs(
    task: str, output: Array, threshold: float | Array = 0.5, intervals: Array | None = None
) -> dict[str, Array]:
    """A model's output as each kind of input: probabilities and the labels read from them, or values.

    Args:
        task: the task's name.
        output: probabilities (n, C), or values (n,).
        threshold: multi-label probabilities from here on are a label; one for all, or (C,).
        intervals: (n, 2) lower and upper bounds beside ``values``.
    """
    output = np.asarray(output, dtype=np.float64)
    bad = int((~np.isfinite(output)).reshape(len(output), -1).any(1).sum())
    if bad:
        raise ModelError(f"the model gives NaN or infinity for {bad} of {len(output)} rows; it cannot be scored")
    if task == "classification":
        return {"labels": output.argmax(1), "probabilities": output}
    if task == "multilabel":
        return {"labels": (output >= threshold).astype(np.int64), "probabilities": output}
    return {"values": output} if intervals is None else {"values": output, "intervals": np.asarray(intervals, float)}


def measure(
    task: str, y: Array, output: Array, *, threshold: float | Array = 0.5, intervals: Array | None = None
) -> dict[str, Score]:
    """Every metric of the task that this output allows.

    Args:
        task: the task's name.
        y: class indices (see ``codes``), indicators (n, C), or values (n,).
        output: probabilities (n, C), or values (n,).
        threshold: see ``inputs``.
        intervals: see ``inputs``.

    Example:
        >>> measure("regression", np.array([1.0, 2.0]), np.array([1.0, 4.0]))["mae"].value
        1.0
    """
    if len(y) != len(output) or not len(y):
        raise TableError(
            f"nothing to score: {len(y)} rows of target, {len(output)} of output; expected as many, and some"
        )
    given = inputs(task, output, threshold, intervals)
    return {name: m.score(y, given[m.input]) for name, m in metrics(task).items() if m.input in given}
