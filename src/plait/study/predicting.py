"""What studies of models and searches have in common: fields, checks, and how a run is fitted and judged."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from plait.base.errors import nearest
from plait.base.inputs import subsets_of
from plait.base.machine import begin_stage, stage_mb
from plait.data.labels import label_text
from plait.estimators import settings
from plait.estimators.fit_settings import FitSettings
from plait.evaluation.baselines import ESTIMATORS
from plait.metrics.base import inputs, metrics
from plait.study import conditions, models
from plait.study.model_check import Checked, default_metrics
from plait.study.models import Fit, Pattern, truth_of
from plait.study.runs import Run, patterns_problem, subsets
from plait.study.subjects import Finished
from plait.study.tables import Latest, Setting, StudyTable
from plait.study.variants import Variant


class Predicting(Checked):
    """What fits estimators and baselines to predict a target, and judges them on other rows."""

    whose = "model"
    thing = "model"
    managed: ClassVar[Mapping[str, str]] = {
        **Checked.managed,
        "modalities": "the tables (data:) and modalities:",
        "task": "data:",
    }

    @cached_property
    def _defaults(self) -> dict[str, object]:
        own = {"estimator": ESTIMATORS[0], "subsets": None}
        return {f.name: f.default for f in dataclasses.fields(FitSettings)} | own

    def defaults(self) -> Mapping[str, Any]:
        return self._defaults

    def field_problem(self, name: str, value: object) -> str | None:
        """The estimator's own check, the baselines' names, and modalities that a variant is kept to."""
        if name == "subsets":
            return patterns_problem(value)
        if name.partition(".")[0] != "estimator":
            return settings.check_value(name, value)
        return None if value in ESTIMATORS else f"unknown estimator {value!r} ({nearest(str(value), ESTIMATORS)})"

    def canonical(self, variant: Variant) -> Mapping[str, Any]:
        """All fields; of a baseline only its encoders, and whether words stand beside them."""
        options = dict(variant.model)
        if options.get("estimator", ESTIMATORS[0]) != ESTIMATORS[0]:
            kept = ("estimator", "encoders", "ngrams", "subsets", "minutes")
            options = {k: v for k, v in options.items() if k in kept}
        return {**self._defaults, **options}

    def execute(self, table: StudyTable, run: Run, setting: Setting, groups: Latest) -> Finished:
        spec, split = self.spec, self.split_of(run.data)

        def group_of() -> models.Group:
            return models.Group(table, *self.rows(table, split, run.seed, run.split), run, setting)

        group = groups.get(run.share, group_of)
        fitted = models.fit(group, run)
        clock = time.perf_counter()
        begin_stage()
        tests = [value for value in spec.test if conditions.applies(value, table.schema)]
        patterns = subsets(spec.present, run.subset) or [run.subset]
        names = spec.metrics or default_metrics(table.task)
        judged = judge(table, group, fitted, run.subset, tests=tests, patterns=patterns, names=names)
        line = {
            "status": "done",
            "classes": None if table.classes is None else [label_text(c) for c in table.classes],
            "train_rows": len(group.train),
            "test_rows": len(group.test),
            "evaluations": [one.line for one in judged],
            "seconds": {**fitted.seconds, "test": round(time.perf_counter() - clock, 3)},
            "memory": {"stage_peak_mb": {**fitted.peaks, "test": stage_mb()}},
            "weights": fitted.weights,
        }
        return Finished(line, _arrays(table, group, judged), fitted.epochs)


def _arrays(table: StudyTable, group: models.Group, judged: Sequence[Judged]) -> dict[str, np.ndarray]:
    result = {"rows": group.test.astype(np.int64), "target": truth_of(table, group.test)}
    if table.task == "multilabel":
        result |= {f"threshold_{i}": np.asarray(one.threshold, np.float32) for i, one in enumerate(judged)}
    return result | {f"output_{i}": one.output.astype(np.float32) for i, one in enumerate(judged)}


@dataclasses.dataclass(frozen=True)
class Judged:
    """One evaluation: what results.jsonl says of it, and the outputs."""

    line: dict[str, Any]
    output: np.ndarray
    threshold: Any = 0.5


def judge(
    table: StudyTable,
    group: models.Group,
    fitted: Fit,
    subset: Pattern,
    *,
    tests: Sequence[Any],
    patterns: Sequence[Pattern],
    names: Sequence[str],
) -> list[Judged]:
    """Every test condition with every pattern of what is present of the subset that the model was trained on.

    Where a condition takes modalities away, each row's output is that of the pattern which is left to it: one pass of the
    model serves all rates, and only everything at once is judged.
    """
    result = []
    truth, threshold = truth_of(table, group.test), fitted.threshold
    for value in tests:
        condition = conditions.parsed(value)
        changing, absences = conditions.divided(condition)
        if absences:
            gone, every = group.lost(absences), subsets_of(subset)
            given = {subset: assembled(fitted.outputs(changing, every), gone, subset)}
            limits = {subset: assembled(threshold(changing, every), gone, subset)} if callable(threshold) else {}
        else:
            given = dict(fitted.outputs(changing, patterns))
            limits = threshold(changing, patterns) if callable(threshold) else {}
        for pattern, output in given.items():
            line: dict[str, Any] = {"condition": conditions.label(condition), "present": list(pattern)}
            if condition is not None:
                line["axes"] = conditions.axes(condition)
            limit = limits.get(pattern, threshold)
            line["metrics"] = scored(table.task, truth, output, names, limit)
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


def scored(
    task: str, truth: np.ndarray, output: np.ndarray, names: Sequence[str], threshold: Any
) -> dict[str, float | None]:
    """Metric -> value; None where it is undefined."""
    given = inputs(task, output, threshold)
    known = metrics(task)
    result = {name: known[name].score(truth, given[known[name].input]).value for name in names if name in known}
    return {name: None if math.isnan(value) else float(value) for name, value in result.items()}
