"""The variants of a study: every combination of the grid, every named one, with labels and whole settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plait.base import config
from plait.data.schema_yaml import Place
from plait.study.spec import Spec

#: Label of the only variant of a study without grid and variants.
ONLY = "default"


@dataclass(frozen=True)
class Variant:
    """One model to try.

    Attributes:
        label: the fields that differ, or its own name.
        settings: dotted field -> value, for every field that differs between variants.
        model: all fields of the estimator that the study sets, nested.
    """

    label: str
    settings: Mapping[str, Any]
    model: Mapping[str, Any]


def variants(spec: Spec, defaults: Mapping[str, object]) -> list[Variant]:
    """All variants in the order of the file."""
    varied = list(dict.fromkeys([*itertools.chain(*(_flat(v) for v in spec.variants.values())), *spec.grid]))
    result = []
    for name, fields in (spec.variants or {"": {}}).items():
        for values in itertools.product(*spec.grid.values()):
            point = dict(zip(spec.grid, values, strict=True))
            model = with_fields(with_fields(budgeted(spec), fields), point)
            model = config.with_protocol(model, "estimator" if spec.space is None else "aligner")
            settings = {key: value_at(model, key, defaults) for key in varied}
            settings = {key: value for key, value in settings.items() if value is not None}
            if not any(_matches(model, rule, defaults) for rule in spec.exclude):
                label = " ".join(filter(None, [name, *(f"{key}={short(value)}" for key, value in point.items())]))
                result.append(Variant(label or ONLY, {k: plain(v) for k, v in settings.items()}, model))
    return [*result, *_baselines(spec, {variant.model.get("estimator") for variant in result})]


def _baselines(spec: Spec, there: set[Any]) -> Iterator[Variant]:
    """Those that are asked for beside the variants that are there."""
    if not spec.baselines:
        return
    from plait.evaluation.baselines import NAMES

    for name in NAMES:
        if name not in there:
            yield Variant(name, {"estimator": name}, with_fields(spec.model, {"estimator": name}))


def budgeted(spec: Spec) -> dict[str, Any]:
    """The fields that all variants share; with a budget of trained weights, widths are matched to it."""
    model = with_fields({}, spec.model)
    if spec.budget.trained_weights:
        model |= {"width": "match", "max_weights": spec.budget.trained_weights}
    return model


def _matches(model: Mapping[str, object], rule: Mapping[str, object], defaults: Mapping[str, object]) -> bool:
    options = {k: v if isinstance(v, list) else [v] for k, v in rule.items()}
    return all(value_at(model, key, defaults) in values for key, values in options.items())


def with_fields(model: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with dotted fields set; a name that is given parts becomes ``{name: ...}``.

    Example:
        >>> with_fields({"fusion": "concat"}, {"fusion.absence": "zeros", "encoders": {"text": "minilm"}})
        {'fusion': {'name': 'concat', 'absence': 'zeros'}, 'encoders': {'text': 'minilm'}}
    """
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in model.items()}
    for path, value in fields.items():
        *parents, last = path.split(".")
        place = result
        for key in parents:
            inner = place.get(key)
            place[key] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"name": inner}
            place = place[key]
        both = isinstance(value, Mapping) and isinstance(place.get(last), Mapping) and last == "encoders"
        place[last] = {**place[last], **value} if both else value
    return result


def value_at(model: Mapping[str, object], path: str, defaults: Mapping[str, object]) -> Any:
    """The value of a dotted field, or the estimator's own.

    Example:
        >>> value_at({"encoders": {"image": "cnn"}}, "encoders.image", {}), value_at({}, "depth", {"depth": "early"})
        ('cnn', 'early')
    """
    place: Any = model
    for key in path.split("."):
        if not isinstance(place, Mapping) or key not in place:
            return defaults.get(path)
        place = place[key]
    return place


def short(value: object) -> str:
    """A value within a label.

    Example:
        >>> short({"name": "low_rank", "rank": 4}), short(["joint", "own"]), short(0.5)
        ('low_rank(rank=4)', 'joint+own', '0.5')
    """
    if isinstance(value, Mapping):
        inner = ",".join(f"{k}={short(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}({inner})"
    if isinstance(value, list | tuple):
        return "+".join(map(short, value))
    return str(value)


def plain(value: object) -> Any:
    """A value as results have it: text where it is no plain value."""
    return value if isinstance(value, str | int | float | bool) else short(value)


def _flat(fields: Mapping[str, object], before: str = "") -> Iterator[str]:
    """Dotted names; ``{name: ..., option: ...}`` stays one value."""
    for key, value in fields.items():
        if isinstance(value, Mapping) and "name" not in value and key == "encoders":
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key


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
