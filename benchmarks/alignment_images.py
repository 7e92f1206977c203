"""Text and image aligned on Flickr8k photographs and captions: retrieval, then CIFAR-10 (Faye et al., tables IV to VI, figure 4).

    PLAIT_DATA=... python benchmarks/alignment_images.py --out results/alignment_images
    PLAIT_DATA=... python benchmarks/alignment_images.py --out results/alignment_images --table

Folds over the 1,000 photographs: aligned on all but one (and all their captions), retrieval among the captions and
photographs of that one. Every stage gets the same rows, loss and seed; ``convirt`` trains both encoders, for which
``--epochs`` and ``--captions`` make the same small task of all learned stages. CIFAR-10 is judged once per fold, on
``--train`` and ``--test`` rows. A fit that is already in ``OUT/results.jsonl`` is skipped, so it may be killed at any time.
Seconds are of the processor, not of the clock: the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alignment_statistics import corrected, mean_and_spread
from plait import ModalityAligner
from plait.alignment_evaluation.curves import precision_figure
from plait.alignment_evaluation.recipes import cifar10, flickr8k
from plait.datasets.flickr8k import Flickr8k
from plait.errors import PlaitWarning
from plait.study.statistics import resampled_t

STAGES: dict[str, dict[str, Any]] = {
    "procrustes": {"name": "procrustes"},
    "ridge": {"name": "ridge"},
    "cca": {"name": "cca"},
    "plain_heads": {"name": "plain_heads"},
    "context add": {"name": "context", "operation": "add"},
    "context dot": {"name": "context", "operation": "dot"},
    "convirt": {"name": "convirt"},
}
WAYS = ("image to text", "text to image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", default=[s for s in STAGES if s != "convirt"], choices=list(STAGES))
    parser.add_argument("--folds", type=int, default=5, help="of how many")
    parser.add_argument("--only", type=int, nargs="+", help="only these folds")
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--captions", type=int, default=5, help="of each photograph to learn from")
    parser.add_argument("--epochs", type=int, help="of the learned stages, all run to the end")
    parser.add_argument("--train", type=int, default=5000, help="rows of CIFAR-10 for the probes; 0: leave it out")
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--tune", type=int, default=0, help="rows of CIFAR-10 for fine-tuning; 0: leave it out")
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only print and draw what is there")
    told = parser.parse_args()
    warnings.simplefilter("ignore", PlaitWarning)
    told.out.mkdir(parents=True, exist_ok=True)
    place = told.out / "results.jsonl"
    if not told.table:
        measure(told, place)
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    show(lines, told.folds)
    for way in WAYS:
        for kind, label in (
            ("found", "share with one of their own among the first k"),
            ("precision", "precision at k"),
        ):
            curves = {s: means(f, lambda x, k=kind, w=way: x[w][k]) for s, f in by_stage(lines).items()}
            precision_figure(told.out / f"{kind}, {way}.png", curves, f"{way}: {label}")


def measure(told: argparse.Namespace, place: Path) -> None:
    """All fits that are not in the file."""
    done = (
        {(x["stage"], x["fold"]) for x in map(json.loads, place.read_text().splitlines())} if place.exists() else set()
    )
    frame, schema = Flickr8k().load().of("pairs")
    names = np.random.default_rng(0).permutation(frame["photograph"].unique())[: told.photographs]
    for fold in told.only if told.only is not None else range(told.folds):
        held = set(names[fold :: told.folds])
        test = frame[frame["photograph"].isin(held)].reset_index(drop=True)
        train = frame[frame["photograph"].isin(set(names) - held)]
        train = train.groupby("photograph", sort=False).head(told.captions).reset_index(drop=True)
        for label in told.stages:
            if (label, fold) in done:
                continue
            line = {"stage": label, "fold": fold, **judged(told, label, schema, train, test, fold)}
            with place.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(label, fold, line["seconds"], flush=True)


def judged(
    told: argparse.Namespace, label: str, schema: Any, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> dict[str, Any]:
    """One stage on one fold."""
    stage = dict(STAGES[label])
    if told.epochs is not None and label not in ("procrustes", "ridge", "cca"):
        stage |= {"epochs": told.epochs, "patience": told.epochs}
    aligner = ModalityAligner(
        modalities=schema, stage=stage, group="photograph", store=told.store, random_state=seed, progress=False
    )
    record = aligner.fit(train).record_
    line: dict[str, Any] = {"pairs": len(train), "weights": record["trained_weights"], "epochs": record["epochs"]}
    line["seconds"] = record["seconds"]["align, processor"]
    for way, found in flickr8k(aligner, test).items():
        line[way] = {"recall": found.recall, "median": found.median_rank, "gallery": found.gallery}
        line[way] |= {"found": found.found, "precision": found.precision}
    if told.train:
        classes = cifar10(aligner, train_rows=told.train, test_rows=told.test, tuned_rows=told.tune)
        line["cifar10"] = vars(classes)
    return line


# -- what is shown -----------------------------------------------------------------------------------------------------

#: What stages are compared by: name -> a number of one line.
MEASURES = {
    **{f"{way} R@{k}": (lambda x, w=way, k=k: x[w]["recall"][str(k)]) for way in WAYS for k in (1, 5, 10)},
    **{f"{way} median rank": (lambda x, w=way: x[w]["median"]) for way in WAYS},
}
CLASSES = {
    **{f"zero-shot top-{k}": (lambda x, k=k: x["cifar10"]["zero_shot"][str(k)]) for k in range(1, 6)},
    **{f"linear probe, {n} epochs": (lambda x, n=n: x["cifar10"]["linear_probe"][str(n)]) for n in (20, 100)},
    "probe of the encoder alone, 100": lambda x: x["cifar10"]["encoder_probe"]["100"],
    **{f"fine-tuned, {n} epochs": (lambda x, n=n: x["cifar10"]["fine_tuning"].get(str(n))) for n in (20, 60, 100)},
}


def by_stage(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Stage -> its lines, in the order of ``STAGES``."""
    found = {s: [x for x in lines if x["stage"] == s] for s in STAGES}
    return {stage: lines for stage, lines in found.items() if lines}


def means(lines: list[dict[str, Any]], pick: Any) -> dict[int, float]:
    """Curve over k, the mean over the folds."""
    curves = [pick(x) for x in lines]
    return {int(k): float(np.mean([c[k] for c in curves])) for k in curves[0]}


def show(lines: list[dict[str, Any]], folds: int) -> None:
    """Mean and standard deviation over the folds; p of each stage against the first, corrected by Holm."""
    stages = by_stage(lines)
    for stage, found in stages.items():
        cost = [float(np.mean([x[k] for x in found])) for k in ("weights", "seconds", "epochs")]
        print(
            f"{stage:12} {len(found)} folds, {found[0]['pairs']:,} pairs, {cost[0]:10,.0f} weights, "
            f"{cost[1]:7.1f} s of processor, {cost[2]:.0f} epochs"
        )
    judged = dict(MEASURES) | (CLASSES if "cifar10" in lines[0] else {})
    for name, pick in judged.items():
        values = {s: {x["fold"]: pick(x) for x in found} for s, found in stages.items()}
        values = {s: v for s, v in values.items() if None not in v.values()}
        if not values:
            continue
        print(f"\n{name}")
        first = "context add" if "context add" in values else next(iter(values))
        tests = {}
        for stage, found in values.items():
            both = sorted(set(found) & set(values[first]))
            if stage != first and len(both) > 1:
                tests[stage] = resampled_t(np.array([found[f] - values[first][f] for f in both]), 1 / (folds - 1))
        said = corrected(tests, first)
        for stage, found in values.items():
            print(f"  {stage:12} {mean_and_spread(list(found.values()))}  {said.get(stage, '')}")


if __name__ == "__main__":
    main()
