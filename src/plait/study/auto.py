"""A race of designs on the training rows."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any

import numpy as np
import pandas as pd

from plait.base import checks
from plait.base.checks import Positive
from plait.base.fusion import Adviser
from plait.data import rows
from plait.estimators import preparing
from plait.study.advice import advise, merged

_TARGET = "target of fit"
#: Settings that are told otherwise, or say nothing about the design.
_NOT_RACED = frozenset(
    (
        *("fusion", "modalities", "drop", "task", "random_state", "store", "progress", "root", "class_weight"),
        *("partial", "strict"),
    )
)


@dataclasses.dataclass
class Auto(Adviser):
    """What ``plait advise`` would advise on the training rows.

    Attributes:
        minutes: of racing.
    """

    minutes: Positive = 5.0

    def __post_init__(self) -> None:
        checks.check(self)

    def settings(self, estimator: Any, frame: pd.DataFrame, target: np.ndarray) -> dict[str, Any]:
        named = hasattr(estimator, "feature_names_in_")
        result = preparing.resolve_schema(estimator.modalities, frame, estimator.root, named, estimator.drop)
        task = rows.infer_task(target, estimator._regressor) if estimator.task is None else estimator.task
        column: Any = target
        if task == "multilabel":
            names = [str(name) for name in estimator.labels]
            column = ["|".join(names[i] for i in np.flatnonzero(row)) for row in target]
        table = frame.assign(**{_TARGET: column})
        usual = type(estimator)()
        same = {
            k: v for k, v in estimator.get_params(deep=False).items() if k not in _NOT_RACED and v != getattr(usual, k)
        }
        result = dataclasses.replace(result, target=_TARGET, task=task, root=estimator.root)
        with tempfile.TemporaryDirectory(prefix="plait-auto-") as place:
            advice = advise(table, result, minutes=float(self.minutes), out=place, settings=same, store=estimator.store)
        settings = {**merged(same, advice.settings), "fusion": advice.settings.get("fusion", "concat")}
        return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
