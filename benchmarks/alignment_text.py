"""Two frozen text encoders aligned on pairs of captions, judged on STS-B and MRPC (Faye et al., tables II, III, figure 3).

    PLAIT_DATA=... python benchmarks/alignment_text.py --seeds 5 --photographs 1000 --out results/alignment_text
    PLAIT_DATA=... python benchmarks/alignment_text.py --out results/alignment_text --table

Captions of one Flickr8k photograph are pairs; each seed draws photographs, pairs and weights anew. Every way to compare two
sentences is judged beside every other: each frozen encoder alone, both concatenated, each aligned, across, joined
(``plait.alignment_evaluation.recipes.sentence_cosines``). ``--encoders`` names two, as ``minilm hashed_ngrams``; any two text
encoders of ``plait list encoders`` will do. A fit that is already in OUT is skipped, so it may be killed at any time.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from alignment_statistics import corrected, mean_and_spread
from plait import ModalityAligner
from plait.alignment_evaluation.curves import tolerance_figure
from plait.alignment_evaluation.paraphrase import paraphrase
from plait.alignment_evaluation.recipes import caption_pairs, parts_of_mrpc, sentence_cosines
from plait.alignment_evaluation.sentence_similarity import SentenceSimilarity, sentence_similarity
from plait.datasets.stsb import Stsb
from plait.errors import PlaitWarning
from plait.study.statistics import crossed_t

STAGES: dict[str, Any] = {
    "procrustes": {"name": "procrustes"},
    "ridge": {"name": "ridge"},
    "cca": {"name": "cca"},
    "plain_heads": {"name": "plain_heads"},
    "context additive": {"name": "context", "operation": "additive"},
    "context add": {"name": "context", "operation": "add"},
}
#: Draws of the test rows.
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs=2, default=["minilm", "hashed_ngrams"])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--photographs", type=int, help="draw so many for each seed; default: all 8,091")
    parser.add_argument("--first", type=int, help="from the first so many; default: all")
    parser.add_argument("--train", type=int, help="pairs of MRPC's training part for the threshold; default: all")
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only print and draw what is there")
    told = parser.parse_args()
    warnings.simplefilter("ignore", PlaitWarning)
    told.out.mkdir(parents=True, exist_ok=True)
    if not told.table:
        measure(told)
    show(told)


def measure(told: argparse.Namespace) -> None:
    """All fits that are not in the folder: the cosines of every way on STS-B's test part and both parts of MRPC."""
    modalities = {
        name: {"kind": "text", "columns": [column], "encoder": name}
        for name, column in zip(told.encoders, "ab", strict=True)
    }
    similar = test_part()
    train, test = parts_of_mrpc(rows=told.train)
    for seed in range(told.seeds):
        pairs = caption_pairs(photographs=told.photographs, seed=seed, first=told.first)
        for label in told.stages:
            place = told.out / f"{label}, seed {seed}.npz"
            if place.exists():
                continue
            aligner = ModalityAligner(
                modalities=modalities,
                stage=STAGES[label],
                group="photograph",
                store=told.store,
                random_state=seed,
                progress=False,
            ).fit(pairs)
            record = aligner.record_
            arrays = {}
            for name, frame in (("sts", similar), ("train", train), ("test", test)):
                cosines = sentence_cosines(aligner, frame["a"], frame["b"])
                arrays |= {f"{name} {way}": found.astype(np.float32) for way, found in cosines.items()}
            cost = {"pairs": len(pairs), "weights": record["trained_weights"], "epochs": record["epochs"]}
            cost["seconds"] = record["seconds"]["align, processor"]
            np.savez_compressed(place, cost=np.array(json.dumps(cost)), train_rows=len(train), **arrays)
            print(label, "seed", seed, cost, flush=True)


def test_part() -> Any:
    """All 1,379 pairs of STS-B's test part."""
    frame = Stsb().load().frame
    return frame[frame["split"] == "test"].reset_index(drop=True)


# -- what is shown -----------------------------------------------------------------------------------------------------


def show(told: argparse.Namespace) -> None:
    """Mean and deviation over seeds, and p against the better frozen encoder: seeds and test rows both count."""
    fits = [np.load(place, allow_pickle=False) for place in sorted(told.out.glob("*, seed *.npz"))]
    labels = [place.name.partition(",")[0] for place in sorted(told.out.glob("*, seed *.npz"))]
    scores = test_part()["score"].to_numpy()
    parts = parts_of_mrpc(rows=int(fits[0]["train_rows"]))
    same = [(part["paraphrase"] == "yes").to_numpy() for part in parts]
    cosines: dict[str, list[np.ndarray]] = {}
    right: dict[str, list[np.ndarray]] = {}
    judged: dict[str, list[Any]] = {}
    for label, fit in zip(labels, fits, strict=True):
        for way in (key.partition(" ")[2] for key in fit if key.startswith("sts ")):
            frozen = way.endswith("alone") or way == "concatenated"
            name = way if frozen else f"{label}: {way}"
            found = paraphrase(fit[f"train {way}"], same[0], fit[f"test {way}"], same[1])
            cosines.setdefault(name, []).append(fit[f"sts {way}"].astype(np.float64))
            right.setdefault(name, []).append((fit[f"test {way}"] > found.threshold) == same[1])
            judged.setdefault(name, []).append(found)
    for label in dict.fromkeys(labels):
        costs = [json.loads(str(fit["cost"])) for name, fit in zip(labels, fits, strict=True) if name == label]
        print(label, f"{len(costs)} seeds", {k: round(float(np.mean([c[k] for c in costs])), 1) for k in costs[0]})
    show_similarity(cosines, scores)
    alone = [way for way in right if way.endswith("alone")]
    known = {way: fits[0][f"train {way}"] for way in alone}
    best = max(alone, key=lambda way: paraphrase(known[way], same[0], known[way], same[0]).accuracy)
    show_paraphrase(judged, right, best)
    best = max(
        (name for name in cosines if name.endswith(": joined")), key=lambda n: pearson(cosines[n], scores).mean()
    )
    shown = [name for name in cosines if name.endswith("alone")] + ["concatenated", "context additive: joined", best]
    curves = {name: mean_curve(cosines[name], scores) for name in dict.fromkeys(shown) if name in cosines}
    tolerance_figure(told.out / "tolerance.png", curves)


def show_similarity(cosines: dict[str, list[np.ndarray]], scores: np.ndarray) -> None:
    """STS-B."""
    alone = [name for name in cosines if name.endswith("alone")]
    best = max(alone, key=lambda name: pearson(cosines[name][:1], scores)[0])
    drawn = np.random.default_rng(0).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), RESAMPLES)
    tests = {}
    for name, found in cosines.items():
        if name == best:
            continue
        gaps = pearson(found, scores) - pearson(cosines[best][:1], scores)
        rows = weighted(np.stack(found), scores, drawn).mean(0) - weighted(cosines[best][0][None], scores, drawn)[0]
        seeds = 1 if name in alone or name == "concatenated" else len(found)
        tests[name] = crossed_t(gaps if seeds > 1 else np.repeat(gaps[:1], 2), float(rows.var(ddof=1)), len(scores))
    said = corrected(tests, best)
    print("\nSTS-B, test part: Pearson; Spearman; share within a tolerance of 0.1 of each class")
    for name, found in cosines.items():
        told = [sentence_similarity(one, scores) for one in found]
        near = " ".join(f"{v:.2f}" for v in np.mean([one.at(0.1) for one in told], axis=0))
        ranks = mean_and_spread([one.spearman for one in told])
        print(f"{name:34} {mean_and_spread([one.pearson for one in told])}  {ranks}  {near}  {said.get(name, '')}")


def show_paraphrase(judged: dict[str, list[Any]], right: dict[str, list[np.ndarray]], best: str) -> None:
    """MRPC; ``best`` is the frozen encoder that was better on the training part."""
    tests = {}
    for name, found in right.items():
        if name == best:
            continue
        gaps = np.stack(found).astype(float) - right[best][0]
        by_seed = gaps.mean(1)
        seeds = 1 if name.endswith("alone") or name == "concatenated" else len(found)
        rows = float(gaps.mean(0).var(ddof=1)) / gaps.shape[1]
        tests[name] = crossed_t(by_seed if seeds > 1 else np.repeat(by_seed[:1], 2), rows, gaps.shape[1])
    said = corrected(tests, best)
    print("\nMRPC, test part: accuracy; precision, recall, F1 of different, of same")
    for name, found in judged.items():
        classes = [
            [getattr(getattr(one, c), k) for k in ("precision", "recall", "f1")]
            for one in found
            for c in ("different", "same")
        ]
        mean = np.array(classes).reshape(len(found), 6).mean(0)
        shown = " ".join(f"{v:.3f}" for v in mean)
        print(f"{name:34} {mean_and_spread([one.accuracy for one in found])}  {shown}  {said.get(name, '')}")


def pearson(found: list[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """(seeds,)."""
    return np.array([np.corrcoef(one, scores)[0, 1] for one in found])


def weighted(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pearson (seeds, resamples) of (seeds, n) with (n,), each row as often as it was drawn."""
    w = counts / counts.sum(1, keepdims=True)
    mx, my = x @ w.T, w @ y
    xy = (x * y) @ w.T - mx * my
    return xy / np.sqrt(((x**2) @ w.T - mx**2) * (w @ y**2 - my**2))


def mean_curve(found: list[np.ndarray], scores: np.ndarray) -> SentenceSimilarity:
    """The curves of several seeds, averaged."""
    told = [sentence_similarity(one, scores) for one in found]
    accuracy = np.mean([one.accuracy for one in told], axis=0)
    overall = np.mean([one.overall for one in told], axis=0)
    one = told[0]
    return SentenceSimilarity(one.rows, one.pearson, one.spearman, one.tolerances, accuracy, overall)


if __name__ == "__main__":
    main()
