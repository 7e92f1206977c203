"""All pages of docs/evidence that claims rest on, and the front page that sums them up, from the kept lines alone.

    python benchmarks/evidence.py

Each page is also built by its own script (``PAGES``), which takes in what its studies have measured. A page without lines is
left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
NOISE = early_late_noise.LINES
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

- On MOSI a network that learns with the text missing in half of the rows is worse afterwards, also where as much is missing at
  the test; sound missing in up to half of them costs nothing that matters.
- Contrast repairs a plain concatenation on Pokemon, where the table alone is as good; it spoils MOSI's text beside sound; it adds
  nothing that could be seen to plait's default. The pulled network is behind a tuned linear model of today on all four tables.
{said}

**The words.** *Held*: better, after Holm within its family, at 5 %. *Not held*: worse, or proven equal within the least
difference. *Not testable here*: both sides are no better than the majority, or no number of seeds would do because the
test rows are too few. *Not decided*: more seeds would decide; the page says how many. Nothing is concluded from models at
chance, nor from an interval wider than the effect it is asked about.

**Reduced.** All of this was run on two shared cores, smaller than it should be. Most verdicts are therefore *not decided* or
*not testable here*. That is the answer. What larger machines would run stands ready; each page says more.

| page | the full size | what was run | the full size by |
| --- | --- | --- | --- |
{reduced}

## Verdicts that changed

| before (version 0.1.0) | now |
| --- | --- |
{changed}

## Also measured

- [plait beside its peers](peers.md): sixteen tables, five seeds, TabM one;
  AutoGluon ahead on one (not decided).
- [plait beside its peers on tables that it never saw](unseen.md): 49 tables of numbers and categories, three seeds;
  mean rank 1.35, the next 3.04 (two differ by more than 0.87); more than 2 % worse than the best of them on 8.
- [A million rows](scale.md): memory and time.
- [Speed](../speed.md): ratios of parts, each in one run.

## Not measured

{missing}"""
#: What says in a sentence what its lines show, in the order of the page.
SAID = (
    early_late_noise,
    conv_lstm_grid,
    pretraining_pays,
    target_cost,
    context_sizes,
    default_worth,
    advice,
    tuned_pays,
)
#: Before, now; in braces what is counted.
CHANGED = (
    (
        "Early fusion is worse under noise (networks of two epochs)",
        "withdrawn. *Early is better*: {noise}: [early against late](early_late_noise_reduced.md)",
    ),
    (
        "Pretraining helps MOSI in two classes by 0.085",
        "withdrawn: those networks were at the majority. Over strong features *not testable here*: [pretraining](pretraining.md)",
    ),
    (
        "Pretraining costs Pokemon 0.076 (p 0.048, uncorrected)",
        "*not testable here*; same direction: [pretraining](pretraining.md)",
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
        "withdrawn. *It is better*: {default}: [default](default.md)",
    ),
)


def runs(page: str, *apart: str, **where: Any) -> str:
    """The least and the most seeds (or folds) of what ``apart`` tells apart in a page's lines, of lines with these values."""
    by_key: dict[tuple[Any, ...], set[Any]] = {}
    for x in ev.read(ev.HERE / f"{page}.jsonl")[1]:
        if x.get("seed") is not None and all(x.get(k) == v for k, v in where.items()):
            by_key.setdefault(tuple(x.get(k) for k in apart), set()).add((x["seed"], x.get("split")))
    counts = sorted(map(len, by_key.values())) or [0]
    return f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def values(page: str, key: str, **where: Any) -> list[str]:
    """What stands under ``key`` in a page's lines, of lines with these values."""
    lines = ev.read(ev.HERE / f"{page}.jsonl")[1]
    return list(dict.fromkeys(str(x[key]) for x in lines if key in x and all(x.get(k) == v for k, v in where.items())))


def by_data(page: str, **where: Any) -> str:
    """``mosi/three 5, mosi/seven 1 to 5``: seeds of each table."""
    return (
        ", ".join(f"{d} {runs(page, 'arm', 'pooling', data=d, **where)}" for d in values(page, "data", **where))
        or "none"
    )


def missing() -> str:
    """What was not run, one sentence: what other lines than those there would show."""
    there = set(values("pretraining", "data", study="poolings"))
    joined = [d for d in values("pretraining", "data", study="regimes") if d not in there]
    untold = [d for d in advice.DATA if d not in values("advice", "data")]
    parts = [] if "middle" in places() else ["middle fusion of the convolutional LSTM"]
    parts += [f"ways of joining other than `mean` on {', '.join(joined)}"] if joined else []
    parts += ["`context` at 25,600 pairs"] if runs("context_sizes", variant="context, 6400") == "0" else []
    parts += ["ConVIRT at 100 photographs"] if runs("context_sizes", variant="convirt, 100") == "0" else []
    parts += [f"advice on {', '.join(untold)}"] if untold else []
    parts += ["contrast on Pokemon `type_2` and on subsets of two of three modalities"]
    return ev.wrapped(f"Not run: {'; '.join(parts)}.")


def places() -> dict[str, dict[int, ev.Line]]:
    """Where the networks of the noise page fuse, and their runs by seed."""
    return early_late_noise.arms_of(early_late_noise.read(NOISE))[0]


def default_rows() -> str:
    """The least and the most training rows of the default's tables."""
    rows = sorted(int(x) for x in values("default", "train_rows"))
    return f"{rows[0]:,} to {rows[-1]:,}"


ZEROS = pretraining_pays.ZEROS
#: Page, the full size, what was run, what runs the full size and its cost.
REDUCED: tuple[tuple[str, str, Callable[[], str], str], ...] = (
    (
        "early_late_noise_reduced",
        "20,000 pairs, 14 x 14 pixels, 100 pairs of ratios, four arms, five seeds",
        lambda: (
            "4,000 pairs, 8 x 8 pixels, 16 pairs of ratios; seeds: "
            + "; ".join(f"{place} {len(own)}" for place, own in places().items())
        ),
        "`early_late_noise`: seven hours of one core",
    ),
    (
        "conv_lstm_grid",
        "as many pairs as the row above; the paper's own: 87,516 pairs, 28 x 28 pixels",
        lambda: (
            f"2,000 pairs, 8 x 8 pixels, six epochs; {runs('conv_lstm_grid', study='grid')} of six speakers in turn"
        ),
        "`conv_lstm_grid`: three hours of one core a network and epoch; a GPU",
    ),
    (
        "pretraining",
        "five arms, six ways of joining, the absent masked and zeros, six targets, 20 seeds; collapse, 20 seeds",
        lambda: (
            f"joined by `mean` {runs('pretraining', 'data', 'arm', study='regimes', pooling='mean')} seeds, all six targets; "
            f"other ways: {by_data('pretraining', study='poolings')}; zeros: {by_data('pretraining', pooling=ZEROS)}; "
            f"collapse, six ways, both: {runs('pretraining', study='collapse')}"
        ),
        "`pretraining_regimes`, `seeds: 20`: five hours of one core",
    ),
    (
        "missing_in_training",
        "text, sound and video",
        lambda: f"text and sound, MOSI in three classes, one network, {runs('missing_in_training', 'train')} seeds",
        "`mosi_missing_video`: needs the owners' video",
    ),
    (
        "target_cost",
        "AV-MNIST at full width, an idle machine",
        lambda: (
            f"600 pairs of digits, an eighth of the width, {runs('target_cost', 'arm', study='arms')} seeds, a shared machine"
        ),
        "`av_digits_regimes`: an hour of one core; `av_mnist_regimes`: needs the owners' data",
    ),
    (
        "contrast",
        "tables 4 to 6, every subset and target, 10 seeds",
        lambda: (
            f"a target of each of four data sets: the paper's network {runs('contrast', 'data', 'arm', study='protocol')} seeds, "
            f"plait's default {runs('contrast', 'data', study='pulled default')}, settings {runs('contrast', study='effects')}"
        ),
        "`early_fusion_mug`, `early_fusion_muldic`, `early_fusion_sentiment`: two hours of one core",
    ),
    (
        "context_sizes",
        "100 to 35,000 pairs of captions, 100 to 900 photographs, five folds or seeds",
        lambda: (
            f"100 to 25,600 pairs, {runs('context_sizes', 'variant', dataset='flickr8k_captions')} seeds; 25 to 800 photographs, "
            f"{runs('context_sizes', 'variant', dataset='flickr8k')} folds; at 25,600 pairs `plain_heads` "
            f"{runs('context_sizes', variant='plain_heads, 6400')}, `context` {runs('context_sizes', variant='context, 6400')}; "
            f"ConVIRT at 25 photographs {runs('context_sizes', variant='convirt, 25')}, at 100 "
            f"{runs('context_sizes', variant='convirt, 100')}"
        ),
        "`size_text`, `size_images`: three hours of one core",
    ),
    (
        "default",
        "all rows of 16 targets, 5 seeds",
        lambda: (
            f"{default_rows()} training rows of {len(values('default', 'data'))} targets, "
            f"{runs('default', 'data', 'arm', split=0)} seeds"
        ),
        "`default_everywhere`",
    ),
    (
        "advice",
        "twelve tables, 1,500 rows, five draws",
        lambda: (
            f"{len(values('advice', 'data'))} tables, 250 rows, {runs('advice', 'data', 'arm')} draw(s), one network a design"
        ),
        "`advice.py run --draws 5`: a day of one core",
    ),
    (
        "tuned",
        "2,000 rows and more, texts and pictures",
        lambda: f"2,000 rows of {len(values('tuned', 'data'))} tables, texts, {runs('tuned', 'data', 'arm')} seeds",
        "more rows in `tuned_2000`: two to eight minutes a run at 2,000 rows",
    ),
)
MISSING = """\
Not possible here: contrast with newer encoders, whose weights cannot be had ([contrast](contrast.md) names the recipes), and data
that only their owners give out (`plait data` says which).
"""


def main() -> None:
    rows = [row for lines, build in PAGES if lines.is_file() for row in build()]
    shown = "\n".join(f"| {' | '.join(row)} | [{page.removesuffix('.md')}]({page}) |" for *row, page in rows)
    now = {"noise": ev.counted(early_late_noise.tests()), "default": default_worth.verdicts()}
    changed = "\n".join(f"| {before} | {then.format(**now)} |" for before, then in CHANGED)
    front = ev.HERE / "README.md"
    said = "\n".join("- " + ev.wrapped(name.told(), subsequent_indent="  ") for name in SAID if name.LINES.is_file())
    reduced = "\n".join(f"| [{page}]({page}.md) | {full} | {run()} | {by} |" for page, full, run, by in REDUCED)
    parts = {
        "rows": shown,
        "changed": changed,
        "said": said,
        "reduced": reduced,
        "missing": f"{missing()}\n\n{MISSING}",
    }
    front.write_text(FRONT.format(**parts), encoding="utf-8")
    print(front)
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
