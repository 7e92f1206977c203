"""Enhancement by hardest negatives as tables 4 to 6 of Wernlein et al.: what the studies ``enhancement_*`` found, in one table.

    PLAIT_DATA=... plait study run enhancement_pokemon          # _hearthstone, _issues, _mosi, _default, _effects
    python benchmarks/alignment_enhancement.py runs/study-enhancement_pokemon runs/study-enhancement_effects

One line per data set, subset of modalities and variant: mean and standard deviation over seeds, the difference from
``without`` on the same subset with p corrected by Holm (over all differences of one data set), trained weights, and seconds of
training (projector included; of the clock, so of a machine that is not shared). Where a subset lacks the pulled modality, both
variants are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from alignment_statistics import corrected, mean_and_spread
from plait.study.results import Results
from plait.study.statistics.comparison import compare_pairs, paired
from plait.study.statistics.scores import datasets, metric_of, scores
from plait.study.statistics.summary import Resampler
from plait.study.statistics.verdicts import default_margin

REFERENCE = "without"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--metric", help="default: the first of each study")
    told = parser.parse_args()
    for folder in told.folders:
        results = Results.open(folder)
        metric = told.metric or results.spec.metrics[0]
        for name in datasets(results, metric):
            show(results, name, metric)


def show(results: Results, name: str, metric: str) -> None:
    """All subsets and variants of one data set."""
    measure = metric_of(results, name, metric)
    table = scores(results, name, metric)
    resampler = Resampler(results, table, measure, resamples=1000, seed=0)
    runs = results.runs[(results.runs["dataset"] == name) & (results.runs["status"] == "done")]
    groups = {(subset, label): part for (subset, label), part in table.groupby(["subset", "label"], sort=False)}
    tests: dict[str, Any] = {}
    for (subset, label), part in groups.items():
        plain = groups.get((subset, REFERENCE))
        if label == REFERENCE or plain is None:
            continue
        both = paired(part, plain)
        if len(both) > 1 and (both["difference"] != 0).any():
            margin = default_margin(measure, float(plain["value"].mean()))
            tests[f"{subset} {label}"] = compare_pairs(both, measure, resampler, margin).test
    said = corrected(tests, REFERENCE)
    print(
        f"\n{name}, {metric}; {int(table['train_rows'].median()):,} training rows, {int(table['test_rows'].median()):,} test rows"
    )
    for (subset, label), part in groups.items():
        mine = runs[(runs["subset"] == subset) & (runs["variant"] == label)]
        cost = f"{np.mean(mine['trained_weights']) / 1e6:.2f} M weights, {np.mean(mine['fit_seconds']):.1f} s"
        values = part["value"].tolist()
        print(
            f"{subset:22} {label:12} {len(values)} seeds  {mean_and_spread(values)}  {cost}  {said.get(f'{subset} {label}', '')}"
        )


if __name__ == "__main__":
    main()
