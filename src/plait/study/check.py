"""What is wrong with a study although every field is of the right form, told without reading a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from plait.base import registry
from plait.base.errors import PlaitError, nearest
from plait.evaluation.baselines import ESTIMATORS
from plait.metrics.base import METRICS
from plait.study.check_fields import check_value, told_fields, unknown_field
from plait.study.execute import default_metrics
from plait.study.reader import Place
from plait.study.spec import DataSpec, Spec
from plait.study.variants import Variant, variants

Problem = tuple[Place, str]
#: A plan lists every run; this many take a few hundred megabytes.
MOST_RUNS = 100_000
#: Fields of the estimator that are the study's own business, and where it has them.
MANAGED = {
    "modalities": "the tables (data:) and modalities:",
    "task": "data:",
    "root": "data:",
    "store": "the option --store",
    "progress": "the runner",
    "random_state": "seeds:",
}


@cache
def defaults() -> dict[str, Any]:
    """The estimator's own values."""
    from plait.estimators.fit_settings import FitSettings

    return {f.name: f.default for f in dataclasses.fields(FitSettings)} | {"estimator": ESTIMATORS[0]}


def problems(spec: Spec) -> list[Problem]:
    """All mistakes that can be seen without the tables."""
    if spec.space is not None:
        from plait.study import space_check

        return space_check.problems(spec, spec.space)
    found = [*_data(spec), *_settings(spec), *_metrics(spec), *_budget(spec)]
    return found or [*_variants(spec)]


# -- tables ------------------------------------------------------------------------------------------------------------


def _data(spec: Spec) -> Iterator[Problem]:
    single = len(spec.data) == 1
    for i, told in enumerate(spec.data):
        place: Place = ("data",) if single else ("data", i)
        if (told.split or spec.split).kind == "none":
            yield (
                (*place, "split") if told.split else ("split",),
                "split none: only a study of a space learns from all rows",
            )
        if told.dataset is not None:
            yield from _dataset(spec, told, place)


def _dataset(spec: Spec, told: DataSpec, place: Place) -> Iterator[Problem]:
    try:
        variant = registry.find("datasets", str(told.dataset))
    except PlaitError as error:
        yield (*place, "dataset"), str(error)
        return
    if not variant.tasks:
        yield (*place, "dataset"), f"data set '{told.dataset}' has no target to predict"
    elif told.target is not None and told.target not in variant.tasks:
        yield (
            (*place, "target"),
            f"data set '{told.dataset}': unknown target '{told.target}' ({nearest(told.target, variant.tasks)})",
        )
    elif told.target is None and len(variant.tasks) > 1:
        yield place, f"data set '{told.dataset}': which target? it has {', '.join(variant.tasks)}"
    split = told.split or spec.split
    if not variant.resplit and split.kind != "official":
        where = (*place, "split") if told.split else ("split",)
        yield (
            where,
            f"data set '{told.dataset}': only its official parts keep training and test apart; take split: official",
        )


def tasks(spec: Spec) -> set[str] | None:
    """The tasks of the study's tables; None where a table must be read to know."""
    found = set()
    for told in spec.data:
        if told.dataset is not None and told.dataset not in registry.names("datasets"):
            return None
        known = registry.find("datasets", told.dataset).tasks if told.dataset else {}
        task = told.task or known.get(told.target or next(iter(known), ""))
        if task is None:
            return None
        found.add(task)
    return found


# -- fields of the estimator -------------------------------------------------------------------------------------------


def _settings(spec: Spec) -> Iterator[Problem]:
    for place, name, value in told_fields(spec):
        wrong = unknown_field(name, MANAGED, defaults(), "model") or check_value(name, value)
        if wrong is not None:
            yield place, wrong
    for label, fields in spec.variants.items():
        for name in fields:
            if name in spec.grid:
                yield ("variants", label, name), f"'{name}' is varied by the grid too, which would win; keep one"


def _variants(spec: Spec) -> Iterator[Problem]:
    count = max(1, len(spec.variants)) * math.prod(len(values) for values in spec.grid.values())
    runs = count * len(spec.seeds) * max(1, len(spec.data))
    if runs > MOST_RUNS:
        yield ("grid",), f"{runs:,} runs (variants, seeds and tables multiplied); a study takes up to {MOST_RUNS:,}"
        return
    found = variants(spec, defaults())
    if not found:
        yield ("exclude",), "exclude: leaves no variant; take a rule away"
    known: dict[str, str] = {}
    for variant in found:
        same = known.setdefault(_canonical(variant), variant.label)
        if same != variant.label:
            where = ("variants",) if spec.variants else ("grid",)
            yield (
                where,
                f"variants '{same}' and '{variant.label}' are the same model; exclude one (exclude: [{{field: value}}])",
            )
    pairs: set[str] = set()
    for variant in found:
        wrong = _fusion_and_depth(variant.model)
        if wrong is not None and wrong not in pairs:
            pairs.add(wrong)
            yield _place_of(spec, "fusion", "depth"), f"variant '{variant.label}': {wrong}"


def _canonical(variant: Variant) -> str:
    told = dict(variant.model)
    if told.get("estimator", ESTIMATORS[0]) != ESTIMATORS[0]:
        told = {k: v for k, v in told.items() if k in ("estimator", "encoders")}
    full = {**defaults(), **told}
    return json.dumps(full, sort_keys=True, default=str)


def _fusion_and_depth(model: Mapping[str, Any]) -> str | None:
    from plait.base.fusion import resolve
    from plait.networks import choice
    from plait.networks.fusion import depth_number

    told = {**defaults(), **model}
    if told["estimator"] != ESTIMATORS[0]:
        return None
    try:
        operator, _, _ = resolve(told["fusion"])
        depth_number(told["depth"], told["layers"])
        choice.check_depth(told["network"], told["depth"], told["layers"])
    except PlaitError as error:
        return str(error)
    level = "decision" if told["depth"] == "decision" else "feature"
    if level in operator.levels:
        return None
    name, depth = operator.name(), told["depth"]
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


# -- metrics, budget ---------------------------------------------------------------------------------------------------


def _metrics(spec: Spec) -> Iterator[Problem]:
    known = {name for _, name in METRICS}
    their = tasks(spec)
    fitting = known if their is None else {name for task, name in METRICS if task in their}
    for i, name in enumerate(spec.metrics):
        if name not in known:
            yield ("metrics", i), f"unknown metric '{name}' ({nearest(name, fitting)})"
        elif name not in fitting:
            yield (
                ("metrics", i),
                f"metric '{name}' is not for {' or '.join(sorted(their or ()))} ({nearest(name, fitting)})",
            )
    for task in sorted(their or ()):
        if spec.metrics and not any((task, name) in METRICS for name in spec.metrics):
            yield ("metrics",), f"metrics: none of them is for {task}; add one"
    yield from _claims(spec, their)


def _claims(spec: Spec, their: set[str] | None) -> Iterator[Problem]:
    measured = set(spec.metrics)
    if not measured and their is not None:
        measured = {name for task in their for name in default_metrics(task)}
    for i, claim in enumerate(spec.claims):
        if measured and claim.metric not in measured:
            yield (
                ("claims", i, "metric"),
                f"claim on '{claim.metric}', which is not measured ({nearest(claim.metric, measured)})",
            )


def _budget(spec: Spec) -> Iterator[Problem]:
    if spec.budget.trained_weights is None:
        return
    for place, name, _ in told_fields(spec):
        if name in ("width", "max_weights"):
            yield place, f"'{name}' and budget: trained_weights say different things about widths; keep one"
