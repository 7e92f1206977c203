"""What a worker of a study does, runs and encodings that runs share; and what every engine does."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from plait.base.errors import PlaitError, PlaitWarning
from plait.base.machine import all_on, give_back, peak_mb, reset_peak
from plait.base.parts import Closing
from plait.data.modality import Modality, Schema
from plait.data.row_numbers import numbered
from plait.encoders.featurize import Featurizer
from plait.estimators.fit_settings import NO_STORE
from plait.store import Store
from plait.study import conditions, splits
from plait.study.reading import read_spec
from plait.study.runs import Run
from plait.study.spec import CLEAN, Spec
from plait.study.subjects import Finished, subject_of
from plait.study.tables import Latest, Setting, StudyTable, load_table
from plait.training import design
from plait.training.settings import with_regimes

#: What is done by a worker: ``run`` or ``encode``, with its plain values.
Job = Mapping[str, Any]


class Executor:
    """What sits at the other end of every engine: does the jobs of one study, one after another."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._subject = subject_of(setting.spec)
        self._tables = Latest(8)
        self._groups = Latest(2)

    def do(self, job: Job) -> tuple[Finished | None, dict[str, Any]]:
        """One job: a run gives what it leaves, an encoding its facts."""
        if job["kind"] == "run":
            return self.run(Run.from_dict(job["run"])), {}
        return None, encode(self.table(job["data"], job["seed"]), self.setting, job)

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
                with all_on(self._threads(run)):
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


@dataclasses.dataclass(frozen=True)
class Event:
    """What became of a job.

    Attributes:
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
    """Plain values for another process."""
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


class Inline(Engine):
    """One worker that is this process: for tables in memory, for tests and for looking into."""

    workers = 1

    def __init__(self, setting: Setting) -> None:
        self._worker = Executor(setting)
        self._events: list[Event] = []

    def idle(self) -> list[int]:
        return [] if self._events else [0]

    def submit(self, worker: int, job: Job) -> None:
        finished, facts = self._worker.do(job)
        self._events.append(Event(worker, job, finished, facts))

    def events(self, seconds: float) -> list[Event]:
        result, self._events = self._events, []
        return result

    def stop(self, worker: int, reason: str) -> None:
        """Not possible: a job that has begun is finished."""

    def memory_mb(self, worker: int) -> float | None:
        return None

    def close(self) -> None:
        """Nothing to end."""


#: Rows of a piece at least: an encoder's weights are loaded for each.
PIECE = 256


def encoder_key(data: int, modality: str, value: object) -> str:
    """What the weights of an encoder are known by."""
    return f"{data} {modality} {json.dumps(value, sort_keys=True)}"


def encoder_of(run: Run, modality: str, kind: str) -> Any:
    """The encoder that a run names for a modality; None is the schema's."""
    named = run.model.get("encoders") or {}
    return named.get(modality, named.get(kind))


def _learns(run: Run, modality: Modality) -> bool:
    """Whether a run trains the encoder of a modality, so that there is nothing to encode before."""
    words = {k: v for k, v in (run.model.get("train") or {}).items() if k in (modality.name, modality.kind)}
    return with_regimes(Schema((modality,)), words).modalities[0].train != "frozen"


def encoding_jobs(
    spec: Spec,
    runs: Sequence[Run],
    tables: Mapping[tuple[int, int | None], StudyTable],
    pieces: int,
    weighed: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Every encoding that the runs need, in at most so many ``pieces`` each; ``weighed`` encoders are counted already."""
    result: dict[str, dict[str, Any]] = {}
    for run in runs:
        table = tables[run.data, run.data_seed]
        network = run.model.get("network", "fusion")
        for modality in design.schema_for(network, table.schema, run.model.get("encoders")).modalities:
            if modality.name not in run.subset or modality.kind == "tabular" or _learns(run, modality):
                continue
            value = encoder_of(run, modality.name, modality.kind)
            weigh = encoder_key(run.data, modality.name, value) not in weighed
            for condition, part in _conditions(spec, run, table, modality.name):
                job = {"data": run.data, "seed": run.data_seed, "modality": modality.name, "encoder": value}
                job |= {"condition": condition, "part": part, "weigh": weigh}
                result.setdefault(json.dumps(job, sort_keys=True), job)
    divided = []
    for job in result.values():
        rows = len(_places(spec, tables[job["data"], job["seed"]], job))
        count = max(1, min(pieces, rows // PIECE))
        edges = np.linspace(0, rows, count + 1).astype(int).tolist()
        for i, (start, stop) in enumerate(pairwise(edges)):
            piece = {**job, "kind": "encode", "start": start, "stop": stop, "weigh": job["weigh"] and i == 0}
            divided.append(piece)
    return divided


def _conditions(spec: Spec, run: Run, table: StudyTable, modality: str) -> Iterator[tuple[object, str]]:
    """Conditions whose change of this modality's cells needs an encoding of its own, and the part of the rows it is for."""
    yield CLEAN, "all"
    split = spec.data[run.data].split or spec.split
    fixed = split.kind == "official" and (split.column is not None or table.parts is not None)  # of every seed
    for value, part in ((run.train_condition, "train"), *((value, "test") for value in spec.test)):
        if not conditions.applies(value, table.schema):
            continue
        changing, _ = conditions.divided(conditions.parsed(value))
        # Of a chain only what changes this modality, so that the pairs of two sweeps are encoded once each.
        felt = [p.to_dict() for p in changing if p.strength and modality in {m.name for m in p.targets(table.schema)}]
        if felt:
            yield felt, part if fixed else "all"


def _places(spec: Spec, table: StudyTable, job: Mapping[str, Any]) -> np.ndarray:
    """The rows of a job's part."""
    if job["part"] == "all":
        return np.arange(len(table.frame))
    split = spec.data[job["data"]].split or spec.split
    return splits.rows_of(table, split, 0, 0)[job["part"] == "test"]


def encode(table: StudyTable, setting: Setting, job: Mapping[str, Any]) -> dict[str, Any]:
    """One piece; what it cost, and the weights of the encoder where they are asked for."""
    clock = time.perf_counter()
    modality = next(m for m in table.schema.modalities if m.name == job["modality"])
    features = Featurizer(
        Schema((modality,), root=table.schema.root), {modality.name: job["encoder"]} if job["encoder"] else None
    )
    encoder = features.encoders[modality.name]
    places = _places(setting.spec, table, job)
    rows = numbered(table.frame).iloc[places[job["start"] : job["stop"]]]
    if encoder.stored and setting.store != NO_STORE:
        changing, _ = conditions.divided(conditions.parsed(job["condition"]))
        for part in changing:
            rows = conditions.changed(part, rows, rows, table.schema, table.schema.root)
        with Store(setting.store) as store, all_on(setting.threads):
            features.transform(rows, table.schema.root, store, strict=False, progress=False)
    facts = {"key": encoder_key(job["data"], modality.name, job["encoder"]), "rows": len(rows)}
    if job["weigh"]:
        facts["weights"] = sum(p.numel() for p in encoder.module().parameters()) if encoder.stored else 0
    return {**facts, "seconds": round(time.perf_counter() - clock, 3)}
