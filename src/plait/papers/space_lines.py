"""The numbers of studies of spaces beside a paper's: one evaluation of aligned vectors, over seeds and folds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from plait.papers.paper import Column, Element, Row
from plait.study.results import Results
from plait.study.space_results import scores
from plait.study.statistics.paired import Difference, holm, resampled_t

#: A difference that does not matter: a point, as for all shares.
_MARGIN = 0.01
_KEYS = ["seed", "split"]


@dataclasses.dataclass(frozen=True)
class Order:
    """Two rows of a table compared on the same seeds and folds: ``theirs`` and ours, with p corrected by Holm.

    ``informed``: whether each row of ours is proven better than one answer for all test rows; None: not known.
    """

    above: Row
    below: Row
    column: Column
    theirs: float
    ours: Difference
    p: float
    informed: tuple[bool | None, bool | None] = (None, None)

    @property
    def level(self) -> bool:
        """Whether the paper has both alike."""
        return abs(self.theirs) <= _MARGIN

    @property
    def at_chance(self) -> str:
        """Which of the rows are no better than one answer for all, where that leaves nothing to compare; else empty."""
        alike = self.ours.low >= -_MARGIN and self.ours.high <= _MARGIN
        if self.informed == (False, False):
            return "both no better than the commonest class"
        return "one no better than the commonest class" if alike and False in self.informed else ""

    @property
    def verdict(self) -> bool | None:
        """Whether ours is the same; None: the runs do not decide, or there is nothing to decide: a row at chance."""
        if self.at_chance:
            return None
        if self.ours.low >= -_MARGIN and self.ours.high <= _MARGIN:
            return self.level
        if self.p < 0.05:
            return not self.level and (self.ours.value > 0) == (self.theirs > 0)
        return None


def found_in(column: Column, element: Element, results: Mapping[str, Mapping[str, Results]]) -> Results | None:
    """What measured a column: the first of the element's recipes with its data and its evaluation."""
    for name in element.recipes:
        there = results.get(name, {}).get(str(column.ours))
        if there is not None and len(_of(there, column)):
            return there
    return None


def _of(results: Results, column: Column, any_metric: bool = False) -> pd.DataFrame:
    table = scores(results)
    return table[(table["evaluation"] == column.evaluation) & (any_metric | (table["metric"] == column.metric))]


def values_of(results: Results, row: Row, column: Column, *, any_metric: bool = False) -> pd.DataFrame:
    """One value per seed and fold, or those of every metric; empty: nothing was measured."""
    table = _of(results, column, any_metric)
    table = table[table["variant"] == row.variant]
    condition = (column.ours == column.original and row.original_condition) or row.condition
    if condition is not None:
        table = table[table["part"] == condition]
    return table.drop_duplicates([*_KEYS, "metric"])


def informed(results: Results, row: Row, column: Column) -> bool | None:
    """Whether a row is proven better than one answer for all test rows, by its first metric; None: not known."""
    table = values_of(results, row, column, any_metric=True)
    first = table[table["metric"] == table["metric"].iloc[0]].drop_duplicates(_KEYS) if len(table) else table
    if len(first) < 2 or first["chance"].isna().any():
        return None
    gain = resampled_t((first["value"] - first["chance"]).to_numpy(), _ratio(first))
    return None if math.isnan(gain.p) else gain.value > 0 and gain.p < 0.05


def measured(values: pd.DataFrame) -> Difference:
    """Mean and 95 % interval over seeds and folds, whose rows are shared."""
    return resampled_t(values["value"].to_numpy(), _ratio(values))


def _ratio(values: pd.DataFrame) -> float:
    return float((values["test_rows"] / values["train_rows"].clip(lower=1)).mean())


def orders(
    element: Element, columns: Sequence[Column], results: Mapping[str, Mapping[str, Results]]
) -> Iterator[Order]:
    """The pairs of rows that the paper sets one above the other, in every column that was measured."""
    known = []
    for above, below in element.orders:
        one, other = element.row(above), element.row(below)
        for place, column in enumerate(columns):
            there = found_in(column, element, results) if column.evaluation else None
            if there is None:
                continue
            both = values_of(there, one, column).merge(
                values_of(there, other, column), on=_KEYS, suffixes=("", "_other")
            )
            if len(both):
                ours = resampled_t((both["value"] - both["value_other"]).to_numpy(), _ratio(both))
                better = informed(there, one, column), informed(there, other, column)
                known.append((one, other, column, one.values[place] - other.values[place], ours, better))
    corrected = holm(pd.Series([pair[4].p for pair in known], dtype=float).to_numpy())
    for (one, other, column, theirs, ours, better), p in zip(known, corrected, strict=True):
        yield Order(one, other, column, theirs, ours, 1.0 if math.isnan(p) else float(p), better)
