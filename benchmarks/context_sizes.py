"""Where learning begins to pay: the size curves of context-based fusion against closed forms, as one page.

``python benchmarks/context_sizes.py runs/exp4/size_text runs/exp4/size_images`` takes what these studies have measured into
``docs/evidence/context_sizes.jsonl`` and writes the page beside it; without folders the page is built from that file alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from plait.base.version import versions
from plait.study import Results
from plait.study.space_results import scores
from plait.study.statistics.paired import holm, resampled_t

HERE = Path(__file__).parent.parent / "docs" / "evidence"
LINES, PAGE = HERE / "context_sizes.jsonl", HERE / "context_sizes.md"
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
#: A difference that matters: one point, named beforehand; both its sides within it is called level.
MARGIN = 0.01

INTRODUCTION = """Built by `python benchmarks/context_sizes.py` from `context_sizes.jsonl`; measured by the recipes `size_text`
and `size_images` (`plait study run`). Every arm is given the same pairs, chooses (its penalty, its epoch) by how many held-out
pairs are found, and takes all pairs at last; ConVIRT alone does not learn again. Things are photographs: four pairs of captions
each, or five captions with the picture. Mean ± standard deviation (runs). What matters, one point, was named beforehand.

Compute is not matched: closed forms solve, learned arms take up to 30 epochs. `context` from a random start was measured
before its context began small, and was at chance by that fault (docs/alignment.md, "From earlier, smaller looks"): its row
says nothing of it."""


def taken(folder: Path) -> Iterator[dict[str, Any]]:
    """One record per value that a study has measured."""
    results = Results.open(folder)
    known = {line["run"]: line for line in results.lines if line["status"] == "done"}
    keys = (
        "dataset",
        "evaluation",
        "part",
        "metric",
        "variant",
        "seed",
        "split",
        "value",
        "train_rows",
        "test_rows",
        "run",
    )
    told = {one[:3] for shown in SHOWN.values() for one in shown}
    told |= {(evaluation, None, metric) for evaluation, _, metric in told}
    for row in scores(results).to_dict("records"):
        part = None if row["variant"] == "-" else row["part"]
        if (row["evaluation"], part, row["metric"]) not in told:
            continue
        record = {key: row[key] for key in keys}
        run = known[row["run"]]
        seconds = run["seconds"].get("fit_processor")
        record["dataset"] = str(record["dataset"]).partition("/")[0]
        yield {**record, "fit_processor_seconds": seconds, "epochs": run.get("epochs")}


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


def verdicts(frame: pd.DataFrame) -> list[str]:
    """At every size: each learned arm against the closed form with the best mean over all sizes."""
    means = frame[frame["arm"].isin(CLOSED)].groupby("arm")["value"].mean()
    best, keys = str(means.idxmax()), ["seed", "split", "things"]
    tests = []
    for (arm, n), mine in frame[frame["arm"].isin(LEARNED)].groupby(["arm", "things"]):
        both = mine.merge(frame[frame["arm"] == best], on=keys, suffixes=("", "_other"))
        if len(both) > 1:
            gaps = (both["value"] - both["value_other"]).to_numpy()
            tests.append(
                (arm, n, resampled_t(gaps, float((both["test_rows"] / both["train_rows"].clip(lower=1)).mean())))
            )
    if not tests:
        return [f"Not decided against `{best}`: one seed, and no spread to test a difference by."]
    result = [f"Against `{best}`, the closed form with the best mean over all sizes (p by Holm over this table):", ""]
    result += ["| arm | things | difference | p | |", "|---|---|---|---|---|"]
    for (arm, n, test), p in zip(tests, holm(pd.Series([t[-1].p for t in tests], dtype=float).to_numpy()), strict=True):
        level = test.low >= -MARGIN and test.high <= MARGIN
        word = "level" if level else "not decided" if not p < 0.05 else "better" if test.value > 0 else "worse"
        result.append(
            f"| {arm} | {int(n):,} | {test.value:+.3f} [{test.low:+.3f}, {test.high:+.3f}] | {p:.2g} | {word} |"
        )
    return result


def page(records: list[dict[str, Any]]) -> str:
    """The page, from the kept records alone."""
    frame = pd.DataFrame(records)
    lines = [
        "# Context against closed forms, by the number of pairs",
        "",
        INTRODUCTION,
    ]
    for dataset, shown in SHOWN.items():
        for evaluation, part, metric, heading in shown:
            mine = frame[(frame["dataset"] == dataset) & (frame["evaluation"] == evaluation)]
            frozen = mine[(mine["variant"] == "-") & (mine["metric"] == metric)]
            mine = mine[(mine["part"] == part) & (mine["metric"] == metric) & (mine["variant"] != "-")]
            if mine.empty:
                continue
            lines += ["", f"## {heading}", "", *table(sizes_of(mine)), ""]
            if len(frozen):
                alone = frozen.groupby("part", sort=False)["value"].mean()
                lines += [
                    "Without alignment: " + ", ".join(f"{name} {value:.3f}" for name, value in alone.items()) + ".",
                    "",
                ]
            lines += verdicts(sizes_of(mine))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    if sys.argv[1:]:
        known = [record for folder in sys.argv[1:] for record in taken(Path(folder))]
        head = {"command": "plait study run size_text; plait study run size_images", "versions": versions()}
        LINES.write_text("".join(json.dumps(record) + "\n" for record in [head, *known]))
    PAGE.write_text(page([json.loads(line) for line in LINES.read_text().splitlines()][1:]))
    print(PAGE)
