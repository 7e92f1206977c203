"""The runner: killed, doubled, refused, full, out of memory; and the same table in the end."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plait.base.errors import ConfigError, PlaitError, PlaitWarning
from plait.study import Results, Study, folder
from plait.study.engine import Event, Inline
from plait.study.engine_local import Local
from plait.study.folder import DiskFullError, LinesFile, StudyFolder
from plait.study.subjects.model import Model
from plait.study.tables import Setting
from study_tiny import TOLD, study, values


def forked(work: Callable[[], None]) -> int:
    """Exit code of a child process that does the work; forked, since a fresh one imports for seconds."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode or 0


def attempts(out: Path) -> Counter[str]:
    """Whole lines per run."""
    path = out / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return Counter(json.loads(line)["run"] for line in lines if line.endswith("\n"))


@pytest.fixture
def whole(tmp_path: Path) -> pd.DataFrame:
    """What the study finds when nobody disturbs it."""
    return values(study(tmp_path).run(tmp_path / "undisturbed", engine="inline"))


def killed(out: Path, tmp_path: Path, after: int, where: str) -> None:
    """Run the study, and die for good at the given line: before it is written, in its middle, or after it."""
    real, count = os.write, 0

    def write(file: int, data: bytes) -> int:
        nonlocal count
        if b'"run"' not in data:
            return real(file, data)
        count += 1
        if count > after:
            if where != "before":
                real(file, data[: len(data) // 2] if where == "within" else data)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, data)

    os.write = write  # type: ignore[assignment]
    study(tmp_path).run(out, engine="inline")


def test_killed_again_and_again_it_finds_the_same_and_does_nothing_twice(tmp_path: Path, whole: pd.DataFrame) -> None:
    out = tmp_path / "out"
    for after, where in ((0, "before"), (1, "within"), (0, "after"), (0, "within"), (0, "before")):
        code = forked(lambda after=after, where=where: killed(out, tmp_path, after, where))  # type: ignore[misc]
        assert code == -signal.SIGKILL
    results = study(tmp_path).run(out, engine="inline")
    pd.testing.assert_frame_equal(values(results), whole)
    assert set(attempts(out).values()) == {1}


def test_two_runners_share_the_work(tmp_path: Path, whole: pd.DataFrame) -> None:
    out = tmp_path / "out"
    context = multiprocessing.get_context("fork")
    runners = [context.Process(target=lambda: study(tmp_path).run(out, engine="inline")) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(120)
        assert runner.exitcode == 0
    results = Results.open(out)
    pd.testing.assert_frame_equal(values(results), whole)
    assert set(attempts(out).values()) == {1}


def test_a_run_that_another_runner_holds_is_waited_for(tmp_path: Path) -> None:
    one = study(tmp_path)
    out = tmp_path / "out"
    one.run(out, engine="inline", only=[])
    first = one.runs[0].name

    def hold() -> None:
        held = StudyFolder(out)
        held._claimed = folder.Claimed(out / folder.CLAIMS)
        assert held.claim(first)
        (out / "held").touch()
        while len(attempts(out)) < len(one.runs) - 1:  # all others are done
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)  # it never finishes: the claim must not outlive it

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    while not (out / "held").exists():
        time.sleep(0.01)
    assert study(tmp_path).run(out, engine="inline").status()["done"] == len(one.runs)
    lines = [json.loads(line)["run"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert lines[-1] == first
    process.join()


def test_torn_and_damaged_lines_cost_their_runs_and_no_more(tmp_path: Path, whole: pd.DataFrame) -> None:
    out = tmp_path / "out"
    study(tmp_path).run(out, engine="inline")
    path = out / "results.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "\0\0\0", *lines[2:-1], lines[-1][:50]]))
    with pytest.warns(PlaitWarning, match="1 damaged line"):
        assert len(Results.open(out).lines) == len(lines) - 2
    with pytest.warns(PlaitWarning, match="1 damaged line"):
        results = study(tmp_path).run(out, engine="inline")
    pd.testing.assert_frame_equal(values(results), whole)


def test_a_done_run_without_its_scores_is_a_damaged_line(tmp_path: Path) -> None:
    """Found by the campaign: mutations 8471."""
    out = tmp_path / "out"
    study(tmp_path, seeds=1).run(out, engine="inline")
    first, *others = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").write_text("\n".join([first.replace('"evaluations"', '"evaluationz"'), *others]) + "\n")
    with pytest.warns(PlaitWarning, match="1 damaged line"):
        results = Results.open(out)
    assert results.frame["run"].nunique() == len(others)


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study(tmp_path, seeds=1).run(out, engine="inline")
    with pytest.raises(ConfigError, match="holds another study, 'tiny'"):
        study(tmp_path, name="other").run(out, engine="inline")
    with pytest.raises(ConfigError, match=r"another state of its file \(changed: grid\)"):
        study(tmp_path, grid={"depth": ["late"]}).run(out, engine="inline")
    model = {k: v for k, v in TOLD["model"].items() if k != "width"}
    with pytest.raises(ConfigError, match="another state"):
        study(tmp_path, model=model, budget={"trained_weights": 900}).run(out, engine="inline")
    with pytest.raises(ConfigError, match="no study"):
        study(tmp_path).run(tmp_path, engine="inline")
    frame = pd.read_csv(tmp_path / "tiny.csv")
    frame.loc[0, "size"] += 1
    frame.to_csv(tmp_path / "tiny.csv", index=False)
    with pytest.raises(ConfigError, match="data tiny/label has changed"):
        study(tmp_path, seeds=1).run(out, engine="inline")


def test_seeds_may_be_added(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study(tmp_path, seeds=1).run(out, engine="inline")
    assert study(tmp_path, seeds=2).run(out, engine="inline").status()["done"] == 4
    assert set(attempts(out).values()) == {1}


def test_a_failed_run_says_why_and_is_tried_again_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    real = Model.execute

    def fails(self: Model, table: Any, run: Any, *rest: Any) -> Any:
        if run.variant == "depth=late":
            raise RuntimeError("it\nburns")
        return real(self, table, run, *rest)

    monkeypatch.setattr(Model, "execute", fails)
    results = study(tmp_path, seeds=1).run(out, engine="inline")
    assert results.status() | {"name": ""} == {
        "name": "",
        "runs": 2,
        "done": 1,
        "failed": 1,
        "stopped": 0,
        "waiting": 0,
        "reasons": {"RuntimeError: it burns": 1},
    }
    failed = results.runs[results.runs["status"] == "failed"]["run"].item()
    assert "burns" in (out / "runs" / failed / "error.txt").read_text()
    monkeypatch.setattr(Model, "execute", real)
    assert study(tmp_path, seeds=1).run(out, engine="inline").status()["failed"] == 1
    again = study(tmp_path, seeds=1).run(out, engine="inline", retry_failed=True)
    assert again.status()["done"] == 2
    assert attempts(out)[failed] == 2


def test_a_full_disk_stops_cleanly_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: pd.DataFrame
) -> None:
    out, real, written = tmp_path / "out", os.write, 0

    def full(file: int, data: bytes) -> int:
        nonlocal written
        written += b'"run"' in data
        if written > 2:
            real(file, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError, match="disk is full; what was finished is kept"):
        study(tmp_path).run(out, engine="inline")
    monkeypatch.setattr(os, "write", real)
    assert (out / "results.jsonl").read_text().endswith("}\n")
    assert len(attempts(out)) == 2
    pd.testing.assert_frame_equal(values(study(tmp_path).run(out, engine="inline")), whole)
    assert set(attempts(out).values()) == {1}


def test_a_spent_budget_leaves_the_rest_for_later(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = study(tmp_path, budget={"minutes": 1e-9}).run(out, engine="inline")
    assert results.status()["waiting"] == 4
    assert study(tmp_path).run(out, engine="inline").status()["done"] == 4


@pytest.mark.parametrize("race", [None, lambda lines: set()])
def test_only_a_race_tries_a_first_run_when_starting_took_all_the_time(tmp_path: Path, race: Any) -> None:
    """Numbers need no encoding; another call would start as long."""
    shorter = {"grid": None, "modalities": {"subsets": [["tabular"]]}, "budget": {"minutes": 1e-9}}
    status = study(tmp_path, **shorter).run(tmp_path / "out", engine="inline", race=race).status()
    assert (status["done"], status["waiting"]) == ((0, 2) if race is None else (1, 1))


def test_racing_stops_poor_variants(tmp_path: Path) -> None:
    def race(lines: Any) -> set[str]:
        return {"depth=late"} if sum(line["status"] == "done" for line in lines) >= 2 else set()

    results = study(tmp_path, seeds=3).run(tmp_path / "out", engine="inline", race=race)
    status = results.runs.groupby(["variant", "status"]).size().to_dict()
    assert status == {("depth=early", "done"): 3, ("depth=late", "done"): 1, ("depth=late", "stopped"): 2}


class Greedy(Inline):
    """A worker that takes too much, and dies of it when it is stopped."""

    job: Any = None
    reason: str | None = None

    def idle(self) -> list[int]:
        return [] if self.job else super().idle()

    def submit(self, worker: int, job: Any) -> None:
        if job["kind"] == "encode":
            super().submit(worker, job)
        else:
            self.job = job

    def events(self, seconds: float) -> list[Event]:
        if self._events:
            return super().events(seconds)
        if self.job is None or self.reason is None:
            return []
        event, self.job, self.reason = Event(0, self.job, died=self.reason), None, None
        return [event]

    def memory_mb(self, worker: int) -> float:
        return 900.0

    def stop(self, worker: int, reason: str) -> None:
        self.reason = reason


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"memory": "500MB"}, "used 900 MB of memory; .*allows 500 MB"),
        ({"run_minutes": 1e-9}, "stopped after .* minutes"),
    ],
)
def test_a_run_beyond_its_limits_is_stopped(
    budget: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait.study.launch.Inline", Greedy)
    status = study(tmp_path, seeds=1, budget=budget).run(tmp_path / "out", engine="inline").status()
    assert status["failed"] == 2
    assert all(__import__("re").search(said, reason) for reason in status["reasons"])


def test_worker_processes_survive_the_death_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: pd.DataFrame
) -> None:
    """One is killed in the middle of its first run: that run has failed, the others are done, a second try does it."""
    out, real, shot = tmp_path / "out", Local.submit, threading.Event()

    def submit(self: Local, worker: int, job: Any) -> None:
        real(self, worker, job)
        if job["kind"] == "run" and not shot.is_set():
            shot.set()
            pid = self._processes[worker].process.pid
            assert os.getpgid(pid) == pid  # Ctrl-C in the terminal does not reach it, not even before it can ignore it
            self._processes[worker].process.kill()

    monkeypatch.setattr(Local, "submit", submit)
    status = study(tmp_path).run(out, workers=1).status()
    assert (status["done"], status["failed"]) == (3, 1)
    assert "killed by the system or a user (signal 9" in next(iter(status["reasons"]))
    assert not (out / "logs").exists()
    monkeypatch.undo()
    again = study(tmp_path).run(out, engine="inline", retry_failed=True)
    pd.testing.assert_frame_equal(values(again), whole)


def test_a_worker_ends_with_its_runner() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "plait.study.engine_local"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(30) == 0
    assert worker.stdout is not None
    worker.stdout.close()


def test_workers_that_cannot_start_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.study.engine_local.sys.executable", shutil.which("false"))
    with pytest.raises(PlaitError, match="workers cannot start .*ended with code 1"):
        study(tmp_path).run(tmp_path / "out", workers=1)


def test_tables_in_memory(tmp_path: Path) -> None:
    one = study(tmp_path)
    told = {**one.spec.to_dict(), "data": {"frame": "mine"}}
    table = one.tables[0, None]
    in_memory = Study.from_dict(told, frames={"mine": (table.frame, table.schema)})
    results = in_memory.run(tmp_path / "out")
    assert results.status()["done"] == 4
    assert results.runs["dataset"].unique().tolist() == ["mine/label"]


def test_one_process_runs_a_folder_once_at_a_time(tmp_path: Path) -> None:
    one, out = study(tmp_path), tmp_path / "out"

    def race(lines: Any) -> set[str]:
        with pytest.raises(ConfigError, match="running this study already"):
            study(tmp_path).run(out, engine="inline")
        return set()

    one.run(out, engine="inline", race=race)


def test_unused_setting_is_plain(tmp_path: Path) -> None:
    from plait.study.engine import setting_from_dict, setting_to_dict

    one = study(tmp_path, budget={"minutes": 2}, present="all")
    told = Setting(one.spec, one.base, {0: {"target": "label"}}, "store")
    again = setting_from_dict(json.loads(json.dumps(setting_to_dict(told))))
    assert again == told


# -- lines ---------------------------------------------------------------------------------------------------------------

LINE = {
    "run": "r",
    "status": "failed",
    "reason": "ä" * 40,
    "dataset": "digits",
    "task": "classification",
    "variant": "base",
    "settings": {},
    "subset": ["a"],
    "train_condition": "none",
    "seed": 0,
    "split": 0,
}


def test_a_half_written_line_is_neither_read_nor_lost(tmp_path: Path) -> None:
    """Who reads while another writes sees whole lines only, and each of them once."""
    path = tmp_path / "results.jsonl"
    lines = LinesFile(path)
    assert lines.new() == []
    whole = json.dumps({**LINE, "run": "b"}, ensure_ascii=False).encode() + b"\n"
    LinesFile(path).append({**LINE, "run": "a"})
    before = path.read_bytes()
    for end in (1, 20, 50, len(whole) - 1):  # within a letter of two bytes, too
        path.write_bytes(before + whole[:end])
        assert [line["run"] for line in lines.new()] == (["a"] if end == 1 else [])
    path.write_bytes(before + whole)
    assert [line["run"] for line in lines.new()] == ["b"]
    assert lines.new() == []


@pytest.mark.parametrize("torn", [b"", b'{"run": "x"', b"x" * 200_000], ids=["nothing", "short", "long"])
@pytest.mark.parametrize("earlier", [0, 2])
def test_a_torn_line_is_cut_before_the_next_is_written(tmp_path: Path, torn: bytes, earlier: int) -> None:
    path = tmp_path / "results.jsonl"
    for number in range(earlier):
        LinesFile(path).append({**LINE, "run": str(number)})
    whole = path.read_bytes() if earlier else b""
    path.write_bytes(whole + torn)
    LinesFile(path).cut_torn()
    assert path.read_bytes() == whole
    path.write_bytes(whole + torn)
    LinesFile(path).append({**LINE, "run": "next"})
    assert [line["run"] for line in LinesFile(path).new()] == [*map(str, range(earlier)), "next"]


@pytest.mark.parametrize("failure", ["short write", "sync"])
def test_a_line_that_cannot_be_written_whole_leaves_nothing(
    tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    LinesFile(path).append(LINE)
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    write = os.write
    if failure == "sync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(DiskFullError, match=r"disk is full.*kept"):
        LinesFile(path).append({**LINE, "run": "lost"})
    monkeypatch.undo()
    assert path.read_bytes() == before
    LinesFile(path).append({**LINE, "run": "next"})
    assert [line["run"] for line in LinesFile(path).new()] == ["r", "next"]


def test_a_run_that_would_not_end_in_time_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.study.state import State, lines

    one = study(tmp_path, budget={"minutes": 60})
    took = [None, 10.0, 1e9]  # nothing is known, it fits, it does not
    monkeypatch.setattr(State, "seconds_of", lambda self, run: took[min(self.count("done"), 2)])
    status = one.run(tmp_path / "out", engine="inline").status()
    assert (status["done"], status["waiting"]) == (2, len(one.runs) - 2)
    state = State(one.runs, [], retry_failed=False)
    state.spent = True
    assert lines(state)[1] == f"the time given is over: {len(one.runs)} runs were not begun"
    state.spent, state.deadline = False, state.begun - 1
    assert lines(state)[1] == "0 s left of the time given"
