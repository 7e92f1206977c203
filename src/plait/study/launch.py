"""A study brought to its end (folder, workers, encodings, runs), and what it will cost before."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from plait.base import __version__, versions
from plait.base.cluster import check_engine
from plait.data.schema_yaml import to_dict
from plait.study.engine import Engine, Event, Inline, about_run, encoder_key, encoder_of, encoding_jobs
from plait.study.engine_local import Local, worker_count
from plait.study.folder import StudyFolder, identity
from plait.study.results import Results
from plait.study.runs import Run, Schedule
from plait.study.spec import Budget
from plait.study.state import State, left, shown
from plait.study.tables import Setting, redrawn

#: Pieces of one encoding for each worker, where time is limited.
PIECES = 4


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a study is run: what ``Study.run`` names, and further fields.

    Attributes:
        command: what to run to do it again, for the report.
        view: show progress; None: only on a terminal.
        race: names variants that need no more runs, from the lines so far.
        only: names of runs to which this call is limited.
        share: of the budget's minutes that are left after what runs share was encoded; the rest is for others.
    """

    workers: int | None = None
    engine: str = "local"
    retry_failed: bool = False
    store: str | None = None
    command: str = ""
    view: bool | None = None
    race: Race | None = None
    only: Collection[str] | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        check_engine(self.engine, "inline")


def launch(study: Any, path: Path, options: RunOptions) -> Results:
    """Run a ``Study``, see ``Study.run``."""
    folder, subject = StudyFolder(path), study.subject
    folder.begin(study.spec, _about(study, options.command))
    with folder:
        runs = [run for run in study.runs if options.only is None or run.name in options.only]
        state = State(runs, folder.adopt(subject.earlier(study.tables)), options.retry_failed)
        some = options.only is not None
        schedule = Schedule(state.waiting()) if some else subject.schedule(study.tables, state)
        state.total = len(runs) if some else subject.total(study.tables)
        if len(schedule):
            weights = {**folder.about().get("frozen_weights", {})}
            workers = engine_for(options, study, path, len(schedule))
            with workers as workforce, shown(study.name, state, options.view):
                state.workers = workforce.workers
                kinds = {(n, m.name): m.kind for (n, _), t in study.tables.items() for m in t.schema.modalities}
                given = {"budget": study.spec.budget, "weights": weights, "kinds": kinds, "race": options.race}
                runner = Runner(folder, workforce, schedule, state, **given)
                limited = study.spec.budget.minutes is not None  # what has begun is finished: the pieces are small
                pieces = workforce.workers * (PIECES if limited else 1)
                runner.encode(encoding_jobs(study.spec, state.waiting(), study.tables, pieces, weights))
                folder.note(frozen_weights=weights, encoded=list(runner.encoded))
                runner.run(options.share)
                schedule.finish()
    return Results.open(path)


def _about(study: Any, command: str) -> dict[str, object]:
    seeds = study.spec.seeds
    tables = {t.label: t for (_, seed), t in study.tables.items() if seed in (None, seeds[0])}
    return {
        "name": study.name,
        "identity": identity(study.spec),
        "versions": {**versions(), "plait": __version__},
        "data": {label: t.digest for label, t in tables.items()},
        "tables": {
            label: {
                "rows": len(t.frame),
                "task": t.task,
                "target": t.target,
                "modalities": {m.name: m.kind for m in t.schema.modalities},
                "classes": None if t.classes is None else [str(c) for c in t.classes],
            }
            for label, t in tables.items()
        },
        "seeds": list(seeds),
        "runs": study.subject.total(study.tables),
        "command": command,
    }


def engine_for(options: RunOptions, study: Any, path: Path, jobs: int) -> Engine:
    """The workers that the options ask for, not more than there are jobs."""
    inferred = {
        number: to_dict(study.tables[number, None].schema)
        for number, value in enumerate(study.spec.data)
        if value.table is not None and not redrawn(value)
    }
    setting = Setting(study.spec, study.base, inferred, options.store, study.frames)
    if options.engine == "inline" or study.frames:
        return Inline(dataclasses.replace(setting, threads=torch.get_num_threads()))
    if options.engine == "ray":
        from plait.study.engine_ray import RayEngine

        return RayEngine(setting, options.workers, jobs)
    return Local(setting, worker_count(options.workers, jobs), path / "logs")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        runs: all of them; ``done`` and ``failed`` of these are on the disk.
        by: what the number is made of: table -> {splits, subsets, ...}.
        encodings: distinct encodings of a column that are done once, and ``cells`` in them.
        groups: of runs that share rows encoded and scaled.
        seconds: left, with so many workers; None before any run was tried.
        probed: runs that were tried for the estimate; their results are kept.
    """

    name: str
    runs: int
    done: int
    failed: int
    by: Mapping[str, Mapping[str, int]]
    encodings: int
    cells: int
    groups: int
    workers: int
    seconds: float | None = None
    probed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def plan(study: Any, path: Path, probes: int, workers: int | None) -> Plan:
    """Count, try a few runs, estimate."""
    study.require(data=True)
    lines = StudyFolder(path).lines()
    chosen = _spread(study.runs, probes) if probes and len(lines) < probes else []
    if chosen:
        study.run(path, workers=workers, only=[run.name for run in chosen])
        lines = StudyFolder(path).lines()
    state = State(study.runs, lines, retry_failed=False)
    jobs = encoding_jobs(study.spec, state.waiting(), study.tables, 1, {})
    count = worker_count(workers, max(1, len(state.waiting())))
    return Plan(
        name=study.name,
        runs=study.subject.total(study.tables),
        done=state.count("done"),
        failed=state.count("failed"),
        by=_by(study),
        encodings=len(jobs),
        cells=sum(job["stop"] - job["start"] for job in jobs),
        groups=len({run.share for run in study.runs}),
        workers=count,
        seconds=left(state.waiting(), state.latest(), count),
        probed=len(chosen),
    )


def _spread(runs: Sequence[Run], count: int) -> list[Run]:
    """Choose runs evenly over the plan, at least one of every table."""
    labels = list(dict.fromkeys(run.dataset for run in runs))
    result = []
    for i, label in enumerate(labels):
        part = [run for run in runs if run.dataset == label]
        share = min(len(part), max(1, (count + len(labels) - 1 - i) // len(labels)))
        result += [part[(2 * k + 1) * len(part) // (2 * share)] for k in range(share)]
    return result


def _by(study: Any) -> dict[str, dict[str, int]]:
    fields = ("seed", "split", "train_condition", "subset", "variant")
    result: dict[str, dict[str, int]] = {}
    for label in dict.fromkeys(run.dataset for run in study.runs):
        own = [run for run in study.runs if run.dataset == label]
        result[label] = {
            "runs": len(own),
            **{f"{f.removeprefix('train_')}s": len({str(getattr(r, f)) for r in own}) for f in fields},
        }
    return result


#: Looks at all lines so far and names the variants that need no more runs.
Race = Callable[[Sequence[Mapping[str, Any]]], Collection[str]]
#: Seconds between looks at limits, and at what other runners have done.
TICK, ELSEWHERE = 0.25, 1.0


class Runner:
    """Does the runs of one study that are not done yet."""

    def __init__(
        self,
        folder: StudyFolder,
        engine: Engine,
        schedule: Schedule,
        state: State,
        *,
        budget: Budget,
        weights: dict[str, int],
        kinds: Mapping[tuple[int, str], str],
        race: Race | None = None,
    ) -> None:
        """Take what is needed.

        ``weights`` of frozen encoders by ``encoder_key`` grow on the way; ``kinds``: (table, modality) -> kind.
        """
        self._folder, self._engine, self._state, self._budget = folder, engine, state, budget
        self._weights, self._kinds, self._race = weights, kinds, race
        self._schedule = schedule
        self._elsewhere: dict[str, Run] = {}
        self._looked = 0.0
        #: Worker -> its run, and when that began.
        self._flying: dict[int, tuple[Run, float]] = {}
        self._left_out = self._stuck = False
        #: Pieces of encodings that are done, of so many; a race whose pieces are all done tries one run in any case.
        self.encoded = (0, 0)
        state.deadline = None if self._budget.minutes is None else state.begun + 60 * self._budget.minutes

    # -- encoding ----------------------------------------------------------------------------------------------------

    def encode(self, jobs: Sequence[Mapping[str, object]]) -> None:
        """All pieces, on all workers; one that fails is left to the runs that need it, which will say why."""
        waiting, begun, done = list(jobs), 0, 0
        self._state.encoding = self._state.encodings = len(jobs)
        while waiting or begun:
            for worker in self._engine.idle():
                if waiting and not self._over():
                    self._engine.submit(worker, waiting.pop(0))
                    begun += 1
            for event in self._engine.events(TICK):
                begun, done = begun - 1, done + (event.died is None)
                self._state.encoding -= 1
                if "weights" in event.facts:
                    self._weights[str(event.facts["key"])] = int(event.facts["weights"])
            if self._over() and not begun:
                break
        self._state.encoding, self.encoded = 0, (done, len(jobs))

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, share: float = 1.0) -> None:
        """Until nothing is left, or a share of the budget is spent: a run that would not end in time is not begun.

        But the first one of a race whose cells are all encoded: another call would have to start as long, and come no further.
        """
        if self._state.deadline is not None:
            self._state.deadline -= (1 - share) * (self._state.budget_left() or 0)
        while True:
            if not self._over() or self._first():
                self._begin()
            elif not self._flying:
                self._state.spent = bool(len(self._schedule) or self._elsewhere)
                return
            if not self._flying and not self._elsewhere and (self._stuck or not len(self._schedule)):
                self._state.spent = self._left_out
                return
            for event in self._engine.events(TICK if self._flying else ELSEWHERE / 4):
                self._end(event)
            self._limits()

    def _first(self) -> bool:
        done, pieces = self.encoded
        return self._race is not None and done == pieces and not self._flying and not self._state.latest()

    def _over(self) -> bool:
        return self._state.budget_left() == 0

    def _too_long(self, run: Run) -> bool:
        """It would end after the time given, by what runs like it took; one that nothing is known of is tried."""
        left = self._state.budget_left()
        return left is not None and (self._state.seconds_of(run) or 0.0) > left

    def _begin(self) -> None:
        """Give every idle worker a run that nobody has; without one although all are idle, nothing more will come."""
        self._stuck = False
        for worker in self._engine.idle():
            run = self._claimed(worker)
            if run is None:
                self._stuck = True
                return
            self._flying[worker] = run, time.monotonic()
            self._state.flying = len(self._flying)
            self._engine.submit(worker, {"kind": "run", "run": run.to_dict()})

    def _claimed(self, worker: int) -> Run | None:
        while (run := self._schedule.next(worker)) is not None:
            if self._too_long(run):
                self._left_out = True
                continue
            if not self._folder.claim(run.name):
                self._elsewhere[run.name] = run
                continue
            if self._still_waits(run):
                return run
        return self._from_elsewhere()

    def _still_waits(self, run: Run) -> bool:
        """Another runner may have finished it between our last look and the claim."""
        self._state.add(self._folder.lines())
        if self._state.waits(run.name):
            return True
        self._folder.give_back(run.name)
        return False

    def _from_elsewhere(self) -> Run | None:
        """Runs that other runners claimed: done by now, or free again because their runner was killed."""
        if not self._elsewhere or time.monotonic() - self._looked < ELSEWHERE:
            return None
        self._looked = time.monotonic()
        self._state.add(self._folder.lines())
        for name, run in list(self._elsewhere.items()):
            if not self._state.waits(name):
                del self._elsewhere[name]
            elif self._folder.claim(name):
                del self._elsewhere[name]
                if self._still_waits(run):
                    return run
        return None

    def _end(self, event: Event) -> None:
        if event.worker not in self._flying:
            return  # a piece of encoding that outlived its stage
        run, began = self._flying.pop(event.worker)
        if event.finished is not None:
            line = dict(event.finished.line)
            self._folder.keep(run.name, event.finished.arrays, event.finished.epochs, event.finished.trace)
        else:
            line = {**about_run(run, datetime.now(UTC)), "reason": event.died}
            line["seconds"] = {"total": round(time.monotonic() - began, 3)}
        if "weights" in line:
            line["weights"] = {**line["weights"], "frozen": self._frozen(run)}
        self._folder.append(line)
        self._folder.give_back(run.name)
        self._state.flying = len(self._flying)
        self._state.add(self._folder.lines())
        self._stop_poor()

    def _frozen(self, run: Run) -> int:
        keys = [encoder_key(run.data, name, encoder_of(run, name, self._kinds[run.data, name])) for name in run.subset]
        return sum(self._weights.get(key, 0) for key in keys)

    def _stop_poor(self) -> None:
        """Racing: variants that need no more runs."""
        poor = set(self._race(self._state.latest())) if self._race is not None else set()
        for run in self._schedule.drop(poor) if poor else ():
            if self._folder.claim(run.name):
                line = {**about_run(run, datetime.now(UTC)), "status": "stopped", "reason": "stopped by racing"}
                self._folder.append(line)
                self._folder.give_back(run.name)
        if poor:
            self._state.add(self._folder.lines())

    def _limits(self) -> None:
        """Stop runs that take too long or too much memory."""
        for worker, (_, began) in self._flying.items():
            minutes, most = (time.monotonic() - began) / 60, self._budget.run_minutes
            if most is not None and minutes > most:
                self._engine.stop(worker, f"stopped after {minutes:.1f} minutes; budget: run_minutes allows {most:g}")
            memory = self._budget.memory_mb
            used = self._engine.memory_mb(worker) if memory is not None else None
            if memory is not None and used is not None and used > memory:
                self._engine.stop(worker, f"used {used:,.0f} MB of memory; budget: memory allows {memory:,.0f} MB")
