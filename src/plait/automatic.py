"""``fusion="auto"``: the design that a race on the training rows advises."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait import config, preparing, rows
from plait.errors import ConfigError

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator

AUTO = "auto"
#: Minutes of racing, where none are given.
MINUTES = 5.0
_TARGET = "target of fit"
#: Settings that are told otherwise, or say nothing about the design.
_NOT_RACED = frozenset(
    ("fusion", "modalities", "task", "random_state", "store", "progress", "root", "class_weight", "partial", "strict")
)


def asked(fusion: Any) -> bool:
    """Whether a race is asked for, by ``auto`` or ``{name: auto, minutes: 3}``."""
    return (fusion.get("name") if isinstance(fusion, dict) else fusion) == AUTO


def race(told: FusionEstimator, frame: pd.DataFrame, target: np.ndarray) -> dict[str, Any]:
    """Settings that the race on these rows advises; the estimator's own others hold for every design.

    Args:
        told: the estimator.
        frame: rows of training.
        target: (n,) classes or values, or indicators (n, C).
    """
    from plait.study.advice import advise, merged  # a layer above, which is built on the estimators

    options = {"name": AUTO} if isinstance(told.fusion, str) else dict(told.fusion)
    config.check_fields(options, ("name", "minutes"), "fusion 'auto'")
    minutes = options.get("minutes", MINUTES)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes <= 0:
        raise ConfigError(f"fusion 'auto': minutes {minutes!r}; expected a number above 0")
    found = preparing.resolve_schema(told.modalities, frame, told.root, hasattr(told, "feature_names_in_"))
    task = rows.infer_task(target, told._regressor) if told.task is None else told.task
    column: Any = target
    if task == "multilabel":
        names = [str(name) for name in told.labels]
        column = ["|".join(names[i] for i in np.flatnonzero(row)) for row in target]
    table = frame.assign(**{_TARGET: column})
    usual = type(told)()
    same = {k: v for k, v in told.get_params(deep=False).items() if k not in _NOT_RACED and v != getattr(usual, k)}
    found = dataclasses.replace(found, target=_TARGET, task=task, root=told.root)
    with tempfile.TemporaryDirectory(prefix="plait-auto-") as place:
        advice = advise(table, found, minutes=float(minutes), out=place, settings=same, store=told.store)
    settings = {**merged(same, advice.settings), "fusion": advice.settings.get("fusion", "concat")}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
