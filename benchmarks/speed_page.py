"""Every figure of ``docs/speed.md``, one after another, on this machine: about fifteen minutes where nothing else runs.

    PLAIT_DATA=... python benchmarks/speed_page.py [--only fit demo start row encoding epoch]
        [--runs 5] [--before SRC] [--store STORE] [--smallest]

``--before``: the ``src`` folder of another version; warm fits are then made by both in turn, so that their ratio holds on a busy
machine, too. ``--store``: one that holds Hearthstone's cells already, so that nothing is encoded first. ``--smallest``: the least
that shows that every part runs; no figure. Seconds by the clock and of the processor (user and system); of several runs the
median and the range. Python keeps what it compiles, as where plait is installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ("fit", "demo", "start", "row", "encoding", "epoch")
#: Commands whose start is timed.
STARTS = (["--help"], ["list"], ["study", "check", "subsets_pokemon"])


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor of one process; what it says goes nowhere."""
    environment = {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def say(what: str, taken: list[tuple[float, float]]) -> None:
    """Median and range of both."""
    both = [sorted(values) for values in zip(*taken, strict=True)]
    clock, busy = (f"{statistics.median(v):.2f} s ({v[0]:.2f} to {v[-1]:.2f})" for v in both)
    print(f"{what}: clock {clock}, processor {busy}, {len(taken)} runs", flush=True)


def fits(folder: Path, runs: int, before: str | None, store: str | None) -> None:
    """Warm fits of Hearthstone with report, of this version and of another in turn."""
    data = Path(os.environ["PLAIT_DATA"]) / "hearthstone"
    versions = {"now": str(HERE.parent / "src")} | ({"before": before} if before else {})
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in versions}
    for run in range(runs + 1):  # the first one fills the store, and what Python compiles
        for name, source in versions.items():
            environment = {**os.environ, "PYTHONPATH": source, "PLAIT_STORE": store or str(folder / f"store_{name}")}
            command = [sys.executable, "-m", "plait", "fit", str(data / "hearthstone.csv"), "--target", "cardClass"]
            command += ["--root", str(data / "images.zip"), "--out", str(folder / f"model_{name}")]
            result = timed(command, environment)
            if run:
                taken[name].append(result)
    for name, values in taken.items():
        say(f"warm fit of Hearthstone with report, {name}", values)


def demos(folder: Path, runs: int) -> None:
    """Warm ``plait demo``."""
    environment = {**os.environ, "PLAIT_STORE": str(folder / "store_demo")}
    command = [sys.executable, "-m", "plait", "demo", "--out", str(folder / "demo")]
    values = [timed(command, environment) for _ in range(runs + 1)]
    say("plait demo, warm", values[1:])


def starts(runs: int) -> None:
    """Starts of commands that do little."""
    for words in STARTS:
        say(
            f"plait {' '.join(words)}",
            [timed([sys.executable, "-m", "plait", *words], dict(os.environ)) for _ in range(runs + 1)][1:],
        )


def main() -> None:
    """Print all of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--before")
    options.add_argument("--store")
    options.add_argument("--smallest", action="store_true")
    given = options.parse_args()
    runs = 1 if given.smallest else given.runs
    scripts = {
        "row": [["one_row.py", *(["--rows", "5"] if given.smallest else [])]],
        "encoding": [["encoding_throughput.py", *(["--cells", "20", "--rounds", "1"] if given.smallest else [])]],
        "epoch": [
            ["frozen_epoch.py", *("--epochs 1 --rounds 1" if given.smallest else "--epochs 9 --rounds 5").split()]
        ],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in given.only:
            if part == "fit":
                fits(folder, runs, given.before, given.store)
            elif part == "demo":
                demos(folder, runs)
            elif part == "start":
                starts(runs)
            for script, *words in scripts.get(part, []):
                for threads in ("1", "2") if part == "epoch" else (None,):
                    environment = {**os.environ} | ({"OMP_NUM_THREADS": threads} if threads else {})
                    print(f"\n{script} {' '.join(words)} {'threads ' + threads if threads else ''}", flush=True)
                    subprocess.run([sys.executable, str(HERE / script), *words], env=environment, check=True)


if __name__ == "__main__":
    main()
