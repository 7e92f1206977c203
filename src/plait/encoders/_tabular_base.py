"""What the features of every type of tabular column promise."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd


@dataclasses.dataclass(frozen=True)
class Limits:
    """How many features a column may have.

    Attributes:
        min_count: training rows that a category or item needs for a feature of its own.
        max_categories: features of one column's categories or items; the most frequent are kept.
        bins: steps of the piecewise linear encoding of a number; 0 leaves it out; None: by the number of rows.
    """

    min_count: int
    max_categories: int
    bins: int | None


@dataclasses.dataclass(frozen=True)
class Features(ABC):
    """Features of one column; the fields are JSON values and all that is kept of the training rows."""

    type: ClassVar[str]
    name: str

    @classmethod
    @abstractmethod
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn from the training rows; ``form`` is what stands behind the type's name."""

    @abstractmethod
    def labels(self) -> list[str]:
        """Name of each feature, without the column's."""

    @abstractmethod
    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, k), and (n,) bool of the cells that were not understood."""

    def number_names(self) -> list[str]:
        """Name of each number of the plain view, without the column's; empty for the column's own value."""
        return []

    def numbers(self, series: pd.Series) -> np.ndarray:
        """The plain view's numbers (n, k), NaN for null."""
        return np.zeros((len(series), 0))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Levels of the plain view's code; a column without any has none."""
        return ()

    def codes(self, series: pd.Series) -> np.ndarray:
        """The plain view's code (n,): the place of a cell in ``vocabulary``, -1 for null or never seen."""
        return np.full(len(series), -1, dtype=np.int64)

    def examine(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray, str | None]:
        """What ``transform`` gives, and what is unlike the fit in the way that understood cells are written."""
        return *self.transform(series), None

    def state(self) -> dict[str, Any]:
        """JSON values from which ``restore`` makes the same features."""
        return {"type": self.type, **dataclasses.asdict(self)}
