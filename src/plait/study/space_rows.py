"""Which pairs a space is learned from and which are held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import TableError
from plait.study import splits
from plait.study.spec import SplitSpec
from plait.study.tables import StudyTable

#: All rows are learned from; the evaluations bring rows of their own.
NONE = "none"
#: Ways of splitting pairs.
KINDS = (NONE, "holdout", "kfold")


def count(spec: SplitSpec) -> int:
    """Splits per seed."""
    return spec.folds if spec.kind == "kfold" else 1


def rows_of(table: StudyTable, spec: SplitSpec, seed: int, index: int) -> splits.Rows:
    """Positions of the rows to learn from and of those held out, sorted; what is about one thing is on one side.

    Args:
        table: the pairs.
        spec: how they are split.
        seed: of the order in which things are drawn.
        index: which of the seed's splits, from 0.

    Raises:
        TableError: fewer things than parts.
    """
    n = len(table.frame)
    if spec.kind == NONE:
        return np.arange(n), np.arange(0)
    group = splits.group_column(table, spec)
    thing = np.arange(n) if group is None else pd.factorize(table.frame[group])[0]
    drawn = np.random.default_rng(seed).permutation(pd.unique(thing))
    if spec.kind == "kfold":
        held = drawn[index :: spec.folds]
        enough = len(drawn) >= spec.folds
    else:
        held = drawn[: round(len(drawn) * spec.fractions[-1])]
        enough = 0 < len(held) < len(drawn)
    if not enough:
        raise TableError(f"{table.label}: {len(drawn)} things are too few for split {spec.kind}")
    test = np.isin(thing, held)
    return np.flatnonzero(~test), np.flatnonzero(test)


def means(rows: pd.DataFrame) -> dict[str, Any]:
    """Of rows with ``run``, ``metric`` and ``value``: how many runs, and the mean and ``METRIC sd`` of every metric."""
    result: dict[str, Any] = {"runs": rows["run"].nunique()}
    for metric, values in rows.groupby("metric", sort=False)["value"]:
        result[str(metric)] = float(values.mean())
        result[f"{metric} sd"] = float(values.std()) if len(values) > 1 else None
    return result
