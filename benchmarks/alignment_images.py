"""Text and image aligned on Flickr8k photographs and captions: retrieval, then CIFAR-10 (Faye et al., tables IV to VI, figure 4).

    PLAIT_DATA=... python benchmarks/alignment_images.py --out results/alignment_images
    PLAIT_DATA=... python benchmarks/alignment_images.py --stages convirt --folds 1 --out results/convirt   # hours

Five folds over the 1,000 photographs: aligned on four (and all their captions), retrieval among the captions and
photographs of the fifth. Every stage gets the same rows, loss and seed; ``convirt`` trains both encoders (``--epochs``
sets its epochs and those of the stages compared with it). CIFAR-10 is judged once per fold, on ``--train`` and
``--test`` rows.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from plait import ModalityAligner
from plait.alignment_evaluation.curves import precision_figure
from plait.alignment_evaluation.recipes import cifar10, flickr8k
from plait.datasets.flickr8k import Flickr8k
from plait.errors import PlaitWarning

STAGES: dict[str, dict[str, Any]] = {
    "context add": {"name": "context", "operation": "add"},
    "context dot": {"name": "context", "operation": "dot"},
    "plain_heads": {"name": "plain_heads"},
    "procrustes": {"name": "procrustes"},
    "ridge": {"name": "ridge"},
    "cca": {"name": "cca"},
    "convirt": {"name": "convirt"},
}
LEARNED = ("context add", "context dot", "plain_heads", "convirt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", default=[s for s in STAGES if s != "convirt"], choices=list(STAGES))
    parser.add_argument("--folds", type=int, default=5, help="how many of the five")
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--loss")
    parser.add_argument("--train", type=int, default=5000, help="rows of CIFAR-10 for the probes; 0: leave it out")
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    warnings.simplefilter("ignore", PlaitWarning)
    told.out.mkdir(parents=True, exist_ok=True)
    frame, schema = Flickr8k().load().of("pairs")
    names = np.random.default_rng(0).permutation(frame["photograph"].unique())[: told.photographs]
    lines, curves = [], {}
    for fold in range(told.folds):
        held = set(names[fold::5])
        test = frame[frame["photograph"].isin(held)].reset_index(drop=True)
        train = frame[frame["photograph"].isin(set(names) - held)].reset_index(drop=True)
        for label in told.stages:
            stage = dict(STAGES[label])
            for key in ("epochs", "batch_size", "loss"):
                if label in LEARNED and getattr(told, key) is not None:
                    stage[key] = getattr(told, key)
            aligner = ModalityAligner(
                modalities=schema, stage=stage, group="photograph", store=told.store, random_state=fold, progress=False
            )
            start = time.perf_counter()
            aligner.fit(train)
            line = {"stage": label, "fold": fold, "pairs": len(train), "weights": aligner.record_["trained_weights"]}
            line |= {"seconds": aligner.record_["seconds"]["align"], "fit_seconds": time.perf_counter() - start}
            for way, found in flickr8k(aligner, test).items():
                line[way] = {"recall": found.recall, "median": found.median_rank, "gallery": found.gallery}
                line[way] |= {"found": found.found, "precision": found.precision}
                if fold == 0:
                    curves[f"{label}, {way}"] = found.found
            if told.train:
                classes = cifar10(aligner, train_rows=told.train, test_rows=told.test)
                line["cifar10"] = {k: {str(n): v for n, v in d.items()} for k, d in vars(classes).items()}
            lines.append(line)
            print(json.dumps(line), flush=True)
    (told.out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    precision_figure(told.out / "precision.png", curves, "share of queries with their own among the first k")
    show(lines)


def show(lines: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over the folds."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["stage"]].append(line)
    ways = ("image to text", "text to image")
    print(f"\n{'stage':14} {'way':14} R@1              R@5              R@10             median  weights     seconds")
    for stage, found in groups.items():
        for way in ways:
            recall = [[x[way]["recall"].get(k, x[way]["recall"].get(str(k))) for x in found] for k in (1, 5, 10)]
            shown = "   ".join(f"{np.mean(r):.3f} +- {np.std(r):.3f}" for r in recall)
            cost = [np.mean([x[k] for x in found]) for k in ("weights", "seconds")]
            median = np.mean([x[way]["median"] for x in found])
            print(f"{stage:14} {way:14} {shown}   {median:5.1f}  {cost[0]:10,.0f}  {cost[1]:7.1f}")
    for part in ("zero_shot", "linear_probe", "encoder_probe", "fine_tuning"):
        print(f"\nCIFAR-10, {part}")
        for stage, found in groups.items():
            tables = [x["cifar10"][part] for x in found if "cifar10" in x]
            if tables and tables[0]:
                print(f"{stage:14} " + "  ".join(f"{k}: {np.mean([t[k] for t in tables]):.3f}" for k in tables[0]))


if __name__ == "__main__":
    main()
