"""What the pages under docs/evidence share: a study's lines, paired tests corrected by Holm, verdicts, tables, pictures."""

from __future__ import annotations

import argparse
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plait.base import versions
from plait.metrics.base import MAIN, metrics
from plait.metrics.base import inputs as inputs_of
from plait.report.canvas import COLOURS, signed_bars, svg
from plait.report.charts import Curve, curves_figure
from plait.study.results import Results
from plait.study.statistics.paired import Difference, crossed_t, family_variance, holm, resampled_t
from plait.study.statistics.verdicts import ALPHA, chance, seeds_needed, tost

HERE = Path(__file__).parent.parent / "docs" / "evidence"
Line = dict[str, Any]
HELD, OTHER, EQUAL = "held", "not held: the other way round", "not held: equal within"
SAME, CHANCE, OPEN = "not held: identical", "not testable here", "not decided"


# -- lines -------------------------------------------------------------------------------------------------------------


def taken(folder: str | Path, study: str = "") -> list[Line]:
    """One line per run and pattern of modalities: the main metric of its task and what it cost.

    Where all seeds are judged on the same rows, a line keeps which rows were right: then rows count in the test, too.
    """
    results = Results.open(folder)
    done = [line for line in results.lines if line["status"] == "done"]
    rows = {line["run"]: results.predictions(line["run"]).rows for line in done}
    seen: dict[str, set[bytes]] = {}
    for line in done:
        seen.setdefault(line["dataset"], set()).add(np.sort(rows[line["run"]]).tobytes())
    lines = []
    for line in done:
        metric = MAIN[line["task"]]
        about = about_run(line, study or results.name)
        shared = len(seen[line["dataset"]]) == 1 and metric == "accuracy" and line["task"] == "classification"
        for place, one in enumerate(line["evaluations"]):
            record = about | {"present": "+".join(one["present"]), "value": round(float(one["metrics"][metric]), 6)}
            for name in ("log_loss", "f1_macro"):
                if one["metrics"].get(name) is not None:
                    record[name] = round(float(one["metrics"][name]), 4)
            if shared and record["present"] == about["subset"]:
                record["right"] = right(results, line["run"], place, rows[line["run"]])
            lines.append(record)
    return lines


def about_run(line: Mapping[str, Any], study: str) -> Line:
    """What a line of a study's results says of its run: what was learned from what, its main metric, and what it cost."""
    return {
        "study": study,
        "data": line["dataset"],
        "arm": line["variant"],
        "seed": line["seed"],
        "split": line["split"],
        "subset": "+".join(line["subset"]),
        "metric": MAIN[line["task"]],
        "train_rows": line["train_rows"],
        "test_rows": line["test_rows"],
        "processor": round(line["seconds"].get("processor", math.nan), 2),
        "weights": line.get("weights", {}).get("trained"),
    }


def right(results: Results, run: str, evaluation: int, rows: np.ndarray) -> str:
    """Which test rows were right, in the order of their places in the table, as hexadecimal bits."""
    predictions = results.predictions(run, evaluation)
    right = inputs_of("classification", predictions.output)["labels"] == np.asarray(predictions.target)
    return bytes(np.packbits(np.asarray(right)[np.argsort(rows)])).hex()


def write(path: Path, command: str, lines: Iterable[Line]) -> None:
    """The command and the versions first, then one line per result."""
    head = {"command": command, "versions": {k: str(v) for k, v in versions().items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in [head, *lines]), encoding="utf-8")


#: What tells one run from another.
RUN = ("study", "data", "arm", "pooling", "subset", "seed", "split", "trained", "zeroed", "train", "test")


def beside(path: Path, lines: Iterable[Line], *keys: str) -> list[Line]:
    """These lines behind those that the file has of anything else; ``keys`` tell what a line is of (``RUN``)."""

    def of(line: Line) -> tuple[str, ...]:
        return tuple(str(line.get(k)) for k in keys or RUN)

    lines = list(lines)
    fresh = set(map(of, lines))
    known = read(path)[1] if path.is_file() else []
    return [*(line for line in known if of(line) not in fresh), *lines]


def read(path: Path) -> tuple[Line, list[Line]]:
    """What ``write`` wrote: the head, and the lines."""
    head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return head, lines


# -- tests -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """One arm against another on the same seeds, and what follows from it.

    Attributes:
        name: of the comparison, as a table's row has it.
        difference: of the means, above 0 where the arm is better.
        ratio: test rows by training rows.
        margin: the least difference that matters; also of equivalence.
        at_chance: neither side is proven better than the majority.
        identical: every pair gave the same value.
        unfinished: runs of the arm that were still learning at their last epoch: that it is behind says nothing then.
        p: after Holm within its family.
    """

    __test__ = False

    name: tuple[str, ...]
    difference: Difference
    ratio: float
    margin: float
    at_chance: bool = False
    identical: bool = False
    unfinished: int = 0
    p: float = math.nan

    @property
    def needed(self) -> int | None:
        """Seeds that would find a difference as large as the margin four times in five; None: no number of them."""
        d = self.difference
        return seeds_needed(self.margin, d.spread, floor=d.floor) if d.pairs > 1 and d.spread > 0 else None

    @property
    def power(self) -> float:
        """Chance that the seeds there were find a difference as large as the margin."""
        d = self.difference
        return chance(self.margin, d.spread, d.pairs, floor=d.floor) if d.pairs > 1 else math.nan

    @property
    def verdict(self) -> str:
        """Whether the claim that the arm is better has held."""
        d = self.difference
        if self.at_chance:
            return f"{CHANCE}: neither is better than a constant answer"
        if self.identical:
            return f"{SAME} in {d.pairs} seeds"
        if self.unfinished and not (self.p < ALPHA and d.value > 0):
            return f"{OPEN} (still learning at the last epoch: {self.unfinished} of {d.pairs})"
        if d.pairs < 2 or math.isnan(d.p):
            return f"{OPEN} (one seed)" if d.pairs == 1 else OPEN
        if self.p < ALPHA:
            return (HELD if d.value > 0 else OTHER) + (", less than matters" if tost(d, self.margin) < ALPHA else "")
        if d.pairs > 2 and tost(d, self.margin) < ALPHA:
            return f"{EQUAL} {self.margin:g}"
        n = self.needed
        if n:
            return f"{OPEN} ({max(n, d.pairs + 1)} seeds needed)"
        seen = seeds_needed(d.value, d.spread, floor=d.floor) if abs(d.value) >= self.margin else None
        if seen:
            return f"{OPEN} ({max(seen, d.pairs + 1)} seeds would decide one as large as this; none {self.margin:g})"
        return f"{CHANCE}: too few rows to see {self.margin:g}"


def compared(
    lines: Sequence[Line], pairs: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]], margin: float
) -> list[Test]:
    """A family of tests: (name, the arm's keys, the other's keys), corrected together by Holm.

    No variance is taken below the median of the family's comparisons on the same data (``family_variance``).
    """
    sides = [(name, _select(lines, one), _select(lines, other)) for name, one, other in pairs]
    gaps = [_gaps(one, other) for _, one, other in sides]
    of_data: dict[str, list[np.ndarray]] = {}
    for (_, one, _), gap in zip(sides, gaps, strict=True):
        of_data.setdefault(next(iter(one.values()))["data"] if one else "", []).append(gap)
    result = []
    for (name, one, other), gap in zip(sides, gaps, strict=True):
        if not len(gap):
            continue
        first = next(iter(one.values()))
        least = family_variance(of_data[first["data"]])
        ratio = float(np.mean([line["test_rows"] / line["train_rows"] for line in one.values()]))
        test = _tested(one, other, gap, ratio, least)
        chance_of_both = _at_chance(lines, one) and _at_chance(lines, other)
        same = len(gap) > 1 and not np.any(gap)
        result.append(Test((first["data"], name), test, ratio, margin, chance_of_both, same))
    return corrected(result)


def corrected(tests: Sequence[Test]) -> list[Test]:
    """The same with p after Holm over all of them."""
    p = holm(np.array([t.difference.p for t in tests], dtype=float)) if tests else np.zeros(0)
    return [replace(t, p=float(q)) for t, q in zip(tests, p, strict=True)]


def _select(lines: Sequence[Line], keys: Mapping[str, Any]) -> dict[tuple[int, int], Line]:
    """Lines with these keys by seed and split, all modalities present unless the keys say otherwise."""
    chosen = [line for line in lines if all(line.get(k) == v for k, v in keys.items())]
    if "present" not in keys:
        chosen = [line for line in chosen if line["present"] == line["subset"]]
    return {(line["seed"], line["split"]): line for line in chosen}


def _gaps(one: Mapping[Any, Line], other: Mapping[Any, Line]) -> np.ndarray:
    both = sorted(one.keys() & other.keys())
    return np.array([sign(one[k]["metric"]) * (one[k]["value"] - other[k]["value"]) for k in both])


def sign(metric: str) -> float:
    """-1 where lower values are better."""
    known = next(of_task[metric] for of_task in map(metrics, MAIN) if metric in of_task)
    return -1.0 if known.direction == "lower" else 1.0


def _tested(
    one: Mapping[Any, Line], other: Mapping[Any, Line], gap: np.ndarray, ratio: float, least: float
) -> Difference:
    both = sorted(one.keys() & other.keys())
    if not all("right" in side[k] for side in (one, other) for k in both):
        return resampled_t(gap, ratio, least)
    rows = [_bits(one[k]) - _bits(other[k]) for k in both]
    mean = np.mean(rows, axis=0)
    return crossed_t(gap, float(mean.var(ddof=1)) / len(mean), len(mean), least)


def _bits(line: Line) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex(line["right"]), np.uint8)
    return np.unpackbits(packed)[: line["test_rows"]].astype(float)


def _at_chance(lines: Sequence[Line], side: Mapping[Any, Line]) -> bool:
    """Whether runs are not proven better than the majority on the same seeds; False where that was not measured."""
    if not side:
        return False
    first = next(iter(side.values()))
    constant = {
        (line["seed"], line["split"]): line
        for line in lines
        if line["data"] == first["data"] and line["arm"] == "majority"
    }
    gap = _gaps(side, constant)
    if len(gap) < 2:
        return False
    ratio = first["test_rows"] / first["train_rows"]
    test = _tested(side, constant, gap, ratio, 0.0)
    return bool(not (test.value > 0 and test.p < ALPHA)) if not math.isnan(test.p) else test.value <= 0


# -- pages -------------------------------------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> str:
    """``0.512 ± 0.013``: mean and standard deviation."""
    if not len(values):
        return "–"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def scores(lines: Sequence[Line], datasets: Sequence[str], arms: Sequence[str]) -> str:
    """What every arm got on every data set with all modalities, and what a run cost."""
    rows = []
    for data in datasets:
        for name in arms:
            own = [x for x in lines if (x["data"], x["arm"]) == (data, name) and x["present"] == x["subset"]]
            if own:
                weights = f"{own[0]['weights']:,.0f}" if own[0]["weights"] else "–"
                values = [mean([x["value"] for x in own]), mean([x["log_loss"] for x in own if "log_loss" in x])]
                cost = f"{np.median([x['processor'] for x in own]):.1f}"
                rows.append([data, name, str(len(own)), own[0]["metric"], *values, weights, cost])
    head = ("data", "model", "seeds", "metric", "score", "log loss", "weights", "processor seconds of a run")
    return table(head, rows)


def test_rows(tests: Sequence[Test]) -> list[list[str]]:
    """Difference with its interval, p after Holm, power and verdict, for ``TEST_HEAD``."""
    rows = []
    for t in tests:
        p, power = (f"{v:.{of}}" if not math.isnan(v) else "–" for v, of in ((t.p, "2g"), (t.power, "2f")))
        rows.append([*t.name, str(t.difference.pairs), interval(t.difference), p, power, t.verdict])
    return rows


#: Of ``test_rows``, behind the columns of the name.
TEST_HEAD = ("pairs", "difference [95 %]", "p (Holm)", "power", "verdict")


def tests_table(tests: Sequence[Test], *names: str) -> str:
    """Tests as a table in Markdown, below what the parts of their names are."""
    return table((*names, *TEST_HEAD), test_rows(tests))


def wrapped(text: str, **more: Any) -> str:
    """A paragraph in lines as long as a page's, code and links whole; ``more``: of ``textwrap``."""
    kept = re.sub(r"`[^`]+`|\[[^]]+\]\([^)]+\)", lambda found: found[0].replace(" ", "\0"), text)
    return textwrap.fill(kept, 128, break_long_words=False, break_on_hyphens=False, **more).replace("\0", " ")


def write_page(lines: Path, parts: Iterable[str]) -> Path:
    """The page of kept lines, beside them."""
    page = lines.with_suffix(".md")
    page.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return page


def command(
    about: str | None,
    lines: Path,
    run: Callable[..., object],
    build: Callable[[], object],
    take: Callable[..., object],
    **more: Any,
) -> None:
    """What a command line asks for: ``run``, ``take`` what another place has run, or the page of the lines that are kept.

    ``more``: options of its own.
    """
    told = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("what", nargs="?", default="page", choices=("run", "take", "page"))
    told.add_argument("source", nargs="?", type=Path, help="lines that take reads")
    told.add_argument("--out", type=Path, default=Path("runs", lines.stem))
    told.add_argument("--lines", type=Path, default=lines)
    for name, options in more.items():
        told.add_argument(f"--{name}", **options)
    given = told.parse_args()
    if given.what == "run":
        run(given)
    else:
        if given.what == "take":
            take(given)
        build()
        print(lines.with_suffix(".md"))


def folders(about: str | None, *names: str) -> dict[str, list[str]]:
    """What a command line names to be taken: folders of studies under ``--NAME``; none: the page is built of what is kept."""
    told = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in names:
        told.add_argument(f"--{name}", nargs="*", default=[], metavar="FOLDER")
    return vars(told.parse_args())


def interval(d: Difference) -> str:
    """``+0.012 [-0.003, +0.027]``."""
    return f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" if not math.isnan(d.low) else f"{d.value:+.3f}"


def draw(path: Path, tests: Sequence[Test], label: str, names: Mapping[str, str] | None = None) -> str:
    """Every difference with its interval; what does not matter is shaded. Returns the Markdown that shows it.

    Args:
        path: of the picture.
        tests: a bar each.
        label: of the axis.
        names: short ones for what stands first in a test's name.
    """
    targets: dict[str, set[str]] = {}
    for t in tests:
        targets.setdefault(t.name[0].partition("/")[0], set()).add(t.name[0])

    def short(name: tuple[str, ...]) -> str:
        table = (names or {}).get(name[0], name[0].partition("/")[0])
        return ": ".join(part for part in (table if len(targets.get(table, ())) < 2 else name[0], *name[1:]) if part)

    records = [
        {"name": short(t.name), "value": t.difference.value, "low": t.difference.low, "high": t.difference.high}
        for t in tests
    ]
    figure = signed_bars(records, label)
    for at in {t.margin for t in tests}:
        figure.axes[0].axvspan(-at, at, color=COLOURS["rule"], alpha=0.5, lw=0, zorder=0)
    path.write_text(svg(figure), encoding="utf-8")
    return f"![{label}; the shade is what does not matter]({path.name})\n"


def draw_curves(
    path: Path, curves: Sequence[Curve], across: str, up: str, ticks: Sequence[str] = (), *, markers: bool = True
) -> str:
    """Lines, at places that are named or at whole numbers. Returns the Markdown that shows them; nothing to draw: empty."""
    figure = curves_figure(curves, across, up, markers=markers, whole=True)
    if figure is None:
        return ""
    if ticks:
        figure.axes[0].set_xticks(range(len(ticks)), ticks)
    path.write_text(svg(figure), encoding="utf-8")
    return f"![{up}; across: {across}]({path.name})\n"


#: Decided comparisons that a row of the front page names.
MOST_SHOWN = 2


def front_row(question: str, tests: Sequence[Test], runs: int, page: Path) -> list[str]:
    """A row of the front page: the question, counts of verdicts, what was decided, how many runs, the page."""
    decided = [t for t in tests if t.verdict.startswith((HELD, "not held"))]
    shown = "; ".join(f"{': '.join(t.name)} {t.difference.value:+.3f}" for t in decided[:MOST_SHOWN])
    more = f"; and {len(decided) - MOST_SHOWN} more" if len(decided) > MOST_SHOWN else ""
    margin = f", {tests[0].margin:g}" if tests else ""
    return [question, counted(tests) or "nothing measured", shown + more or "–", f"{runs}{margin}", page.name]


def counted(tests: Sequence[Test]) -> str:
    """``2 held, 1 not held, 9 not decided``."""
    kinds = {"held": HELD, "not held": "not held", CHANCE: CHANCE, OPEN: OPEN}
    count = {name: sum(t.verdict.startswith(start) for t in tests) for name, start in kinds.items()}
    return ", ".join(f"{n} {name}" for name, n in count.items() if n)
