"""A condition that swaps values between rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from plait.conditions.base import Strength
from plait.conditions.cells import RowCondition, column_of
from plait.data.values import nulls, texts


@dataclass(kw_only=True)
class Swaps(RowCondition):
    """Cells of tabular columns are replaced by those of other training rows: each is possible, together they may not be.

    A partner among the rows given would depend on which rows are given; so the other row is drawn from the training
    rows, by the content of this one.

    Formula: y = a present cell of the training column, drawn at random, with the chance strength; x otherwise.
    Shape: columns of any type.
    Source: Yoon et al. 2020, VIME; Bahri et al. 2022, SCARF, arXiv 2106.15147 (corruption by the empirical marginal).
    Use when: records may be mixed up, or columns are to lose what they say without leaving their range.
    Not when: values are merely inexact: ``jitter``.

    Example:
        >>> Swaps(strength=0.1).label
        'swaps:strength=0.1'
    """

    kinds = ("tabular",)
    measure = "chance of a cell to be replaced"

    strength: Strength = 0.3

    def _learn_column(self, series: pd.Series, value: str | None) -> list[object] | None:
        present = series[~nulls(series)]
        order = sorted(zip(texts(present), range(len(present)), strict=True))  # by content: no row has a place
        return [present.iloc[i] for _, i in order] or None

    def _drawn(self, generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.random((count, 2))

    def _changed(self, series: pd.Series, learned: Any, drawn: np.ndarray) -> Any:
        hit = (drawn[:, 0] < self.strength) & ~nulls(series)
        chosen = (drawn[:, 1] * len(learned)).astype(int)
        cells = column_of(learned[i] if h else cell for cell, h, i in zip(series, hit, chosen, strict=True))
        # Of another type pandas finds the one that holds what was drawn: the training rows may have had fractions.
        return cells if series.dtype == object else pd.Series(list(cells), index=series.index)
