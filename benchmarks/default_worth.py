"""What plait's default is worth beside majority, linear model, trees and best single modality: from the study to one page.

    PLAIT_DATA=... plait study run default_reduced --out runs/default      # or default_everywhere, the full size
    python benchmarks/default_worth.py runs/default

Takes what there is so far into ``docs/evidence/default.jsonl`` and writes the page and its picture beside it; without arguments
the page is built again from that file alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

import evidence_lines as ev
from plait.study.statistics.compare import rank

LINES = ev.HERE / "default.jsonl"
#: Named before anything was measured: the least difference of the main metric that matters.
MARGIN = 0.02
OURS, OTHERS = "plait", ("majority", "linear", "trees", "single")
COMMAND = "plait study run default_reduced"
#: Behind the command of lines that were measured since words stand beside texts.
WORDS = ", again with words beside texts"


def told() -> str:
    """One sentence, for the front page."""
    head, lines = ev.read(LINES)
    tests = _compared(lines, list(dict.fromkeys(line["data"] for line in lines)))
    parts = [f"against `{name}` {ev.counted([t for t in tests if t.name[1] == name])}" for name in OTHERS[1:]]
    words = WORDS if head["command"].endswith(WORDS) else ", before words stood beside texts"
    return f"plait's default{words}, over {len({t.name[0] for t in tests})} tables: {'; '.join(parts)}."


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
    head, lines = ev.read(LINES)
    datasets = list(dict.fromkeys(line["data"] for line in lines))
    tests = _compared(lines, datasets)
    counts = {d: len({x["seed"] for x in lines if (x["data"], x["arm"]) == (d, OURS)}) for d in datasets}
    seeds = min(counts.values())
    best = [t for t in tests if t.name[1] == "single"]
    parts = [
        _head(head, sorted(set(counts.values()))),
        AGAIN if head["command"].endswith(WORDS) else BEFORE,
        "## The verdicts\n",
    ]
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
    parts += [ev.tests_table(tests, "data", "plait less"), END]
    page = ev.write_page(LINES, parts)
    rest = [t for t in tests if t not in best]
    return [
        ev.front_row("The default: is it better than the best single modality?", best, seeds, page),
        ev.front_row("The default: is it better than a tuned linear model and trees?", rest, seeds, page),
    ]


def _head(head: ev.Line, seeds: Sequence[int]) -> str:
    return f"""# What the default is worth

Written by `python benchmarks/default_worth.py` from `default.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread),
{" or ".join(map(str, seeds))} seeds, at most 1,500 rows of a table.

*linear*: logistic or ridge regression on the same features, reduced or not, its penalty chosen on training rows. *trees*:
histogram gradient boosting on columns and components. *single*: the best model of one modality, chosen on training rows. Higher
is better, but for errors (mae), whose differences are turned.

**Named beforehand.** Least difference that matters, and margin of equivalence: {MARGIN:g} of the metric. Paired t-tests over
seeds, corrected for splits that share rows (over seeds and rows where the test part is always the same), 5 %, two-sided, by Holm
over the whole table. *Power*: the chance that so many seeds of this spread find a true difference of {MARGIN:g}. plait was
developed while rows of most of these tables were looked at; no choice was made by this race.
Five seeds were planned; of the measurement of before three were looked at before the others ran.
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
    return (
        f"Over all {len(datasets)} tables (a summary added afterwards; two of them are Hearthstone's): mean ranks {order};\n"
        f"Friedman's test p = {ranks.p:.2g}; two differ by more than {ranks.critical:.2f} (Nemenyi, 5 %) or are not told apart.\n"
    )


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


AGAIN = """Four of the tables were measured once more by a later version for [contrast](contrast.md): its features, those of the
baselines as well, are richer, so that numbers differ.

**Measured again** since words stand beside texts (`ngrams`): every model, the baselines too, on the tables whose
numbers that changed. Where seed 0 gave the very same numbers in every model the lines of before were kept, with their five seeds.
"""
BEFORE = """**Before words stood beside texts** (`ngrams`), as they do now in every model, the baselines too. Seed 0 alone was
measured since: Pokemon, ESC-10, PetFinder and payments give the very same numbers, six tables do not. GitHub issues: plait 0.769
(0.689 before), linear 0.724 (0.658), single 0.751 (0.662), trees 0.711 (0.609). One seed decides nothing; the others wait.
"""
END = """## What this changes

The tables of `docs/early_fusion.md` were of version 0.1.0, before trees and against a weaker linear model; they are replaced by
this page and by [plait beside its peers](peers.md).

## Full size, and what is open

`plait study run default_everywhere` (15 targets, all rows, 5 seeds: about three hours of one core). What advice is worth, and
tuned encoders at 2,000 rows, stand on pages of their own: [advice](advice.md), [tuned](tuned.md).
"""


def kept(known: Sequence[ev.Line], fresh: Sequence[ev.Line]) -> list[ev.Line]:
    """The fresh lines; but of a table where they say the very same as known ones of more seeds, those."""
    before = {_place(x): x["value"] for x in known}
    changed = {x["data"] for x in fresh if before.get(_place(x)) != x["value"]}
    same = {x["data"] for x in fresh} - changed
    return [x for x in known if x["data"] in same] + [x for x in fresh if x["data"] in changed]


def _place(line: ev.Line) -> tuple[object, ...]:
    return tuple(line[key] for key in ("data", "arm", "seed", "split", "present"))


def main() -> None:
    if sys.argv[1:]:
        ev.write(
            LINES, COMMAND + WORDS, kept(ev.read(LINES)[1] if LINES.is_file() else [], ev.taken(sys.argv[1], "default"))
        )
    build()
    print(LINES.with_suffix(".md"))


if __name__ == "__main__":
    main()
