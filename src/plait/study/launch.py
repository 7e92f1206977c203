"""A study brought to its end: folder, workers, encodings, runs, view."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from plait.base.errors import ConfigError, nearest
from plait.base.version import __version__, versions
from plait.data.schema import to_dict
from plait.study import encoding
from plait.study.engine import Engine, Inline
from plait.study.folder import StudyFolder, identity
from plait.study.results import Results
from plait.study.runner import Race, Runner
from plait.study.setting import Setting
from plait.study.state import State
from plait.study.tables import redrawn
from plait.study.view import shown

if TYPE_CHECKING:
    from plait.study.protocol import StudyFile

ENGINES = ("local", "ray", "inline")
#: Pieces of one encoding for each worker, where time is limited.
PIECES = 4


def launch(
    study: StudyFile,
    path: Path,
    workers: int | None,
    engine: str,
    retry_failed: bool,
    store: str | None,
    command: str,
    view: bool | None,
    race: Race | None,
    only: Sequence[str] | None,
    share: float,
) -> Results:
    """See ``Study.run``."""
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine '{engine}': {nearest(engine, ENGINES)}")
    folder = StudyFolder(path)
    folder.begin(study.spec, _about(study, command))
    with folder:
        runs = [run for run in study.runs if only is None or run.name in only]
        state = State(runs, folder.lines(), retry_failed)
        waiting = state.waiting()
        if waiting:
            weights = {**folder.about().get("frozen_weights", {})}
            with _engine(engine, study, workers, store, path, len(waiting)) as workforce, shown(study, state, view):
                state.workers = workforce.workers
                kinds = {(n, m.name): m.kind for (n, _), t in study.tables.items() for m in t.schema.modalities}
                runner = Runner(
                    folder, workforce, runs, state, study.spec.budget, weights=weights, kinds=kinds, race=race
                )
                limited = study.spec.budget.minutes is not None  # what has begun is finished: the pieces are small
                pieces = workforce.workers * (PIECES if limited else 1)
                runner.encode(encoding.jobs(study.spec, waiting, study.tables, pieces, weights))
                folder.note(frozen_weights=weights)
                runner.run(share)
    return Results.open(path)


def _about(study: StudyFile, command: str) -> dict[str, Any]:
    seeds = study.spec.seeds
    digests = {t.label: t.digest for (_, seed), t in study.tables.items() if seed in (None, seeds[0])}
    tables = {
        t.label: {
            "rows": len(t.frame),
            "task": t.task,
            "target": t.target,
            "modalities": {m.name: m.kind for m in t.schema.modalities},
            "classes": None if t.classes is None else [str(c) for c in t.classes],
        }
        for (_, seed), t in study.tables.items()
        if seed in (None, seeds[0])
    }
    return {
        "name": study.name,
        "identity": identity(study.spec),
        "versions": {**versions(), "plait": __version__},
        "data": digests,
        "tables": tables,
        "seeds": list(seeds),
        "runs": len(study.runs),
        "command": command,
    }


def _engine(engine: str, study: StudyFile, workers: int | None, store: str | None, path: Path, jobs: int) -> Engine:
    inferred = {
        number: to_dict(study.tables[number, None].schema)
        for number, value in enumerate(study.spec.data)
        if value.table is not None and not redrawn(value)
    }
    setting = Setting(study.spec, study.base, inferred, store, study.frames)
    if engine == "inline" or study.frames:
        return Inline(dataclasses.replace(setting, threads=torch.get_num_threads()))
    if engine == "ray":
        from plait.study.engine_ray import RayEngine

        return RayEngine(setting, workers, jobs)
    from plait.study.engine_local import Local, worker_count

    return Local(setting, worker_count(workers, jobs), path / "logs")
