"""A study of 200 runs from a cold store against the same fits by ``plait fit``, and the same study killed while it runs.

    PLAIT_DATA=... python benchmarks/study_speed.py ratio --sample 40    # plain fits: a random sample of the 200, scaled up
    PLAIT_DATA=... python benchmarks/study_speed.py killed --kills 5     # kill -9 at random places: same table, nothing twice
    PLAIT_DATA=... python benchmarks/study_speed.py same                 # one process, two runners at once, Ray: same numbers

All start from empty stores. The plain fits share one, so each cell is encoded once there too; they write no report page.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PLAIT = [sys.executable, "-m", "plait"]


def study(recipe: str, folder: Path, store: Path) -> list[str]:
    """The command that runs the study, and carries it on."""
    return [*PLAIT, "study", "run", recipe, "--out", str(folder), "--store", str(store)]


def lines(folder: Path) -> list[dict[str, Any]]:
    """What was recorded, whole lines only."""
    file = folder / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def timed(command: list[str]) -> float:
    """Seconds of one process; it must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def plain(line: dict[str, Any], table: Path, store: Path, out: Path) -> list[str]:
    """The ``plait fit`` of one run."""
    told = {"members": 1, "branches": ["joint"], **line["settings"]}
    sets = [part for name, value in told.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    command = [*PLAIT, "fit", str(table), "--schema", str(table.with_suffix(".yaml")), "--out", str(out), "--no-report"]
    return [*command, "--store", str(store), "--seed", str(line["seed"]), "--test-fraction", "0.15", *sets]


def ratio(recipe: str, folder: Path, sample: int) -> None:
    """Seconds of the study and of the plain fits."""
    from plait.data import schema
    from plait.datasets.pokemon import Pokemon

    whole = timed(study(recipe, folder / "study", folder / "store-study"))
    found = lines(folder / "study")
    print(f"study: {len(found)} runs in {whole:.1f} s", flush=True)
    loaded = Pokemon().load()
    table = folder / "pokemon.csv"
    loaded.frame.to_csv(table, index=False)
    table.with_suffix(".yaml").write_text(schema.to_yaml(loaded.schemas["type_1"]))
    chosen = random.Random(0).sample(found, min(sample, len(found)))
    store = folder / "store-plain"
    cold = timed(plain(chosen[0], table, store, folder / "model"))
    seconds = [timed(plain(line, table, store, folder / "model")) for line in chosen]
    mean = sum(seconds) / len(seconds)
    total = cold - seconds[0] + mean * len(found)
    print(
        f"plain: {len(seconds)} warm fits, {mean:.2f} s each ({min(seconds):.1f} to {max(seconds):.1f}), first {cold:.1f} s"
    )
    print(f"{len(found)} of them: {total:.0f} s; {total / whole:.1f} times the study")


def killed(recipe: str, folder: Path, kills: int, seed: int) -> None:
    """The table of a study killed again and again, beside that of one left alone."""
    calm, torn = folder / "calm", folder / "torn"
    timed(study(recipe, calm, folder / "store-calm"))
    for number in sorted(random.Random(seed).sample(range(1, len(lines(calm))), kills)):
        process = subprocess.Popen(
            study(recipe, torn, folder / "store-torn"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while len(lines(torn)) < number and process.poll() is None:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)  # the runner and its workers
        process.wait()
        print(f"killed with {len(lines(torn))} runs on record", flush=True)
    timed(study(recipe, torn, folder / "store-torn"))
    often = collections.Counter(line["run"] for line in lines(torn))
    numbers = [{line["run"]: line["evaluations"] for line in lines(where)} for where in (calm, torn)]
    print(f"{len(often)} runs, most often done {max(often.values())} time(s); same numbers: {numbers[0] == numbers[1]}")


SMALL = """
name: small
data: {dataset: pokemon, target: type_1}
model: {members: 1, branches: [joint]}
grid: {fusion: [concat, gated, low_rank], depth: [early, late]}
seeds: 2
metrics: [accuracy, log_loss]
"""


def same(folder: Path) -> None:
    """The numbers of a study of 12 runs, however it is run."""
    recipe = folder / "small.yaml"
    recipe.write_text(SMALL)
    store = folder / "store"
    timed([*study(str(recipe), folder / "one", store), "--engine", "inline"])
    both = [
        subprocess.Popen(
            [*study(str(recipe), folder / "two", store), "--workers", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    if any(process.wait() for process in both):
        raise SystemExit("a runner failed")
    timed([*study(str(recipe), folder / "ray", store), "--engine", "ray", "--workers", "2"])
    found = {
        name: {line["run"]: line["evaluations"] for line in lines(folder / name)} for name in ("one", "two", "ray")
    }
    workers = collections.Counter(line["worker"] for line in lines(folder / "two"))
    print(f"runs: one process {len(lines(folder / 'one'))}, two runners {sorted(workers.values())}, ", end="")
    print(f"Ray {len(lines(folder / 'ray'))}; same numbers: {found['one'] == found['two'] == found['ray']}")


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("what", choices=["ratio", "killed", "same"])
    told.add_argument("--recipe", default="pokemon_200")
    told.add_argument("--sample", type=int, default=40)
    told.add_argument("--kills", type=int, default=5)
    told.add_argument("--seed", type=int, default=0)
    given = told.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "ratio":
            ratio(given.recipe, folder, given.sample)
        elif given.what == "same":
            same(folder)
        else:
            killed(given.recipe, folder, given.kills, given.seed)


if __name__ == "__main__":
    main()
