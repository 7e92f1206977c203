"""What plait's default is worth beside majority, linear model, trees and best single modality: from the study to one page.

    PLAIT_DATA=... plait study run default_everywhere --out runs/default
    python benchmarks/default_worth.py runs/default

Takes what there is so far, in the place of what was there before, into ``docs/evidence/default.jsonl`` and writes the page and
its pictures beside it; without arguments the page is built again from that file alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

import evidence_lines as ev
import learning_curves as lc
from plait.study.statistics.compare import rank

LINES = ev.HERE / "default.jsonl"
#: Named before anything was measured: the least difference of the main metric that matters.
MARGIN = 0.02
OURS, OTHERS = "plait", ("majority", "linear", "trees", "single")
COMMAND = "plait study run default_everywhere"


def told() -> str:
    """One sentence, for the front page."""
    lines, _ = lc.apart(ev.read(LINES)[1])
    datasets = list(dict.fromkeys(line["data"] for line in lines))
    return f"plait's default, over {len(datasets)} tables: {verdicts()}."


def verdicts() -> str:
    """Counts of verdicts against each baseline."""
    lines, _ = lc.apart(ev.read(LINES)[1])
    tests = _compared(lines, list(dict.fromkeys(line["data"] for line in lines)))
    return "; ".join(f"against `{name}` {ev.counted([t for t in tests if t.name[1] == name])}" for name in OTHERS[1:])


def _compared(lines: Sequence[ev.Line], datasets: Sequence[str]) -> list[ev.Test]:
    pairs = [
        (other, {"data": data, "arm": OURS}, {"data": data, "arm": other})
        for data in datasets
        for other in OTHERS[1:]
        if other != "single" or any("+" in line["subset"] for line in lines if line["data"] == data)
    ]
    return ev.compared(lines, pairs, MARGIN)


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, every = ev.read(LINES)
    lines, curves = lc.apart(every)
    datasets = list(dict.fromkeys(line["data"] for line in lines))
    tests = _compared(lines, datasets)
    counts = {d: len({x["seed"] for x in lines if (x["data"], x["arm"]) == (d, OURS)}) for d in datasets}
    seeds = min(counts.values())
    best = [t for t in tests if t.name[1] == "single"]
    parts = [_head(head, lines, sorted(set(counts.values()))), "## The verdicts\n"]
    for other in OTHERS[1:]:
        part = [t for t in tests if t.name[1] == other]
        parts.append(f"- *The default is better than `{other}`*: {ev.counted(part)} (of {len(part)} tables).")
    parts += [
        "",
        _ranks(lines, datasets),
        _seconds(lines),
        "\n## Scores\n",
        ev.scores(lines, datasets, (OURS, *OTHERS)),
        "## The default less each baseline\n",
    ]
    parts += [ev.draw(LINES.with_suffix(".svg"), tests, "plait less the baseline")]
    parts += [ev.tests_table(tests, "data", "plait less"), *lc.section(curves, LINES, CURVES), _end(lines)]
    page = ev.write_page(LINES, parts)
    rest = [t for t in tests if t not in best]
    return [
        ev.front_row("The default: is it better than the best single modality?", best, seeds, page),
        ev.front_row("The default: is it better than a tuned linear model and trees?", rest, seeds, page),
    ]


def _head(head: ev.Line, lines: Sequence[ev.Line], seeds: Sequence[int]) -> str:
    rows = sorted(x["train_rows"] for x in lines)
    return f"""# What the default is worth

Written by `python benchmarks/default_worth.py` from `default.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread),
{" or ".join(map(str, seeds))} seeds, {rows[0]:,} to {rows[-1]:,} training rows of a table.

*linear*: logistic or ridge regression on the same features, reduced or not, its penalty chosen on training rows. *trees*:
histogram gradient boosting on columns and components. *single*: the best model of one modality, chosen on training rows. Higher
is better, but for errors (mae), whose differences are turned.

**Named beforehand.** Least difference that matters, and margin of equivalence: {MARGIN:g} of the metric. Paired t-tests over
seeds, corrected for splits that share rows (over seeds and rows where the test part is always the same), 5 %, two-sided, by Holm
over the whole table. *Power*: the chance that so many seeds of this spread find a true difference of {MARGIN:g}. plait was
developed while rows of most of these tables were looked at; no choice was made by this race.
Five seeds were planned; three were looked at before the fourth was begun, of which half of the tables are done. Rows of plait on
games and petfinder, and of the fourth seed, are of commit b11636a3 (trees of a table are kept), the others of cc704fff,
whose trees answer the same there.
"""


def _ranks(lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    """Mean ranks over the data sets, which no single table's seeds decide."""
    values = [
        [
            np.mean([ev.sign(x["metric"]) * x["value"] for x in lines if (x["data"], x["arm"]) == (data, name)])
            for name in (OURS, *OTHERS)
        ]
        for data in datasets
    ]
    ranks = rank(np.array(values), [OURS, *OTHERS], list(datasets))
    order = ", ".join(f"{name} {place:.2f}" for name, place in zip(ranks.names, ranks.mean, strict=True))
    sets = len({data.partition("/")[0] for data in datasets})
    said = f"Over all {len(datasets)} tables, of {sets} data sets (a summary added afterwards): mean ranks {order}; "
    said += f"Friedman's p = {ranks.p:.2g}; two differ by more than {ranks.critical:.2f} (Nemenyi, 5 %) or are not told apart."
    return ev.wrapped(said) + "\n"


def _seconds(lines: Sequence[ev.Line]) -> str:
    """The page's "seconds on a CPU"."""
    cost = [
        np.median([x["processor"] for x in lines if (x["data"], x["arm"]) == (d, OURS)])
        for d in {x["data"] for x in lines}
    ]
    return (
        "*A model is fitted in seconds, once cells are encoded*: a run of the default took "
        f"{min(cost):.0f} to {max(cost):.0f} seconds of one processor (medians by table).\n"
    )


CURVES = (
    "Loss on held-out training rows by epoch of the default's networks, the first seed, the mean over members until the first of "
    "them stops; trees learn otherwise. Each keeps its own best epoch. Of all members' networks"
)
END = """## What this changes

The tables of `docs/early_fusion.md` were of version 0.1.0, before trees and against a weaker linear model; they are replaced by
this page and by [plait beside its peers](peers.md).

## Full size, and what is open

`plait study run default_everywhere` (16 targets, all rows, 5 seeds) is the full size; the runs of this page took {hours:.1f}
hours of one processor, every model and the encoding of cells that were not yet kept together. What advice is worth, and tuned
encoders at 2,000 rows, stand on pages of their own: [advice](advice.md), [tuned](tuned.md).
"""


def _end(lines: Sequence[ev.Line]) -> str:
    alone = [x["processor"] for x in lines if x["present"] == x["subset"]]
    return END.format(hours=sum(alone) / 3600)


def main() -> None:
    if sys.argv[1:]:
        curves = lc.taken(sys.argv[1], lambda line: OURS if line["variant"] == OURS else "", branch=None)
        ev.write(LINES, COMMAND, [*ev.taken(sys.argv[1], "default"), *curves])
    build()
    print(LINES.with_suffix(".md"))


if __name__ == "__main__":
    main()
