"""What it costs to reach a target accuracy on written and spoken digits, from scratch and pretrained: from the study to one page.

    PLAIT_DATA=... plait study run av_digits_regimes_reduced --out runs/av      # or av_digits_regimes, the full size
    plait study run pretraining_baselines --out runs/baselines
    python benchmarks/target_cost.py runs/av runs/baselines

Takes what there is so far into ``docs/evidence/target_cost.jsonl`` and writes the page and its picture beside it; without
arguments the page is built again from that file alone.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import evidence_lines as ev
import learning_curves as lc
from plait.report.charts import Curve
from plait.study.results import Results
from plait.study.statistics.paired import Difference, resampled_t

LINES = ev.HERE / "target_cost.jsonl"
COMMAND = "plait study run av_digits_regimes_reduced; plait study run pretraining_baselines"
#: Named before more than one run of each arm was looked at: the target, one beside it; the least difference of accuracy, and
#: the least ratio of costs, that matter.
TARGET, BESIDE, MARGIN, RATIO = 0.90, 0.95, 0.02, 1.25
ARMS = ("scratch", "pretrained")
BOTH, ALONE = "AI", {"I": "image", "A": "audio"}


def taken(folder: str) -> Iterator[ev.Line]:
    """A line per run: test accuracy after every epoch, and its processor seconds by stage (by their shares of the clock)."""
    results = Results.open(folder)
    for line in [x for x in results.lines if x["status"] == "done"]:
        seconds = line["seconds"]
        with (Path(folder) / "runs" / line["run"] / "epoch_metrics.csv").open(encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if r["part"] == "test" and r["metric"] == "accuracy"]
        curve = [float(r["value"]) for r in rows if r["stage"] == "train" and r["pattern"] == BOTH]
        share = seconds["processor"] / seconds["total"]
        about = ev.about_run(line, "arms") | {"present": "+".join(line["subset"]), "value": curve[-1], "curve": curve}
        about["epoch_seconds"] = round(seconds["fit"] * share / len(curve), 3)
        about["pretrain_seconds"] = round(seconds.get("pretrain", 0.0) * share, 3)
        for code, name in ALONE.items():
            found = [float(r["value"]) for r in rows if r["stage"] == "pretrain" and r["pattern"] == code]
            about |= {f"{name}_alone": found[-1]} if found else {}
        yield about


# -- the page ----------------------------------------------------------------------------------------------------------


def told() -> str:
    """One sentence, for the front page."""
    lines = ev.read(LINES)[1]
    runs = [x for x in lines if x["study"] == "arms"]
    simple = [
        x["value"] for x in lines if x["study"] == "baselines" and x["arm"] == "linear" and x["present"] == x["subset"]
    ]
    spent = [np.mean([cost_to(runs, x, TARGET) for x in runs if x["arm"] == arm]) for arm in ARMS]
    return (
        f"On AV digits networks whose encoders were pretrained reach {TARGET:g} after {spent[1]:.0f} processor seconds, "
        f"pretraining counted, from scratch after {spent[0]:.0f} (late fusion): {_tests(runs)[0].verdict}. "
        f"A tuned linear model over frozen features has {ev.mean(simple)}."
    )


def costs(lines: Sequence[ev.Line], arm: str) -> tuple[float, float]:
    """Processor seconds of an epoch, which is the same network in both arms, and of what comes before the first one; medians."""
    epoch = float(np.median([x["epoch_seconds"] for x in lines]))
    return epoch, float(np.median([x["pretrain_seconds"] for x in lines if x["arm"] == arm]))


def reached(line: ev.Line, target: float) -> int | None:
    """Epochs until the target; None: not within those that were trained."""
    return next((n for n, value in enumerate(line["curve"], 1) if value >= target), None)


def cost_to(lines: Sequence[ev.Line], line: ev.Line, target: float) -> float:
    """Processor seconds to the target; where it is not reached those of all epochs: it costs more than that."""
    epoch, before = costs(lines, line["arm"])
    return before + epoch * (reached(line, target) or len(line["curve"]))


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, lines = ev.read(LINES)
    runs = [x for x in lines if x["study"] == "arms"]
    tests = _tests(runs)
    seeds = len({x["seed"] for x in runs})
    parts = [_head(head, runs, seeds), "## The verdicts\n", *(f"- *{t.name[1]}*: **{t.verdict}**." for t in tests), ""]
    parts += ["## To the target\n", _targets(runs), "## Scores\n", _scores(runs, lines), "## The claims\n"]
    parts += [ev.tests_table(tests, "data", "claim"), LOGARITHM]
    still = lc.late([{"valid_loss": [-value for value in x["curve"]]} for x in runs], "networks, by test accuracy,")
    parts += ["## Learning curves\n", ev.wrapped(f"{still}.") + "\n", _picture(runs), END]
    page = ev.write_page(LINES, parts)
    question = "Late fusion, AV digits: does pretraining reach a target accuracy at less cost?"
    return [ev.front_row(question, tests, seeds, page)]


def _tests(runs: Sequence[ev.Line]) -> list[ev.Test]:
    by = {(x["arm"], x["seed"]): x for x in runs}
    pairs = [
        (by[ARMS[0], s], by[ARMS[1], s])
        for s in sorted({x["seed"] for x in runs})
        if (ARMS[1], s) in by and (ARMS[0], s) in by
    ]
    ratio = runs[0]["test_rows"] / runs[0]["train_rows"]

    def over(name: str, gaps: Sequence[float], margin: float) -> ev.Test:
        test: Difference = resampled_t(np.array(gaps), ratio)
        return ev.Test((runs[0]["data"], name), test, ratio, margin, identical=len(gaps) > 1 and not any(gaps))

    cheaper = [math.log(cost_to(runs, a, TARGET) / cost_to(runs, b, TARGET)) for a, b in pairs]
    first = [b["curve"][0] - a["curve"][0] for a, b in pairs]
    equal = [b["value"] - _at(runs, a, _spent(runs, b)) for a, b in pairs]
    return ev.corrected([
        over(f"pretrained: {TARGET:g} for less of the processor (logarithm of the ratio)", cheaper, round(math.log(RATIO), 2)),
        over("pretrained: better after the first epoch together", first, MARGIN),
        over("pretrained: better at the end, from scratch given as much of the processor", equal, MARGIN),
    ])  # fmt: skip


def _spent(runs: Sequence[ev.Line], line: ev.Line) -> float:
    epoch, before = costs(runs, line["arm"])
    return before + epoch * len(line["curve"])


def _at(runs: Sequence[ev.Line], line: ev.Line, seconds: float) -> float:
    """Accuracy after as many epochs as these seconds pay for."""
    epoch, before = costs(runs, line["arm"])
    return float(line["curve"][min(len(line["curve"]), max(1, round((seconds - before) / epoch))) - 1])


def _head(head: ev.Line, runs: Sequence[ev.Line], seeds: int) -> str:
    epoch, before = costs(runs, ARMS[1])
    return f"""# AV digits: what a target accuracy costs

Written by `python benchmarks/target_cost.py` from `target_cost.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread):
{runs[0]["train_rows"]} pairs of written and spoken digits, {runs[0]["test_rows"]} test pairs (unseen pictures and recordings),
drawn anew for each of {seeds} seeds; ResNet-18 of an eighth of the width for each modality, {runs[0]["weights"]:,} weights.
*pretrained*: four epochs of each encoder alone, then eight together; *scratch*: sixteen together. An epoch together costs
{epoch:.2f} processor seconds (median over all runs, the judging of the test pairs included), pretraining {before:.2f}. The
machine is shared, so the clock says nothing: a run's processor seconds are split between its stages as the clock was.

**Named beforehand**, after one run of each arm at eight epochs: the target {TARGET:g} (the thesis has 0.99, out of reach at this
size); a cost matters from a ratio of {RATIO:g}, accuracy from {MARGIN:g}. Resampled t over seeds, 5 %, two-sided, by Holm over
the three claims. A seed that does not reach the target counts with all its epochs: it costs more than that.
Seeds draw their own pairs from the same recordings; they are corrected as if they shared all rows, which is cautious.
*Power*: the chance that so many seeds of this spread find a true difference as large as the least that matters.
"""


def _targets(runs: Sequence[ev.Line]) -> str:
    rows = []
    for target in (TARGET, BESIDE):
        for arm in ARMS:
            own = [x for x in runs if x["arm"] == arm]
            epochs = [reached(x, target) for x in own]
            told = ", ".join("–" if n is None else str(n) for n in epochs)
            spent = [cost_to(runs, x, target) for x in own]
            more = "at least " if None in epochs else ""
            reach = f"{sum(n is not None for n in epochs)} of {len(own)}"
            rows.append([f"{target:g}", arm, reach, told, f"{more}{np.mean(spent):.1f}"])
    head = ("target", "arm", "seeds that reach it", "after epochs together", "processor seconds, mean")
    return ev.table(head, rows)


def _scores(runs: Sequence[ev.Line], lines: Sequence[ev.Line]) -> str:
    rows = []
    for arm in ARMS:
        own = [x for x in runs if x["arm"] == arm]
        cells = [ev.mean([x["curve"][0] for x in own]), ev.mean([x["value"] for x in own])]
        rows.append([arm, str(len(own)), *cells, f"{np.mean([_spent(runs, x) for x in own]):.1f}"])
    for name in ALONE.values():
        own = [x for x in runs if f"{name}_alone" in x]
        rows.append([f"{name} alone, four epochs", str(len(own)), "–", ev.mean([x[f"{name}_alone"] for x in own]), "–"])
    for name in ("majority", "linear", "trees", "single"):
        own = [x for x in lines if x["study"] == "baselines" and x["arm"] == name and x["present"] == x["subset"]]
        if own:
            cost = f"{np.median([x['processor'] for x in own]):.1f}"
            rows.append([f"{name}, over frozen features", str(len(own)), "–", ev.mean([x["value"] for x in own]), cost])
    return ev.table(("arm", "seeds", "after the first epoch together", "at the end", "processor seconds"), rows)


def _picture(runs: Sequence[ev.Line]) -> str:
    """Mean accuracy over the processor seconds spent, pretraining counted."""
    curves = []
    for arm in ARMS:
        own = [x["curve"] for x in runs if x["arm"] == arm]
        epoch, before = costs(runs, arm)
        values = np.mean(own, axis=0)
        curves.append(Curve(arm, list(before + epoch * np.arange(1, len(values) + 1)), list(values)))
    return ev.draw_curves(
        LINES.with_suffix(".svg"), curves, "processor seconds, pretraining counted", "test accuracy, mean"
    )


LOGARITHM = f"0.22 in the first row is a ratio of {RATIO:g}, 0.69 one of 2.\n"
END = """## Full size, and what is open

`plait study run av_digits_regimes` (800 pairs, ResNet-34 and ResNet-18 of a quarter of the width, 15 epochs, 5 seeds: about an
hour of one core) wants an idle machine. `av_mnist_regimes` (full width, its cost not measured) wants a GPU and AV-MNIST, which is
not here.
"""


def main() -> None:
    if sys.argv[1:]:
        known = ev.taken(sys.argv[2], "baselines") if sys.argv[2:] else []
        lines = [*taken(sys.argv[1]), *(x for x in known if x["data"].startswith("av_digits"))]
        ev.write(LINES, COMMAND, ev.beside(LINES, lines))
    build()
    print(LINES.with_suffix(".md"))


if __name__ == "__main__":
    main()
