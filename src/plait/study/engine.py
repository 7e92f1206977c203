"""One run from its definition to its line, and what every engine does: take jobs, tell what became of them."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plait.base.errors import PlaitError, PlaitWarning
from plait.base.machine import give_back, peak_mb, reset_peak
from plait.base.parts import Closing
from plait.study import conditions
from plait.study.reading import read_spec
from plait.study.runs import Run
from plait.study.subjects import Finished, subject_of
from plait.study.tables import Latest, Setting, StudyTable, load_table, threads


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


#: What is done by a worker: ``run`` or ``encode``, with its plain values.
Job = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Event:
    """What became of a job.

    Attributes:
        worker: that did it.
        job: what it was asked.
        finished: of a run; None of an encoding, or when the worker died.
        facts: of an encoding.
        died: why there is no result; None if there is one.
    """

    worker: int
    job: Job
    finished: Finished | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    died: str | None = None


class Engine(Closing, ABC):
    """A pool of workers, each with one job at a time."""

    #: How many jobs may be in flight.
    workers: int

    @abstractmethod
    def idle(self) -> list[int]:
        """Workers that wait for a job."""

    @abstractmethod
    def submit(self, worker: int, job: Job) -> None:
        """Give a waiting worker a job."""

    @abstractmethod
    def events(self, seconds: float) -> list[Event]:
        """What has happened, waiting at most so long for something."""

    @abstractmethod
    def stop(self, worker: int, reason: str) -> None:
        """End a worker and its job, which counts as died for this reason."""

    @abstractmethod
    def memory_mb(self, worker: int) -> float | None:
        """Resident memory of a worker, if it is known."""


def setting_to_dict(setting: Setting) -> dict[str, Any]:
    """Plain values for another process.

    Raises:
        ValueError: tables in memory cannot be sent.
    """
    if setting.frames:
        raise ValueError("tables in memory stay in this process")
    schemas = {str(k): v for k, v in setting.schemas.items()}
    options = {"spec": setting.spec.to_dict(), "base": str(setting.base), "schemas": schemas}
    return {**options, "store": setting.store, "threads": setting.threads}


def setting_from_dict(option: Mapping[str, Any]) -> Setting:
    """Rebuild a setting from plain values."""
    spec, _ = read_spec(option["spec"], "study")
    schemas = {int(k): v for k, v in option["schemas"].items()}
    return Setting(spec, Path(option["base"]), schemas, option["store"], threads=int(option["threads"]))


class Worker:
    """What sits at the other end of every engine."""

    def __init__(self, setting: Setting) -> None:
        """Nothing is read yet."""
        self._executor = Executor(setting)

    def do(self, job: Job) -> tuple[Finished | None, dict[str, Any]]:
        """One job."""
        if job["kind"] == "run":
            return self._executor.run(Run.from_dict(job["run"])), {}
        from plait.study.encoding import encode

        return None, encode(self._executor.table(job["data"], job["seed"]), self._executor.setting, job)


class Inline(Engine):
    """One worker that is this process: for tables in memory, for tests and for looking into."""

    workers = 1

    def __init__(self, setting: Setting) -> None:
        """Ready at once."""
        self._worker = Worker(setting)
        self._events: list[Event] = []

    def idle(self) -> list[int]:
        """Always, but for what was not fetched yet."""
        return [] if self._events else [0]

    def submit(self, worker: int, job: Job) -> None:
        """Do it."""
        finished, facts = self._worker.do(job)
        self._events.append(Event(worker, job, finished, facts))

    def events(self, seconds: float) -> list[Event]:
        """What was done."""
        result, self._events = self._events, []
        return result

    def stop(self, worker: int, reason: str) -> None:
        """Not possible: a job that has begun is finished."""

    def memory_mb(self, worker: int) -> float | None:
        """Not watched."""
        return None

    def close(self) -> None:
        """Nothing to end."""
