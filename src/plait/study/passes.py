"""Conditions on several modalities at once: each modality is changed and encoded once per strength, not once per pair."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plait import preparing
from plait.conditions import Condition
from plait.conditions._signals import SignalCondition
from plait.inputs import Inputs, together

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator
    from plait.study.group import Group

#: (modality, label of what is done to it) -> the test rows of this modality alone.
Passes = dict[tuple[str, str], Inputs]


def remember(model: FusionEstimator, group: Group, changing: Sequence[Condition], passes: Passes) -> None:
    """Put together what the model will be asked about next, from rows of one modality each; within ``remembering``.

    Only signals are taken apart: what happens to one of them never depends on another modality's cells.
    """
    seen: list[tuple[Any, Inputs]] = model._remembered
    frame = group.frame(changing)
    several = len(changing) > 1 and all(isinstance(part, SignalCondition) for part in changing)
    if not several or model.enhancers_ or any(known is frame for known, _ in seen):
        return
    seen.append((frame, together({m.name: _one(model, group, changing, m, passes) for m in model.schema_.modalities})))


def _one(model: FusionEstimator, group: Group, changing: Sequence[Condition], modality: Any, passes: Passes) -> Inputs:
    felt = [part for part in changing if modality.name in {m.name for m in part.targets(group.table.schema)}]
    key = modality.name, " + ".join(part.label for part in felt)
    if key not in passes:
        alone = dataclasses.replace(model.schema_, modalities=(modality,))
        features = copy.copy(model.features_)
        features.schema = alone
        passes[key] = preparing.scaled(
            model.settings(), group.frame(felt), alone, features, model.scalers_, model.enhancers_
        )
    return passes[key]
