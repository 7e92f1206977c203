"""A cluster of several nodes on one machine, one of which is lost while it works: the same answers as one process?

    python benchmarks/ray_nodes.py [--nodes 2] [--rows 600] [--commands encode fit predict study] [--rounds whole killed head]

Nodes are Ray's own (``ray.cluster_utils``): each has its scheduler, its object store and its workers, as a machine would have.
``encode``, ``fit``, ``predict`` and a study run in one process, on all nodes, and on nodes of which one is killed (SIGKILL)
once work has begun; answers are compared number by number. ``head``: the head is killed, the command says so and ends with 2,
and the same command is given again on a new cluster. Prints one line for each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ray.cluster_utils import Cluster

STUDY = """
name: nodes
data: {table: rows.csv, target: label}
model: {members: 1, epochs: 2, branches: [joint], width: 8, encoders: {text: hashed_ngrams}}
grid: {depth: [early, late]}
seeds: 2
metrics: [accuracy, log_loss]
"""


def table(rows: int) -> pd.DataFrame:
    """Numbers, and words that say something of the label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    words = np.array([["red apple", "sour lemon"], ["blue sky", "deep sea"]])
    text = [f"{words[v if rng.random() < 0.8 else 1 - v][rng.integers(2)]} of day {i}" for i, v in enumerate(y)]
    return pd.DataFrame({"size": rng.normal(size=rows) + y, "text": text, "label": np.where(y, "pos", "neg")})


def commands(folder: Path, name: str, engine: list[str]) -> dict[str, list[str]]:
    """What is run, by what is compared."""
    settings = ["--members", "5", "--epochs", "4", "--encoder", "text=hashed_ngrams", "--no-report"]
    rows, model, out = str(folder / "rows.csv"), str(folder / f"{name}-model"), folder / name
    encoded = ["--encoder", "text=hashed_ngrams", "--store", f"{out}-store", "--out", f"{out}.parquet"]
    return {
        "encode": ["encode", rows, "--target", "label", *encoded, *engine],
        "fit": ["fit", rows, "--target", "label", "--out", model, *settings, *engine],
        "predict": ["predict", model, rows, "--rows", "16", "--out", f"{out}.csv", *engine],
        "study": ["study", "run", str(folder / "study.yaml"), "--out", f"{out}-study", *engine],
    }


def plait(words: list[str], address: str | None, store: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    surroundings = {**os.environ, "PLAIT_STORE": str(store), "OMP_NUM_THREADS": "1"}
    surroundings |= {"RAY_ADDRESS": address} if address else {}
    return subprocess.Popen([sys.executable, "-m", "plait", *words], env=surroundings, stdout=subprocess.DEVNULL)


def found(folder: Path, name: str, command: str) -> pd.DataFrame:
    """What a command has left, as far as it must be the same."""
    if command == "study":
        frame = pd.read_json(folder / f"{name}-study" / "results.jsonl", lines=True)
        scores = frame["evaluations"].map(lambda each: each[0]["metrics"])
        return pd.DataFrame({"run": frame["run"], "scores": scores.map(str)}).sort_values("run", ignore_index=True)
    if command == "encode":
        vectors = pd.read_parquet(folder / f"{name}.parquet")
        return pd.DataFrame(np.hstack([np.stack(vectors[column].to_list()) for column in vectors]))
    if command == "fit":  # its answers say what it learned
        plait(["predict", str(folder / f"{name}-model"), str(folder / "rows.csv"), "--out", str(folder / "x.csv")],
              None, folder / "store").wait()  # fmt: skip
        return pd.read_csv(folder / "x.csv")
    return pd.read_csv(folder / f"{name}.csv")


def lose(cluster: Cluster, after: float) -> threading.Timer:
    """Kill the last node that was added, so many seconds from now."""
    node = list(cluster.worker_nodes)[-1]
    timer = threading.Timer(after, lambda: cluster.remove_node(node, allow_graceful=False))
    timer.start()
    return timer


def started(nodes: int) -> Cluster:
    """So many nodes of one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    return cluster


def headless(words: list[str], options: argparse.Namespace, store: Path) -> None:
    """Begin the command on a cluster whose head is killed; how it ends is printed."""
    cluster = started(options.nodes)
    process, begun = plait(words, cluster.address, store), time.perf_counter()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(options.after)
    head: Any = cluster.head_node
    cluster.remove_node(head, allow_graceful=False)
    code = process.wait(300)
    print(f"{words[0]:8} head lost: exit code {code} after {time.perf_counter() - begun:.0f} s", flush=True)
    with contextlib.suppress(Exception):  # what is left of a cluster without a head
        cluster.shutdown()  # type: ignore[no-untyped-call]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--commands", nargs="+", default=["encode", "fit", "predict", "study"])
    parser.add_argument("--rounds", nargs="+", default=["whole", "killed"], choices=("whole", "killed", "head"))
    parser.add_argument("--after", type=float, default=12.0, help="seconds until a node is killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table(options.rows).to_csv(folder / "rows.csv", index=False)
        (folder / "study.yaml").write_text(STUDY)
        for command, words in commands(folder, "one process", []).items():
            local = [*words, "--engine", "inline"] if command == "study" else words
            assert plait(local, None, folder / "store").wait() == 0
        for kind in options.rounds:
            name = f"{options.nodes} nodes" + (", one killed" if kind == "killed" else "")
            name = f"{options.nodes} nodes, head lost" if kind == "head" else name
            for command, words in commands(folder, name, ["--engine", "ray"]).items():
                if command not in options.commands:
                    continue
                if kind == "head":
                    headless(words, options, folder / f"store {name}")
                cluster = started(options.nodes)
                timer = lose(cluster, options.after) if kind == "killed" else None
                begun = time.perf_counter()
                code = plait(words, cluster.address, folder / f"store {name}").wait()
                seconds = time.perf_counter() - begun
                if timer is not None:
                    timer.join()
                same = code == 0 and found(folder, name, command).equals(found(folder, "one process", command))
                said = "same as one process" if same else "DIFFERENT"
                print(f"{command:8} {name:24} exit code {code}, {said} ({seconds:.0f} s)", flush=True)
                cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
