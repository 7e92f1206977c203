"""What the word ``quality`` stands for: members, branches and encoders of a fit. Settings that were given win."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from plait.encoders.defaults import ready_preset
from plait.estimators.fit_settings import FitSettings

#: Word -> fields that it sets where they stand at their defaults; ``balanced`` is what the defaults say.
FIELDS: dict[str, Mapping[str, Any]] = {
    "light": {"branches": ("joint", "linear", {"name": "trees", "rounds": 150}), "members": 1},
    "balanced": {},
    "best": {
        "branches": ("joint", "linear", "own", {"name": "trees", "rounds": 1000, "learning_rate": 0.05, "most": 4000}),
        "members": 10,
    },
}
#: Members of ``best`` where encoders learn with the model, whose every member costs as much as a fit.
LEARNING_MEMBERS = 3


def of_quality(settings: FitSettings) -> FitSettings:
    """The settings with what their ``quality`` asks for.

    Example:
        >>> of_quality(FitSettings(quality="light", members=3)).members
        3
    """
    given = {name: getattr(settings, name) for name in FIELDS[settings.quality]}
    options = {n: v for n, v in FIELDS[settings.quality].items() if given[n] == getattr(FitSettings, n)}
    if settings.train and "members" in options:
        options["members"] = min(options["members"], LEARNING_MEMBERS)
    return dataclasses.replace(settings, **options) if options else settings


def better_encoders(kinds: Mapping[str, str], named: Mapping[str, object]) -> dict[str, str]:
    """For ``best``: modality -> the larger preset of its kind, where that lies on this machine and no encoder is named.

    Args:
        kinds: modality -> kind, of those that do not learn and name no encoder themselves.
        named: the estimator's ``encoders``, by modality or kind.
    """
    free = {name: kind for name, kind in kinds.items() if name not in named and kind not in named}
    return {name: preset for name, kind in free.items() if (preset := ready_preset(kind)) is not None}
