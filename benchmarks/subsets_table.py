"""One table of the studies ``subsets_*``: every subset, all of it against the best part and against a linear model.

    PLAIT_DATA=... plait study run subsets_pokemon        # and the other recipes
    python benchmarks/subsets_table.py runs/study-subsets_*

The best part is picked by its mean on the test rows, in its favour: if everything is level with it, it is level with any part
that could have been chosen honestly. p is that of ``plait.study.statistics`` before correction.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from plait.study.results import Results
from plait.study.statistics.compare import against_reference, best_of
from plait.study.statistics.scores import datasets, headline, metric_of, plain, scores
from plait.study.statistics.summary import Resampler

HEAD = ["data: target", "metric", "parts (plait)", "all (plait)", "all - best part", "linear, all", "all - linear"]


def row(results: Results, dataset: str) -> list[str]:
    """One line: a target of a data set."""
    metric = metric_of(results, dataset, None)
    table = scores(results, dataset, metric.name)
    whole = headline(table)
    everything = str(whole["subset"].iloc[0])
    ours = plain(table[table["label"] == "plait"])
    shown = {subset: spread(part["value"]) for subset, part in ours.groupby("subset", sort=False)}
    parts = [f"{subset} {text}" for subset, text in shown.items() if subset != everything]
    line = [dataset, metric.name, "; ".join(parts) or "-", f"**{shown[everything]}**"]
    if parts:
        best = best_of(ours[ours["subset"] != everything], "subset", metric)
        both = ours[ours["subset"].isin([best, everything])]
        line.append(f"{versus(results, both, 'subset', metric, everything, best)} ({best})")
    else:
        line.append("-")
    if "linear" not in set(whole["label"]):
        return [*line, "-", "-"]
    both = whole[whole["label"].isin(["plait", "linear"])]
    linear = spread(both.loc[both["label"] == "linear", "value"])
    return [*line, linear, versus(results, both, "label", metric, "plait", "linear")]


def spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds and splits."""
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def versus(results: Results, table: pd.DataFrame, by: str, metric: Any, ours: str, other: str) -> str:
    """Ours minus the other, and p."""
    resampler = Resampler(results, table, metric)
    told = against_reference(table, by, metric, resampler, against=other).set_index(by).loc[ours]
    return f"{told['difference']:+.3f}, p {told['p']:.2g}"


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("studies", nargs="+", type=Path)
    lines = [HEAD, ["---"] * len(HEAD)]
    for folder in told.parse_args().studies:
        results = Results.open(folder)
        lines += [row(results, dataset) for dataset in datasets(results, None)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
