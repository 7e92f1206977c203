"""Where learning begins to pay: the size curves of context-based fusion against closed forms, as one page.

    python benchmarks/context_sizes.py --runs runs/size_text runs/size_images

takes what these studies have measured into ``docs/evidence/context_sizes.jsonl``, beside other runs there, and writes the page;
of ``--curves FOLDER`` learning curves only. Without folders the page is built from that file alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import evidence_lines as ev
import learning_curves as lc
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
COMMAND = "plait study run size_text; plait study run size_images"
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


def curves_of(folder: str) -> list[ev.Line]:
    """Learning curves of a study, each size of a data set apart; of arms that learn."""

    def learned(line: Mapping[str, Any]) -> str:
        return str(line["variant"]) if str(line["variant"]).rpartition(", ")[0] in LEARNED else ""

    curves = []
    for line in lc.taken(folder, learned):
        arm, _, things = line["arm"].rpartition(", ")
        name = f"{line['data'].partition('/')[0]}, {things} photographs"
        curves.append(line | {"data": name, "arm": arm})
    return curves


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


def tests_of(frame: pd.DataFrame) -> list[ev.Test]:
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


def _families(frame: pd.DataFrame, dataset: str) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame, list[ev.Test]]]:
    """Of each measure of a data set: its place, its values by size, those of the encoders alone, its tests."""
    for place, (evaluation, part, metric, _) in enumerate(SHOWN[dataset]):
        mine = frame[(frame["dataset"] == dataset) & (frame["evaluation"] == evaluation) & (frame["metric"] == metric)]
        sized = mine[(mine["part"] == part) & (mine["variant"] != "-")]
        if len(sized):
            tests = [replace(one, name=(metric, *one.name)) for one in tests_of(sizes_of(sized))]
            yield place, sizes_of(sized), mine[mine["variant"] == "-"], tests


def _part(dataset: str, place: int, sized: pd.DataFrame, frozen: pd.DataFrame, tests: Sequence[ev.Test]) -> list[str]:
    """A measure's part of the page."""
    _, _, metric, heading = SHOWN[dataset][place]
    alone: Any = frozen.groupby("part", sort=False)["value"].mean() if len(frozen) else {}
    frozen_scores = "".join(f"{name} {value:.3f}, " for name, value in alone.items())
    text = [f"## {heading}\n", *table(sized), ""]
    text += [f"Without alignment: {frozen_scores}guessing {GUESSING[metric]}.\n"]
    text += [curve(sized, PAGE.with_name(f"context_sizes-{dataset}-{place}.svg"), metric), ""]
    shown = [replace(one, name=one.name[1:]) for one in tests]
    return [*text, ev.tests_table(shown, f"arm, photographs; less {REFERENCE}")]


def costs(frame: pd.DataFrame) -> str:
    """Processor seconds of a fit, median over runs."""
    rows = []
    for (data, arm), part in frame.groupby(["dataset", "arm"], sort=False):
        by_size = part.drop_duplicates("run").groupby("things")["fit_processor_seconds"].median()
        rows.append([data, arm, ", ".join(f"{n:,.0f}: {s:.1f}" for n, s in by_size.items())])
    return ev.table(("data", "arm", "photographs: seconds of the processor"), rows)


def build() -> list[list[str]]:
    """Write the page, from the kept records alone; its rows, for the front page."""
    head, every = ev.read(LINES)
    records, learned = lc.apart(every)
    frame = pd.DataFrame(records)
    about = {"command": head["command"], "margin": MARGIN, "reference": REFERENCE}
    about |= {name: head["versions"].get(name, "?") for name in ("plait", "torch")}
    text, verdicts, summary = [], [], []
    for dataset in SHOWN:
        family: list[ev.Test] = []
        for place, sized, frozen, tests in _families(frame, dataset):
            text += _part(dataset, place, sized, frozen, tests)
            verdicts.append(
                f"- *{SHOWN[dataset][place][-1]}: a learned arm is better than `{REFERENCE}`*: {ev.counted(tests)}."
            )
            family += tests
        if family:
            runs = sizes_of(frame[(frame["dataset"] == dataset) & (frame["variant"] != "-")])
            folds = runs[runs["arm"].isin(LEARNED)].drop_duplicates(["things", "seed", "split"])
            n = folds.groupby("things").size().min()
            what = "captions with captions" if dataset == "flickr8k_captions" else "text with image"
            question = f"Context and learned heads against closed forms, {what}: does learning pay?"
            summary.append(ev.front_row(question, family, int(n), PAGE))
    sized_runs = sizes_of(frame[frame["variant"] != "-"])
    parts = ["# Context against closed forms, by the number of pairs\n", INTRODUCTION.format(**about)]
    parts += ["## The verdicts\n", *verdicts, "", *text, "## What a fit costs\n", costs(sized_runs)]
    parts += [*lc.section(_ordered(learned), LINES, CURVES, "1 - mean reciprocal rank"), END]
    ev.write_page(PAGE, parts)
    return summary


def _ordered(learned: Sequence[ev.Line]) -> list[ev.Line]:
    """By data set, size and arm, in whatever order they were taken."""
    data, arms = list(SHOWN), list(LEARNED)

    def place(line: ev.Line) -> tuple[int, int, int]:
        name, _, things = line["data"].partition(", ")
        return data.index(name), int(things.split()[0]), arms.index(line["arm"])

    return sorted(learned, key=place)


def told() -> str:
    """One sentence, for the front page."""
    frame = pd.DataFrame(lc.apart(ev.read(LINES)[1])[0])
    found = [t for dataset in SHOWN for *_, tests in _families(frame, dataset) for t in tests]
    ahead = [": ".join(t.name) for t in found if t.verdict == ev.HELD]
    lead = f"Ahead of it: {', '.join(ahead)}" if ahead else "None is shown to find more"
    return (
        f"Learned alignments less the closed form `{REFERENCE}`, all sizes and measures: {ev.counted(found)}. {lead}."
    )


CURVES = (
    "How badly held-out pairs are found by epoch, which chooses the epoch, of the first seed or fold, before all pairs are "
    "taken. Sizes that an earlier version had measured were trained anew for these curves. Of these"
)
END = """## What this changes, and what is open

The page of before held one seed in which `context` from a random start was at chance by a fault that is mended (a context
began as large as what it is added to); its row, and the sentence that `context` finds nothing, are withdrawn. Sizes, arms and
folds that the tables lack (a photograph of captions is four pairs: 750 are 3,000, 2,500 are 10,000, 6,400 are 25,600) are the
recipes as they are, `plait study run size_text` and `size_images`: about three hours of one core.
"""


if __name__ == "__main__":
    ev.HERE.mkdir(exist_ok=True)
    given = ev.folders(__doc__, "runs", "curves")
    for folder in given["runs"]:  # of a run that two of them have, the later one's counts
        known = ev.beside(LINES, taken(Path(folder)), "study", "dataset", "variant", "seed", "split")
        ev.write(LINES, COMMAND, known)
    for folder in (*given["runs"], *given["curves"]):
        ev.write(LINES, COMMAND, lc.beside(LINES, curves_of(folder)))
    build()
    print(PAGE)
