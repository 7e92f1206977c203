"""The same fit by this version and another, in turn: the demo's cards, the branches of version 0.1.0, no baselines, no report.

    python benchmarks/like_for_like.py --before SRC [--runs 2]

Whole processes: processor seconds of importing, of reading and fitting, and of answering held-out rows, from a warm store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
#: Given to both: what later versions would choose otherwise.
SETTINGS = {"branches": ["joint", "linear", "own"], "members": 2, "random_state": 0, "progress": False}
CHILD = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from plait import FusionClassifier, read_table
begun = [time.process_time()]
frame, settings = read_table(sys.argv[1]), json.loads(sys.argv[2])
frame = frame.dropna(subset=["cardClass"]).reset_index(drop=True)
y = frame.pop("cardClass")
held = (frame.index % 7 == 0).tolist()
fold = [not one for one in held]
settings["branches"] = tuple(settings["branches"])
model = FusionClassifier(**settings).fit(frame[fold], y[fold])
begun.append(time.process_time())
right = float((model.predict(frame[held]) == y[held].to_numpy()).mean())
begun.append(time.process_time())
record = model.record_
print(json.dumps({"import": begun[0], "fit": begun[1] - begun[0], "answer": begun[2] - begun[1], "accuracy": right,
                  "members": record["members"], "epochs": record["epochs"], "modalities": list(record["encoders"])}))
"""


def fitted(source: str, table: Path, store: Path) -> dict[str, float]:
    """What one process says of its fit."""
    environment = {**os.environ, "PYTHONPATH": source, "PLAIT_STORE": str(store)}
    command = [sys.executable, "-c", CHILD, str(table), json.dumps(SETTINGS)]
    said = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout  # errors are shown
    result: dict[str, float] = json.loads(said.splitlines()[-1])
    return result


def main() -> None:
    """Print a line for each fit; the first of each version fills the store and what Python compiles."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--before", required=True, help="the src folder of the other version")
    options.add_argument("--runs", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "cards.csv"
        from plait.data.write import write_table
        from plait.datasets.hearthstone_cards import HearthstoneCards

        write_table(HearthstoneCards().load().frame, table)
        versions = {"before": given.before, "now": str(HERE.parent / "src")}
        for run in range(given.runs + 1):
            for which, source in versions.items():
                said = fitted(source, table, Path(name) / which)
                print(which if run else f"{which}, first", json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
