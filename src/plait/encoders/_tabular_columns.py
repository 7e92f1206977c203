"""Features of categories and lists."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from plait.data.values import items, texts
from plait.encoders._tabular_base import Features, Limits
from plait.encoders._tabular_numbers import Boolean, Date, Number

#: Levels of one column that have a code of their own in the plain view.
_MOST_LEVELS = 10_000


def _ranked(counts: Mapping[str, int], limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The levels with a feature of their own, and the other ones: the most frequent first, equal ones by name."""
    order = sorted(counts, key=lambda level: (-counts[level], level))
    kept = min(limits.max_categories, sum(count >= limits.min_count for count in counts.values()))
    return tuple(order[:kept]), tuple(order[kept:_MOST_LEVELS])


@dataclasses.dataclass(frozen=True)
class Category(Features):
    """One flag per frequent category, one for all others, one for missing; a category never seen counts as another."""

    type: ClassVar[str] = "category"
    levels: tuple[str, ...]
    other: bool
    missing: bool
    rare: tuple[str, ...] = ()  # levels without a flag, for the plain view

    def state(self) -> dict[str, Any]:
        """JSON values; models of the first version had no ``rare``, and their fingerprints hang on it."""
        return {k: v for k, v in super().state().items() if k != "rare" or v}

    @classmethod
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn the frequent categories."""
        result = texts(series)
        counts = Counter(t for t in result if t is not None)
        levels, rare = _ranked(counts, limits)
        return cls(str(series.name), levels, len(levels) < len(counts), any(t is None for t in result), rare)

    def labels(self) -> list[str]:
        """The categories, other, missing."""
        return [f"= {level}" for level in self.levels] + ["other"] * self.other + ["missing"] * self.missing

    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(n, levels + 2)."""
        result = texts(series)
        place = {level: i for i, level in enumerate(self.levels)}
        other = len(place) if self.other else -1
        gone = len(place) + self.other if self.missing else -1
        codes = np.array([gone if t is None else place.get(t, other) for t in result], dtype=np.int64)
        flags = np.zeros((len(result), len(self.labels())), dtype=np.float32)
        rows = np.flatnonzero(codes >= 0)
        flags[rows, codes[rows]] = 1.0
        return flags, np.zeros(len(result), dtype=bool)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every level, the most frequent first."""
        return self.levels + self.rare

    def codes(self, series: pd.Series) -> np.ndarray:
        """The place among all levels."""
        place = {level: i for i, level in enumerate(self.vocabulary)}
        return np.array([-1 if t is None else place.get(t, -1) for t in texts(series)], dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class List(Features):
    """One flag per frequent item, one for any other item, how many there are, and a flag for missing."""

    type: ClassVar[str] = "list"
    levels: tuple[str, ...]
    most: int
    missing: bool

    @classmethod
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn the frequent items."""
        rows = items(series)
        counts = Counter(item for row in rows for item in row or ())
        most = max((len(row) for row in rows if row), default=1)
        return cls(str(series.name), _ranked(counts, limits)[0], most, any(row is None for row in rows))

    def labels(self) -> list[str]:
        """The items, other, count, missing."""
        return [*(f"has {level}" for level in self.levels), "other", "count", *(["missing"] if self.missing else [])]

    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(n, levels + 3)."""
        rows = items(series)
        place = {level: i for i, level in enumerate(self.levels)}
        flags = np.zeros((len(rows), len(self.labels())), dtype=np.float32)
        for i, row in enumerate(rows):
            for item in row or ():
                flags[i, place.get(item, len(place))] = 1.0
            flags[i, len(place) + 1] = min(len(row or ()) / self.most, 2.0)
        if self.missing:
            flags[:, -1] = [row is None for row in rows]
        return flags, np.zeros(len(rows), dtype=bool)

    def number_names(self) -> list[str]:
        """The items, how many there are."""
        return [*(f"has {level}" for level in self.levels), "count"]

    def numbers(self, series: pd.Series) -> np.ndarray:
        """A flag per frequent item and the number of items."""
        rows = items(series)
        place = {level: i for i, level in enumerate(self.levels)}
        result = np.zeros((len(rows), len(place) + 1))
        for i, row in enumerate(rows):
            result[i, [place[item] for item in row or () if item in place]] = 1.0
            result[i, -1] = len(row or ())
        result[[row is None for row in rows]] = np.nan
        return result


_BY_TYPE: dict[str, type[Features]] = {c.type: c for c in (Number, Category, Boolean, List, Date)}


def features_of(series: pd.Series, text: str, limits: Limits) -> Features:
    """The features of a column of the given type."""
    word, _, form = text.partition(" ")
    return _BY_TYPE[word].fit(series, limits, form)


def restore(state: Mapping[str, Any]) -> Features:
    """The features that gave this state."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items() if k != "type"}
    return _BY_TYPE[state["type"]](**fields)
