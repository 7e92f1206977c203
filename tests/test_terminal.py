"""Every command as a user has it: on a terminal, narrow and wide, to its end and stopped by Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from plait.base import progress
from plait.cli import main, registered
from plait.cli.show import show_table, show_text
from plait.workflow.fit import fit_table
from study_tiny import TOLD, study

pexpect = pytest.importorskip("pexpect")
pty = pytest.importorskip("pty")

QUICK = "--encoder text=hashed_ngrams --members 1 --epochs 2 --set width=8 --set branches=[joint] --no-report"
#: Command -> its arguments; {x} is a file or folder of the workshop, {new} a place for what is written.
COMMANDS = {
    "schema": "{table} --target label",
    "encode": "{table} --target label --encoder text=hashed_ngrams --store {new}/store",
    "store": "--store {store}",
    "list": "fusion",
    "doctor": "",
    "fit": f"{{table}} --target label --out {{new}}/m {QUICK} --store none",
    "demo": "--out {new}/demo --store none",
    "predict": "{model} {table} --out {new}/p.csv --store none",
    "evaluate": "{model} {table} --store none --condition absent:text=0.5",
    "explain": "{model} {table} --store none",
    "export": "{model} --out {new}/onnx",
    "push": "{model} {new}/hub",
    "align": "{table} --stage cca --out {new}/a --schema {pairs} --store none --encoder text=hashed_ngrams "
    "--set stage.components=4",
    "search": "{aligner} {table} --modality tabular --query text=red --store none",
    "classify": "{aligner} {table} --name red --name blue --store none --out {new}/c.csv",
    "pretrain": "{table} --target label --modality text --encoder cnn_text --epochs 1 --set encoders.text.width=4 "
    "--out {new}/e --store none",
    "sensitivity": "{table} --target label --encoder text=hashed_ngrams --trials 2 --set members=1 --set epochs=1 "
    "--set branches=[joint] --out {new}/s --no-report --store none",
    "inspect": "{model} --table {table} --projection pca --store none --out {new}/i",
    "curves": "{model} --out {new}/c.svg",
    "advise": "{table} --target label --minutes 5 --splits 1 --set members=1 --set epochs=1 --set width=8 "
    "--set encoders.text=hashed_ngrams --out {new}/advice --store {new}/store",
    "study check": "{study}",
    "study plan": "{study} --probes 0 --out {new}/out",
    "study run": "{study} --engine inline --out {new}/out --store {new}/store",
    "study status": "{results}",
    "study results": "{results}",
    "study report": "{results} --out {new}/report",
    "study list": "",
    "reproduce": "early-fusion-contrastive --list",
    "data list": "--root {new}",
    "data fetch": "hearthstone_cards --root {new}",
}
#: Command -> the step within which Ctrl-C comes (default: the first), and what the last line says.
STOPPED = {
    "encode": (
        "encode text",
        "nothing was written; what was encoded is kept in the store; the same command carries on",
    ),
    "fit": ("train", "stopped: finished epochs are kept beside the model's folder; the same command carries on"),
    "predict": ("predict", "stopped: nothing was written"),
    "demo": ("read the cards", "the table of cards, once written, is kept"),
    "evaluate": ("judge", "nothing was written"),
    "explain": ("explain", "nothing was written"),
    "align": ("align", "nothing was written"),
    "pretrain": ("pretrain", "nothing was written"),
    "sensitivity": ("search", "finished trials are kept"),
    "advise": ("race", "finished fits are kept"),
    "study run": ("run", "finished runs are kept"),
    "study plan": ("read", "finished probes are kept"),
    "study report": ("write", "nothing was written"),
    "reproduce": ("loading libraries", "finished runs are kept in the folders of the studies"),
}
#: As much of a wide terminal as is worth the time: the others draw the same lines.
WIDE = ("fit", "predict", "encode", "evaluate", "study run", "study results", "list", "curves", "classify", "schema")


def plain(written: str) -> str:
    """What is written, each move of the cursor a new line."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", re.sub(r"\x1b\[[0-9;]*m", "", written))


class Terminal:
    """A pseudo-terminal that everything of this process is written to."""

    def __init__(self, columns: int) -> None:
        self.columns, self._written = columns, b""
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.stream = os.fdopen(self._theirs, "w", buffering=1, encoding="utf-8")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(self._ours, 65536):
                self._written += piece

    def close(self) -> str:
        """All that was written."""
        self.stream.close()
        self._reader.join()
        os.close(self._ours)
        return plain(self._written.decode(errors="replace"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLAIT_QUIET", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("plait.study.advice.candidates", lambda *told: _few(*told))
    usual = _engine_of_launch()
    monkeypatch.setattr(
        "plait.study.launch.engine_for", lambda options, *rest: usual(replace(options, engine="inline"), *rest)
    )
    monkeypatch.setattr("plait.datasets.hearthstone_cards.HearthstoneCards.load", _some_cards)
    monkeypatch.setattr("plait.workflow.fit.fit_table", _quick_fit)


def _few(*told: Any) -> list[Any]:
    from plait.study.designs import candidates

    return candidates(*told)[:2]


def _engine_of_launch() -> Any:
    from plait.study import launch

    return launch.engine_for


def _quick_fit(frame: Any, found: Any, settings: Any, **told: Any) -> Any:
    quick = {"encoders": {"text": "hashed_ngrams"}, "members": 1, "epochs": 2, "width": 8, "branches": ("joint",)}
    return fit_table(frame, found, {**quick, **settings}, **{**told, "report": False})


def _some_cards(self: Any) -> Any:
    from types import SimpleNamespace

    from plait.data import schema

    frame = workshop_table()
    return SimpleNamespace(frame=frame, schemas={"cardClass": schema.infer(frame, target="label")})


def on_terminal(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit code, and what a terminal of so many columns was sent."""
    terminal = Terminal(columns)
    monkeypatch.setenv("COLUMNS", str(columns))
    code = 0
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        patch.setattr(sys, "stdout", terminal.stream)
        try:
            main(command.split())
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, terminal.close()


def workshop_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    blue, big = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    return pd.DataFrame(
        {
            "story": [f"a {'blue' if b else 'red'} thing that has the number {i} on it" for i, b in enumerate(blue)],
            "size": (3 * big + rng.normal(size=60)).round(3),
            "label": np.where(blue, "cold", "warm"),
        }
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A table and all that commands make of it, made once."""
    folder = tmp_path_factory.mktemp("workshop")
    table, pairs, store = folder / "things.csv", folder / "pairs.yaml", folder / "store"
    workshop_table().to_csv(table, index=False)
    shown = {"text": {"kind": "text", "columns": ["story"]}, "tabular": {"kind": "tabular", "columns": ["size"]}}
    pairs.write_text(yaml.safe_dump({"modalities": shown}))
    study(folder, seeds=1)
    (folder / "study.yaml").write_text(yaml.safe_dump({**TOLD, "seeds": 1}))
    found = {"table": table, "pairs": pairs, "store": store, "study": folder / "study.yaml"}
    made = {"model": "m", "aligner": "a", "results": "out"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIT_QUIET", "1")
        for command in ("encode", "fit", "align", "study run"):
            with contextlib.suppress(SystemExit):
                main([*command.split(), *COMMANDS[command].format(new=folder, **found).split()])
    return {**found, **{name: folder / place for name, place in made.items()}}


#: Command -> packages that it draws, searches or writes with.
NEEDED = {
    "sensitivity": ("optuna",),
    "curves": ("matplotlib",),
    "export": ("onnx", "onnxruntime"),
    "study report": ("jinja2",),
}


def _needs(command: str) -> None:
    for module in NEEDED.get(command, ()):
        pytest.importorskip(module)


def names() -> set[str]:
    """Every command, those of groups with the group's name before them."""
    top = typer.main.get_command(registered())
    found = set()
    for name, command in top.commands.items():  # type: ignore[attr-defined]  # a group
        inner = getattr(command, "commands", None)
        found |= {name} if inner is None else {f"{name} {part}" for part in inner}
    return found


@pytest.mark.parametrize("group", [[], ["study"], ["data"]], ids=" ".join)
def test_a_list_of_commands_says_what_each_does_in_whole_sentences(group: list[str]) -> None:
    shown = CliRunner().invoke(registered(), [*group, "--help"], terminal_width=80).output
    lines = shown.partition("Commands:\n")[2].splitlines()
    assert lines
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []
    assert all(re.match(r"  [a-z]", line) for line in lines), "a line each"


def test_every_command_is_tried_here() -> None:
    assert {*COMMANDS, "serve"} == names()  # serve does not end by itself: tests/test_serve.py


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("command", "columns"), [*((c, 40) for c in COMMANDS), *((c, 200) for c in COMMANDS if c in WIDE)]
)
def test_every_command_ends_well_on_a_terminal(
    command: str, columns: int, workshop: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs(command)
    told = f"{command} {COMMANDS[command].format(new=tmp_path, **workshop)}"
    code, seen = on_terminal(told, columns, monkeypatch)
    assert code == 0, seen
    assert "Traceback" not in seen
    assert "loading libraries" in seen
    drawn = [line for line in re.split(r"[\r\n]+", seen) if re.match(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] ", line)]
    assert drawn
    assert max(map(len, drawn)) < columns, max(drawn, key=len)
    for thread in threading.enumerate():
        if type(thread).__name__ == "_RefreshThread":  # told to stop, it ends after at most one more picture
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("family", "columns"), [("fusion", 80), ("fusion", 120), ("encoders", 80), ("encoders", 400)])
def test_a_wide_table_fits_the_terminal(family: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    code, seen = on_terminal(f"list {family}", columns, monkeypatch)
    table = [line for line in re.split(r"[\r\n]+", seen) if line and not line.startswith(tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"))]
    assert code == 0
    assert max(map(len, table)) <= columns
    said = " ".join(" ".join(table).split())
    assert ("by feature, how much of each one passes (GMU)" if family == "fusion" else "timm_image") in said


@pytest.mark.parametrize("names", [["a" * 90], ["a" * 90, "b"], ["a", "b" * 90]])
def test_figures_below_a_name_wider_than_the_terminal_are_shown(
    names: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    show_table([dict.fromkeys(names, 0.25)])
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    assert said.count("0.250") == len(names)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("columns", [3, 12, 40])
def test_a_table_of_few_wide_columns_is_shown_on_any_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(columns)
    monkeypatch.setenv("COLUMNS", str(columns))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.stream)
        show_table([{"a number with a long name": 1234567890123456}])
        show_table([{"1234567890123456": 1.5, "text": "some words " * 9, "another number": 2.5, "k": 1}])
        show_table([{"words": "Donaudampfschifffahrtsgesellschaftskapitaen"}])
        show_table([{"": "", "b": "some words " * 9}])
    shown = terminal.close()
    assert shown.count("1234567890123456") == 2
    assert shown.count("some") == 18
    assert "Donaudampfschifffahrtsgesellschaftskapitaen" in shown.replace("\n", "").replace("\r", "")


def test_what_a_table_says_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([{"la\x1b[2Jbel": "red\x1b[31m\r\nblue", "n": 1}])
    show_text("column 'a\x07'")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [[r"la\x1b[2Jbel", "n"], [r"red\x1b[31m\r\nblue", "1"]]
    assert lines[2:] == [r"column 'a\x07'"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_says_what_is_kept(
    command: str, workshop: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs(command)
    within, kept = STOPPED.get(command, ("loading libraries", "nothing was written"))
    usual, sent = progress._Display.step, []

    def step(self: Any, label: str) -> None:
        usual(self, label)
        if label.startswith(within) and not sent:
            sent.append(label)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress._Display, "step", step)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        told = f"{command} {COMMANDS[command].format(new=tmp_path, **workshop)}"
        code, seen = on_terminal(told, 80, monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent
    assert code == 130, seen
    assert "Traceback" not in seen
    said = " ".join(seen[seen.rindex("stopped: ") :].split())
    assert kept in said, said
    assert not list(tmp_path.glob("*.csv"))
    assert not (tmp_path / "m").exists()
    assert progress.showing is None


@pytest.mark.usefixtures("environment")
def test_a_step_of_steps_comes_before_the_work(
    workshop: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"fit {COMMANDS['fit'].format(new=tmp_path, **workshop)}"
    cells: list[int] = []
    usual = progress.Bar.advance
    monkeypatch.setattr(progress.Bar, "advance", lambda bar, n=1, *share: [cells.append(n), usual(bar, n, *share)])
    _, seen = on_terminal(command, 100, monkeypatch)
    steps = ["loading libraries", "read things.csv", "1 of 4: encode text", "2 of 4: train"]
    steps += ["3 of 4: judge on held-out rows", "4 of 4: write model and report"]
    assert [seen.index(step) for step in steps] == sorted(seen.index(step) for step in steps)
    assert "text: hashed_ngrams" in seen
    assert 0 < next(n for n in cells if n) <= 16  # the first cells, not only the first large batch


@pytest.mark.usefixtures("environment")
def test_rows_on_the_terminal_do_not_mix_with_the_bar(
    workshop: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, seen = on_terminal(f"predict {workshop['model']} {workshop['table']} --store none --rows 20", 80, monkeypatch)
    assert code == 0
    rows = [line for line in seen.splitlines() if re.fullmatch(r"(cold|warm),[0-9.]+,[0-9.]+", line)]
    assert len(rows) == 60


# -- a process of its own -------------------------------------------------------------------------------------------------


def spawned(command: str, **options: Any) -> Any:
    kept = {k: v for k, v in os.environ.items() if k not in ("PLAIT_QUIET", "COLUMNS", "NO_COLOR")}
    told = ["-m", "plait", *command.split()]

    def heard() -> None:  # tests that a shell runs in its background would hand on that Ctrl-C is to be ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    options |= {"env": {**kept, "TERM": "xterm"}, "timeout": 120, "encoding": "utf-8", "preexec_fn": heard}
    return pexpect.spawn(sys.executable, told, **options)


@pytest.mark.parametrize("columns", [40, 200])
def test_predict_as_the_hint_names_it(columns: int, workshop: Mapping[str, Path], tmp_path: Path) -> None:
    process = spawned(
        f"predict {workshop['model']} {workshop['table']} --out {tmp_path / 'p.csv'}", dimensions=(24, columns)
    )
    seen = process.read()
    process.close()
    assert process.exitstatus == 0, seen
    assert "60 predictions written" in plain(seen)
    assert len(pd.read_csv(tmp_path / "p.csv")) == 60


def test_ctrl_c_in_a_study_of_several_processes(workshop: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copytree(workshop["study"].parent, tmp_path / "w")
    told = {**TOLD, "seeds": 40}
    (tmp_path / "w" / "study.yaml").write_text(yaml.safe_dump(told))
    process = spawned(
        f"study run {tmp_path / 'w' / 'study.yaml'} --workers 1 --out {tmp_path / 'out'}", dimensions=(24, 80)
    )
    process.expect(r"[1-9]\d* done")  # quick runs are counted several at a time
    process.sendintr()
    seen = process.read()
    process.close()
    assert process.exitstatus == 130, seen
    assert "Traceback" not in seen
    assert "finished runs are kept in the study's folder" in " ".join(plain(seen).split())
    assert (tmp_path / "out" / "results.jsonl").read_text().count("\n") >= 1


# -- bars -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [12, 40, 80, 200])
@pytest.mark.parametrize(("total", "done"), [(None, 0), (None, 7), (0, 0), (10, 0), (10, 4), (10, 10), (10, 12)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_bar_of_any_length_fits_any_width(total: int | None, done: int, columns: int, ascii_only: bool) -> None:
    bar = progress.Bar("text: all-minilm-l6-v2", total, "cells", begun=time.monotonic() - 4)
    if done:
        bar.advance(done)
    text = progress.line(bar, time.monotonic(), columns, ascii_only)
    assert 0 < len(text) < columns
    if columns >= 80:
        assert (f"{done}/{total} cells" if total is not None else f"{done} cells") in text
        assert ("left" in text) == (total == 10 and 0 < done < 10)


def test_the_time_left_goes_by_the_rate_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    bar = progress.Bar("text", 1000, "cells", begun=0.0)
    assert bar.seconds_left(0.0) is None
    for second in range(100, 160):  # after 100 s of imports ten cells a second
        clock[0] = float(second)
        bar.advance(10)
    assert bar.seconds_left(159.0) == pytest.approx(40, abs=2)
    for second in range(160, 260, 10):  # then one
        clock[0] = float(second)
        bar.advance(10)
    assert bar.seconds_left(250.0) == pytest.approx(300, abs=30)
    assert bar.seconds_left(550.0) > 1000  # and nothing comes: it is not said that the end is near


def test_the_time_left_weighs_long_cells_which_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    bar = progress.Bar("text", 1000, "cells", begun=0.0)
    for second in range(1, 6):  # two long texts a second, each a hundredth of all work
        clock[0] = float(second)
        bar.advance(2, 0.02)
    assert bar.seconds_left(5.0) == pytest.approx(45)  # by their number it would be 495
    clock[0] = 50.0
    bar.advance(990, 0.9)
    assert bar.seconds_left(50.0) == pytest.approx(0)


def test_silence_where_there_is_no_terminal(
    workshop: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PLAIT_QUIET")
    with contextlib.suppress(SystemExit):
        main(["encode", *COMMANDS["encode"].format(new=tmp_path, **workshop).split()])
    told = capfd.readouterr()
    assert told.err == ""
    assert "\x1b" not in told.out


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert progress.showing is None
