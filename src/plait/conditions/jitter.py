"""A condition that adds measurement noise to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from plait.conditions.base import Strength
from plait.conditions.cells import RowCondition, column_of
from plait.data.parse import number_style, numbers


class _Spread(NamedTuple):
    style: str
    deviation: float


@dataclass(kw_only=True)
class Jitter(RowCondition):
    """Normal noise on the numbers of tabular columns; categories, flags, dates and lists stay.

    Whole numbers become broken ones. Cells that hold no finite number stay the very same.

    Formula: y = x + strength * s * e, s the standard deviation of the training column, e standard normal.
    Shape: columns of numbers.
    Use when: numbers come from sensors, estimates or hands.
    Not when: numbers are codes: those are categories, see ``swaps``.

    Example:
        >>> Jitter(strength=0.5, modality="stats").label
        'jitter:stats:strength=0.5'
    """

    kinds = ("tabular",)
    measure = "standard deviation of the noise / of the training column"
    most = float("inf")

    strength: Strength = 0.5

    def _learn_column(self, series: pd.Series, value: str | None) -> _Spread | None:
        from plait.data.schema import tabular_type

        if (value or tabular_type(series)) != "number":
            return None
        style = number_style(series)  # as the encoder reads it
        values = numbers(series, style).values
        finite = values[np.isfinite(values)]
        return _Spread(style, float(finite.std()) if len(finite) else 0.0)

    def _drawn(self, generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.standard_normal(count)

    def _changed(self, series: pd.Series, learned: Any, drawn: np.ndarray) -> Any:
        values = numbers(series, learned.style).values
        if learned.deviation == 0:
            return series
        moved = values + min(self.strength, 1e9) * learned.deviation * drawn
        if series.dtype.kind in "iuf":
            return np.where(np.isfinite(values), moved, values)
        pairs = zip(series, values, moved, strict=True)
        return column_of(_written(new, learned.style) if np.isfinite(x) else cell for cell, x, new in pairs)


def _written(value: float, style: str) -> object:
    """As the column's other numbers are written."""
    return repr(float(value)).replace(".", ",") if style.startswith("comma") else float(value)
