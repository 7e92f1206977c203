"""A study brought to its end (folder, workers, encodings, runs), and what it will cost before."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from plait.base import __version__, versions
from plait.base.cluster import check_engine
from plait.data.schema_yaml import to_dict
from plait.study.engine import Engine, Inline, encoding_jobs
from plait.study.engine_local import Local, worker_count
from plait.study.folder import StudyFolder, identity
from plait.study.results import Results
from plait.study.runner import Race, Runner
from plait.study.runs import Run, Schedule
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
