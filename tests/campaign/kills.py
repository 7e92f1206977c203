"""Commands that are stopped at a random moment and run again: the same end, nothing twice, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from process import Ended, run

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
#: How a command may end that was asked to stop.
_STOPPED = {"kill": (-9,), "term": (143,), "int": (130,)}
_STORE = ["--store", "work_store"]


def _model(folder: Path) -> Any:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def _arrays(path: Path) -> Any:
    with np.load(path) as arrays:
        return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays.files}


def _runs(folder: Path) -> Any:
    """Scores by run; a run that was noted twice is a fault."""
    lines = [json.loads(line) for path in folder.rglob("results.jsonl") for line in path.read_text().splitlines()]
    runs = [line["run"] for line in lines]
    assert len(runs) == len(set(runs)), f"{len(runs) - len(set(runs))} runs were done twice"
    return sorted((line["run"], line["status"], json.dumps(line.get("metrics"), sort_keys=True)) for line in lines)


#: Command -> its arguments, what it writes, and what of that must be the same.
JOBS: dict[str, tuple[list[str], str, Callable[[Path], Any]]] = {
    "fit": (["fit", "t.csv", "--schema", "s.yaml", "--members", "3", "--set", "width=8", *_STORE], "--out", _model),
    "encode": (["encode", "t.csv", "--schema", "media.yaml", *_STORE], "--out", _arrays),
    "study": (["study", "run", "study.yaml", "--workers", "2", *_STORE], "--out", _runs),
    "align": (
        ["align", "t.csv", "--schema", "s.yaml", "--stage", "context", "--set", "stage.epochs=40", *_STORE],
        "--out",
        _model,
    ),
    "pretrain": (
        [
            "pretrain",
            "t.csv",
            "--schema",
            "s.yaml",
            "--modality",
            "text",
            "--encoder",
            "cnn_text",
            "--epochs",
            "6",
            *_STORE,
        ],
        "--out",
        _model,
    ),
    "predict": (["predict", "m", "long.csv", "--rows", "16", *_STORE], "--out", Path.read_bytes),
    "reproduce": (["reproduce", "on_insects", "--engine", "inline", *_STORE], "--out", _runs),
}
_OUT = {"encode": "out.npz", "predict": "out.csv"}


class Kills:
    """Trials of one seed each; what an undisturbed command gives is found out once."""

    def __init__(self, inputs: Path, work: Path) -> None:
        """``inputs``: as ``place.make`` leaves it."""
        self._inputs, self._work = inputs, work
        self._expected: dict[str, tuple[Any, list[str], float]] = {}

    def __call__(self, seed: int) -> dict[str, Any]:
        """One trial: the facts of it."""
        draw = random.Random(seed)
        job = list(JOBS)[seed % len(JOBS)]
        way = list(SIGNALS)[seed // len(JOBS) % len(SIGNALS)]
        expected, names, length = self._undisturbed(job)
        moment = draw.uniform(0.0, length)
        folder = self._fresh("trial")
        first = self._run(job, folder, (SIGNALS[way], moment)).judge(*_STOPPED[way])
        left = [] if way == "kill" else [n for n in _names(folder) if n.endswith((".part", ".old"))]
        second = self._run(job, folder).judge()
        faults = [f"stopped: {f}" for f in first.faults] + [f"again: {f}" for f in second.faults]
        faults += [f"left behind when stopped: {name}" for name in left]
        if not faults:
            faults += self._compared(job, folder, expected, names)
        facts = {"part": "kills", "seed": seed, "job": job, "way": way, "moment": round(moment, 2)}
        return {**facts, "stopped": first.code != 0, "code": first.code, "faults": faults}

    def _compared(self, job: str, folder: Path, expected: Any, names: list[str]) -> list[str]:
        try:
            same = JOBS[job][2](folder / _OUT.get(job, "out")) == expected
        except (AssertionError, OSError, ValueError, KeyError) as error:
            return [f"{type(error).__name__}: {error}"]
        more = sorted(set(_names(folder)) - set(names))
        less = sorted(set(names) - set(_names(folder)))
        odd = [name for name in names if unportable(name)]
        return (
            ([] if same else ["other numbers than undisturbed"])
            + ([f"left behind: {more[:5]}"] if more else [])
            + ([f"missing: {less[:5]}"] if less else [])
            + ([f"no names for Windows: {odd[:5]}"] if odd else [])
        )

    def _undisturbed(self, job: str) -> tuple[Any, list[str], float]:
        if job not in self._expected:
            import time

            folder, start = self._fresh("whole"), time.monotonic()
            ended = self._run(job, folder)
            length = time.monotonic() - start
            if ended.code:
                raise SystemExit(f"the campaign cannot begin: {job}: {ended.err}")
            self._expected[job] = (JOBS[job][2](folder / _OUT.get(job, "out")), _names(folder), length)
        return self._expected[job]

    def _run(self, job: str, folder: Path, stop: tuple[int, float] | None = None) -> Ended:
        arguments, option, _ = JOBS[job]
        out = _OUT.get(job, "out")
        return run([*arguments, option, out], folder, stop=stop, environment={"TMPDIR": str(folder / "tmp")})

    def _fresh(self, name: str) -> Path:
        folder = self._work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._inputs, folder)
        (folder / "tmp").mkdir()
        for file in self._work.glob(f"{name}.*"):
            file.unlink()
        return folder


def unportable(name: str) -> bool:
    """Whether Windows cannot have a file of this name."""
    parts = name.split("/")
    reserved = ("con", "prn", "aux", "nul")
    return any(
        set(p) & set('<>:"|?*\\') or p.endswith((" ", ".")) or p.lower().partition(".")[0] in reserved for p in parts
    )


def _names(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
