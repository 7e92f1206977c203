"""How far a long step is: rate and time left on the terminal, nothing anywhere else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID


@dataclass
class Bar:
    """What ``track`` yields."""

    _progress: Progress | None = None
    _task: TaskID | None = None

    def advance(self, n: int = 1) -> None:
        """``n`` more are done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, n)


@dataclass
class _Display:
    """The lines on the terminal: there is one display per process, which nested and parallel steps share."""

    progress: Progress
    process: int
    users: int = 0


_display: _Display | None = None
_lock = threading.Lock()


@contextmanager
def track(total: int | None, label: str, unit: str = "cells", enabled: bool | None = None) -> Iterator[Bar]:
    """Show how far a step of ``total`` units is, on standard error and only if that is a terminal.

    Args:
        total: how many units there are; None: not known.
        label: what is being done.
        unit: what is counted.
        enabled: False is silent; True shows it even where the environment variable ``PLAIT_QUIET`` asks for silence.

    Example:
        >>> with track(2, "encoding", enabled=False) as bar:
        ...     bar.advance(2)
    """
    if not _wanted(enabled):
        yield Bar()
        return
    progress = _enter()
    task = progress.add_task(label, total=total, unit=unit)
    try:
        yield Bar(progress, task)
    finally:
        _leave(task)


def _wanted(enabled: bool | None) -> bool:
    if enabled is False or (enabled is None and os.environ.get("PLAIT_QUIET")):
        return False
    if _display is not None and _display.process != os.getpid():
        return False  # a forked child would draw over its parent
    return sys.stderr is not None and sys.stderr.isatty()


def _enter() -> Progress:
    global _display
    with _lock:
        if _display is None:
            _display = _Display(_progress(), os.getpid())
            _display.progress.start()
        _display.users += 1
        return _display.progress


def _leave(task: TaskID) -> None:
    """A step within others takes its line away; the last one leaves it on the screen."""
    global _display
    with _lock:
        if _display is None:
            return
        _display.users -= 1
        if _display.users:
            _display.progress.remove_task(task)
        else:
            _display.progress.stop()
            _display = None


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}", markup=False),
        _rate_column(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,  # rich would send what is printed to standard output to standard error
    )


def _rate_column() -> ProgressColumn:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text(f"{rate:,.0f} {task.fields['unit']}/s" if rate else "")

    return Rate()
