"""The advantages of one run over another (scratch against pretrained, say) in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError
from plait.evaluation.predictions import gather
from plait.metrics.base import MAIN, metrics
from plait.metrics.bootstrap import interval, resample_outputs

#: Stages of ``record_["seconds"]`` that are training of some kind, in order.
_STAGES = ("schema", "encode", "align", "pretrain", "tune", "scale", "train")


def compare_runs(models: Mapping[str, Any], frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Runs side by side on the same unseen rows: scores with intervals, what each modality gives alone, and what it cost.

    Args:
        models: name -> fitted estimator of one task; the first is what the others are compared with.
        frame: rows that no run has seen, with the target.
        seed: of the bootstrap.

    Returns:
        One row per figure: ``what``, a column per run, and with two runs or more for each later one ``NAME - FIRST`` with
        ``low`` and ``high`` of its paired 95 % bootstrap interval (scores only).

    Raises:
        ConfigError: runs of different tasks.
    """
    tasks = {model.task_ for model in models.values()}
    if len(tasks) > 1:
        raise ConfigError(
            f"runs of different tasks ({', '.join(sorted(tasks))}) cannot be compared; take two of one task"
        )
    records = [*_scores(models, frame, tasks.pop(), seed), *_costs(models)]
    return pd.DataFrame(records).astype(dict.fromkeys(models, float))


def _scores(models: Mapping[str, Any], frame: pd.DataFrame, task: str, seed: int) -> list[dict[str, Any]]:
    metric = metrics(task)[MAIN[task]]
    names = list(dict.fromkeys(n for model in models.values() for n in model.modality_names_))
    records = []
    for label, subset in [("all modalities", None), *((f"{n} alone", (n,)) for n in names if len(names) > 1)]:
        outputs: dict[str, np.ndarray] = {}
        truth = np.zeros(0)
        for run, model in models.items():
            if subset is not None and subset[0] not in model.modality_names_:
                continue
            wanted = model.modality_names_ if subset is None else subset
            predictions = gather(model, frame, list(dict.fromkeys([model.modality_names_, wanted])))
            outputs[run], truth = predictions.inputs(wanted)[metric.input], predictions.truth
        record: dict[str, Any] = {"what": f"{metric.name}, {label}"}
        record |= {run: metric.score(truth, outputs[run]).value if run in outputs else math.nan for run in models}
        if len(outputs) == len(models):
            record |= _differences(metric, truth, outputs, seed)
        records.append(record)
    return records


def _differences(metric: Any, truth: np.ndarray, outputs: Mapping[str, np.ndarray], seed: int) -> dict[str, float]:
    """Of each later run from the first, paired by row; columns are named once for two runs."""
    runs = list(outputs)
    if len(runs) < 2:
        return {}
    drawn = resample_outputs(metric, truth, list(outputs.values()), 1000, seed)
    first = metric.score(truth, outputs[runs[0]]).value
    result: dict[str, float] = {}
    for place, run in enumerate(runs[1:], 1):
        low, high = interval(drawn[:, place] - drawn[:, 0])
        name = f"{run} - {runs[0]}"
        result |= {name: metric.score(truth, outputs[run]).value - first, f"{name}: low": low, f"{name}: high": high}
    return result


def _costs(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = {run: _cost(model) for run, model in models.items()}
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    return [{"what": key, **{run: column.get(key, math.nan) for run, column in columns.items()}} for key in keys]


def _cost(model: Any) -> dict[str, float]:
    record, history = model.record_, model.history_
    seconds = record.get("seconds") or {}
    known = [stage for stage in _STAGES if stage in seconds]
    result = {f"seconds, {stage}": float(seconds[stage]) for stage in [*known, *(s for s in seconds if s not in known)]}
    result["seconds, all but test"] = float(sum(s for stage, s in seconds.items() if stage != "test"))
    result["trained weights"] = float(record.get("trained_weights") or math.nan)
    result["peak memory, MB"] = float(record.get("peak_memory_mb") or math.nan)
    first = [e["valid_loss"] for e in history if e["epoch"] == 0 and "valid_loss" in e]
    if first:
        best = (
            pd.DataFrame([e for e in history if "valid_loss" in e]).sort_values("valid_loss").groupby("member").first()
        )
        result["validation loss, first epoch"] = float(np.mean(first))
        result["validation loss, best"] = float(best["valid_loss"].mean())
        result["epochs to the best"] = float(best["epoch"].mean() + 1)
    return result
