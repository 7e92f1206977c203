"""Aligned spaces: which pairs one is learned from, how it is fitted and judged."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd

from plait.alignment.aligner import ModalityAligner
from plait.base.errors import TableError
from plait.evaluation.spaces import Asked, Part, judged
from plait.study import splits
from plait.study.runs import Run
from plait.study.setting import Setting
from plait.study.space_spec import SpaceSpec
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


Arrays = dict[str, np.ndarray]


def run_space(
    table: StudyTable, run: Run, setting: Setting, space: SpaceSpec
) -> tuple[dict[str, Any], Arrays, list[dict[str, Any]]]:
    """The line of a run, what is kept of its rows, and its epochs.

    The seed of the weights is the run's seed and split added, so that no two folds of a seed begin alike.

    Raises:
        PlaitError: the space cannot be fitted or judged.
    """
    data = setting.spec.data[run.data]
    split = data.split or setting.spec.split
    train, test = rows_of(table, split, run.seed, run.split)
    group = run.model.get("group") or splits.group_column(table, split)
    aligner = ModalityAligner(
        **{**run.model, "group": group},
        modalities=table.schema,
        root=table.schema.root,
        store=setting.store,
        progress=False,
        random_state=run.seed + run.split,
    ).fit(table.frame.iloc[train].reset_index(drop=True))
    clock = time.perf_counter()
    held = table.frame.iloc[test].reset_index(drop=True) if len(test) else None
    root = None if data.root is None or data.dataset is None else str(setting.base / data.root)
    requested = Asked(aligner, held, group, root)
    parts = [(str(value["name"]), part) for value in space.evaluations for part in judged(value, requested)]
    record = aligner.record_
    seconds = record["seconds"]
    line = {
        "status": "done",
        "train_rows": len(train),
        "test_rows": len(test),
        "evaluations": [_line(run, name, part) for name, part in parts],
        "seconds": {
            "fit": seconds["align"],
            "fit_processor": seconds["align, processor"],
            "encode": seconds["encode"],
            "test": round(time.perf_counter() - clock, 3),
        },
        "weights": {"trained": record["trained_weights"], "frozen": 0},
        "epochs": record["epochs"],
    }
    return line, _arrays(parts), [r for r in aligner.history_ if "epoch" in r]


def _line(run: Run, evaluation: str, part: Part) -> dict[str, Any]:
    result = {
        "condition": f"{evaluation}: {part.name}",
        "present": list(run.subset),
        "metrics": {k: None if math.isnan(v) else float(v) for k, v in part.metrics.items()},
        "frozen": part.frozen,
    }
    if part.curves:
        result["curves"] = {name: {str(x): y for x, y in curve.items()} for name, curve in part.curves.items()}
    return result


def _arrays(parts: list[tuple[str, Part]]) -> Arrays:
    """``rows_i`` and ``truth_i`` of the i-th evaluation, where it keeps its rows."""
    result = {}
    for place, (_, part) in enumerate(parts):
        if part.rows is not None:
            result[f"rows_{place}"] = part.rows.astype(np.float32)
        if part.truth is not None:
            result[f"truth_{place}"] = part.truth.astype(np.float32)
    return result
