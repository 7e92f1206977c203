"""What advice is worth: how often the race names a design that is level with the best, against the default and against chance.

    PLAIT_DATA=... python benchmarks/advice.py run --out runs/advice [--data mosi/binary ...] [--draws 1]
    python benchmarks/advice.py

Of each table some hundred rows are drawn. On them the designs that ``plait advise`` tries are raced as it does (``Racing``,
``winner_of``), to the end and not by the clock; then every design is fitted on all of these rows and judged on many others. A
design is level with the best where resampling those test rows does not tell it from the best, or where it is no more than
``MARGIN`` behind. After every table ``run`` writes ``docs/evidence/advice.jsonl``; without arguments the page is built from
that file alone. Killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import evidence_lines as ev
from plait.metrics.base import MAIN, metrics
from plait.metrics.base import inputs as inputs_of
from plait.study import Study
from plait.study.advice import winner_of
from plait.study.designs import DEFAULT, Racing, candidates
from plait.study.results import Results
from plait.study.splits import group_column, rows_of
from plait.study.statistics.paired import resampled_t

LINES = ev.HERE / "advice.jsonl"
COMMAND = "python benchmarks/advice.py run"
#: Named before anything was measured: the least gain in the mean over tables that matters, and what level means.
MARGIN = 0.01
#: Rows that designs are raced and fitted on, rows at most that they are judged on; rounds of the race.
ROWS, TEST, ROUNDS = 250, 1000, 4
#: Of every design: one network in the place of five, for cost. Designs that take longer than these minutes are not raced.
SETTINGS, MINUTES = {"members": 1}, 9.0
RESAMPLES = 1000
BASELINES = ("majority", "linear", "trees", "single")
#: Cheap ones first.
DATA = {
    "payments/status": 10000,
    "games/Global_Sales": 16572,
    "petfinder/AdoptionSpeed": 3000,
    "mosi/binary": 2195,
    "issues/label": 1500,
    "esc10/label": 400,
    "hearthstone_cards/cardClass": 3000,
    "av_digits/digit": 1250,
    "hearthstone/race": 1250,
    "pokemon/type_1": 898,
    "movies/genres": 1250,
    "hearthstone/cardClass": 1250,
}


def judging(label: str, draws: int) -> Study:
    """Every design and baseline, fitted on the drawn rows and judged on others."""
    dataset, target = label.split("/")
    rows = min(DATA[label], ROWS + TEST)
    share = min(ROWS, rows // 2) / rows
    told: dict[str, Any] = {"name": label.replace("/", "_"), "seeds": draws, "model": SETTINGS}
    told["data"] = {"dataset": dataset, "target": target, "rows": rows}
    if dataset == "av_digits":
        told["data"]["options"] = {"pairs": ROWS, "test_pairs": TEST}
    told["split"] = {"kind": "official"} if dataset == "av_digits" else _halves(share)
    schema = next(iter(Study.from_dict(told).tables.values())).schema
    told["variants"] = {c.name: dict(c.settings) for c in candidates(schema) if c.minutes <= MINUTES}
    told["variants"] |= {name: {"estimator": name} for name in BASELINES}
    told["metrics"] = [MAIN[schema.task]]
    return Study.from_dict(told)


def _halves(share: float) -> dict[str, Any]:
    return {"kind": "holdout", "fractions": [share, 1 - share]}


def raced(study: Study, seed: int, out: Path, store: str) -> tuple[str, int]:
    """The design that the race names on the drawn rows, and how many fits it took."""
    table = next(iter(study.tables.values()))
    train, _ = rows_of(table, study.spec.split, seed, 0)
    rows = table.frame.iloc[train].reset_index(drop=True)
    group = group_column(table, study.spec.split)
    metric = MAIN[table.schema.task]
    told: dict[str, Any] = {"name": "race", "seeds": ROUNDS, "model": SETTINGS, "metrics": [metric]}
    told["data"] = {"frame": "table", "split": _halves(0.8) | ({"group": group} if group else {})}
    told["variants"] = {k: v for k, v in study.spec.variants.items() if k not in BASELINES}
    schema = dataclasses.replace(table.schema, target=table.target)
    racing = Racing(metric, lower=metrics(schema.task)[metric].direction == "lower", kept=[DEFAULT])
    race = Study.from_dict(told, {"table": (rows, schema)})
    found = race.run(out, engine="inline", store=store, race=racing, view=False)
    return winner_of(found, racing), sum(line["status"] == "done" for line in found.lines)


def lines_of(study: Study, results: Results, names: dict[int, tuple[str, int]]) -> Iterator[ev.Line]:
    """A line per draw and design: its score, and whether it is level with the best of all designs."""
    for seed, (named, fits) in names.items():
        done = [x for x in results.lines if x["status"] == "done" and x["seed"] == seed and x["split"] == 0]
        designs = [x for x in done if x["variant"] not in BASELINES]
        scores = {x["variant"]: _score(results, x) for x in done}
        way = ev.sign(MAIN[done[0]["task"]])
        best = max(designs, key=lambda x: way * scores[x["variant"]])
        for line in done:
            about = ev.about_run(line, "advice") | {"value": round(scores[line["variant"]], 6), "rounds": ROUNDS}
            about |= {"named": named == line["variant"], "race_fits": fits, "design": line in designs}
            yield about | {"level": _level(results, best, line, way)}


def _score(results: Results, line: Mapping[str, Any]) -> float:
    return float(line["evaluations"][0]["metrics"][MAIN[line["task"]]])


def _level(results: Results, best: Mapping[str, Any], line: Mapping[str, Any], way: float) -> bool:
    """Whether the other's lead over these test rows is no more than the margin, or goes to 0 in 2.5 % of resamples."""
    lead = way * (_score(results, best) - _score(results, line))
    if lead <= MARGIN:
        return True
    metric = metrics(line["task"])[MAIN[line["task"]]]
    one, other = (results.predictions(x["run"]) for x in (best, line))
    given = [inputs_of(line["task"], np.asarray(p.output))[metric.input] for p in (one, other)]
    truth, rng = np.asarray(one.target), np.random.default_rng(0)
    gaps = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(truth), len(truth))
        values = [metric.score(truth[rows], np.asarray(g)[rows]).value for g in given]
        gaps.append(way * (values[0] - values[1]))
    return bool(np.quantile(gaps, 0.025) <= 0)


def run(told: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    store = str(told.store or told.out / "store")
    for label in told.data:
        place = told.out / label.replace("/", "_")
        study = judging(label, told.draws)
        names = {seed: raced(study, seed, place / f"race-{seed}", store) for seed in range(told.draws)}
        results = study.run(place / "judged", engine="inline", store=store, view=False)
        found = list(lines_of(study, results, names))
        ev.write(told.lines, COMMAND, ev.beside(told.lines, found, "data"))
        hit = next(x for x in found if x["named"])
        print(label, hit["arm"], hit["value"], "level" if hit["level"] else "behind", flush=True)


# -- the page ----------------------------------------------------------------------------------------------------------


def told() -> str:
    """One sentence, for the front page."""
    lines = ev.read(LINES)[1]
    datasets = list(dict.fromkeys(x["data"] for x in lines))
    named, usual, chance = (sum(_hits(lines, datasets, key)) for key in ("named", "default", "chance"))
    gain = _tests(lines, datasets)[0]
    return (
        f"The design that advice names is level with the best of all it tries on {named:.0f} of {len(datasets)} tables of "
        f"{ROWS} rows, the default on {usual:.0f}, one taken blindly on {chance:.1f}; over the default it gains "
        f"{ev.interval(gain.difference)}: {gain.verdict.replace('seeds', 'tables')}."
    )


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, lines = ev.read(LINES)
    datasets = list(dict.fromkeys(x["data"] for x in lines))
    tests = _tests(lines, datasets)
    parts = [_head(head, lines, datasets), "## The verdict\n", _told(lines, datasets, tests)]
    parts += ["## The claims\n", ev.tests_table(tests, "over tables", "claim"), SEEDS]
    parts += ["## Table by table\n", _tables(lines, datasets), _picture(lines, datasets), "## Every design\n"]
    parts += [_designs(lines, datasets), END]
    page = ev.write_page(LINES, parts)
    question = "Advice: does the race of designs name a better one than the default, or than chance?"
    return [ev.front_row(question, tests, len(datasets), page)]


#: What a line must be to count.
KINDS: dict[str, Callable[[ev.Line], bool]] = {
    "named": lambda x: bool(x["named"]),
    "default": lambda x: bool(x["arm"] == DEFAULT),
    "chance": lambda x: True,
}


def _of(lines: Sequence[ev.Line], data: str, key: str) -> float:
    """Mean over draws of the named design's score, the default's, or a blindly taken one's (``chance``); higher is better."""
    own = [x for x in lines if x["data"] == data and x["design"]]
    return float(np.mean([ev.sign(x["metric"]) * x["value"] for x in own if KINDS[key](x)]))


def _hits(lines: Sequence[ev.Line], datasets: Sequence[str], key: str) -> list[float]:
    """By table: share of draws in which it was level with the best; of ``chance``, share of the designs that are."""
    return [
        float(np.mean([x["level"] for x in lines if x["data"] == d and x["design"] and KINDS[key](x)]))
        for d in datasets
    ]


def _tests(lines: Sequence[ev.Line], datasets: Sequence[str]) -> list[ev.Test]:
    result = []
    for one, other in (("named", "default"), ("named", "chance"), ("default", "chance")):
        gaps = np.array([_of(lines, d, one) - _of(lines, d, other) for d in datasets])
        what = {"named": "the named design", "default": "the default", "chance": "a design taken blindly"}
        test = resampled_t(gaps, 0.0)
        same = len(gaps) > 1 and not gaps.any()
        result.append(
            ev.Test((f"{len(datasets)} tables", f"{what[one]} less {what[other]}"), test, 0.0, MARGIN, identical=same)
        )
    return ev.corrected(result)


def _head(head: ev.Line, lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    fits = sum(max(x["race_fits"] for x in lines if x["data"] == d) for d in datasets)
    return f"""# What advice is worth

Written by `python benchmarks/advice.py` from `advice.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread).

Of each of {len(datasets)} tables {ROWS} rows are drawn (fewer where a table is small). On them the designs of `plait advise` are
raced as it races them, {ROUNDS} rounds at most ({fits} fits in all), and one is named; `fusion: auto` takes the same. Then every
design is fitted on all of these rows and judged on up to {TEST:,} others. *Level*: no more than {MARGIN:g} behind the best
design, or not told from it by resampling the test rows. The best is chosen by these very scores, so "level" is a hard mark.

**Named beforehand.** Least gain that matters, and margin of equivalence: {MARGIN:g} of a table's metric in the mean over tables.
Paired t-tests over tables, 5 %, two-sided, by Holm over the three claims. *Power*: the chance that so many tables of this spread
show a true gain of {MARGIN:g}. Reduced: {ROWS} rows, one network a design in the place of five, {ROUNDS} rounds in the place of
ten, no designs that learn or tune encoders (they are raced from 10 and 30 minutes on), one draw of a table.
"""


def _told(lines: Sequence[ev.Line], datasets: Sequence[str], tests: Sequence[ev.Test]) -> str:
    named, usual, chance = (_hits(lines, datasets, key) for key in ("named", "default", "chance"))
    said = [f"- *{t.name[1]}: better*: **{t.verdict}** ({ev.interval(t.difference)})." for t in tests]
    count = len(datasets)
    hits = (
        f"- Level with the best: the named design on {sum(named):.0f} of {count} tables, the default on {sum(usual):.0f}; "
        f"one taken blindly would be on {sum(chance):.1f} "
        f"(as many as the named or more by chance: p = {_at_least(chance, sum(named)):.2g})."
    )
    kept = sum(x["named"] and x["arm"] == DEFAULT for x in lines)
    return "\n".join([hits, f"- The race named the default itself on {kept} of {len(datasets)} tables.", *said, ""])


def _at_least(shares: Sequence[float], hits: float) -> float:
    """Chance that tables whose hits are drawn with these shares give so many or more."""
    of = np.array([1.0])
    for share in shares:
        of = np.convolve(of, [1 - share, share])
    return float(of[math.ceil(hits - 1e-9) :].sum())


def _tables(lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    rows = []
    for data in datasets:
        own = [x for x in lines if x["data"] == data]
        designs = [x for x in own if x["design"]]
        way = ev.sign(own[0]["metric"])
        best = max(designs, key=lambda x: way * x["value"])
        named, usual = next(x for x in own if x["named"]), next(x for x in own if x["arm"] == DEFAULT)
        base = {x["arm"]: f"{x['value']:.3f}" for x in own if not x["design"]}
        rows.append([
            data, own[0]["metric"], f"{own[0]['train_rows']}, {own[0]['test_rows']:,}", str(len(designs)),
            f"{best['arm']} {best['value']:.3f}", _marked(named), _marked(usual), f"{way * _of(lines, data, 'chance'):.3f}",
            *(base.get(name, "–") for name in BASELINES),
        ])  # fmt: skip
    head = ("data", "metric", "rows, test rows", "designs", "best", "named", "default", "mean of the designs")
    return "In bold: not level with the best.\n\n" + ev.table((*head, *BASELINES), rows)


def _marked(line: ev.Line) -> str:
    value = f"{line['value']:.3f}" if line["level"] else f"**{line['value']:.3f}**"
    return value if line["arm"] == DEFAULT else f"{line['arm']} {value}"


def _picture(lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    """The named design less the default, a bar a table; no interval, one draw each."""
    tests = [
        ev.Test((data,), dataclasses.replace(resampled_t(np.array([gap]), 0.0)), 0.0, MARGIN)
        for data in datasets
        for gap in [_of(lines, data, "named") - _of(lines, data, "default")]
    ]
    return ev.draw(LINES.with_suffix(".svg"), tests, "named design less the default")


def _designs(lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    rows = []
    for name in dict.fromkeys(x["arm"] for x in lines if x["design"]):
        own = [x for x in lines if x["arm"] == name]
        usual = {x["data"]: x["value"] for x in lines if x["arm"] == DEFAULT}
        gaps = [ev.sign(x["metric"]) * (x["value"] - usual[x["data"]]) for x in own]
        cost = float(np.median([x["processor"] for x in own]))
        level = sum(x["level"] for x in own)
        rows.append(
            [name, str(len(own)), f"{np.mean(gaps):+.3f}", f"{level}", str(sum(x["named"] for x in own)), f"{cost:.1f}"]
        )
    head = ("design", "tables", "mean less the default", "level on", "named on", "processor seconds of a run")
    return ev.table(head, rows)


SEEDS = "Where a verdict asks for seeds, they are tables here.\n"
END = """## Full size, and what is open

`ROWS`, `ROUNDS` and `SETTINGS` at the head of `benchmarks/advice.py`: 1,500 rows, ten rounds and five networks a design are
what `plait advise` does by itself; `run --draws 5` gives each of the twelve tables five draws: about a day of one core.
Designs that learn or tune encoders want a GPU, or hours.
"""


def main() -> None:
    more = {"draws": {"type": int, "default": 1}, "store": {}, "data": {"nargs": "*", "default": list(DATA)}}
    ev.command(__doc__, LINES, run, build, **more)


if __name__ == "__main__":
    main()
