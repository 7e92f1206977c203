"""Conditions of a study: sweeps written as lists made single, labels, and what they do to rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.base.errors import ConfigError
from plait.study.spec import CLEAN

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.data.modality import Schema

ABSENT = "absent"


def expanded(value: object) -> list[Any]:
    """A condition, or all that it stands for where an option is a list of numbers, as plain values.

    Example:
        >>> expanded({"typos": [0.1, 0.3]})
        [{'typos': 0.1}, {'typos': 0.3}]
        >>> expanded({"absent": {"image": [0.5, 1.0], "text": 0.5}})
        [{'absent': {'image': 0.5, 'text': 0.5}}, {'absent': {'image': 1.0, 'text': 0.5}}]
    """
    if value == CLEAN or isinstance(value, str):
        return [value]
    if isinstance(value, list):  # one after the other
        return [list(parts) for parts in itertools.product(*(expanded(part) for part in value))]
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected clean, or a condition's name with its options, found {value!r:.60}")
    return [dict(zip(value, values, strict=True)) for values in itertools.product(*map(_choices, value.values()))]


def _choices(value: object) -> list[object]:
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        return value
    if isinstance(value, Mapping):
        return [dict(zip(value, parts, strict=True)) for parts in itertools.product(*map(_choices, value.values()))]
    return [value]


def parsed(value: Any, where: str = "conditions") -> Condition | None:
    """The condition; None for ``clean``."""
    from plait.conditions.parse import parse

    return None if value == CLEAN else parse(value, where)


def label(condition: Condition | None) -> str:
    """What results call it."""
    return CLEAN if condition is None else condition.label


def axes(condition: Condition | None) -> dict[str, Any]:
    """What curves and heat maps are drawn by; a condition on several modalities has one strength for each."""
    if condition is None:
        return {}
    several = list(parts(condition))
    values = [_strengths(part) for part in several]
    kinds = list(dict.fromkeys(part.name() for part in several))
    strengths = {name: strength for part in values for name, strength in part.items()}
    if len(strengths) == 1:
        (name, strength), *_ = strengths.items()
        return {"kind": kinds[0], "modality": name, "strength": strength}
    return {"kind": " + ".join(kinds), **strengths}


def _strengths(part: Condition) -> dict[str, float]:
    from plait.conditions.absent import Absent

    if isinstance(part, Absent) and part.rates:
        return {name: part.strength * rate for name, rate in part.rates.items()}
    value = part.axes
    return {str(value["modality"]): float(value["strength"])}


def parts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that follow each other."""
    from plait.conditions.parse import Chain

    return condition.parts if isinstance(condition, Chain) else (condition,)


def divided(condition: Condition | None) -> tuple[list[Condition], list[Condition]]:
    """Conditions that change cells, and those that only take modalities away."""
    several = () if condition is None else parts(condition)
    return [p for p in several if p.name() != ABSENT], [p for p in several if p.name() == ABSENT]


def changed(
    condition: Condition | None, train: pd.DataFrame, rows: pd.DataFrame, schema: Schema, root: str | None
) -> pd.DataFrame:
    """``rows`` under a condition that has learned what it needs of ``train``."""
    return rows if condition is None else condition.fit(train, schema, root).apply(rows, schema, root)


def lost(absences: list[Condition], rows: pd.DataFrame, schema: Schema, root: str | None) -> dict[str, np.ndarray]:
    """Modality -> (n,) bool: the rows that the conditions take it from."""
    gone = {m.name: np.zeros(len(rows), bool) for m in schema.modalities}
    for part in absences:
        after = part.apply(rows, schema, root)
        for modality in schema.modalities:
            empty = [after[column].isna().to_numpy() for column in modality.columns]
            gone[modality.name] |= np.logical_and.reduce(empty)
    return gone


def applies(value: object, schema: Schema) -> bool:
    """The table has what the condition is for; where it has not, its runs and evaluations are left out."""
    condition = parsed(value)
    try:
        for part in () if condition is None else parts(condition):
            part.targets(schema)
    except ConfigError:
        return False
    return True
