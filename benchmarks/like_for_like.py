"""The same work by this version and another, in turn, on the demo's cards: a fit, a study, or encoding.

    python benchmarks/like_for_like.py --before SRC [--runs 2] [--what fit|study|encode] [--without-words]

A fit: the branches of version 0.1.0, no baselines, no report, from a warm store: processor seconds of importing, of reading and
fitting, and of answering held-out rows. A study: two depths and two seeds of the joint branch, from a warm store. Encoding: the
texts of 400 cards by the usual encoder into an empty store. Both by their command: processor seconds of the whole process.
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


def fitted(source: str, table: Path, store: Path, **more: object) -> dict[str, float]:
    """What one process says of its fit, with ``more`` settings."""
    environment = {**os.environ, "PYTHONPATH": source, "PLAIT_STORE": str(store)}
    command = [sys.executable, "-c", CHILD, str(table), json.dumps(SETTINGS | more)]
    said = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout  # errors are shown
    result: dict[str, float] = json.loads(said.splitlines()[-1])
    return result


STUDY = """
name: depths
data: {{table: {table}, schema: {schema}}}
model: {{branches: [joint], members: 2, epochs: 20}}
grid: {{depth: [early, late]}}
seeds: 2
"""
SCHEMA = """
target: cardClass
task: classification
modalities:
  text: {kind: text, columns: [text], encoder: minilm}
  tabular: {kind: tabular, columns: [cost, attack, health], types: {cost: number, attack: number, health: number}}
"""


def commanded(what: str, source: str, folder: Path, store: Path) -> dict[str, float]:
    """Processor seconds of ``plait study run`` or ``plait encode``, its workers included."""
    out, place = tempfile.mkdtemp(dir=folder), str(store if what == "study" else tempfile.mkdtemp(dir=folder))
    schema = str(folder / "schema.yaml")
    words = {
        "study": ["study", "run", str(folder / "study.yaml"), "--out", f"{out}/study", "--workers", "1"],
        "encode": ["encode", str(folder / "few.csv"), "--schema", schema],
    }[what]
    command = [sys.executable, "-m", "plait", *words, "--store", place]
    environment = {**os.environ, "PYTHONPATH": source, "PLAIT_QUIET": "1"}
    before = os.times()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"processor": round(spent, 2)}


def main() -> None:
    """Print a line for each run; the first of each version fills the store and what Python compiles."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--before", required=True, help="the src folder of the other version")
    options.add_argument("--runs", type=int, default=2)
    options.add_argument("--what", choices=("fit", "study", "encode"), default="fit")
    options.add_argument(
        "--without-words", action="store_true", help="a fit of this version alone: no words beside texts"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "cards.csv"
        from plait.data.write import write_table
        from plait.datasets.hearthstone_cards import HearthstoneCards

        frame = HearthstoneCards().load().frame
        write_table(frame, table)
        kept = frame[["text", "cost", "attack", "health", "cardClass"]].dropna(subset=["text", "cardClass"])
        write_table(kept.head(2000), Path(name) / "rows.csv")
        write_table(kept.head(400), Path(name) / "few.csv")
        (Path(name) / "schema.yaml").write_text(SCHEMA)
        study = STUDY.format(table=Path(name) / "rows.csv", schema=Path(name) / "schema.yaml")
        (Path(name) / "study.yaml").write_text(study)
        versions = {"before": given.before, "now": str(HERE.parent / "src")}
        for run in range(given.runs + 1):
            for which, source in versions.items():
                store = Path(name) / which
                fit = given.what == "fit"
                more = {"ngrams": "none"} if given.without_words and which == "now" else {}
                said = fitted(source, table, store, **more) if fit else commanded(given.what, source, Path(name), store)
                print(which if run else f"{which}, first", json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
