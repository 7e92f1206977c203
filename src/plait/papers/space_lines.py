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
    """Two rows of a table compared on the same seeds and folds: ``theirs`` and ours, with p corrected by Holm."""

    above: Row
    below: Row
    column: Column
    theirs: float
    ours: Difference
    p: float

    @property
    def level(self) -> bool:
        """Whether the paper has both alike."""
        return abs(self.theirs) <= _MARGIN

    @property
    def verdict(self) -> bool | None:
        """Whether ours is the same; None: the runs do not decide."""
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


def _of(results: Results, column: Column) -> pd.DataFrame:
    table = scores(results)
    return table[(table["evaluation"] == column.evaluation) & (table["metric"] == column.metric)]


def values_of(results: Results, row: Row, column: Column) -> pd.DataFrame:
    """One value per seed and fold; empty: nothing was measured."""
    table = _of(results, column)
    table = table[table["variant"] == row.variant]
    condition = (column.ours == column.original and row.original_condition) or row.condition
    if condition is not None:
        table = table[table["part"] == condition]
    return table.drop_duplicates(_KEYS)


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
                known.append((one, other, column, one.values[place] - other.values[place], ours))
    corrected = holm(pd.Series([pair[-1].p for pair in known], dtype=float).to_numpy())
    for (above_row, below_row, column, theirs, difference), p in zip(known, corrected, strict=True):
        yield Order(above_row, below_row, column, theirs, difference, 1.0 if math.isnan(p) else float(p))
