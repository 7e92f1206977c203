"""What studies of models and searches have in common: fields, what is wrong with them, and how a run is fitted and judged."""

from __future__ import annotations

import dataclasses
import difflib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from plait.base import registry
from plait.base.errors import PlaitError, nearest
from plait.base.fusion import resolve
from plait.base.inputs import subsets_of
from plait.base.machine import begin_stage, stage_mb
from plait.data.dropped import left_out
from plait.data.labels import label_text
from plait.data.schema_yaml import Place, Problem
from plait.encoders.featurize import Featurizer
from plait.estimators import regime, settings
from plait.estimators.fit_settings import FitSettings
from plait.evaluation.baselines import ESTIMATORS
from plait.metrics.base import METRICS, inputs, metrics
from plait.networks.base import depth_number
from plait.study import conditions, models
from plait.study.models import Fit, Pattern, truth_of
from plait.study.runs import Run, for_subset, patterns_problem, subsets
from plait.study.spec import CLEAN, DataSpec, Spec
from plait.study.subjects import Finished, Subject
from plait.study.tables import Latest, Setting, StudyTable
from plait.study.variants import Variant, told_fields
from plait.training import design


class Predicting(Subject):
    """What fits estimators and baselines to predict a target, and judges them on other rows."""

    whose = "model"
    thing = "model"
    managed: ClassVar[Mapping[str, str]] = {
        **Subject.managed,
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
        """All fields; of a baseline only its encoders, its columns, and whether words stand beside them."""
        options = dict(variant.model)
        if options.get("estimator", ESTIMATORS[0]) != ESTIMATORS[0]:
            kept = ("estimator", "encoders", "ngrams", "subsets", "minutes", "drop")
            options = {k: v for k, v in options.items() if k in kept}
        return {**self._defaults, **options}

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        for i, value in enumerate(spec.data):
            place: Place = ("data",) if len(spec.data) == 1 else ("data", i)
            if value.dataset is not None and value.dataset in registry.names("datasets"):
                yield from _dataset(spec, value, place)
        their = tasks(spec)
        yield from _metrics(spec, their)
        yield from _claims(spec, their)
        if spec.budget.trained_weights is not None:
            for place, name, _ in told_fields(spec):
                if name in ("width", "max_weights"):
                    yield place, f"'{name}' and budget: trained_weights say different things about widths; keep one"

    def variant_problems(self, known: Sequence[Variant]) -> Iterator[Problem]:
        yield from self._without_validation_rows(known)
        seen: set[str] = set()
        for variant in known:
            wrong = _fusion_and_depth({**self.defaults(), **variant.model})
            if wrong is not None and wrong not in seen:
                seen.add(wrong)
                yield _place_of(self.spec, "fusion", "depth"), f"variant '{variant.label}': {wrong}"

    def _without_validation_rows(self, known: Sequence[Variant]) -> Iterator[Problem]:
        usual = self.defaults()["validation"]
        wanting = [v.label for v in known if v.model.get("validation", usual) == "given"]
        for i, data_spec in enumerate(self.spec.data if wanting else ()):
            split = self.split_of(i)
            if split.kind in ("kfold", "time") or (split.kind in ("holdout", "repeated") and len(split.fractions) == 2):
                yield (
                    ("data", i, "split") if data_spec.split else ("split",),
                    f"split: variant '{wanting[0]}' is chosen by validation rows (validation: given), and {split.kind} has "
                    "none; take three fractions, or official parts that say valid",
                )

    def table_problems(self, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
        yield from _modality_names(self.spec, tables)
        for part in (_dropped, _encoders, _conditions, _table_claims):
            yield from part(self, tables)
        yield from _metrics(self.spec, {table.task for table in tables.values()})

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


# -- what is wrong with a study of models ------------------------------------------------------------------------------


def _dataset(spec: Spec, data_spec: DataSpec, place: Place) -> Iterator[Problem]:
    variant = registry.find("datasets", str(data_spec.dataset))
    if not variant.tasks:
        yield (*place, "dataset"), f"data set '{data_spec.dataset}' has no target to predict"
    elif data_spec.target is not None and data_spec.target not in variant.tasks:
        text = f"unknown target '{data_spec.target}' ({nearest(data_spec.target, variant.tasks)})"
        yield (*place, "target"), f"data set '{data_spec.dataset}': {text}"
    elif data_spec.target is None and len(variant.tasks) > 1:
        yield place, f"data set '{data_spec.dataset}': which target? it has {', '.join(variant.tasks)}"
    split = data_spec.split or spec.split
    if not variant.resplit and split.kind != "official":
        where = (*place, "split") if data_spec.split else ("split",)
        text = "only its official parts keep training and test apart; take split: official"
        yield where, f"data set '{data_spec.dataset}': {text}"


def tasks(spec: Spec) -> set[str] | None:
    """The tasks of the study's tables; None where a table must be read to know."""
    result = set()
    for value in spec.data:
        if value.dataset is not None and value.dataset not in registry.names("datasets"):
            return None
        known = registry.find("datasets", value.dataset).tasks if value.dataset else {}
        task = value.task or known.get(value.target or next(iter(known), ""))
        if task is None:
            return None
        result.add(task)
    return result


def _fusion_and_depth(options: Mapping[str, Any]) -> str | None:
    if options["estimator"] != ESTIMATORS[0]:
        return None
    try:
        operator, _, _ = resolve(options["fusion"])
        depth_number(options["depth"], options["layers"])
        design.check_depth(options["network"], options["depth"], options["layers"])
    except PlaitError as error:
        return str(error)
    level = "decision" if options["depth"] == "decision" else "feature"
    if level in operator.levels:
        return None
    name, depth = operator.name(), options["depth"]
    joins = "outputs of heads" if "decision" in operator.levels else "features"
    rule = f"exclude: [{{fusion: {name}, depth: {depth}}}]"
    return f"fusion '{name}' joins {joins}; depth '{depth}' gives others ({rule})"


def _place_of(spec: Spec, *names: str) -> Place:
    for name in names:
        if name in spec.grid:
            return ("grid", name)
        for label, fields in spec.variants.items():
            if name in fields:
                return ("variants", label, name)
    return ("model", names[0])


def _metrics(spec: Spec, their: set[str] | None) -> Iterator[Problem]:
    """Metrics that none of the tasks has, and tasks that none of the metrics is for."""
    known = {name for _, name in METRICS}
    fitting = known if their is None else {name for task, name in METRICS if task in their}
    for i, name in enumerate(spec.metrics):
        if name not in known:
            yield ("metrics", i), f"unknown metric '{name}' ({nearest(name, fitting)})"
        elif name not in fitting:
            text = f"metric '{name}' is not for {' or '.join(sorted(their or ()))} ({nearest(name, fitting)})"
            yield ("metrics", i), text
    for task in sorted(their or ()):
        if spec.metrics and not any((task, name) in METRICS for name in spec.metrics):
            yield ("metrics",), f"metrics: none of them is for {task}; add one"


def _claims(spec: Spec, their: set[str] | None) -> Iterator[Problem]:
    measured = set(spec.metrics)
    if not measured and their is not None:
        measured = {name for task in their for name in default_metrics(task)}
    for i, claim in enumerate(spec.claims):
        if measured and claim.metric not in measured:
            text = f"claim on '{claim.metric}', which is not measured ({nearest(claim.metric, measured)})"
            yield ("claims", i, "metric"), text


def default_metrics(task: str) -> tuple[str, ...]:
    """What is measured where the study names no metric."""
    return {
        "classification": ("accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece"),
        "multilabel": ("f1_samples", "f1_micro", "f1_macro", "map_macro", "log_loss"),
        "regression": ("r2", "mae", "rmse", "spearman"),
    }[task]


def _modality_names(spec: Spec, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    known = {name for table in tables.values() for name in table.modalities}
    kinds = {m.kind for table in tables.values() for m in table.schema.modalities}
    for field, patterns, inner in (("modalities", spec.modalities, ("subsets",)), ("present", spec.present, ())):
        if isinstance(patterns, str):
            continue
        for i, pattern in enumerate(patterns):
            for name in pattern:
                if name not in known:
                    yield (field, *inner, i), f"{field}: unknown modality '{name}' ({nearest(name, known)})"
        for table in tables.values():
            if not subsets(patterns, table.modalities):
                yield (field,), f"{field}: none of them fits {table.label}, which has {', '.join(table.modalities)}"
    for place, name, value in told_fields(spec):
        keys = [name.split(".")[1]] if name.startswith("encoders.") else list(value) if name == "encoders" else []
        for key in keys:
            if key not in known | kinds:
                yield place, f"encoders: unknown modality '{key}' ({nearest(str(key), known | kinds)})"
        for key in regime.names_in(name, value):
            if key not in known | kinds:
                yield place, f"{name.partition('.')[0]}: unknown modality '{key}' ({nearest(key, known | kinds)})"


def _dropped(subject: Subject, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    """Columns to leave out that there are not, or without which a modality has none."""
    for place, name, value in told_fields(subject.spec):
        for table in tables.values() if name == "drop" else ():
            try:
                left = left_out(table.schema, value, table.frame.columns).modalities
            except PlaitError as error:
                yield place, f"{table.label}: {error}"
                continue
            if gone := [name for name in table.modalities if name not in {m.name for m in left}]:
                kept = ", ".join(m.name for m in left)
                yield (
                    place,
                    f"{table.label}: drop: leaves no column of modality {', '.join(map(repr, gone))}; say instead which "
                    f"modalities there are (modalities: {{subsets: [[{kept}]]}})",
                )


def _encoders(subject: Subject, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    """Encoders that cannot be made: of another kind, or with options that they do not have."""
    seen: set[str] = set()
    named_at = (place for place, name, _ in told_fields(subject.spec) if name.startswith("encoders"))
    where: Place = next(named_at, ("data",))
    for variant in subject.variants():
        for table in tables.values():
            try:
                told_there = for_subset(variant.model, table.modalities, table)
                named = told_there.get("encoders")
                fed = design.schema_for(told_there.get("network", "fusion"), table.schema, named)
                Featurizer(regime.schema_for(told_there, fed), named)
            except PlaitError as error:
                if str(error) not in seen:
                    seen.add(str(error))
                    yield where, f"{table.label}: {error}"


def _conditions(subject: Subject, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    for part, listed in (("train", subject.spec.train), ("test", subject.spec.test)):
        for i, value in enumerate(listed):
            place: Place = ("conditions", part, i)
            reasons = [_refused(value, table) for table in tables.values()]
            if all(reasons):
                yield place, str(reasons[0])
        some = [value for value in listed if not all(_refused(value, table) for table in tables.values())]
        for table in tables.values():
            if some and all(_refused(value, table) for value in some):
                yield ("conditions", part), f"{part}: none of the conditions fits {table.label}; add {CLEAN}"
    for i, value in enumerate(subject.spec.train):
        if any(_nothing_left(value, table) for table in tables.values()):
            label = conditions.label(conditions.parsed(value))
            text = f"train: '{label}' takes every modality from every row; nothing is left to learn from"
            yield ("conditions", "train", i), text


def _refused(value: object, table: StudyTable) -> str | None:
    try:
        condition = conditions.parsed(value)
        if condition is not None:
            for part in conditions.parts(condition):
                part.targets(table.schema)
    except PlaitError as error:
        return str(error)
    return None


def _nothing_left(value: object, table: StudyTable) -> bool:
    _, absences = conditions.divided(conditions.parsed(value))
    if not absences or _refused(value, table):
        return False
    gone = conditions.lost(absences, table.frame, table.schema, table.schema.root)
    return all(bool(rows.all()) for rows in gone.values())


def _table_claims(subject: Subject, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    labels = {table.label for table in tables.values()}
    names = {name for table in tables.values() for name in table.modalities}
    variants = {variant.label for variant in subject.variants()}
    tested = {conditions.label(conditions.parsed(setting)) for setting in subject.spec.test}
    for i, claim in enumerate(subject.spec.claims):
        # A paper's data need not be ours; what is nearly the name of ours is a slip.
        slip = difflib.get_close_matches(str(claim.data), labels, n=1, cutoff=0.85) if claim.data else []
        if slip and slip[0] != claim.data:
            yield ("claims", i, "data"), f"claim on the data '{claim.data}': did you mean '{slip[0]}'?"
        for field, value, known in (("variant", claim.variant, variants), ("condition", claim.condition, tested)):
            if value is not None and value not in known:
                text = f"claim on the {field} '{value}', which the study has not ({nearest(value, known)})"
                yield ("claims", i, field), text
        for name in claim.subset or ():
            if name not in names:
                yield ("claims", i, "subset"), f"claim: unknown modality '{name}' ({nearest(name, names)})"
