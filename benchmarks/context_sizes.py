"""Where learning begins to pay: the size curves of context-based fusion against closed forms, as one page.

``python benchmarks/context_sizes.py runs/exp4/size_text runs/exp4/size_images`` takes what these studies have measured into
``docs/evidence/context_sizes.jsonl``, beside other runs there, and writes the page; without folders the page is built from
that file alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import evidence_lines as ev
from plait.report.charts import Curve
from plait.study import Results
from plait.study.space_results import scores
from plait.study.statistics.paired import resampled_t

LINES, PAGE = ev.HERE / "context_sizes.jsonl", ev.HERE / "context_sizes.md"
#: What is shown of each study: evaluation, part, metric, heading.
SHOWN = {
    "flickr8k_captions": (
        ("retrieval", "a to b", "R@1", "Retrieval among held-out captions, MiniLM to n-grams, R@1"),
        ("sentence_similarity", "joined", "pearson", "STS-B, both encoders joined, Pearson"),
        ("paraphrase", "joined", "accuracy", "MRPC, both encoders joined, accuracy"),
    ),
    "flickr8k": (
        ("retrieval", "text to image", "R@1", "Retrieval of held-out photographs by caption, R@1"),
        ("retrieval", "image to text", "R@1", "Retrieval of captions by held-out photograph, R@1"),
        ("zero_shot", "zero-shot", "top-1", "CIFAR-10 by the names of its classes, top-1"),
        ("linear_probe", "aligned", "100 epochs", "Linear probe on CIFAR-10, accuracy"),
    ),
}
CLOSED = ("cca", "procrustes", "ridge")
LEARNED = ("plain_heads", "context", "context from cca", "convirt")
#: Whom every arm is set against: the reference that the recipes name.
REFERENCE = "cca"
#: Named beforehand: the least difference that matters, and the margin of equivalence.
MARGIN = 0.01
#: What guessing would score.
GUESSING = {
    "R@1": "at most 0.005",
    "pearson": "0",
    "accuracy": "0.665 (always: same)",
    "top-1": "0.10",
    "100 epochs": "0.10",
}

INTRODUCTION = """Built by `python benchmarks/context_sizes.py` from `context_sizes.jsonl`; measured by parts of the
recipes `size_text` and `size_images`: `{command}`
(plait {plait}, torch {torch}, one thread).

Every arm is given the same pairs, chooses (its penalty, its epoch) by how many held-out pairs are found, and takes all pairs at
last; ConVIRT alone does not learn again. Things are photographs: four pairs of captions each (MiniLM with hashed
n-grams), or five captions with the picture (MiniLM with EfficientNet-Lite0). Mean ± standard deviation (runs). `ridge` is
the tuned linear model of this task; the encoders alone, without alignment, are the best single modality.

**Named beforehand.** Least difference that matters, and margin of equivalence: {margin:g}. Reference: `{reference}`,
which the recipes name. Corrected resampled t over seeds or folds, 5 %, two-sided, by Holm within a measure. *Power*: the
chance that so many runs of this spread find a true difference of {margin:g}. Compute is not matched: closed forms solve,
learned arms stop when six epochs were no better; processor seconds stand in the last table. Nothing is concluded from an arm
that was still learning at its last epoch (30 in runs of before, 100 now).
"""


def taken(folder: Path) -> Iterator[dict[str, Any]]:
    """One record per value that a study has measured."""
    results = Results.open(folder)
    known = {line["run"]: line for line in results.lines if line["status"] == "done"}
    what = ("dataset", "evaluation", "part", "metric", "variant")
    keys = (*what, "seed", "split", "value", "train_rows", "test_rows", "run")
    wanted: set[tuple[str, str | None, str]] = {one[:3] for shown in SHOWN.values() for one in shown}
    wanted |= {(evaluation, None, metric) for evaluation, _, metric in wanted}
    for row in scores(results).to_dict("records"):
        part = None if row["variant"] == "-" else row["part"]
        if (row["evaluation"], part, row["metric"]) not in wanted:
            continue
        record = {key: row[key] for key in keys}
        run = known[row["run"]]
        seconds = run["seconds"].get("fit_processor")
        record["dataset"] = str(record["dataset"]).partition("/")[0]
        most = re.search(r"epochs=(\d+)", str(run["settings"].get("stage")))
        epochs = {"epochs": run.get("epochs"), "most_epochs": int(most[1]) if most else None}
        yield {**record, "fit_processor_seconds": seconds, **epochs}


def sizes_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with ``arm`` and ``things`` in place of ``variant``."""
    parts = frame["variant"].str.rsplit(", ", n=1, expand=True)
    return frame.assign(arm=parts[0], things=pd.to_numeric(parts[1]))


def table(frame: pd.DataFrame) -> list[str]:
    """Means and spreads: a row per arm, a column per number of things."""
    sizes = sorted(frame["things"].unique())
    lines = ["| arm | " + " | ".join(f"{int(n):,}" for n in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for arm in (*CLOSED, *LEARNED):
        cells = []
        for n in sizes:
            values = frame[(frame["arm"] == arm) & (frame["things"] == n)]["value"]
            spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread} ({len(values)})" if len(values) else "")
        if any(cells):
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def tests_of(frame: pd.DataFrame, name: str) -> list[ev.Test]:
    """At every size: each learned arm against the reference; a family of a measure."""
    keys, tests = ["seed", "split", "things"], []
    learned = frame[frame["arm"].isin(LEARNED)].sort_values("things", kind="stable")
    for place, mine in learned.groupby(["arm", "things"], sort=False):
        arm, things = str(place[0]), f"{mine['things'].iloc[0]:,.0f}"
        both = mine.merge(frame[frame["arm"] == REFERENCE], on=keys, suffixes=("", "_other"))
        if len(both):
            gaps = (both["value"] - both["value_other"]).to_numpy()
            ratio = float((both["test_rows"] / both["train_rows"].clip(lower=1)).mean())
            same = len(gaps) > 1 and not gaps.any()
            unfinished = int((both["epochs"] >= both["most_epochs"]).sum())
            test = ev.Test(
                (f"{arm}, {things}",), resampled_t(gaps, ratio), ratio, MARGIN, identical=same, unfinished=unfinished
            )
            tests.append(test)
    return ev.corrected(tests)


def curve(frame: pd.DataFrame, path: Path, measure: str) -> str:
    """The measure by the number of photographs, a line per arm."""
    sizes = sorted(frame["things"].unique())
    curves = []
    for arm in (*CLOSED, *LEARNED):
        means = [frame[(frame["arm"] == arm) & (frame["things"] == n)]["value"].mean() for n in sizes]
        there = [(place, value) for place, value in enumerate(means) if np.isfinite(value)]
        if len(there) > 1:
            curves.append(Curve(arm, [p for p, _ in there], [v for _, v in there]))
    return ev.draw_curves(path, curves, "photographs", measure, [f"{int(n):,}" for n in sizes])


def costs(frame: pd.DataFrame) -> str:
    """Processor seconds of a fit, median over runs."""
    rows = []
    for (data, arm), part in frame.groupby(["dataset", "arm"], sort=False):
        by_size = part.drop_duplicates("run").groupby("things")["fit_processor_seconds"].median()
        rows.append([data, arm, ", ".join(f"{n:,.0f}: {s:.1f}" for n, s in by_size.items())])
    return ev.table(("data", "arm", "photographs: seconds of the processor"), rows)


def build() -> list[list[str]]:
    """Write the page, from the kept records alone; its rows, for the front page."""
    head, records = ev.read(LINES)
    frame = pd.DataFrame(records)
    about = {"command": head["command"], "margin": MARGIN, "reference": REFERENCE}
    about |= {name: head["versions"].get(name, "?") for name in ("plait", "torch")}
    text, verdicts, summary = [], [], []
    for dataset, shown in SHOWN.items():
        family: list[ev.Test] = []
        for place, (evaluation, part, metric, heading) in enumerate(shown):
            mine = frame[(frame["dataset"] == dataset) & (frame["evaluation"] == evaluation)]
            frozen = mine[(mine["variant"] == "-") & (mine["metric"] == metric)]
            mine = mine[(mine["part"] == part) & (mine["metric"] == metric) & (mine["variant"] != "-")]
            if mine.empty:
                continue
            sized = sizes_of(mine)
            tests = tests_of(sized, heading)
            text += [f"## {heading}\n", *table(sized), ""]
            alone: Any = frozen.groupby("part", sort=False)["value"].mean() if len(frozen) else {}
            frozen_scores = "".join(f"{name} {value:.3f}, " for name, value in alone.items())
            text += [f"Without alignment: {frozen_scores}guessing {GUESSING[metric]}.\n"]
            text += [curve(sized, PAGE.with_name(f"context_sizes-{dataset}-{place}.svg"), f"{metric}"), ""]
            text += [ev.tests_table(tests, f"arm, photographs; less {REFERENCE}")]
            verdicts.append(f"- *{heading}: a learned arm is better than `{REFERENCE}`*: {ev.counted(tests)}.")
            family += [replace(one, name=(metric, *one.name)) for one in tests]
        if family:
            runs = sizes_of(frame[(frame["dataset"] == dataset) & (frame["variant"] != "-")])
            folds = runs[runs["arm"].isin(LEARNED)].drop_duplicates(["things", "seed", "split"])
            n = folds.groupby("things").size().min()
            what = "captions with captions" if dataset == "flickr8k_captions" else "text with image"
            question = f"Context and learned heads against closed forms, {what}: does learning pay?"
            summary.append(ev.front_row(question, family, int(n), PAGE))
    every = sizes_of(frame[frame["variant"] != "-"])
    parts = ["# Context against closed forms, by the number of pairs\n", INTRODUCTION.format(**about)]
    parts += ["## The verdicts\n", *verdicts, "", *text, "## What a fit costs\n", costs(every), END]
    ev.write_page(PAGE, parts)
    return summary


END = """## What this changes, and what is open

The page of before held one seed in which `context` from a random start was at chance by a fault that is mended (a context
began as large as what it is added to); its row, and the sentence that `context` finds nothing, are withdrawn. Sizes, arms and
folds that the tables lack (a photograph of captions is four pairs: 750 are 3,000, 2,500 are 10,000, 6,400 are 25,600) are the
recipes as they are, `plait study run size_text` and `size_images`: about three hours of one core.
"""


if __name__ == "__main__":
    ev.HERE.mkdir(exist_ok=True)
    for folder in sys.argv[1:]:  # of a run that two of them have, the later one's counts
        known = ev.beside(LINES, taken(Path(folder)), "dataset", "variant", "seed", "split")
        ev.write(LINES, "plait study run size_text; plait study run size_images", known)
    build()
    print(PAGE)
