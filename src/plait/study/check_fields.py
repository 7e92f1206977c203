"""Whether a value can be what a study's field of a model asks for: the estimator's own check, and the baselines' names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from plait.base.errors import nearest
from plait.estimators import settings
from plait.evaluation.baselines import ESTIMATORS
from plait.study.reader import Place
from plait.study.spec import Spec


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
