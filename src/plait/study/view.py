"""The live view of a study: done, in flight, failed, rate, time left, best so far; on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from plait.metrics import MAIN, metrics

if TYPE_CHECKING:
    from rich.console import RenderableType

    from plait.study.state import State
    from plait.study.study import Study

#: Seconds between two drawings.
PERIOD = 0.25


@contextmanager
def shown(study: Study, state: State, wanted: bool | None) -> Iterator[None]:
    """Draw the state on standard error while the block runs.

    Args:
        study: that is run.
        state: that changes.
        wanted: None: where standard error is a terminal and nobody asks for silence.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if wanted is False or (wanted is None and (not terminal or os.environ.get("PLAIT_QUIET"))):
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    drawn = 0.0
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:

        def draw(force: bool = False) -> None:
            nonlocal drawn
            if force or time.monotonic() - drawn >= PERIOD:
                drawn = time.monotonic()
                live.update(picture(study, state), refresh=True)

        state.changed = draw
        try:
            yield
        finally:
            draw(force=True)


def picture(study: Study, state: State) -> RenderableType:
    """The view at one moment."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, failed, total = state.count("done"), state.count("failed"), len(state.runs)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(Text(study.name, style="bold"), ProgressBar(total, done + failed, width=30), f"{done + failed}/{total}")
    return Group(bar, Text(line(state)), *(Text(told) for told in best(state)))


def line(state: State) -> str:
    """Counts, rate and time left."""
    if state.encoding:
        return f"encoding what runs share: {state.encoding} pieces left"
    left = state.seconds_left()
    parts = [f"{state.count('done')} done", f"{state.flying} in flight", f"{state.count('failed')} failed"]
    stopped = state.count("stopped")
    parts += [f"{stopped} stopped"] * bool(stopped) + [f"{state.rate():.1f} runs/min"]
    return ", ".join(parts) + (f", {duration(left)} left" if left is not None else "")


def duration(seconds: float) -> str:
    """Seconds as people read them.

    Example:
        >>> duration(42), duration(200), duration(7320)
        ('42 s', '3 min 20 s', '2 h 2 min')
    """
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def best(state: State, most: int = 4) -> list[str]:
    """The best variant of each table so far, by the mean of its first metric on clean rows with everything present."""
    found: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    heads: dict[str, tuple[str, bool]] = {}
    for told in state.latest():
        value = first_metric(told)
        if value is None:
            continue
        name, score = value
        known = metrics(told["task"])[name]
        heads[told["dataset"]] = (name, known.direction == "lower")
        found[told["dataset"]][told["variant"], "+".join(told["subset"])].append(score)
    said = []
    for dataset, scores in list(found.items())[:most]:
        name, lower = heads[dataset]
        means = {key: sum(values) / len(values) for key, values in scores.items()}
        key = (min if lower else max)(means, key=means.__getitem__)
        said.append(f"best on {dataset}: {key[0]} on {key[1]}, {name} {means[key]:.3f} (mean of {len(scores[key])})")
    return said


def first_metric(told: Any) -> tuple[str, float] | None:
    """Name and value of the metric that leads, on the evaluation with nothing changed and everything present."""
    if told["status"] != "done":
        return None
    plain = [e for e in told["evaluations"] if e["condition"] == "clean" and len(e["present"]) == len(told["subset"])]
    if not plain:
        return None
    values = plain[0]["metrics"]
    name = MAIN[told["task"]] if MAIN[told["task"]] in values else next(iter(values), None)
    return None if name is None or values[name] is None else (name, values[name])
