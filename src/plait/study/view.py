"""The live view of a study: done, in flight, failed, rate, time left, best so far; on a terminal only."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from plait.base import progress
from plait.base.progress import duration
from plait.metrics.base import MAIN, metrics

if TYPE_CHECKING:
    from plait.study.protocol import StudyFile
    from plait.study.state import State


def shown(study: StudyFile, state: State, wanted: bool | None) -> AbstractContextManager[None]:
    """Draw the state on standard error while the block runs.

    Args:
        study: that is run.
        state: that changes.
        wanted: None: where standard error is a terminal and nobody asks for silence.
    """
    return progress.panel(lambda width: picture(study, state, width), wanted)


def picture(study: StudyFile, state: State, width: int = 100) -> list[str]:
    """The lines of the view at one moment."""
    ended = state.count("done") + state.count("failed") + state.count("stopped")
    room = max(5, min(30, width - len(study.name) - 16))
    full = round(room * ended / max(1, len(state.runs)))
    drawn = "█" * full + "░" * (room - full)
    passed = duration(time.monotonic() - state.begun)
    return [f"{study.name}  {drawn}  {ended}/{len(state.runs)} runs, {passed}", *lines(state), *best(state)]


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
    for setting in state.latest():
        value = first_metric(setting)
        if value is None:
            continue
        name, score = value
        known = metrics(setting["task"])[name]
        heads[setting["dataset"]] = (name, known.direction == "lower")
        result[setting["dataset"]][setting["variant"], "+".join(setting["subset"])].append(score)
    said = []
    for dataset, scores in list(result.items())[:most]:
        name, lower = heads[dataset]
        means = {key: sum(values) / len(values) for key, values in scores.items()}
        key = (min if lower else max)(means, key=means.__getitem__)
        said.append(f"best on {dataset}: {key[0]} on {key[1]}, {name} {means[key]:.3f} (mean of {len(scores[key])})")
    return said


def first_metric(value: Any) -> tuple[str, float] | None:
    """Name and value of the metric that leads, on the evaluation with nothing changed and everything present."""
    if value["status"] != "done":
        return None
    plain = [e for e in value["evaluations"] if e["condition"] == "clean" and len(e["present"]) == len(value["subset"])]
    if not plain:
        return None
    values = plain[0]["metrics"]
    name = MAIN[value["task"]] if MAIN[value["task"]] in values else next(iter(values), None)
    return None if name is None or values[name] is None else (name, values[name])
