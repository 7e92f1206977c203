"""One run from its definition to its line: rows, model, evaluations. Lives as long as the process and shares what it can."""

from __future__ import annotations

import os
import socket
import time
import traceback
import warnings
from datetime import UTC, datetime
from typing import Any

from plait.base.errors import PlaitError, PlaitWarning
from plait.base.memory import give_back, peak_mb, reset_peak
from plait.study import conditions
from plait.study.runs import Run
from plait.study.setting import Latest, Setting, threads
from plait.study.subject import Finished, subject_of
from plait.study.tables import StudyTable, load_table


class Executor:
    """Runs the runs of one study, one after another."""

    def __init__(self, setting: Setting) -> None:
        """Nothing is read yet."""
        self.setting = setting
        self._subject = subject_of(setting.spec)
        self._tables = Latest(8)
        self._groups = Latest(2)

    def table(self, data: int, seed: int | None) -> StudyTable:
        """One table of the study."""
        value = self.setting

        def load() -> StudyTable:
            known, pairs = value.schemas.get(data), self._subject.pairs
            return load_table(value.spec.data[data], value.base, seed, value.frames, known, pairs=pairs)

        return self._tables.get((data, seed), load)

    def run(self, run: Run) -> Finished:
        """Fit and judge; what fails is told in the line, never raised."""
        started, clock, processor = datetime.now(UTC), time.perf_counter(), time.process_time()
        give_back()  # what the run before has left is none of this one's memory
        reset_peak()
        about = about_run(run, started)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with threads(self._threads(run)):
                    table = self.table(run.data, run.data_seed)
                    result = self._subject.execute(table, run, self.setting, self._groups)
            except PlaitError as error:
                result = _failed(str(error), traceback.format_exc())
            except MemoryError:
                result = _failed("out of memory", traceback.format_exc())
            except Exception as error:  # noqa: BLE001 - whatever it is, the other runs go on, and this one says why not
                result = _failed(f"{type(error).__name__}: {error}", traceback.format_exc())
        line = {**about, **result.line, "memory": {**result.line.get("memory", {}), "peak_mb": peak_mb()}}
        passed = {"total": time.perf_counter() - clock, "processor": time.process_time() - processor}
        line["seconds"] = {**{k: round(v, 3) for k, v in passed.items()}, **line.get("seconds", {})}
        values = list(dict.fromkeys(str(w.message) for w in warned if issubclass(w.category, PlaitWarning)))
        if values:
            line["warnings"] = values[:10]
        return Finished(line, result.arrays, result.epochs, result.trace)

    def _threads(self, run: Run) -> int:
        """All of the worker's where encoders learn, whose matrices are large; else one: sums stay in one order."""
        learns = any(m.train != "frozen" for m in self.table(run.data, run.data_seed).schema.modalities)
        return self.setting.threads if learns or "network" in run.model or "train" in run.model else 1


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
        **({} if run.trial is None else {"trial": run.trial}),
        "seed": run.seed,
        "split": run.split,
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": socket.gethostname(),
        "worker": os.getpid(),
    }
