"""One trial: fit on a part of the training rows, judge on the rest of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, PlaitError, PlaitWarning, TableError, nearest
from plait.data.modality import Schema
from plait.data.schema import validate
from plait.data.targets import Labels, target_values, with_target
from plait.evaluation.predictions import gather
from plait.metrics.base import MAIN, Metric, metrics
from plait.workflow.fit import make_model, split_rows

#: Rows below which there is nothing to split.
LEAST = 10


@dataclass(frozen=True)
class Score:
    """What a trial gave.

    Attributes:
        value: mean over the splits.
        each: of every split.
        stages: seconds of each stage, over all splits.
        trained_weights: of the last model.
    """

    value: float
    each: tuple[float, ...]
    stages: Mapping[str, float]
    trained_weights: int


class Objective:
    """Scores settings on validation rows; the rows given are training rows, and no others are ever looked at."""

    def __init__(
        self,
        frame: pd.DataFrame,
        schema: Schema,
        *,
        metric: str | None = None,
        valid_fraction: float = 0.2,
        splits: int = 1,
        group: str | None = None,
        seed: int = 0,
        store: str | None = None,
    ) -> None:
        """Split once, so that every trial of every regime is judged on the same rows.

        Raises:
            PlaitError: no target, fewer than ten rows, one class, columns that are not there, an unknown metric.
        """
        if not 0 < valid_fraction < 1:
            raise ConfigError(f"valid_fraction {valid_fraction}: expected a share between 0 and 1")
        if isinstance(splits, bool) or splits < 1:
            raise ConfigError(f"splits {splits}: expected 1 or more")
        target = check_rows(frame, schema)
        frame = with_target(frame, target)
        if group is not None and group not in frame.columns:
            raise TableError(f"no column '{group}' to group by; the table has: {', '.join(map(str, frame.columns))}")
        self.frame, self.schema, self.group, self.seed, self.store = frame, schema, group, seed, store
        self.metric = metric_of(schema.task, metric)
        self.target = target_values(frame[target], schema.task)
        self.parts = [split_rows(frame, schema, valid_fraction, None, group, seed + i) for i in range(splits)]

    @property
    def valid_rows(self) -> int:
        """Rows that a trial is judged on, over all splits."""
        return sum(len(valid) for _, valid in self.parts)

    def __call__(self, schema: Schema, settings: Mapping[str, Any]) -> Score:
        """Fit and judge on every split.

        Raises:
            PlaitError: the settings cannot be used, or training diverged.
        """
        scores, stages, weights = [], dict[str, float](), 0
        for train, valid in self.parts:
            start = time.perf_counter()
            model = make_model(schema, {**settings, "random_state": self.seed, "progress": False, "store": self.store})
            seen, held = self.frame.iloc[train], self.frame.iloc[valid]
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", PlaitWarning
                )  # the same for every trial; the first read of the table says it
                groups = None if self.group is None else seen[self.group].to_numpy()
                model.fit(seen, _part(self.target, train), groups=groups)
                scores.append(self._judged(model, held))
            for stage, seconds in (model.record_.get("seconds") or {}).items():
                stages[stage] = stages.get(stage, 0.0) + float(seconds)
            stages["all"] = stages.get("all", 0.0) + time.perf_counter() - start
            weights = int(model.record_.get("trained_weights") or 0)
        return Score(float(np.mean(scores)), tuple(scores), {k: round(v, 3) for k, v in stages.items()}, weights)

    def _judged(self, model: Any, held: pd.DataFrame) -> float:
        names: Sequence[str] = model.modality_names_
        case = gather(model, held, [tuple(names)])
        result = self.metric.score(case.truth, case.inputs()[self.metric.input])
        if not np.isfinite(result.value):
            raise PlaitError(
                f"{self.metric.name} on the validation rows is not a number ({result.note or 'no reason given'})"
            )
        return result.value


def check_rows(frame: pd.DataFrame, schema: Schema) -> str:
    """The target's column; refuses a table that there is nothing to learn from.

    Raises:
        PlaitError: no target, columns that are not there, fewer than ten rows, one class.
    """
    target = schema.target
    if target is None:
        raise ConfigError("the schema names no target; say which column to predict (--target)")
    if target not in frame.columns:
        raise TableError(f"the table has no column '{target}' to predict; {nearest(target, map(str, frame.columns))}")
    validate(schema, frame)
    there = frame[target].dropna()
    if len(there) < LEAST:
        raise TableError(f"{len(there)} rows with a '{target}'; at least {LEAST} are needed to split off some")
    if schema.task != "multilabel" and there.astype(str).nunique() < 2:
        raise TableError(f"'{target}' is the same in all {len(there)} rows; there is nothing to learn")
    return target


def metric_of(task: str, value: str | None) -> Metric:
    """The metric by its name, or the task's main one; one with a better direction."""
    known = {name: m for name, m in metrics(task).items() if m.direction != "nominal" and m.input != "intervals"}
    name = MAIN[task] if value is None else value
    if name not in known:
        raise ConfigError(f"unknown metric '{name}' of {task}: {nearest(name, known)}")
    return known[name]


def _part(target: Any, rows: np.ndarray) -> Any:
    return target.take(rows) if isinstance(target, Labels) else target[rows]


def placed(settings: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the settings with one value under a dotted name.

    Example:
        >>> placed({"encoders": {"image": "cnn"}}, "encoders.image.width", 32)
        {'encoders': {'image': {'name': 'cnn', 'width': 32}}}
    """
    head, _, rest = path.partition(".")
    if not rest:
        return {**settings, head: value}
    inner = settings.get(head) or {}
    if isinstance(inner, str):
        inner = {"name": inner}
    if not isinstance(inner, Mapping):
        raise ConfigError(f"range of '{path}': '{head}' is {inner!r}, which has no parts")
    return {**settings, head: placed(inner, rest, value)}
