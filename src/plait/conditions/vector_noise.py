"""A condition that adds noise to feature vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from plait.base.errors import TableError
from plait.conditions.base import Condition, Strength
from plait.conditions.cells import column_of
from plait.data.cells import cells
from plait.data.media.given import cell_key

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Modality, Schema


@dataclass(kw_only=True)
class VectorNoise(Condition):
    """Normal noise on every feature of vectors and of sequences of them, each step anew.

    Formula: y_d = x_d + strength * s_d * e, s_d the standard deviation of feature d over the training cells and their
    steps, e standard normal. A feature that never varies stays as it is.
    Shape: vectors (D,), sequences (T, D).
    Use when: features come from a sensor or a model that may drift.
    Not when: the signals that they were computed from are at hand: change those.

    Example:
        >>> VectorNoise(strength=2, modality="gaze").label
        'vector_noise:gaze:strength=2'
    """

    kinds = ("vector",)
    measure = "standard deviation of the noise / of the feature in training"
    most = float("inf")

    strength: Strength = 0.5

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Learn how far each feature spreads in the training rows."""
        root = root if root is not None else schema.root
        self._learned = {m.name: _spread(cells(frame, m, root)) for m in self.targets(schema)}
        return self

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """New vectors; without ``fit`` the spread is that of these rows, and a warning says so."""
        if self._learned is None:
            self.warn_unfitted(len(frame))
        result = {}
        for modality in chosen:
            groups = cells(frame, modality, root)
            spread = _spread(groups) if self._learned is None else self._learned[modality.name]
            for column, group in zip(modality.columns, groups, strict=True):
                result[column] = column_of(None if c is None else self._noisy(c, spread, column) for c in group)
        return result

    def _noisy(self, cell: np.ndarray, spread: np.ndarray, column: str) -> np.ndarray:
        if cell.shape[-1] != len(spread):
            raise TableError(
                f"column '{column}': a vector of width {cell.shape[-1]}, expected {len(spread)} as in training"
            )
        noise = self.generator(cell_key(cell)).standard_normal(cell.shape)
        return np.asarray(cell + min(self.strength, 1e9) * spread * noise, dtype=np.float32)


def _spread(groups: list[list[Any]]) -> np.ndarray:
    """Standard deviation of each feature (D,)."""
    steps = [cell.reshape(-1, cell.shape[-1]) for group in groups for cell in group if cell is not None]
    return np.concatenate(steps).std(0, dtype=np.float64) if steps else np.zeros(0)
