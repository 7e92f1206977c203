"""All pages of docs/evidence that claims rest on, and the front page that sums them up, from the kept lines alone.

    python benchmarks/evidence.py

Each page is also built by its own script (``PAGES``), which takes in what its studies have measured. A page without lines is
left out.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any

import advice
import context_sizes
import contrast_pays
import conv_lstm_grid
import default_worth
import early_late_noise
import evidence_lines as ev
import missing_in_training
import pretraining_pays
import target_cost
import tuned_pays

#: The lines of each page, and what builds it.
NOISE = ev.HERE / "early_late_noise_reduced.jsonl"
SCRIPTS: tuple[Any, ...] = (conv_lstm_grid, pretraining_pays, target_cost, missing_in_training, contrast_pays)
SCRIPTS += (context_sizes, default_worth, advice, tuned_pays)
PAGES = ((NOISE, lambda: early_late_noise.build(NOISE)), *((script.LINES, script.build) for script in SCRIPTS))
FRONT = """# Evidence: what has been measured, and what has not

Built by `python benchmarks/evidence.py` from the JSONL files beside the pages; they hold every run with its command, versions and
seeds. Each question names the least difference that matters before it is measured.

| question | verdicts | decided: difference | runs, least difference | page |
| --- | --- | --- | --- | --- |
{rows}

**In plain words.**

- Under noise early fusion is not shown to be better: equal to the smaller late network at the training ratios, behind in the mean
  over the grid (*not decided*), at three times the processor.
- Over strong features task-specific pretraining is not shown to pay; in the mean every arm is below the best simple model.
- On MOSI a network that learns with the text missing in half of the rows is worse afterwards, also where as much is missing at
  the test; sound missing in up to half of them costs nothing that matters.
- Contrast repairs a plain concatenation on Pokemon, where the table alone is as good; it spoils MOSI's text beside sound; it adds
  nothing that could be seen to plait's default.
- No learned alignment is shown to find more than the closed form `cca`, at any size; one that begins there stays there.
{said}

**The words.** *Held*: better, after Holm within its family, at 5 %. *Not held*: worse, or proven equal within the least
difference. *Not testable here*: both sides are no better than the majority, or no number of seeds would do because the
test rows are too few. *Not decided*: more seeds would decide; the page says how many. Nothing is concluded from models at
chance, nor from an interval wider than the effect it is asked about.

**Reduced.** These were run on two shared cores and are smaller than their recipes; each page says by how much, and names the
recipe of full size with its cost. Most verdicts are therefore *not decided* or *not testable here*. That is the answer.

## Verdicts that changed

| before (version 0.1.0) | now |
| --- | --- |
{changed}

## Also measured

- [plait beside its peers](peers.md): sixteen tables, three seeds, CatBoost one; AutoGluon ahead of plait on one.
- [A million rows](scale.md): memory and time.
- [Speed](../speed.md): ratios of parts, each in one run.

## Not measured

{missing}
Not possible here: contrast with newer encoders, whose weights cannot be had ([contrast](contrast.md) names the recipes), and data
that only their owners give out (`plait data` says which).
"""
#: What says in a sentence what its lines show, in the order of the page.
SAID = (default_worth, advice, tuned_pays, conv_lstm_grid, target_cost)
#: Before, now.
CHANGED = (
    (
        "Early fusion is worse under noise (networks of two epochs)",
        "withdrawn; equal at the training ratios, else *not decided*: [early against late](early_late_noise_reduced.md)",
    ),
    (
        "Pretraining helps MOSI in two classes by 0.085",
        "withdrawn: those networks were at the majority. Over strong features *not testable here*: [pretraining](pretraining.md)",
    ),
    (
        "Pretraining costs Pokemon 0.076 (p 0.048, uncorrected)",
        "*not decided*; same direction: [pretraining](pretraining.md)",
    ),
    (
        "One modality alone does not collapse (films)",
        "withdrawn: those films could not show it; on films that can, networks fall silent: [pretraining](pretraining.md)",
    ),
    (
        "Twenty verdicts of `docs/late_fusion.md`, most uncorrected",
        "removed; what was measured again stands in [pretraining](pretraining.md), the rest is *not decided*",
    ),
    (
        "Pulled before early fusion: Pokemon gains, nothing else is proven",
        "Pokemon held (by 0.12), MOSI proven worse (by 0.2), plait's default without a gain: [contrast](contrast.md)",
    ),
    (
        "`context` from a random start is at chance",
        "withdrawn: a fault, mended. It learns as plain heads do, behind `cca`: [sizes](context_sizes.md)",
    ),
    (
        "Advice is level with the best on six of six tables (three seeds, a weak word)",
        "withdrawn; measured again on many test rows, its race run to the end: [advice](advice.md)",
    ),
    (
        "The default beats the linear model everywhere but on MOSI",
        "withdrawn: against a tuned linear model none of ten is proven better; against trees four: [default](default.md)",
    ),
)


NOTHING = "Nothing that was asked for; most of it at a reduced size.\n"


def wrapped(text: str) -> str:
    """An entry of a list, in lines as long as the page's."""
    return textwrap.fill(text, 128, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def main() -> None:
    rows = [row for lines, build in PAGES if lines.is_file() for row in build()]
    shown = "\n".join(f"| {' | '.join(row)} | [{page.removesuffix('.md')}]({page}) |" for *row, page in rows)
    changed = "\n".join(f"| {before} | {now} |" for before, now in CHANGED)
    front = ev.HERE / "README.md"
    said = "\n".join(f"- {wrapped(name.told())}" for name in SAID if name.LINES.is_file())
    waiting = [name for name in SAID if not name.LINES.is_file()]
    waiting += [default_worth] if default_worth.WORDS not in ev.read(default_worth.LINES)[0]["command"] else []
    missing = "".join(f"- `{name.COMMAND}`; its page: `python benchmarks/{name.__name__}.py`.\n" for name in waiting)
    front.write_text(FRONT.format(rows=shown, changed=changed, said=said, missing=missing or NOTHING), encoding="utf-8")
    print(front)
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
