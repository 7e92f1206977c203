"""What a study will cost: runs, shared work, and a time estimate from a few of its runs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.study import encoding
from plait.study.engine_local import worker_count
from plait.study.runs import Run
from plait.study.state import State, left

if TYPE_CHECKING:
    from plait.study.protocol import StudyFile


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        runs: all of them; ``done`` and ``failed`` of these are on the disk.
        by: what the number is made of: table -> {splits, subsets, ...}.
        encodings: distinct encodings of a column that are done once, and ``cells`` in them.
        groups: of runs that share rows encoded and scaled.
        evaluations: of all runs together.
        workers: that would be started.
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


def plan(study: StudyFile, path: Path, probes: int, workers: int | None) -> Plan:
    """Count, try a few runs, estimate.

    Args:
        study: checked here.
        path: of its folder, where what is tried is kept.
        probes: runs to try, unless the folder has as many already.
        workers: that will be used.
    """
    study.require(data=True)
    lines = _lines(path)
    chosen = _spread(study.runs, probes) if probes and len(lines) < probes else []
    if chosen:
        study.run(path, workers=workers, only=[run.name for run in chosen])
        lines = _lines(path)
    state = State(study.runs, lines, retry_failed=False)
    jobs = encoding.jobs(study.spec, state.waiting(), study.tables, 1, {})
    count = worker_count(workers, max(1, len(state.waiting())))
    return Plan(
        name=study.name,
        runs=len(study.runs),
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


def _lines(path: Path) -> list[dict[str, Any]]:
    from plait.study.folder import StudyFolder

    return StudyFolder(path).lines()


def _spread(runs: Sequence[Run], count: int) -> list[Run]:
    """So many runs, evenly over the plan, at least one of every table."""
    labels = list(dict.fromkeys(run.dataset for run in runs))
    result = []
    for i, label in enumerate(labels):
        part = [run for run in runs if run.dataset == label]
        share = min(len(part), max(1, (count + len(labels) - 1 - i) // len(labels)))
        result += [part[(2 * k + 1) * len(part) // (2 * share)] for k in range(share)]
    return result


def _by(study: StudyFile) -> dict[str, dict[str, int]]:
    options: dict[str, dict[str, set[Any]]] = {}
    for run in study.runs:
        place = options.setdefault(
            run.dataset, {k: set() for k in ("seeds", "splits", "conditions", "subsets", "variants")}
        )
        place["seeds"].add(run.seed)
        place["splits"].add(run.split)
        place["conditions"].add(str(run.train_condition))
        place["subsets"].add(run.subset)
        place["variants"].add(run.variant)
    count = Counter(run.dataset for run in study.runs)
    return {label: {"runs": count[label], **{k: len(v) for k, v in parts.items()}} for label, parts in options.items()}
