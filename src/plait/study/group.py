"""Runs that share rows: one table, split, condition on the training rows, subset of modalities, and encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from plait.conditions.base import Condition
from plait.data import schema
from plait.data.row_numbers import numbered
from plait.data.targets import Labels
from plait.estimators.prepared import SHARING
from plait.study import conditions, splits
from plait.study.runs import Run, teachers
from plait.study.setting import Setting
from plait.study.sharing import SharedRows
from plait.study.tables import StudyTable


@dataclass(frozen=True)
class Fit:
    """A fitted model as ``judge`` needs it; ``peaks``: MB of each stage, where they are known.

    ``threshold``: of several labels; a number, or a function of the same arguments as ``outputs``, which gives each row's.
    """

    outputs: Any
    threshold: Any
    seconds: dict[str, float]
    weights: dict[str, int]
    epochs: list[dict[str, Any]]
    peaks: Mapping[str, float] = field(default_factory=dict)


class Group:
    """What one group of runs shares."""

    def __init__(self, table: StudyTable, train: np.ndarray, test: np.ndarray, run: Run, setting: Setting) -> None:
        """Apply the training condition; nothing is encoded yet."""
        self.table, self.train, self.test, self.setting = table, train, test, setting
        kept = tuple(m for m in table.schema.modalities if m.name in {*run.subset, *teachers(run.model)})
        self.columns = list(dict.fromkeys(c for m in kept for c in m.columns))
        self.schema = schema.Schema(kept, None, table.task, {}, table.schema.types, table.schema.root)
        self._seen_train = numbered(table.frame).iloc[train]
        self._test = numbered(table.frame).iloc[test]
        condition = conditions.parsed(run.train_condition)
        self.x = conditions.changed(condition, self._seen_train, self._seen_train, table.schema, table.schema.root)
        self.x = self.x[self.columns]
        self.y = table.y.take(train) if isinstance(table.y, Labels) else table.y[train]
        column = splits.group_column(table, setting.spec.data[run.data].split or setting.spec.split)
        self.together = None if column is None else self._seen_train[column].to_numpy()
        self.rows = SharedRows()
        self._frames: dict[str, pd.DataFrame] = {}
        self._lost: dict[str, Mapping[str, np.ndarray]] = {}

    def frame(self, changing: Sequence[Condition]) -> pd.DataFrame:
        """The test rows under conditions that change cells; the same object each time."""
        root = self.table.schema.root
        felt = [p for p in changing if any(c in self.columns for m in p.targets(self.table.schema) for c in m.columns)]
        label = " + ".join(part.label for part in felt)
        if label not in self._frames:
            frame = self._test
            for part in felt:
                frame = conditions.changed(part, self._seen_train, frame, self.table.schema, root)
            self._frames[label] = frame[self.columns]
        return self._frames[label]

    def lost(self, absences: Sequence[Condition]) -> Mapping[str, np.ndarray]:
        """Which test rows lose which modality."""
        label = " + ".join(part.label for part in absences)
        if label not in self._lost:
            self._lost[label] = conditions.lost(list(absences), self._test, self.table.schema, self.table.schema.root)
        return self._lost[label]

    @contextmanager
    def shared(self) -> Iterator[SharedRows]:
        """Within the block a fit takes the rows that the group has prepared."""
        token = SHARING.set(self.rows)
        try:
            yield self.rows
        finally:
            SHARING.reset(token)
