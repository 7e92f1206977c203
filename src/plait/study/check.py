"""What is wrong with a study although every field is of the right form, told without reading a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from plait.base import registry
from plait.base.errors import PlaitError, nearest
from plait.estimators import settings
from plait.evaluation.baselines import ESTIMATORS
from plait.metrics.base import METRICS
from plait.study.execute import default_metrics
from plait.study.reader import Place
from plait.study.spec import DataSpec, Spec
from plait.study.variants import Variant, variants


def check_value(name: str, value: Any) -> str | None:
    """What is wrong with the value of a dotted field; None if nothing is.

    Example:
        >>> check_value("estimator", "lineal")
        "unknown estimator 'lineal' (did you mean 'linear'?)"
    """
    if name.partition(".")[0] != "estimator":
        return settings.check_value(name, value)
    return None if value in ESTIMATORS else f"unknown estimator {value!r} ({nearest(str(value), ESTIMATORS)})"


def told_fields(spec: Spec) -> Iterator[tuple[Place, str, Any]]:
    """Every field that is set anywhere: its place, its dotted name and its value."""
    for name, value in spec.model.items():
        yield ("model", name), name, value
    for name, values in spec.grid.items():
        for i, value in enumerate(values):
            yield ("grid", name, i), name, value
    for label, fields in spec.variants.items():
        for name, value in fields.items():
            yield ("variants", label, name), name, value
    for i, rule in enumerate(spec.exclude):
        for name, value in rule.items():
            for one in value if isinstance(value, list) else [value]:
                yield ("exclude", i, name), name, one


def unknown_field(name: str, managed: Mapping[str, str], known: Collection[str], whose: str) -> str | None:
    """What is wrong with naming a field: it is the study's own business (``managed``), or there is none."""
    root = name.partition(".")[0]
    if root in managed:
        return f"'{root}' is told by {managed[root]}, not as a field of the {whose}"
    if root not in known:
        return f"unknown field '{name}' of the {whose} ({nearest(root, set(known) - set(managed))})"
    return None


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
    result = [*_data(spec), *_settings(spec), *_metrics(spec), *_budget(spec)]
    return result or [*_variants(spec)]


# -- tables ------------------------------------------------------------------------------------------------------------


def _data(spec: Spec) -> Iterator[Problem]:
    single = len(spec.data) == 1
    for i, value in enumerate(spec.data):
        place: Place = ("data",) if single else ("data", i)
        if (value.split or spec.split).kind == "none":
            yield (
                (*place, "split") if value.split else ("split",),
                "split none: only a study of a space learns from all rows",
            )
        if value.dataset is not None:
            yield from _dataset(spec, value, place)


def _dataset(spec: Spec, data_spec: DataSpec, place: Place) -> Iterator[Problem]:
    try:
        variant = registry.find("datasets", str(data_spec.dataset))
    except PlaitError as error:
        yield (*place, "dataset"), str(error)
        return
    if not variant.tasks:
        yield (*place, "dataset"), f"data set '{data_spec.dataset}' has no target to predict"
    elif data_spec.target is not None and data_spec.target not in variant.tasks:
        yield (
            (*place, "target"),
            f"data set '{data_spec.dataset}': unknown target '{data_spec.target}' ({nearest(data_spec.target, variant.tasks)})",
        )
    elif data_spec.target is None and len(variant.tasks) > 1:
        yield place, f"data set '{data_spec.dataset}': which target? it has {', '.join(variant.tasks)}"
    split = data_spec.split or spec.split
    if not variant.resplit and split.kind != "official":
        where = (*place, "split") if data_spec.split else ("split",)
        yield (
            where,
            f"data set '{data_spec.dataset}': only its official parts keep training and test apart; take split: official",
        )


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
    result = variants(spec, defaults())
    if not result:
        yield ("exclude",), "exclude: leaves no variant; take a rule away"
    known: dict[str, str] = {}
    for variant in result:
        same = known.setdefault(_canonical(variant), variant.label)
        if same != variant.label:
            where = ("variants",) if spec.variants else ("grid",)
            yield (
                where,
                f"variants '{same}' and '{variant.label}' are the same model; exclude one (exclude: [{{field: value}}])",
            )
    pairs: set[str] = set()
    for variant in result:
        wrong = _fusion_and_depth(variant.model)
        if wrong is not None and wrong not in pairs:
            pairs.add(wrong)
            yield _place_of(spec, "fusion", "depth"), f"variant '{variant.label}': {wrong}"


def _canonical(variant: Variant) -> str:
    options = dict(variant.model)
    if options.get("estimator", ESTIMATORS[0]) != ESTIMATORS[0]:
        options = {k: v for k, v in options.items() if k in ("estimator", "encoders")}
    full = {**defaults(), **options}
    return json.dumps(full, sort_keys=True, default=str)


def _fusion_and_depth(model: Mapping[str, Any]) -> str | None:
    from plait.base.fusion import resolve
    from plait.networks import choice
    from plait.networks.fusion import depth_number

    options = {**defaults(), **model}
    if options["estimator"] != ESTIMATORS[0]:
        return None
    try:
        operator, _, _ = resolve(options["fusion"])
        depth_number(options["depth"], options["layers"])
        choice.check_depth(options["network"], options["depth"], options["layers"])
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
