"""Conditions on tabular columns: drawn per row, after what the training rows hold."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from plait.conditions._base import Condition
from plait.conditions._cells import row_keys

if TYPE_CHECKING:
    from plait.schema import Modality, Schema


@dataclasses.dataclass(kw_only=True)
class RowCondition(Condition):
    """A condition on single values, which say too little to be the source of randomness: the whole row is."""

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Learn what the columns of the training rows hold."""
        self._learned = self._learn(frame, schema)
        return self

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """The columns with new values; without ``fit`` they are drawn after these rows, and a warning says so."""
        learned = self._learned
        if learned is None:
            self.warn_unfitted(len(frame))
            learned = self._learn(frame, schema)
        generators = [self.generator(key) for key in row_keys(frame, schema, root)]
        found = {}
        for modality in chosen:
            drawn = [self._drawn(generator, len(modality.columns)) for generator in generators]
            for place, column in enumerate(modality.columns):
                if column in learned:
                    values = np.array([d[place] for d in drawn])
                    found[column] = self._changed(frame[column], learned[column], values)
        return found

    def _learn(self, frame: pd.DataFrame, schema: Schema) -> dict[str, Any]:
        columns = [(m, c) for m in self.targets(schema) for c in m.columns if c in frame.columns]
        learned = {c: self._learn_column(frame[c], schema.types_of(m).get(c)) for m, c in columns}
        return {c: value for c, value in learned.items() if value is not None}

    @abstractmethod
    def _learn_column(self, series: pd.Series, told: str | None) -> Any:
        """What is needed of one training column; None leaves it alone."""

    @abstractmethod
    def _drawn(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Random numbers of one row, the first axis for the columns of a modality."""

    @abstractmethod
    def _changed(self, series: pd.Series, learned: Any, drawn: np.ndarray) -> Any:
        """The new column (n cells)."""
