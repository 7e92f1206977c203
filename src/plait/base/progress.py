"""How far long work is: the step, the rate and the time left on a terminal; nothing anywhere else."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.base.deadline import duration
from plait.base.errors import hidden
from plait.base.notebook import NotebookConsole, NotebookLive, in_notebook

if TYPE_CHECKING:
    from rich.text import Text


#: The rate is that of the last updates: so many at least, and all of the last seconds.
UPDATES, RECENT = 4, 30.0
#: An update is overdue when it is so many times later than the one before was.
OVERDUE = 2.0
#: A finished step that took so many seconds leaves a line behind.
WORTH_A_LINE = 2.0
_SPINNER, _ASCII_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "-\\|/"
_BAR = 20


@dataclass
class Bar:
    """What ``track`` yields.

    Attributes:
        total: how many units there are; None: not known.
        done: how many of them are done.
        begun: when, by the monotonic clock.
        ended: when all were done; None: they are not.
    """

    label: str = ""
    total: int | None = None
    unit: str = ""
    done: int = 0
    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _worked: float = field(default=0.0, repr=False)
    _marks: deque[tuple[float, int, float]] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def advance(self, n: int = 1, share: float | None = None) -> None:
        """``n`` more are done, which were this share of the whole work (None: all units cost the same)."""
        now = time.monotonic()
        with self._lock:
            self.done += n
            self._worked += n / self.total if share is None and self.total else share or 0.0
            self.ended = now if self.done == self.total else None
            self._marks.append((now, self.done, self._worked))
            while len(self._marks) > UPDATES and now - self._marks[0][0] > RECENT:
                self._marks.popleft()

    def rate(self, now: float) -> float | None:
        """Units per second of late, which sinks while nothing comes; of all, once all are done; None before the first."""
        paces = self._paces(self.ended or now)
        return None if paces is None else paces[0]

    def _paces(self, now: float) -> tuple[float, float] | None:
        """Units, and shares of the work, per second."""
        with self._lock:
            if not self._marks:
                return None
            # What comes before the first unit (weights are loaded) says nothing of the others.
            since, before, worked = self._marks[0] if len(self._marks) > 1 else (self.begun, 0, 0.0)
            seconds = max(1e-9, now - since)
            return (self.done - before) / seconds, (self._worked - worked) / seconds

    def seconds_left(self, now: float) -> float | None:
        """For the work that is not done yet, at the rate of late; None where that is not known.

        Between two updates it counts down; where the next one is long overdue, the rate sinks.
        """
        with self._lock:
            times = [mark[0] for mark in self._marks]
        if self.total is None or not times:
            return None
        waited, usual = now - times[-1], times[-1] - (times[-2] if len(times) > 1 else self.begun)
        waited = waited if waited <= OVERDUE * usual else 0.0
        paces = self._paces(now if not waited else times[-1])
        if paces is None or paces[1] <= 0:
            return None
        return max(0.0, max(0.0, 1 - self._worked) / paces[1] - waited)


def line(bar: Bar, now: float, width: int, ascii_only: bool = False) -> str:
    """One line about a bar that fits the width: what matters least is left out first, then the label is cut.

    Example:
        >>> line(Bar("text", 4, "cells", 1, begun=0.0), 8.0, 60, ascii_only=True)
        '- text  #####---------------  1/4 cells  8 s'
    """
    marks = _ASCII_SPINNER if ascii_only else _SPINNER
    spinner = marks[int(now * 8) % len(marks)]
    count = "" if not bar.unit else f"{bar.done:,} {bar.unit}"
    drawn = left_text = ""
    if bar.total is not None:
        full = round(_BAR * min(1.0, bar.done / bar.total)) if bar.total > 0 else _BAR
        drawn = ("#" if ascii_only else "█") * full + ("-" if ascii_only else "░") * (_BAR - full)
        count = f"{bar.done:,}/{bar.total:,} {bar.unit}".rstrip()
        left = bar.seconds_left(now)
        left_text = f"about {duration(left)} left" if left is not None and bar.done < bar.total else ""
    rate = bar.rate(now) if bar.unit else None
    parts = {
        "bar": drawn,
        "count": count,
        "rate": f"{rate:,.0f} {bar.unit}/s" if rate and rate >= 1 else "",
        "elapsed": duration((bar.ended or now) - bar.begun),
        "left": left_text,
    }  # in the order of the line
    for gone in ("", "rate", "bar", "elapsed"):
        parts.pop(gone, None)
        rest = "  ".join(part for part in parts.values() if part)
        room = width - len(rest) - 5
        if len(bar.label) <= room or (gone == "elapsed" and room > 0):
            label = bar.label if len(bar.label) <= room else bar.label[: room - 1] + ("." if ascii_only else "…")
            return f"{spinner} {label}  {rest}".rstrip()
    return f"{spinner} {rest}"[: width - 1]


class _Display:
    """The lines on the terminal: there is one display per process, which nested and parallel work shares."""

    def __init__(self) -> None:
        self.process, self.users = os.getpid(), 0
        self.head: Bar | None = None
        self.plan: list[str] = []
        self.at = 0
        self.bars: list[Bar] = []
        self.panels: list[Callable[[int], Sequence[str]]] = []
        self.console, self.live = _live(self._text)
        self.stderr: Any = None
        self.above: Any = None

    def _text(self) -> Text:
        from rich.text import Text

        if not (self.head or self.bars or self.panels):
            return Text()
        now, console = time.monotonic(), self.console
        heads = [] if self.head is None else [self.head]
        lines = [line(bar, now, console.width, console.options.ascii_only) for bar in [*heads, *self.bars]]
        lines += [text for panel in list(self.panels) for text in panel(console.width)]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def leave_line(self, bar: Bar) -> None:
        """Let what is done stay on the screen."""
        from rich.text import Text

        console = self.console
        text = line(bar, time.monotonic(), console.width, console.options.ascii_only)
        console.print(Text(text[2:], no_wrap=True))

    def show(self) -> None:
        """Draw now, and from now on."""
        if self.live.is_started:
            self.live.refresh()
        else:
            self.live.start(refresh=True)

    def step(self, label: str) -> None:
        """The head line says what is done now; steps of a plan are numbered, and others within them are not shown."""
        if self.plan:
            if label not in self.plan[self.at :]:
                return
            self.at = self.plan.index(label, self.at) + 1
            label = f"{self.at} of {len(self.plan)}: {label}" if len(self.plan) > 1 else label
        self._end_step()
        self.head = Bar(label)
        self.show()

    def _end_step(self) -> None:
        if self.head is not None and self.at > 1 and time.monotonic() - self.head.begun >= WORTH_A_LINE:
            self.leave_line(self.head)


class _Above:
    """Standard error while lines are drawn on it: whole lines go above them."""

    def __init__(self, stream: Any, display: _Display) -> None:
        self.rich_proxied_file = stream  # the name by which rich finds what it writes to
        self._display, self._begun = display, ""

    def write(self, text: str) -> int:
        from rich.text import Text

        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._display.console.print(Text.from_ansi(line), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        self.rich_proxied_file.flush()

    def close_line(self) -> None:
        """Write what does not end with a new line, after the last lines were taken away."""
        self.rich_proxied_file.write(self._begun)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


showing: _Display | None = None
_lock = threading.RLock()


@contextmanager
def track(total: int | None, label: str, unit: str = "cells", enabled: bool | None = None) -> Iterator[Bar]:
    """Show how far work of ``total`` units is, on standard error and only if that is a terminal.

    Args:
        total: how many units there are; None: not known.
        label: what is being done.
        unit: what is counted.
        enabled: False is silent; True shows it even where the environment variable ``PLAIT_QUIET`` asks for silence.

    Example:
        >>> with track(2, "encoding", enabled=False) as bar:
        ...     bar.advance(2)
    """
    bar = Bar(label, total, unit)
    if not wanted(enabled):
        yield bar
        return
    with _shared() as display:
        display.bars.append(bar)
        display.show()
        try:
            yield bar
        finally:
            display.bars.remove(bar)
            if display.users == 1:  # the last one leaves its line on the screen
                display.leave_line(bar)


@contextmanager
def session(label: str, enabled: bool | None = None) -> Iterator[None]:
    """Show one thing after another: ``label`` at once, then what ``step`` names; ``track`` adds its lines below.

    Example:
        >>> with session("loading libraries", enabled=False):
        ...     step("encode text")
    """
    if not wanted(enabled) or (showing is not None and showing.head is not None):
        yield
        return
    with _shared() as display:
        try:
            display.step(label)
            yield
        finally:
            display.head, display.plan, display.at = None, [], 0


def plan(labels: Sequence[str], enabled: bool | None = None) -> None:
    """Say which steps are to come in this session, so that they can be numbered."""
    if showing is not None and showing.head is not None and wanted(enabled):
        showing.plan, showing.at = list(labels), 0


def step(label: str, enabled: bool | None = None) -> None:
    """Begin a step of the session; nothing outside one."""
    if showing is not None and showing.head is not None and wanted(enabled):
        showing.step(hidden(label))


@contextmanager
def panel(lines: Callable[[int], Sequence[str]], enabled: bool | None = None) -> Iterator[None]:
    """Show lines that are made anew whenever they are drawn, for a width; the last ones stay on the screen."""
    if not wanted(enabled):
        yield
        return
    with _shared() as display:
        display.panels.append(lines)
        try:
            display.show()
            yield
        finally:
            from rich.text import Text

            display.panels.remove(lines)
            for text in lines(display.console.width):
                display.console.print(Text(text, no_wrap=True, overflow="ellipsis"))


def clear() -> None:
    """Take the lines away until the next step begins, because something is about to be printed."""
    if showing is not None and showing.process == os.getpid():
        showing.live.stop()


def wanted(enabled: bool | None) -> bool:
    """Whether progress is shown: on a terminal, unless silence is asked for."""
    if enabled is False or (enabled is None and os.environ.get("PLAIT_QUIET")):
        return False
    if showing is not None and showing.process != os.getpid():
        return False  # a forked child would draw over its parent
    return (sys.stderr is not None and sys.stderr.isatty()) or in_notebook()


@contextmanager
def _shared() -> Iterator[_Display]:
    """The display, which ends with the last that uses it."""
    global showing
    with _lock:
        if showing is None:
            showing = _Display()
            showing.stderr, showing.above = sys.stderr, _Above(sys.stderr, showing)
            if not in_notebook():
                sys.stderr = showing.above
        display = showing
        display.users += 1
    try:
        yield display
    finally:
        with _lock:
            display.users -= 1
            if not display.users:
                showing = None
                display.live.stop()
                if sys.stderr is display.above:
                    sys.stderr = display.stderr
                display.above.close_line()


def _live(text: Callable[[], Text]) -> tuple[Any, Any]:
    if in_notebook():
        page = NotebookConsole()
        return page, NotebookLive(page, text)
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    options: dict[str, Any] = {"get_renderable": text, "refresh_per_second": 8, "transient": True}
    # Standard output is left as it is: rich would send what is printed there to standard error; and typer writes past
    # the stream that rich puts in the place of standard error.
    return console, Live(console=console, redirect_stdout=False, redirect_stderr=False, **options)
