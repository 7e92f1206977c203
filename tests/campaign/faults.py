"""Full disks, folders that may not be written, and several writers at once."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

from kills import _OUT, JOBS, _names
from process import Bounds, Process, run


def full_disk(seed: int, inputs: Path, work: Path) -> dict[str, Any]:
    """A command whose files may not grow beyond a size: by the system, or on a small disk of its own where that can be had."""
    draw, folder = random.Random(seed), _fresh(inputs, work, "full")
    job = list(JOBS)[seed % len(JOBS)]
    size = draw.choice((0, 1, 4, 16, 64, 200)) * 1000 + draw.randrange(1000)
    disk = folder / "disk"
    disk.mkdir()
    small = draw.random() < 0.7 and _mounted(disk, size)
    try:
        bounds = Bounds() if small else Bounds(file_bytes=size)
        ended = run(_arguments(job, "disk/"), folder, bounds, environment={"TMPDIR": str(disk)}).judge()
        left = [n for n in _names(disk) if n.endswith((".part", ".old"))]
        faults = ended.faults + [f"left behind: {name}" for name in left]
    finally:
        if small:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    again = run(_arguments(job, "roomy_"), folder).judge()
    faults += [f"again, with room: {f}" for f in again.faults] + [f"again, with room: {again.err[-300:]}"] * (
        again.code != 0
    )
    return {
        "part": "full_disk",
        "seed": seed,
        "job": job,
        "bytes": size,
        "mount": small,
        "code": ended.code,
        "faults": faults,
    }


def read_only(seed: int, inputs: Path, work: Path) -> dict[str, Any]:
    """A command that may write neither its place, nor the store; of root, by a mount that takes nothing."""
    folder, job = _fresh(inputs, work, "locked"), list(JOBS)[seed % len(JOBS)]
    (folder / "disk").mkdir()
    facts = {"part": "read_only", "seed": seed, "job": job}
    root = os.geteuid() == 0
    if root and not _bound(folder):
        return {**facts, "left_out": "root, and nothing may be mounted here", "faults": []}
    for path in () if root else (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        ended = run(_arguments(job, "disk/"), folder).judge()
    finally:
        if root:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        for path in () if root else (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    said = "Read-only" in ended.err or "Permission" in ended.err
    faults = ended.faults + ([] if ended.code == 2 and said else [f"exit {ended.code}: {ended.err[-200:]}"])
    return {**facts, "code": ended.code, "faults": faults}


def writers(seed: int, inputs: Path, work: Path) -> dict[str, Any]:
    """Two or four of the same command on one store, and, of a study, on one folder."""
    folder, count = _fresh(inputs, work, "shared"), (2, 4)[seed % 2]
    job = ("encode", "study")[seed // 2 % 2]
    arguments, option, result = JOBS[job]
    places = [folder / (f"{n}.npz" if job == "encode" else "out") for n in range(count)]
    begun = [Process([*arguments, option, str(place)], folder) for place in places]
    ended = [process.ended(180.0).judge() for process in begun]
    faults = [f for each in ended for f in each.faults] + [e.err[-200:] for e in ended if e.code]
    if not faults:
        results = [result(place) for place in places]
        faults += ["the writers have other numbers"] * any(other != results[0] for other in results)
    return {"part": "writers", "seed": seed, "job": job, "writers": count, "faults": faults}


PARTS = {"full_disk": full_disk, "read_only": read_only, "writers": writers}


def _arguments(job: str, place: str) -> list[str]:
    arguments, option, _ = JOBS[job]
    return [*(f"{place}store" if a == "work_store" else a for a in arguments), option, f"{place}{_OUT.get(job, 'out')}"]


def _mounted(disk: Path, size: int) -> bool:
    size = max(4096, size)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
    return done.returncode == 0


def _bound(folder: Path) -> bool:
    ways = (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)])
    return all(subprocess.run(["mount", *way], capture_output=True).returncode == 0 for way in ways)


def _fresh(inputs: Path, work: Path, name: str) -> Path:
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(inputs, folder)
    for file in work.glob(f"{name}.*"):
        file.unlink()
    return folder
