"""Columns of a paper's tables that are no scores of the test rows: times, epochs, weights, and aligned vectors judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from plait.base import config
from plait.networks.fusion import FusionNetwork
from plait.papers.paper import WEIGHTS, Column, Element, Row
from plait.study.report.sections.time import reached, times
from plait.study.results import Results
from plait.study.space_results import scores
from plait.study.statistics.paired import Difference, holm, resampled_t

#: Name in ``paper.yaml`` -> column of ``times``.
TIMES = {
    "seconds": "total",
    "seconds_training": "training",
    "seconds_pretraining": "pretraining",
    "seconds_test": "test",
    "stored_mb": "stored_mb",
    "kept_mb": "kept_mb",
    "storage_mb": "storage_mb",
    "memory_mb": "memory_mb",
}
#: Beginnings of names whose end is a metric: ``first:accuracy``, ``epochs_to_0.99:accuracy``, ``per_1000_s:accuracy``.
FIRST, EPOCHS, EFFICIENCY = "first:", "epochs_to_", "per_1000_s:"
#: ``change:seconds/baseline``: what a cost is more than the named variant's, in parts of it.
CHANGE = "change:"


def is_cost(metric: str) -> bool:
    """Whether a column is of this kind.

    Example:
        >>> is_cost("seconds"), is_cost("epochs_to_0.99:accuracy"), is_cost("accuracy")
        (True, True, False)
    """
    return metric in (*TIMES, WEIGHTS) or metric.startswith((FIRST, EPOCHS, EFFICIENCY, CHANGE))


def is_time(metric: str) -> bool:
    """Whether it depends on the machine."""
    return metric.startswith(("seconds", EFFICIENCY, f"{CHANGE}seconds", "memory_mb", f"{CHANGE}memory_mb"))


def measured(results: Results, metric: str, row: Row) -> np.ndarray:
    """The values (runs,) of the runs that stand for a row of the paper's table; none where nothing was recorded."""
    if metric.startswith(CHANGE):
        name, _, reference = metric.removeprefix(CHANGE).partition("/")
        own, other = (measured(results, name, dataclasses.replace(row, variant=v)) for v in (row.variant, reference))
        return own / other.mean() - 1 if len(own) and len(other) and other.mean() else np.empty(0)
    runs = _runs(results, row)
    if metric == WEIGHTS:
        return runs["trained_weights"].to_numpy(float)
    if metric in TIMES:
        return _costs(results).reindex(runs["run"])[TIMES[metric]].to_numpy(float)
    if metric.startswith(EFFICIENCY):
        return _per_second(results, runs, metric.removeprefix(EFFICIENCY))
    name = metric.partition(":")[2]
    level = float(metric.removeprefix(EPOCHS).partition(":")[0]) if metric.startswith(EPOCHS) else None
    key = "first" if level is None else "epochs_to"
    values = [reached(results, str(run), name, level).get(key, np.nan) for run in runs["run"]]
    return np.array([v for v in values if np.isfinite(v)], float)


def _costs(results: Results) -> pd.DataFrame:
    """Times and megabytes of every run that is done, by its name."""
    every = times(results).set_index("run")
    memory = {line["run"]: line.get("memory", {}).get("peak_mb", np.nan) for line in results.lines if "run" in line}
    return every.assign(storage_mb=every["stored_mb"] + every["kept_mb"], memory_mb=pd.Series(memory, dtype=float))


def _runs(results: Results, row: Row) -> pd.DataFrame:
    runs = results.runs
    runs = runs[runs["status"] == "done"]
    variant, _, train = str(row.variant).partition(", trained: ")
    runs = runs[(runs["variant"] == variant) & (runs["train_condition"] == (train or "clean"))]
    wanted = set(row.subset)
    return runs.loc[np.array([not wanted or set(s.split("+")) == wanted for s in runs["subset"]], bool)]


def _per_second(results: Results, runs: pd.DataFrame, metric: str) -> np.ndarray:
    """Score under the row's own conditions by 1,000 seconds of pretraining and training."""
    frame: Any = results.frame
    mine = frame[frame["run"].isin(runs["run"]) & (frame["metric"] == metric) & (frame["present"] == frame["subset"])]
    score = mine[mine["condition"] == "clean"].set_index("run")["value"]
    total = times(results).set_index("run")["total"]
    values: np.ndarray = (1000 * score / total.reindex(score.index)).to_numpy(float)
    return values


def weights_at(widths: Mapping[str, Any]) -> tuple[int, int]:
    """Trained weights of the protocol's network over features of these widths, without and with a projector.

    Example:
        >>> weights_at({"text": 512, "image": 512, "tabular": 200, "classes": 18, "pulled": "tabular"})
        (501778, 704530)
    """
    fields = config.protocol_settings("early-fusion-contrastive")
    dims = {name: int(value) for name, value in widths.items() if name not in ("classes", "pulled")}
    space = max(dims.values())

    def count(over: Mapping[str, int]) -> int:
        with torch.device("meta"):
            network = FusionNetwork(over, int(widths["classes"]), layers=fields["layers"], width=fields["width"])
        return sum(p.numel() for p in network.parameters())

    projector = (dims[widths["pulled"]] + 1) * space
    return count(dims), count(dims | {widths["pulled"]: space}) + projector


T = TypeVar("T")
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


def interval_of(values: pd.DataFrame) -> Difference:
    """Mean and 95 % interval over seeds and folds, whose rows are shared."""
    return resampled_t(values["value"].to_numpy(), _ratio(values))


def _ratio(values: pd.DataFrame) -> float:
    return float((values["test_rows"] / values["train_rows"].clip(lower=1)).mean())


def ordered(
    element: Element, test: Callable[[Row, Row, Column], tuple[float, T] | None]
) -> Iterator[tuple[Row, Row, Column, tuple[float, float], T, float]]:
    """The pairs of rows that the paper sets one above the other, in every column where ``test`` gives p and what it is of.

    Each with the paper's numbers, what the test gave, and p corrected by Holm over all of them.
    """
    pairs: list[tuple[Row, Row, Column, tuple[float, float], T]] = []
    known: list[float] = []
    for above, below in element.orders:
        one, other = element.row(above), element.row(below)
        for column, *theirs in zip(element.columns, one.values, other.values, strict=True):
            if (result := test(one, other, column)) is not None:
                known.append(result[0])
                pairs.append((one, other, column, (theirs[0], theirs[1]), result[1]))
    for pair, p in zip(pairs, holm(np.array(known, float)), strict=True):
        yield (*pair, float(p))


def orders(element: Element, results: Mapping[str, Mapping[str, Results]]) -> Iterator[Order]:
    """The orders of evaluations of aligned vectors."""

    def test(one: Row, other: Row, column: Column) -> tuple[float, tuple[Difference, Any]] | None:
        there = found_in(column, element, results) if column.evaluation else None
        unlike = column.ours != column.original and (one.original or other.original)  # nothing of ours stands there
        if there is None or unlike:
            return None
        mine, theirs = values_of(there, one, column), values_of(there, other, column)
        both = mine.merge(theirs, on=_KEYS, suffixes=("", "_other"))
        ours = resampled_t((both["value"] - both["value_other"]).to_numpy(), _ratio(both))
        better = informed(there, one, column), informed(there, other, column)
        return (ours.p, (ours, better)) if len(both) else None

    for one, other, column, (above, below), (ours, better), p in ordered(element, test):
        yield Order(one, other, column, above - below, ours, 1.0 if math.isnan(p) else p, better)
