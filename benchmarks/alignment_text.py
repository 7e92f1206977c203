"""Two frozen text encoders aligned on pairs of captions, judged on STS-B and MRPC (Faye et al., tables II, III, figure 3).

    PLAIT_DATA=... python benchmarks/alignment_text.py --seeds 5 --out results/alignment_text

Captions of one Flickr8k photograph are pairs. Every way to compare two sentences is judged beside every other: each frozen
encoder alone, both concatenated, each aligned, across, joined (``plait.alignment_evaluation.recipes.sentence_cosines``).
``--encoders`` names two, as ``minilm hashed_ngrams``; any two text encoders of ``plait list encoders`` will do.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from plait import ModalityAligner
from plait.alignment_evaluation.curves import tolerance_figure
from plait.alignment_evaluation.recipes import caption_pairs, mrpc, sts_b
from plait.errors import PlaitWarning

STAGES: dict[str, Any] = {
    "context additive": {"name": "context", "operation": "additive"},
    "context add": {"name": "context", "operation": "add"},
    "plain_heads": "plain_heads",
    "procrustes": "procrustes",
    "ridge": "ridge",
    "cca": "cca",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs=2, default=["minilm", "hashed_ngrams"])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--photographs", type=int, help="take so many; default: all 8,091")
    parser.add_argument("--rows", type=int, help="judge by so many pairs; default: all")
    parser.add_argument("--loss", help="of the learned stages; default: the stage's own")
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    warnings.simplefilter("ignore", PlaitWarning)
    told.out.mkdir(parents=True, exist_ok=True)
    modalities = {
        name: {"kind": "text", "columns": [column], "encoder": name}
        for name, column in zip(told.encoders, "ab", strict=True)
    }
    lines = []
    for seed in range(told.seeds):
        pairs = caption_pairs(photographs=told.photographs, seed=seed)
        for label in told.stages:
            stage = {"name": STAGES[label]} if isinstance(STAGES[label], str) else dict(STAGES[label])
            if told.loss and stage["name"] in ("context", "plain_heads"):
                stage["loss"] = told.loss
            aligner = ModalityAligner(
                modalities=modalities,
                stage=stage,
                group="photograph",
                store=told.store,
                random_state=seed,
                progress=False,
            ).fit(pairs)
            similar, same = sts_b(aligner, rows=told.rows), mrpc(aligner, rows=told.rows)
            if seed == 0:
                tolerance_figure(told.out / f"tolerance {label}.png", similar)
            record = aligner.record_
            for way in similar:
                line = {
                    "stage": label,
                    "way": way,
                    "seed": seed,
                    "pairs": len(pairs),
                    "weights": record["trained_weights"],
                }
                line |= {"seconds": record["seconds"]["align"], "pearson": similar[way].pearson}
                line |= {
                    "spearman": similar[way].spearman,
                    "tolerance 0.1": similar[way].at(0.1),
                    "accuracy": same[way].accuracy,
                }
                line |= {
                    "threshold": same[way].threshold,
                    "different": vars(same[way].different),
                    "same": vars(same[way].same),
                }
                lines.append(line)
            print(label, "seed", seed, f"{record['seconds']['align']:.1f} s", flush=True)
    (told.out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    show(lines)


def show(lines: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over the seeds; frozen ways once, they are the same for every stage."""
    groups = defaultdict(list)
    for line in lines:
        frozen = line["way"].endswith("alone") or line["way"] == "concatenated"
        groups["(frozen)" if frozen else line["stage"], line["way"]].append(line)
    print(
        f"\n{'stage':18} {'way':24} STS-B Pearson    Spearman         MRPC accuracy    F1 different  F1 same  seconds"
    )
    for (stage, way), found in sorted(groups.items()):
        spread = [
            f"{np.mean([x[k] for x in found]):.3f} +- {np.std([x[k] for x in found]):.3f}"
            for k in ("pearson", "spearman", "accuracy")
        ]
        f1 = [np.mean([x[k]["f1"] for x in found]) for k in ("different", "same")]
        seconds = np.mean([x["seconds"] for x in found])
        print(f"{stage:18} {way:24} {'   '.join(spread)}   {f1[0]:.3f}         {f1[1]:.3f}  {seconds:8.1f}")


if __name__ == "__main__":
    main()
