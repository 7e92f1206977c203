"""What studies of models and searches have in common: fields, checks, and how a run is fitted and judged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from plait.base.errors import nearest
from plait.base.machine import begin_stage, stage_mb
from plait.data.labels import label_text
from plait.estimators import settings
from plait.estimators.fit_settings import FitSettings
from plait.evaluation.baselines import ESTIMATORS
from plait.study import conditions, model_check, models
from plait.study.judging import Judged, Requested, default_metrics, judge, truth_of
from plait.study.reader import Problem
from plait.study.runs import Run, subsets
from plait.study.setting import Latest, Setting
from plait.study.subjects import Finished, StudyFile, Subject
from plait.study.tables import StudyTable
from plait.study.variants import Variant

if TYPE_CHECKING:
    pass


class Predicting(Subject):
    """What fits estimators and baselines to predict a target, and judges them on other rows."""

    whose: ClassVar[str] = "model"
    thing: ClassVar[str] = "model"
    managed: ClassVar[Mapping[str, str]] = {
        "modalities": "the tables (data:) and modalities:",
        "task": "data:",
        "root": "data:",
        "store": "the option --store",
        "progress": "the runner",
        "random_state": "seeds:",
    }

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {f.name: f.default for f in dataclasses.fields(FitSettings)} | {"estimator": ESTIMATORS[0]}

    def defaults(self) -> Mapping[str, Any]:
        """The estimator's own values."""
        return self._defaults

    def field_problem(self, name: str, value: Any) -> str | None:
        """The estimator's own check, and the baselines' names."""
        if name.partition(".")[0] != "estimator":
            return settings.check_value(name, value)
        return None if value in ESTIMATORS else f"unknown estimator {value!r} ({nearest(str(value), ESTIMATORS)})"

    def canonical(self, variant: Variant) -> Mapping[str, Any]:
        """All fields; of a baseline only its encoders."""
        options = dict(variant.model)
        if options.get("estimator", ESTIMATORS[0]) != ESTIMATORS[0]:
            options = {k: v for k, v in options.items() if k in ("estimator", "encoders")}
        return {**self._defaults, **options}

    def problems(self) -> Iterator[Problem]:
        """Targets, metrics and budget."""
        return model_check.problems(self.spec)

    def variant_problems(self, known: Sequence[Variant]) -> Iterator[Problem]:
        """Operators that do not fit their depth."""
        return model_check.variant_problems(self.spec, known, self._defaults)

    def table_problems(self, study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
        """Modalities, encoders, conditions, metrics and claims that do not fit the tables."""
        return model_check.table_problems(study, tables)

    def execute(self, table: StudyTable, run: Run, setting: Setting, groups: Latest) -> Finished:
        """Fit on the training part, judge under every condition and pattern."""
        spec, split = self.spec, self.split_of(run.data)

        def group_of() -> models.Group:
            return models.Group(table, *self.rows(table, split, run.seed, run.split), run, setting)

        group = groups.get(run.share, group_of)
        fitted = models.fit(group, run)
        clock = time.perf_counter()
        begin_stage()
        requested = Requested(
            tests=[value for value in spec.test if conditions.applies(value, table.schema)],
            patterns=subsets(spec.present, run.subset) or [run.subset],
            subset=run.subset,
            names=spec.metrics or default_metrics(table.task),
        )
        judged = judge(table, group.test, fitted, group.lost, requested)
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
