"""What pretraining does to the representations: embeddings, probes, similarity and pictures of one run or two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, ModelError
from plait.evaluation.predictions import gather
from plait.metrics.base import MAIN, metrics
from plait.metrics.bootstrap import interval, resample_outputs
from plait.workflow.inspection.embeddings import Embedding, available, embeddings, project
from plait.workflow.inspection.measures import across_modalities, measures, similarities
from plait.workflow.inspection.result import HeldOut, Inspection, Rows, never_seen, rows_for, warn_seen

#: Test rows in a picture at most.
SHOWN = 600


def inspect(
    model: object,
    frame: pd.DataFrame,
    other: object = None,
    *,
    names: Sequence[str] | None = None,
    held_out: HeldOut | None = None,
    member: int = 0,
    most: int = 5000,
    projections: Sequence[str] | None = None,
) -> Inspection:
    """Look into one fitted model, or two over the same rows (scratch and pretrained, say).

    Probes learn on the training rows of the split and are judged on its test rows; CKA, alignment, uniformity and pictures
    are of test rows only.

    Args:
        model: a fitted estimator, or the folder of one.
        frame: the table it was fitted on a part of, target included.
        other: another one of the same target.
        names: of the runs; None: their folders' names, or ``model`` and ``other``.
        held_out: how test rows are held out, and the seed of probes and pictures; None: as ``plait fit`` held them out.
        member: which of the model's networks is looked at.
        most: rows of each part at most.
        projections: ``pca``, ``tsne``, ``umap``; None: those whose package is installed.

    Raises:
        PlaitError: no model, a table without the columns, fewer than ten rows, one class, models of different targets.
    """
    ways = tuple(available() if projections is None else projections)
    runs = _runs([model] if other is None else [model, other], names)
    first = next(iter(runs.values()))
    _same_target(runs)
    rows = rows_for(first, frame, held_out, most=most)
    drawn = int((held_out or HeldOut()).seed or 0)
    result = {name: embeddings(each, rows.frame, member=member) for name, each in runs.items()}
    unseen = {name: never_seen(each, rows) for name, each in runs.items()}
    if not all(unseen.values()):
        warn_seen([name for name, known in unseen.items() if not known])
    by_name = [{e.name: e for e in each} for each in result.values()]
    return Inspection(
        runs=tuple(runs),
        task=rows.task,
        target=str(first.schema_.target),
        rows=rows,
        embeddings=result,
        measures=pd.concat(
            [measures(name, each, rows, seed=drawn) for name, each in result.items()], ignore_index=True
        ),
        alignment=pd.concat([across_modalities(name, each, rows) for name, each in result.items()], ignore_index=True),
        cka=similarities(by_name[0], by_name[-1], rows),
        comparison=compare_runs(runs, rows.frame.iloc[rows.train :].reset_index(drop=True), seed=drawn),
        pictures={name: _pictures(each, rows, ways, drawn) for name, each in result.items()},
        unseen=unseen,
    )


def _pictures(
    result: Sequence[Embedding], rows: Rows, ways: Sequence[str], seed: int
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    pictures: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for way in ways:
        for each in result:
            places = np.flatnonzero(~rows.is_train & each.present)[:SHOWN]
            if len(places) >= 3:
                pictures.setdefault(way, {})[each.name] = (places, project(each.x[places], way, seed=seed))
    return pictures


def _runs(given: Sequence[object], names: Sequence[str] | None) -> dict[str, Any]:
    """Name -> estimator, folders loaded; names of one kind are told apart."""
    if names is not None and (len(names) != len(given) or len(set(names)) < len(given)):
        raise ConfigError(f"names {list(names)}: expected {len(given)} different ones, one for each model")
    usual = [
        Path(value).resolve().name if isinstance(value, str | Path) else word
        for value, word in zip(given, ("model", "other")[: len(given)], strict=True)
    ]
    if len(set(usual)) < len(usual):
        usual = [f"{name} ({place})" for place, name in enumerate(usual, 1)]
    return {n: _loaded(m) for n, m in zip(names or usual, given, strict=True)}


def _loaded(value: object) -> object:
    from plait.estimators import estimators

    model = estimators.load(value) if isinstance(value, str | Path) else value
    if not hasattr(model, "predict_subsets"):
        where = f"{value}: holds" if isinstance(value, str | Path) else "found"
        raise ModelError(f"{where} a {type(model).__name__}; expected a model that plait fit wrote")
    if not hasattr(model, "members_"):
        raise ModelError("the model is not fitted; call fit first")
    return model


def _same_target(runs: Mapping[str, Any]) -> None:
    options = {name: (m.schema_.target, m.task_, tuple(map(str, m.labels))) for name, m in runs.items()}
    if len(set(options.values())) > 1:
        said = "; ".join(
            f"{name}: {target} ({task}, {len(labels)} classes)" for name, (target, task, labels) in options.items()
        )
        raise ConfigError(f"two models of one target are needed; found {said}")


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
    """Differences of each later run from the first, paired by row; columns are named once for two runs."""
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
