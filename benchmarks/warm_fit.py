"""A warm ``plait fit`` of the Hearthstone table (three modalities): seconds, peak memory, trained weights, size of the folder.

    PLAIT_DATA=... python benchmarks/warm_fit.py [--runs 3]

The first fit fills the store (cold); the next ones are warm: each is the whole command in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def fit(table: Path, images: Path, out: Path, report: bool) -> tuple[float, float, dict[str, Any]]:
    """Seconds, peak memory (MB) and the record of one ``plait fit`` process."""
    command = [sys.executable, "-m", "plait", "fit", str(table), "--target", "cardClass", "--out", str(out)]
    command += ["--root", str(images)] + ([] if report else ["--no-report"])
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"plait fit failed with status {status}")
    model = json.loads((out / "model.json").read_text())
    return seconds, usage.ru_maxrss / 1024, model["record"]


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--runs", type=int, default=3)
    told.add_argument("--report", action="store_true", help="with evaluation page")
    arguments = told.parse_args()
    data = Path(os.environ["PLAIT_DATA"]) / "hearthstone"
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("PLAIT_STORE", f"{folder}/store")
        for run in range(arguments.runs + 1):
            out = Path(folder) / "model"
            seconds, memory, record = fit(data / "hearthstone.csv", data / "images.zip", out, arguments.report)
            size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 1e6
            print(
                f"{'cold' if run == 0 else 'warm'}: {seconds:.1f} s, peak {memory:.0f} MB, folder {size:.1f} MB, "
                f"{record['trained_weights']:,} trained weights, stages {record['seconds']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
