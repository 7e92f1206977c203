"""How far a study is (latest lines, counts, time left), and how a terminal shows it."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from plait.base import progress
from plait.base.deadline import duration
from plait.metrics.base import MAIN, metrics
from plait.study.runs import Run
from plait.study.spec import CLEAN

Line = Mapping[str, Any]


def merged(lines: Iterable[Line], known: dict[str, Line] | None = None) -> dict[str, Line]:
    """The line that counts for every run: the latest done one, else the latest.

    Example:
        >>> lines = [{"run": "a", "status": "done"}, {"run": "a", "status": "failed"}]
        >>> merged(lines)["a"]["status"]
        'done'
    """
    result = {} if known is None else known
    for line in lines:
        before = result.get(line["run"])
        if before is None or line["status"] == "done" or before["status"] != "done":
            result[line["run"]] = line
    return result


class State:
    """Counts that the loop changes and the view shows."""

    def __init__(self, runs: Sequence[Run], lines: Iterable[Line], retry_failed: bool) -> None:
        self.runs = {run.name: run for run in runs}
        #: How many runs there will be; some may not be known yet.
        self.total = len(runs)
        self._lines: dict[str, Line] = merged(lines)
        self._again = {n for n, line in self._lines.items() if retry_failed and line["status"] == "failed"}
        self.begun = time.monotonic()
        self.done_before = self.count("done")
        self.flying = 0
        self.encoding = self.encodings = 0
        self.workers = 1
        #: When the time given is over (``time.monotonic``); None: there is no such time.
        self.deadline: float | None = None
        self.spent = False

    def add(self, lines: Iterable[Line]) -> None:
        """New lines."""
        values = list(lines)
        merged(values, self._lines)
        self._again -= {line["run"] for line in values}

    def plan(self, runs: Iterable[Run]) -> None:
        """More runs are known."""
        self.runs |= {run.name: run for run in runs}

    def line(self, name: str) -> Line | None:
        """What counts of a run; None while it is to be done."""
        return None if self.waits(name) else self._lines[name]

    def waits(self, name: str) -> bool:
        """It is to be done: never tried, or tried in vain and asked for again."""
        return name not in self._lines or name in self._again

    def waiting(self) -> list[Run]:
        """Runs that are to be done, those in flight included."""
        return [run for name, run in self.runs.items() if self.waits(name)]

    def count(self, status: str) -> int:
        """Runs of the plan whose line that counts says so."""
        return sum(line["status"] == status for line in self.latest())

    def latest(self) -> list[Line]:
        """The lines that count, of the plan's runs."""
        return [self._lines[name] for name in list(self.runs) if name in self._lines]

    def seconds_left(self) -> float | None:
        """Estimate from the time of finished runs of the same table and variant; None before there are any."""
        return left(self.waiting(), self.latest(), self.workers)

    def budget_left(self) -> float | None:
        """Seconds until the time given is over; None where there is no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def seconds_of(self, run: Run) -> float | None:
        """What a run will take by itself, from those like it; None before anything is known."""
        return left([run], self.latest(), 1)

    def rate(self) -> float:
        """Runs per minute since this call began."""
        passed = max(1e-9, time.monotonic() - self.begun)
        return 60 * (self.count("done") - self.done_before) / passed


def left(waiting: Iterable[Run], lines: Iterable[Line], workers: int) -> float | None:
    """Seconds for the runs that wait: each by the mean of what is most like it, shared rows once for each group.

    Example:
        >>> left([], [], 2) is None
        True
    """
    own: dict[Any, list[float]] = defaultdict(list)
    shared: dict[Any, list[float]] = defaultdict(list)
    for line in lines:
        seconds = line.get("seconds", {})
        if line["status"] == "done" and "fit" in seconds:
            for key in _likeness(line["dataset"], line["variant"], tuple(line["subset"])):
                own[key].append(seconds["fit"] + seconds["test"])
                shared[key].append(seconds["encode"])
    if not own:
        return None
    result, groups = 0.0, set()
    for run in waiting:
        key = next(key for key in _likeness(run.dataset, run.variant, run.subset) if key in own)
        result += sum(own[key]) / len(own[key])
        if run.share not in groups:
            groups.add(run.share)
            result += sum(shared[key]) / len(shared[key])
    return result / max(1, workers)


def _likeness(dataset: str, variant: str, subset: tuple[str, ...]) -> tuple[object, ...]:
    """What runs are alike by, the closest first."""
    return (dataset, variant, subset), (dataset, subset), (dataset, variant), dataset, None


def shown(name: str, state: State, wanted: bool | None) -> AbstractContextManager[None]:
    """Draw the state on standard error while the block runs."""
    return progress.panel(lambda width: picture(name, state, width), wanted)


def picture(name: str, state: State, width: int = 100) -> list[str]:
    """The lines of the view at one moment."""
    ended = state.count("done") + state.count("failed") + state.count("stopped")
    room = max(5, min(30, width - len(name) - 16))
    full = round(room * ended / max(1, state.total))
    drawn = "█" * full + "░" * (room - full)
    passed = duration(time.monotonic() - state.begun)
    return [f"{name}  {drawn}  {ended}/{state.total} runs, {passed}", *lines(state), *best(state)]


def lines(state: State) -> list[str]:
    """Counts, rate and time left; the time on a line of its own where a budget sets its end."""
    if state.encoding:
        said = [f"encoding what runs share: {state.encoding} of {state.encodings} pieces left"]
        return said + [f"{duration(state.budget_left() or 0)} left of the time given"] * (state.deadline is not None)
    stopped, failed = state.count("stopped"), state.count("failed")
    parts = [f"{state.count('done')} done", *[f"{state.flying} in flight"] * bool(state.flying)]
    parts += [f"{failed} failed"] * bool(failed) + [f"{stopped} left the race"] * bool(stopped)
    parts += [f"{state.rate():.1f} runs/min"] * (state.rate() >= 0.05)
    if not state.flying and not any(map(state.count, ("done", "failed", "stopped"))):
        parts = ["starting"]
    said, left = [", ".join(parts)], state.seconds_left()
    waiting = len(state.waiting())
    if state.spent:
        return [*said, f"the time given is over: {waiting} runs were not begun"]
    if state.deadline is None:
        return [f"{said[0]}, about {duration(left)} left"] if left is not None and waiting else said
    allowed = state.budget_left()
    if waiting and left is not None and left <= (allowed or 0):
        said.append(f"about {duration(left)} left")
    elif waiting:
        said.append(f"{duration(allowed or 0)} left of the time given" + ("; not all runs fit in it" if left else ""))
    return said


def best(state: State, most: int = 4) -> list[str]:
    """The best variant of each table so far, by the mean of its first metric on clean rows with everything present."""
    result: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    heads: dict[str, tuple[str, bool]] = {}
    for line in state.latest():
        measured = line["evaluations"][0]["metrics"] if line["status"] == "done" else {}
        name = MAIN[line["task"]] if MAIN[line["task"]] in measured else next(iter(measured), "")
        if (score := score_of(line, name)) is not None:
            heads[line["dataset"]] = (name, metrics(line["task"])[name].direction == "lower")
            result[line["dataset"]][line["variant"], "+".join(line["subset"])].append(score)
    said = []
    for dataset, scores in list(result.items())[:most]:
        name, lower = heads[dataset]
        means = {key: sum(values) / len(values) for key, values in scores.items()}
        key = (min if lower else max)(means, key=means.__getitem__)
        said.append(f"best on {dataset}: {key[0]} on {key[1]}, {name} {means[key]:.3f} (mean of {len(scores[key])})")
    return said


def score_of(line: Line, metric: str, present: Sequence[str] | None = None) -> float | None:
    """A metric of a run on clean rows, with all that it was trained on or with only ``present``; None: there is none."""
    wanted = list(line["subset"] if present is None else present)
    for one in line["evaluations"] if line["status"] == "done" else ():
        value = one["metrics"].get(metric)
        if one["condition"] == CLEAN and one["present"] == wanted and value is not None and math.isfinite(value):
            return float(value)
    return None
