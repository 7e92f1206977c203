"""Do text encoders tuned on the task beat frozen ones at 2,000 rows, for as much of the processor? From the study to one page.

    PLAIT_DATA=... plait study run tuned_2000 --out runs/tuned
    python benchmarks/tuned_pays.py runs/tuned

Takes what there is so far into ``docs/evidence/tuned.jsonl``, beside other runs there, and writes the page and its picture;
without arguments the page is built again from that file alone.
"""

from __future__ import annotations

import sys

import numpy as np

import evidence_lines as ev
import learning_curves as lc

LINES = ev.HERE / "tuned.jsonl"
COMMAND = "plait study run tuned_2000"
#: Named before anything was measured: the least difference of the main metric that matters.
MARGIN = 0.02
OURS, FROZEN, MORE = "tuned", "frozen", "frozen, 20 members"
BASELINES = ("majority", "linear", "trees")


def told() -> str:
    """One sentence, for the front page."""
    lines, _ = lc.apart(ev.read(LINES)[1])
    found = [t for t in _tests(lines) if t.name[1] in (FROZEN, MORE)]
    gaps = [f"{t.name[0]} less `{t.name[1]}` {t.difference.value:+.3f} ({t.verdict})" for t in found]
    return f"Text encoders tuned on 2,000 rows: {'; '.join(gaps)}."


def _tests(lines: list[ev.Line]) -> list[ev.Test]:
    datasets = dict.fromkeys(x["data"] for x in lines)
    others = (FROZEN, MORE, *BASELINES[1:])
    pairs = [(o, {"data": d, "arm": OURS}, {"data": d, "arm": o}) for d in datasets for o in others]
    return ev.compared(lines, pairs, MARGIN)


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, every = ev.read(LINES)
    lines, curves = lc.apart(every)
    datasets = list(dict.fromkeys(x["data"] for x in lines))
    seeds = len({x["seed"] for x in lines})
    tests = _tests(lines)
    parts = [_head(head, lines, seeds), "## The verdicts\n"]
    for other in (FROZEN, MORE, *BASELINES[1:]):
        parts.append(f"- *Tuned is better than `{other}`*: {ev.counted([t for t in tests if t.name[1] == other])}.")
    parts += ["", "## Scores\n", ev.scores(lines, datasets, (OURS, FROZEN, MORE, *BASELINES)), _cost(lines, datasets)]
    parts += ["## Tuned less each other\n", ev.draw(LINES.with_suffix(".svg"), tests, "tuned less the other")]
    parts += [ev.tests_table(tests, "data", "tuned less"), *lc.section(curves, LINES, CURVES), END]
    page = ev.write_page(LINES, parts)
    frozen = [t for t in tests if t.name[1] in (FROZEN, MORE)]
    question = "Text encoders tuned on the task, 2,000 rows: better than frozen ones?"
    return [ev.front_row(question, frozen, seeds, page)]


def _head(head: ev.Line, lines: list[ev.Line], seeds: int) -> str:
    versions = head["versions"]
    return f"""# Tuned text encoders at 2,000 rows

Written by `python benchmarks/tuned_pays.py` from `tuned.jsonl`; measured by `{head["command"]}`
(plait {versions.get("plait", "?")}, torch {versions.get("torch", "?")}, one thread), {seeds} seed(s),
{max(x["train_rows"] for x in lines):,} training rows, the text alone. *frozen*: plait's default over MiniLM, words beside it;
*frozen, 20 members*: the same with four times the networks, for about as much of the processor; *tuned*: LoRA on MiniLM's last
three layers, cross-fitted in three folds, then the default over it. *linear*, *trees*: over the frozen features.

**Named beforehand.** Least difference that matters, and margin of equivalence: {MARGIN:g} of the main metric. Paired t-tests over
seeds, corrected for splits that share rows, 5 %, two-sided, by Holm over the whole table.
*Power*: the chance that so many seeds of this spread find a true difference of {MARGIN:g}. With one modality the best single
modality is the row itself.
"""


def _cost(lines: list[ev.Line], datasets: list[str]) -> str:
    """What tuning and more members cost in the place of the default."""
    told = []
    for data in datasets:
        spent = {
            a: np.median([x["processor"] for x in lines if (x["data"], x["arm"]) == (data, a)] or [np.nan])
            for a in (OURS, FROZEN, MORE)
        }
        told.append(f"{data}: tuned {spent[OURS] / spent[FROZEN]:.1f}, 20 members {spent[MORE] / spent[FROZEN]:.1f}")
    return (
        f"Processor seconds as multiples of *frozen*, encoding included where it was not yet kept: {'; '.join(told)}.\n"
    )


CURVES = (
    "Loss on held-out training rows by epoch of the joint network over frozen and over tuned features, the first seed, the mean "
    "over members until the first of them stops (what tuning itself did is not kept). Of all members' networks, joint and linear,"
)
END = """## Full size, and what is open

`plait study run tuned_2000` (two tables, three seeds, about an hour of one core) is whole here. More rows (`rows` in a copy, a
run at 2,000 takes two to eight minutes of one core), pictures, and encoders from the hub (`codebert`, `transformers_text`,
`transformers_image`) want a GPU. At 320 to 400 training rows: [tuning](../measured/tuning.md).
"""


def main() -> None:
    if sys.argv[1:]:
        ev.write(LINES, COMMAND, ev.beside(LINES, ev.taken(sys.argv[1])))
        ev.write(LINES, COMMAND, lc.beside(LINES, lc.taken(sys.argv[1])))
    build()
    print(LINES.with_suffix(".md"))


if __name__ == "__main__":
    main()
