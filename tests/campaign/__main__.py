"""The fault campaign: ``python tests/campaign --part mutations --seeds 0:1000 --out campaign.jsonl`` (Linux alone).

Parts: ``kills`` (SIGKILL, SIGTERM, Ctrl-C over seven commands), ``full_disk``, ``read_only``, ``writers`` (two or four at
once) and ``mutations`` (changed tables, media, archives, models, YAML, results; the corpus first). Every trial is drawn from
its seed alone and is one line of ``--out``; the same command goes on where it was stopped. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name, value in (("OMP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1"), ("MPLBACKEND", "Agg"), ("PLAIT_QUIET", "1")):
    os.environ.setdefault(name, value)

import place  # noqa: E402 - its numpy reads the environment
from faults import PARTS  # noqa: E402
from kills import Kills  # noqa: E402
from mutations import Mutations  # noqa: E402

ALL = ("kills", *PARTS, "mutations")


def options() -> argparse.Namespace:
    """What the command is asked for."""
    parser = argparse.ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("--part", choices=ALL, action="append", help="as often as needed; default: all")
    parser.add_argument("--seeds", default="0:10", help="from:to, of each part")
    parser.add_argument(
        "--out", type=Path, default=Path("campaign.jsonl"), help="one line per trial; goes on where it ends"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after so many seconds")
    return parser.parse_args()


def main() -> None:
    """Run the trials that are not done yet, and print what was found."""
    told = options()
    first, last = map(int, told.seeds.split(":"))
    wanted = [(part, seed) for part in told.part or ALL for seed in range(first, last)]
    done = {(line["part"], line["seed"]): line for line in _lines(told.out)}
    end = time.monotonic() + told.seconds
    if all(each in done for each in wanted) or told.seconds <= 0:
        sys.exit(_counted([done[each] for each in wanted if each in done]))
    _warm()
    with tempfile.TemporaryDirectory(prefix="plait-campaign-") as made:
        work = Path(made) / "work"
        work.mkdir()
        Path(made).chmod(0o755)
        inputs = place.make(Path(made) / "inputs")
        trials = _trials(inputs, work)
        with told.out.open("a", encoding="utf-8") as out:
            for part, seed in wanted:
                if (part, seed) in done or time.monotonic() > end:
                    continue
                line = trials[part](seed)
                done[part, seed] = line
                out.write(json.dumps(line) + "\n")
                out.flush()
                for fault in line["faults"]:
                    print(f"{part} {seed}: {fault}", flush=True)
    sys.exit(_counted([done[each] for each in wanted if each in done]))


def _trials(inputs: Path, work: Path) -> dict[str, Callable[[int], dict[str, Any]]]:
    others = {name: functools.partial(part, inputs=inputs, work=work) for name, part in PARTS.items()}
    return {"kills": Kills(inputs, work), **others, "mutations": Mutations(inputs, work)}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def _warm() -> None:
    """Import once what every command imports; nothing is computed, so that forks are safe."""
    import importlib

    for module in ("cli.fit", "cli.study", "study.launch", "workflow.fit", "papers.running", "alignment.aligner"):
        importlib.import_module(f"plait.{module}")
    for module in (
        "pyarrow.parquet",
        "pyarrow.dataset",
        "pyarrow.feather",
        "PIL.Image",
        "soundfile",
        "sklearn.ensemble",
    ):
        importlib.import_module(module)


def _counted(lines: list[dict[str, Any]]) -> int:
    """Print counts by part and kind; 1 where there is a fault."""
    kinds = collections.Counter((line["part"], line.get("kind") or line.get("job")) for line in lines)
    bad = collections.Counter((line["part"], line.get("kind") or line.get("job")) for line in lines if line["faults"])
    for (part, kind), count in sorted(kinds.items()):
        print(f"{part:10} {kind:10} {count:6} trials {bad[part, kind]:4} with faults")
    stopped = sum(line.get("stopped", False) for line in lines)
    print(f"{len(lines)} trials, {sum(bad.values())} with faults; {stopped} commands were stopped before their end")
    return 1 if bad else 0


if __name__ == "__main__":
    main()
