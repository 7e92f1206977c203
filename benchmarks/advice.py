"""What advice is worth: how often the race names a design that is level with the best, against the default and against chance.

    PLAIT_DATA=... python benchmarks/advice.py run --out runs/advice [--data mosi/binary ...] [--draws 1]
    python benchmarks/advice.py take [FILE.jsonl] --out runs/advice  # what another place has measured; learning curves
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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import evidence_lines as ev
import learning_curves as lc
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
        ev.write(told.lines, COMMAND, ev.beside(told.lines, found, "study", "data", "seed"))
        curves(told)
        hit = next(x for x in found if x["named"])
        print(label, hit["arm"], hit["value"], "level" if hit["level"] else "behind", flush=True)


def curves(told: argparse.Namespace) -> None:
    """Learning curves of the studies that are there; of designs that are not shown only how many were still learning."""
    found: list[ev.Line] = []
    for folder in sorted(told.out.glob("*/judged")):
        found += lc.taken(folder, lambda line: "" if line["variant"] in BASELINES else str(line["variant"]))
    known, _ = lc.apart(ev.read(told.lines)[1])
    shown = {(x["data"], x["arm"], x["seed"]) for x in known if x["named"] or x["arm"] == DEFAULT}
    kept = [x if (x["data"], x["arm"], x["shown"]) in shown else lc.counted(x) for x in found]
    ev.write(told.lines, COMMAND, lc.beside(told.lines, kept))


def take(told: argparse.Namespace) -> None:
    """What another place has measured, in the place of the same draws here, and learning curves of its studies."""
    fresh, _ = lc.apart(ev.read(told.source)[1] if told.source else [])
    ev.write(told.lines, COMMAND, ev.beside(told.lines, fresh, "study", "data", "seed"))
    curves(told)


# -- the page ----------------------------------------------------------------------------------------------------------


def told() -> str:
    """One sentence, for the front page."""
    lines, _ = lc.apart(ev.read(LINES)[1])
    datasets = list(dict.fromkeys(x["data"] for x in lines))
    named, usual, chance = (sum(_hits(lines, datasets, key)) for key in ("named", "default", "chance"))
    gain = _tests(lines, datasets)[0]
    return (
        f"The design that advice names is level with the best of all it tries on {named:.3g} of {len(datasets)} tables of "
        f"{ROWS} rows{_drawn(lines)}, the default on {usual:.3g}, one taken blindly on {chance:.1f}; over the default it gains "
        f"{ev.interval(gain.difference)}: {gain.verdict.replace('seeds', 'tables')}."
    )


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, every = ev.read(LINES)
    lines, curves = lc.apart(every)
    datasets = list(dict.fromkeys(x["data"] for x in lines))
    tests = _tests(lines, datasets)
    parts = [_head(head, lines, datasets), "## The verdict\n", _told(lines, datasets, tests)]
    parts += ["## The claims\n", ev.tests_table(tests, "over tables", "claim"), SEEDS]
    parts += ["## Table by table\n", _tables(lines, datasets), _picture(lines, datasets), "## Every design\n"]
    parts += [_designs(lines), *lc.section(curves, LINES, CURVES), END]
    page = ev.write_page(LINES, parts)
    question = "Advice: does the race of designs name a better one than the default, or than chance?"
    return [ev.front_row(question, tests, len(datasets), page)]


def draws(lines: Sequence[ev.Line]) -> list[tuple[str, int]]:
    """Every draw of every table."""
    return list(dict.fromkeys((x["data"], x["seed"]) for x in lines))


def _drawn(lines: Sequence[ev.Line]) -> str:
    """Behind a number of tables: how many draws there are of one, where they are several."""
    counts = sorted(Counter(data for data, _ in draws(lines)).values())
    told = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    return "" if counts[-1] == 1 else f" ({told} draws of a table, each counts as its part)"


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
    fits = sum({(x["data"], x["seed"]): x["race_fits"] for x in lines}.values())
    counts = Counter(data for data, _ in draws(lines))
    drawn = "one draw of a table" if max(counts.values()) == 1 else "draws of a table: " + _counts(counts)
    return f"""# What advice is worth

Written by `python benchmarks/advice.py` from `advice.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread).

Of each of {len(datasets)} tables {ROWS} rows are drawn (fewer where a table is small). On them the designs of `plait advise` are
raced as it races them, {ROUNDS} rounds at most ({fits} fits in all), and one is named; `fusion: auto` takes the same. Then every
design is fitted on all of these rows and judged on up to {TEST:,} others. *Level*: no more than {MARGIN:g} behind the best
design, or not told from it by resampling the test rows. The best is chosen by these very scores, so "level" is a hard mark.

**Named beforehand.** Least gain that matters, and margin of equivalence: {MARGIN:g} of a table's metric in the mean over tables.
Paired t-tests over tables (the mean over draws of each), 5 %, two-sided, by Holm over the three claims. *Power*: the chance that
so many tables of this spread show a true gain of {MARGIN:g}. Reduced: {ROWS} rows, one network a design in the place of five,
{ROUNDS} rounds in the place of ten, no designs that learn or tune encoders (they are raced from 10 and 30 minutes on), {drawn}.
"""


def _counts(counts: Mapping[str, int]) -> str:
    """``5 each``, or how many of which."""
    kinds = sorted(set(counts.values()), reverse=True)
    if len(kinds) == 1:
        return f"{kinds[0]} each"
    return "; ".join(f"{n} of {', '.join(d for d, m in counts.items() if m == n)}" for n in kinds)


def _told(lines: Sequence[ev.Line], datasets: Sequence[str], tests: Sequence[ev.Test]) -> str:
    named, usual, chance = (_hits(lines, datasets, key) for key in ("named", "default", "chance"))
    said = [f"- *{t.name[1]}: better*: **{t.verdict}** ({ev.interval(t.difference)})." for t in tests]
    count = len(datasets)
    apart = [[x for x in lines if (x["data"], x["seed"]) == draw] for draw in draws(lines)]
    blindly = [_hits(own, [own[0]["data"]], "chance")[0] for own in apart]
    hit = sum(_hits(own, [own[0]["data"]], "named")[0] for own in apart)
    hits = (
        f"- Level with the best: the named design on {sum(named):.3g} of {count} tables{_drawn(lines)}, the default on "
        f"{sum(usual):.3g}; one taken blindly would be on {sum(chance):.1f} "
        f"(as many as the named or more by chance: p = {_at_least(blindly, hit):.2g})."
    )
    kept = sum(x["named"] and x["arm"] == DEFAULT for x in lines)
    what = "tables" if len(apart) == count else "draws"
    return "\n".join([hits, f"- The race named the default itself on {kept} of {len(apart)} {what}.", *said, ""])


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
        designs, named = [x for x in own if x["design"]], [x for x in own if x["named"]]
        way = ev.sign(own[0]["metric"])
        values = {arm: _mean([x for x in own if x["arm"] == arm]) for arm in dict.fromkeys(x["arm"] for x in own)}
        best = max((x["arm"] for x in designs), key=lambda arm: way * values[arm])
        arms = " or ".join(dict.fromkeys(x["arm"] for x in named if x["arm"] != DEFAULT))
        rows.append([
            data, own[0]["metric"], f"{own[0]['train_rows']}, {own[0]['test_rows']:,}", str(len(named)),
            str(len({x["arm"] for x in designs})), f"{best} {values[best]:.3f}", f"{arms} {_marked(named)}".strip(),
            _marked([x for x in own if x["arm"] == DEFAULT]), f"{way * _of(lines, data, 'chance'):.3f}",
            *(f"{values[name]:.3f}" if name in values else "–" for name in BASELINES),
        ])  # fmt: skip
    head = ("data", "metric", "rows, test rows", "draws", "designs", "best", "named", "default", "mean of the designs")
    return "In bold: not level with the best in every draw.\n\n" + ev.table((*head, *BASELINES), rows)


def _mean(lines: Sequence[ev.Line]) -> float:
    return float(np.mean([x["value"] for x in lines]))


def _marked(lines: Sequence[ev.Line]) -> str:
    return f"{_mean(lines):.3f}" if all(x["level"] for x in lines) else f"**{_mean(lines):.3f}**"


def _picture(lines: Sequence[ev.Line], datasets: Sequence[str]) -> str:
    """The named design less the default, a bar a table; an interval where there are several draws."""
    tests = []
    for data in datasets:
        own = [[x for x in lines if (x["data"], x["seed"]) == draw] for draw in draws(lines) if draw[0] == data]
        gaps = np.array([_of(one, data, "named") - _of(one, data, "default") for one in own])
        ratio = own[0][0]["test_rows"] / own[0][0]["train_rows"]
        tests.append(ev.Test((data,), resampled_t(gaps, ratio), ratio, MARGIN))
    return ev.draw(LINES.with_suffix(".svg"), tests, "named design less the default")


def _designs(lines: Sequence[ev.Line]) -> str:
    rows = []
    usual = {(x["data"], x["seed"]): x["value"] for x in lines if x["arm"] == DEFAULT}
    for name in dict.fromkeys(x["arm"] for x in lines if x["design"]):
        own = [x for x in lines if x["arm"] == name]
        gaps = [ev.sign(x["metric"]) * (x["value"] - usual[x["data"], x["seed"]]) for x in own]
        cost = float(np.median([x["processor"] for x in own]))
        level, named = (str(sum(x[key] for x in own)) for key in ("level", "named"))
        rows.append([name, str(len(draws(own))), f"{np.mean(gaps):+.3f}", level, named, f"{cost:.1f}"])
    head = ("design", "draws", "mean less the default", "level in", "named in", "processor seconds of a run")
    return ev.table(head, rows)


CURVES = (
    "Loss on held-out rows by epoch of the joint network, of the default and of what the race named, the first draw, fitted on "
    "all of the drawn rows; a design without a joint network has its first branch. Of all designs of these draws, each of their "
    "branches a network,"
)
SEEDS = "Where a verdict asks for seeds, they are tables here.\n"
END = """## Full size, and what is open

`ROWS`, `ROUNDS` and `SETTINGS` at the head of `benchmarks/advice.py`: 1,500 rows, ten rounds and five networks a design are
what `plait advise` does by itself; `run --draws 5` gives each of the twelve tables five draws: about a day of one core.
Designs that learn or tune encoders want a GPU, or hours.
"""


def main() -> None:
    more = {"draws": {"type": int, "default": 1}, "store": {}, "data": {"nargs": "*", "default": list(DATA)}}
    ev.command(__doc__, LINES, run, build, take, **more)


if __name__ == "__main__":
    main()
