"""A fitted model on the test rows: outputs under every condition and pattern, and the metrics of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from plait.base.inputs import all_subsets
from plait.data.labels import codes_of
from plait.data.targets import Labels
from plait.metrics.base import inputs, metrics
from plait.study import conditions
from plait.study.tables import StudyTable

Pattern = tuple[str, ...]
#: Gives outputs for patterns of what is present, under the conditions that change cells.
Outputs = Callable[[Any, Sequence[Pattern]], Mapping[Pattern, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """One evaluation: what results.jsonl says of it, and the outputs."""

    line: dict[str, Any]
    output: np.ndarray
    threshold: Any = 0.5


@dataclasses.dataclass(frozen=True)
class Requested:
    """What a fitted model is judged under.

    Attributes:
        tests: conditions as the study tells them.
        patterns: what is present; where a condition decides that, only everything at once is judged.
        subset: what the model was trained on.
        names: metrics.
    """

    tests: Sequence[Any]
    patterns: Sequence[Pattern]
    subset: Pattern
    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted model as ``judge`` needs it; ``peaks``: MB of each stage, where they are known.

    ``threshold``: of several labels; a number, or a function of the same arguments as ``outputs``, which gives each row's.
    """

    outputs: Outputs
    threshold: Any
    seconds: dict[str, float]
    weights: dict[str, int]
    epochs: list[dict[str, Any]]
    peaks: Mapping[str, float] = dataclasses.field(default_factory=dict)


def judge(
    table: StudyTable,
    test: np.ndarray,
    fitted: Fit,
    lost: Callable[[Any], Mapping[str, np.ndarray]],
    requested: Requested,
) -> list[Judged]:
    """Every test condition with every pattern.

    Where a condition takes modalities away, each row's output is that of the pattern which is left to it: one pass of the
    model serves all rates.

    Args:
        table: that the test rows are of.
        test: their positions.
        fitted: the model's outputs, and the threshold of several labels.
        lost: of the parts of a condition that take modalities away: modality -> (n,) bool.
        requested: conditions, patterns and metrics.
    """
    result = []
    truth, subset, threshold = truth_of(table, test), requested.subset, fitted.threshold
    for value in requested.tests:
        condition = conditions.parsed(value)
        changing, absences = conditions.divided(condition)
        if absences:
            gone, every = lost(absences), all_subsets(subset)
            given = {subset: assembled(fitted.outputs(changing, every), gone, subset)}
            limits = {subset: assembled(threshold(changing, every), gone, subset)} if callable(threshold) else {}
        else:
            given = dict(fitted.outputs(changing, requested.patterns))
            limits = threshold(changing, requested.patterns) if callable(threshold) else {}
        for pattern, output in given.items():
            line: dict[str, Any] = {"condition": conditions.label(condition), "present": list(pattern)}
            if condition is not None:
                line["axes"] = conditions.axes(condition)
            limit = limits.get(pattern, threshold)
            line["metrics"] = scored(table.task, truth, output, requested.names, limit)
            result.append(Judged(line, output, limit))
    return result


def assembled(outputs: Mapping[Pattern, np.ndarray], gone: Mapping[str, np.ndarray], subset: Pattern) -> np.ndarray:
    """Each row from the output of what is present in it.

    Example:
        >>> outputs = {(): np.array([0.0, 0.0]), ("a",): np.array([1.0, 2.0])}
        >>> assembled(outputs, {"a": np.array([True, False])}, ("a",)).tolist()
        [0.0, 2.0]
    """
    result = outputs[subset].copy()
    for pattern, output in outputs.items():
        rows = np.logical_and.reduce([gone[name] != (name in pattern) for name in subset])
        result[rows] = output[rows]
    return result


def truth_of(table: StudyTable, rows: np.ndarray) -> np.ndarray:
    """Class indices (n,), indicators (n, C) or values (n,)."""
    if isinstance(table.y, Labels):
        return np.asarray(table.y.indicator[rows], np.int64)
    if table.classes is not None:
        return codes_of(table.y[rows], table.classes)
    return np.asarray(table.y[rows], np.float64)


def spread(output: np.ndarray, known: Sequence[Any], classes: Sequence[Any] | None) -> np.ndarray:
    """Probabilities over the classes of the training part, at their places among all classes of the table."""
    if classes is None or list(known) == list(classes):
        return output
    result = np.zeros((len(output), len(classes)))
    result[:, codes_of(known, classes)] = output
    return result


def scored(
    task: str, truth: np.ndarray, output: np.ndarray, names: Sequence[str], threshold: Any
) -> dict[str, float | None]:
    """Metric -> value; None where it is undefined."""
    given = inputs(task, output, threshold)
    known = metrics(task)
    result = {name: known[name].score(truth, given[known[name].input]).value for name in names if name in known}
    return {name: None if math.isnan(value) else float(value) for name, value in result.items()}


def default_metrics(task: str) -> tuple[str, ...]:
    """What is measured where the study names no metric."""
    return {
        "classification": ("accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece"),
        "multilabel": ("f1_samples", "f1_micro", "f1_macro", "map_macro", "log_loss"),
        "regression": ("r2", "mae", "rmse", "spearman"),
    }[task]
