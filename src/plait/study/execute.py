"""One run from its definition to its line: rows, model, evaluations. Lives as long as the process and shares what it can."""

from __future__ import annotations

import os
import socket
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from plait.base.errors import PlaitError, PlaitWarning
from plait.base.memory import begin_stage, give_back, peak_mb, reset_peak, stage_mb
from plait.data.labels import label_text
from plait.study import conditions, models, splits
from plait.study.judging import Judged, judge, truth_of
from plait.study.models import Group
from plait.study.runs import Run, subsets
from plait.study.setting import Latest, Setting, threads
from plait.study.spec import Spec
from plait.study.tables import StudyTable, load_table

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Finished:
    """What a run gives: its line of results.jsonl, arrays of predictions.npz, records of epochs.jsonl, and what went wrong."""

    line: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    trace: str = ""


class Executor:
    """Runs the runs of one study, one after another."""

    def __init__(self, setting: Setting) -> None:
        """Nothing is read yet."""
        self.setting = setting
        self._tables = Latest(8)
        self._groups = Latest(2)

    def table(self, data: int, seed: int | None) -> StudyTable:
        """One table of the study."""
        value = self.setting

        def load() -> StudyTable:
            pairs = value.spec.space is not None
            return load_table(
                value.spec.data[data], value.base, seed, value.frames, value.schemas.get(data), pairs=pairs
            )

        return self._tables.get((data, seed), load)

    def run(self, run: Run) -> Finished:
        """Fit and judge; what fails is told in the line, never raised."""
        started, clock = datetime.now(UTC), time.perf_counter()
        give_back()  # what the run before has left is none of this one's memory
        reset_peak()
        about = about_run(run, started)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with threads(self._threads(run)):
                    result = self._run(run)
            except PlaitError as error:
                result = _failed(str(error), traceback.format_exc())
            except MemoryError:
                result = _failed("out of memory", traceback.format_exc())
            except Exception as error:  # noqa: BLE001 - whatever it is, the other runs go on, and this one says why not
                result = _failed(f"{type(error).__name__}: {error}", traceback.format_exc())
        line = {**about, **result.line, "memory": {**result.line.get("memory", {}), "peak_mb": peak_mb()}}
        line["seconds"] = {"total": round(time.perf_counter() - clock, 3), **line.get("seconds", {})}
        values = list(dict.fromkeys(str(w.message) for w in warned if issubclass(w.category, PlaitWarning)))
        if values:
            line["warnings"] = values[:10]
        return Finished(line, result.arrays, result.epochs, result.trace)

    def _threads(self, run: Run) -> int:
        """All of the worker's where encoders learn, whose matrices are large; else one: sums stay in one order."""
        learns = any(m.train != "frozen" for m in self.table(run.data, run.data_seed).schema.modalities)
        return self.setting.threads if learns or "network" in run.model or "train" in run.model else 1

    def _run(self, run: Run) -> Finished:
        table = self.table(run.data, run.data_seed)
        if self.setting.spec.space is not None:
            from plait.study.space import run_space

            return Finished(*run_space(table, run, self.setting, self.setting.spec.space))
        split = self.setting.spec.data[run.data].split or self.setting.spec.split
        group: Group = self._groups.get(run.share, lambda: Group(table, *_rows(table, run, split), run, self.setting))
        fitted = models.fit(group, run)
        clock = time.perf_counter()
        begin_stage()
        judged = judge(
            table,
            group.test,
            [value for value in self.setting.spec.test if conditions.applies(value, table.schema)],
            _patterns(self.setting.spec, run),
            run.subset,
            self.setting.spec.metrics or default_metrics(table.task),
            fitted.outputs,
            group.lost,
            fitted.threshold,
        )
        seconds = {**fitted.seconds, "test": round(time.perf_counter() - clock, 3)}
        line = {
            "status": "done",
            "classes": None if table.classes is None else [label_text(c) for c in table.classes],
            "train_rows": len(group.train),
            "test_rows": len(group.test),
            "evaluations": [one.line for one in judged],
            "seconds": seconds,
            "memory": {"stage_peak_mb": {**fitted.peaks, "test": stage_mb()}},
            "weights": fitted.weights,
        }
        return Finished(line, _arrays(table, group, judged), fitted.epochs)


def default_metrics(task: str) -> tuple[str, ...]:
    """What is measured where the study names no metric."""
    return {
        "classification": ("accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece"),
        "multilabel": ("f1_samples", "f1_micro", "f1_macro", "map_macro", "log_loss"),
        "regression": ("r2", "mae", "rmse", "spearman"),
    }[task]


def _rows(table: StudyTable, run: Run, split: Any) -> splits.Rows:
    return splits.rows_of(table, split, run.seed, run.split)


def _patterns(spec: Spec, run: Run) -> list[tuple[str, ...]]:
    return subsets(spec.present, run.subset) or [run.subset]


def _arrays(table: StudyTable, group: Group, judged: Sequence[Judged]) -> Arrays:
    result = {"rows": group.test.astype(np.int64), "target": truth_of(table, group.test)}
    if table.task == "multilabel":
        result |= {f"threshold_{i}": np.asarray(one.threshold, np.float32) for i, one in enumerate(judged)}
    return result | {f"output_{i}": one.output.astype(np.float32) for i, one in enumerate(judged)}


def _failed(reason: str, trace: str) -> Finished:
    return Finished({"status": "failed", "reason": " ".join(reason.split())[:500]}, trace=trace)


def about_run(run: Run, started: datetime) -> dict[str, Any]:
    """What a line says of a run before anything is known of its end."""
    return {
        "run": run.name,
        "status": "failed",
        "reason": None,
        "dataset": run.dataset,
        "task": run.task,
        "classes": None,
        "variant": run.variant,
        "settings": dict(run.settings),
        "subset": list(run.subset),
        "modalities": list(run.modalities),
        "train_condition": conditions.label(conditions.parsed(run.train_condition)),
        "seed": run.seed,
        "split": run.split,
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": socket.gethostname(),
        "worker": os.getpid(),
    }
