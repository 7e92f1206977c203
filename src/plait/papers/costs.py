"""Columns of a paper's tables that are no scores of the test rows: times, epochs until a score, weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.base import config
from plait.networks.fusion import FusionNetwork
from plait.papers.paper import WEIGHTS, Row
from plait.study.report.sections.time import reached, times
from plait.study.results import Results

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
