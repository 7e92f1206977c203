"""Rate and time left on a terminal, silence everywhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from plait.base.progress import Bar, line, track

pty = pytest.importorskip("pty")

STEPS = """
import sys
from plait.base import progress
from plait.base.progress import track
def draw():
    if progress.showing is not None:
        progress.showing.show()
enabled = {"None": None, "True": True, "False": False}[sys.argv[1]]
with track(3, "text: minilm [x]", enabled=enabled) as bar:
    for _ in range(3):
        bar.advance(1)
        draw()
        print("on stdout")
    with track(2, "inner", unit="batches", enabled=enabled) as inner:
        inner.advance(2)
        draw()
with track(1, "after", enabled=enabled) as bar:
    bar.advance()
print("end", file=sys.stderr)
"""

INTERRUPTED = """
import sys
from plait.base.progress import track
try:
    with track(3, "outer"), track(3, "inner"):
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("left cleanly", file=sys.stderr)
"""


def on_terminal(code: str, enabled: str = "None", **environment: str) -> tuple[str, str]:
    """What a process writes to standard output (a pipe) and to standard error (a terminal)."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("PLAIT_QUIET", "NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, enabled],
        stdout=subprocess.PIPE, stderr=theirs, env={**kept, "TERM": "xterm", "COLUMNS": "120", **environment},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    out = process.communicate()[0].decode()
    assert process.returncode == 0, written.decode()
    return out, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())


def test_a_terminal_shows_label_count_rate_and_time_left() -> None:
    out, err = on_terminal(STEPS)
    assert out == "on stdout\n" * 3
    assert "text: minilm [x]" in err
    assert "3/3 cells" in err
    assert re.search(r"\d+ cells/s", err)
    assert re.search(r"about \d+ s left", err)
    assert "2/2 batches" in err
    last = err.split("\r\n")
    last = [line for line in map(str.strip, last) if line]
    assert last[-1] == "end"
    assert "after" in last[-2]


@pytest.mark.parametrize(
    ("enabled", "environment", "shown"),
    [("False", {}, False), ("None", {"PLAIT_QUIET": "1"}, False), ("True", {"PLAIT_QUIET": "1"}, True)],
)
def test_it_can_be_silenced(enabled: str, environment: dict[str, str], shown: bool) -> None:
    out, err = on_terminal(STEPS, enabled, **environment)
    assert out == "on stdout\n" * 3
    assert ("minilm" in err) is shown
    if not shown:
        assert err.split() == ["end"]


@pytest.mark.parametrize("enabled", ["None", "True"])
def test_no_terminal_means_silence(enabled: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k != "PLAIT_QUIET"}
    done = subprocess.run([sys.executable, "-c", STEPS, enabled], capture_output=True, text=True, env=kept, check=True)
    assert done.stderr == "end\n"


def test_an_interrupt_gives_the_terminal_back() -> None:
    _, err = on_terminal(INTERRUPTED)
    assert "left cleanly" in err


def test_rich_is_imported_only_where_something_is_shown() -> None:
    code = "import sys; from plait.base.progress import track\nwith track(1, 'x'): pass\nprint('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_error_inside_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), track(1, "x"):
        raise ZeroDivisionError


def test_time_left_counts_down_between_updates_and_grows_when_one_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("plait.base.progress.time.monotonic", lambda: now[0])
    bar = Bar("text", 100, "cells")
    for now[0] in (10.0, 20.0):
        bar.advance(10)
    # 10 of 100 cells in each 10 seconds: 80 are left.
    assert [bar.seconds_left(t) for t in (20.0, 25.0, 35.0)] == [80.0, 75.0, 65.0]
    assert bar.seconds_left(50.0) == pytest.approx(80 * 4)  # 10 cells in 40 seconds: it hangs


def test_a_full_bar_keeps_its_time_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("plait.base.progress.time.monotonic", lambda: now[0])
    bar = Bar("training", 20, "epochs", begun=0.0)
    now[0] = 2.0
    bar.advance(10)
    now[0] = 4.0
    bar.advance(10)
    assert line(bar, 60.0, 80, ascii_only=True)[2:] == line(bar, 4.0, 80, ascii_only=True)[2:]
    assert line(bar, 60.0, 80, ascii_only=True).endswith("20/20 epochs  5 epochs/s  4 s")
