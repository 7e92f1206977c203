"""What a network of late fusion gains and loses when a modality is missing in training: from the study to one page.

    PLAIT_DATA=... plait study run mosi_missing --out runs/missing
    python benchmarks/missing_in_training.py --runs runs/missing

Takes what there is so far into ``docs/evidence/missing_in_training.jsonl``, beside what that file has of other runs, and writes
the page and its pictures; of ``--curves FOLDER`` learning curves only. Without arguments the page is built again from that file
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

import evidence_lines as ev
import learning_curves as lc
from plait.report.charts import Curve
from plait.study.results import Results

LINES = ev.HERE / "missing_in_training.jsonl"
#: Named before anything was measured: the least difference of accuracy that matters.
MARGIN = 0.02
COMMAND = "plait study run mosi_missing"
CLEAN = "clean"


def taken(folder: str) -> Iterator[ev.Line]:
    """A line per run and condition of the test part, and one per run of what always answers the commonest class."""
    results = Results.open(folder)
    for line in results.lines:
        if line["status"] != "done":
            continue
        rows = results.predictions(line["run"]).rows
        about = ev.about_run(line, results.name)
        about |= {"present": about["subset"], "train": line["train_condition"]}
        for place, one in enumerate(line["evaluations"]):
            right = ev.right(results, line["run"], place, rows)
            value = round(float(one["metrics"]["accuracy"]), 6)
            yield about | {"test": one["condition"], "value": value, "right": right}
        target = np.asarray(results.predictions(line["run"], 0).target)[np.argsort(rows)]
        commonest = target == np.bincount(target).argmax()
        right = bytes(np.packbits(commonest)).hex()
        yield about | {"arm": "majority", "test": CLEAN, "value": round(float(commonest.mean()), 6), "right": right}


def named(condition: str) -> str:
    """``text absent in 0.5``; of no absence ``clean``."""
    if condition == CLEAN:
        return CLEAN
    modality, _, share = condition.removeprefix("absent:").partition("=")
    return f"{modality} absent in {share}"


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, every = ev.read(LINES)
    lines, learned = lc.apart(every)
    data = lines[0]["data"]
    there = list(dict.fromkeys(line["train"] for line in lines if line["train"] != CLEAN))

    def family(test_of: str | None) -> list[ev.Test]:
        """Each training condition against whole training rows, tested on this condition; None: on the same one."""
        keys = {"data": data, "arm": "baseline"}
        pairs = [
            (named(c), keys | {"train": c, "test": test_of or c}, keys | {"train": CLEAN, "test": test_of or c})
            for c in there
        ]
        return ev.compared(lines, pairs, MARGIN)

    whole, likewise = family(CLEAN), family(None)
    seeds = len({line["seed"] for line in lines})
    parts = [
        _head(head, lines, seeds),
        _scores(lines, there),
        "## Both modalities at the test: what does absence in training cost?\n",
        ev.tests_table(whole, "data", "training"),
        "## As much absent at the test as in training: what does it gain?\n",
        ev.tests_table(likewise, "data", "training"),
        _curves(lines),
        *lc.section(learned, LINES, CURVES, pictures=_parted(learned)),
        END,
    ]
    page = ev.write_page(LINES, parts)
    question = "Late fusion: does a modality missing in training"
    return [
        ev.front_row(f"{question} help when both are there?", whole, seeds, page),
        ev.front_row(f"{question} help when as much is missing at the test?", likewise, seeds, page),
    ]


def _head(head: ev.Line, lines: Sequence[ev.Line], seeds: int) -> str:
    first, versions = lines[0], head["versions"]
    processor = np.median([line["processor"] for line in lines])
    return f"""# A modality missing in training

Written by `python benchmarks/missing_in_training.py` from `missing_in_training.jsonl`; measured by `{head["command"]}`
(plait {versions.get("plait", "?")}, torch {versions.get("torch", "?")}, one thread): MOSI in three classes, its official parts
({first["train_rows"]:,} training rows, {first["test_rows"]} test rows), the thesis's network over sequences of text and sound,
from scratch, {first["weights"]:,} weights, {seeds} seeds, {processor:.0f} processor seconds a run. In training
a share of the rows lacks one modality, drawn for each seed; zeros stand in its place. The thesis (section 7.3.4) has
video, too, which is not to be had here.

**Named beforehand.** Least difference that matters, and margin of equivalence: {MARGIN:g} of accuracy. Paired tests over seeds
and test rows, 5 %, two-sided, by Holm within each of the two tables. The claim of each row is that training so is better than
training on whole rows.
"""


def _scores(lines: Sequence[ev.Line], there: Sequence[str]) -> str:
    """Accuracy of every training condition (rows) on every condition of the test (columns)."""

    def cell(train: str, test: str) -> str:
        return ev.mean([x["value"] for x in lines if (x["arm"], x["train"], x["test"]) == ("baseline", train, test)])

    tests = [CLEAN, *there]
    rows = [[named(c), *(cell(c, t) for t in tests)] for c in tests]
    constant = next(line["value"] for line in lines if line["arm"] == "majority")
    head = ("training", *map(named, tests))
    known = [x for x in ev.read(LINES.with_name("pretraining.jsonl"))[1] if x.get("data") == lines[0]["data"]]
    linear, single = (
        ev.mean([x["value"] for x in known if x["arm"] == name and x["present"] == x["subset"]])
        for name in ("linear", "single")
    )
    said = f"""The commonest class of the test rows is right in {constant:.3f}; on whole rows a tuned linear model over frozen
features has {linear}, the best single modality {single} ([pretraining](pretraining.md)). Across: the test.
"""
    return said + "\n" + ev.table(head, rows)


def _curves(lines: Sequence[ev.Line]) -> str:
    """Accuracy over the share that is absent at the test, a panel's line per training."""
    shares = [CLEAN, "absent:text=0.2", "absent:text=0.5", "absent:text=0.9"]
    curves = []
    for train in shares:
        ours = [
            [x["value"] for x in lines if (x["arm"], x["train"], x["test"]) == ("baseline", train, t)] for t in shares
        ]
        if all(ours):
            curves.append(Curve(named(train), range(4), [float(np.mean(v)) for v in ours]))
    ticks = ("all there", "0.2", "0.5", "0.9")
    return ev.draw_curves(LINES.with_suffix(".svg"), curves, "share of test rows without text", "accuracy", ticks)


def _parted(learned: Sequence[ev.Line]) -> list[ev.Line]:
    """Curves in a picture for each modality that is missing, whole rows in both."""
    return [
        line | {"data": f"{line['data']}, {modality} missing"}
        for modality in ("text", "audio")
        for line in learned
        if line["arm"] == CLEAN or line["arm"].startswith(modality)
    ]


CURVES = (
    "Loss on held-out training rows by epoch, the first seed, trained anew for these curves by a later version. The held-out "
    "rows lack as much as the others, so that levels do not compare. Of these"
)
END = """## Full size, and what is open

`plait study run mosi_missing` is whole here (35 runs, seven minutes of one core). `mosi_missing_video` has the thesis's third
modality and its own features, which only their owners give out. Open: other data sets, more than one network.
"""


def main() -> None:
    given = ev.folders(__doc__, "runs", "curves")
    for folder in given["runs"]:
        ev.write(LINES, COMMAND, ev.beside(LINES, taken(folder)))
    for folder in (*given["runs"], *given["curves"]):
        curves = lc.taken(folder, lambda line: named(line["train_condition"]))
        ev.write(LINES, COMMAND, lc.beside(LINES, curves))
    build()
    print(LINES.with_suffix(".md"))


if __name__ == "__main__":
    main()
