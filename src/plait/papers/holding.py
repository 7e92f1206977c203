"""The paper's numbers held against ours: one line per cell, order, data set or count of weights."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import registry
from plait.metrics.base import Metric
from plait.papers.columns import (
    EPOCHS,
    FIRST,
    found_in,
    informed,
    interval_of,
    is_cost,
    is_time,
    measured,
    ordered,
    orders,
    values_of,
    weights_at,
)
from plait.papers.paper import COSTS, WEIGHTS, Column, Element, Paper, Row
from plait.report.words import number
from plait.study.results import Results
from plait.study.statistics.comparison import CONSTANTS, Comparison, compare_parts
from plait.study.statistics.paired import Difference
from plait.study.statistics.scores import first, metric_of, scores
from plait.study.statistics.summary import Resampler, Summary, summary
from plait.study.statistics.verdicts import BETTER, EQUIVALENT, POINT, SAME, WORSE, default_margin, reaches

HELD, NOT_HELD, OPEN = "held", "not held", "not decided"
OTHER, CITED, NOT_RUN, NOT_THERE = "not testable here", "cited", "not run", "not there"
#: Of what the paper states no number for: ours alone.
MEASURED = "measured"
_VERDICTS = {True: HELD, False: NOT_HELD, None: OPEN}
#: Counts of weights that differ by no more than this share are the same.
_NEAR = 0.1


@dataclasses.dataclass(frozen=True)
class Line:
    """One number of the paper beside ours.

    Attributes:
        paper: its number, measured on ``data``; of an ``order`` of two rows the difference, as is ours.
        ours: our mean over ``seeds``, from ``low`` to ``high`` (95 %), measured on ``our_data``.
        verdict: held, not held, not decided, not testable here, measured, cited, not run or not there;
            ``reason``: why.
    """

    element: str
    cell: str
    metric: str = ""
    paper: float | None = None
    data: str = ""
    ours: float | None = None
    our_data: str = ""
    seeds: int = 0
    low: float | None = None
    high: float | None = None
    verdict: str = NOT_RUN
    reason: str = ""
    order: bool = False


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What ``reproduce`` gives.

    Attributes:
        paper: that was reproduced.
        elements: of it that were asked for.
        lines: the paper's numbers beside ours, in the paper's order.
        not_run: what could not be run, and how to get what it needs.
        results: recipe -> our data set -> what was measured.
        folder: of the studies.
        page: the HTML page; None where the extra ``report`` is not installed.
    """

    paper: Paper
    elements: list[Element]
    lines: list[Line]
    not_run: list[str]
    results: Mapping[str, Mapping[str, Results]]
    folder: Path
    quick: bool = False
    page: Path | None = None

    @property
    def verdicts(self) -> Mapping[str, int]:
        """How many lines have each verdict."""
        return Counter(line.verdict for line in self.lines)


def label(dataset: str | None) -> str:
    """What our data are called: a stand-in says that it is one.

    Example:
        >>> label("pokemon/type_1")
        'Pokemon (rebuilt), type_1'
    """
    name, _, target = (dataset or "").partition("/")
    if name not in registry.names("datasets"):
        return dataset or ""
    shown = registry.find("datasets", name).label()
    return f"{shown}, {target}" if target else shown


def interval(line: Line) -> str:
    """Our 95 % interval in words; nothing where there is none."""
    if line.low is None or line.high is None or line.low != line.low:
        return ""
    return f"{number(line.low)} to {number(line.high)}"


def means(results: Results) -> pd.DataFrame:
    """Means of a study, one row per variant; where nothing was judged on clean rows, one per variant and condition."""
    frame = results.summary()
    if len(frame) or not len(results.frame):
        return frame
    kept = results.frame[results.frame["present"] == results.frame["subset"]]
    table = kept.pivot_table("value", ["variant", "subset", "condition"], "metric", sort=False)
    return table.reset_index().rename_axis(columns=None)


class Ours:
    """What the recipes of an element have measured on one of our data sets, in one metric."""

    def __init__(self, results: Results, dataset: str, metric: str) -> None:
        self.metric: Metric = metric_of(results, dataset, metric)
        self.table = scores(results, dataset, metric)
        self.resampler = Resampler(results, self.table, self.metric, resamples=400)
        failed = [line for line in results.lines if line["status"] == "failed"]
        #: Variant -> why a run of it failed.
        self.failed = {str(line["variant"]): str(line["reason"]) for line in reversed(failed)}

    def at_chance(self, part: pd.DataFrame, result: Summary) -> bool:
        """Whether the interval of these rows of ``scores`` reaches down to the best constant answer to their test rows."""
        constants = [value for run in part["run"] if (value := self.resampler.constant(str(run))) is not None]
        sign = 1.0 if self.metric.direction == "higher" else -1.0
        return bool(constants) and min(sign * result.low, sign * result.high) <= sign * float(np.mean(constants))

    def part(self, row: Row, present: Sequence[str] = ()) -> pd.DataFrame:
        """The rows of ``scores`` that stand for a row of the paper's table, with only some modalities ``present`` at test."""
        table = self.table[self.table["label"] == row.variant]
        wanted = set(row.subset) or set("+".join(table["subset"]).split("+"))
        table = table.loc[np.array([set(subset.split("+")) == wanted for subset in table["subset"]], bool)]
        shown = [set(one.split("+")) == (set(present) or wanted) for one in table["present"]]
        table = table.loc[np.array(shown, bool)]
        if row.condition is not None:
            return table[table["condition"] == row.condition]
        return table[table["condition"] == first(table["condition"])] if len(table) else table


def lines(element: Element, results: Mapping[str, Mapping[str, Results]]) -> list[Line]:
    """All lines of an element that has columns and rows; ``results``: recipe -> our data set -> what was measured."""
    known: dict[tuple[str, str], Ours | None] = {}

    def ours(column: Column) -> Ours | None:
        key = (str(column.ours), column.metric)
        if key not in known:
            there = [r[key[0]] for name in element.recipes if key[0] in (r := results.get(name, {}))]
            there = [one for one in there if key[1] in set(one.frame["metric"])]
            known[key] = Ours(there[0], *key) if there else None
        return known[key]

    element = dataclasses.replace(element, columns=tuple(_chosen(c, element, results) for c in element.columns))
    result: list[Line] = []
    for row in element.rows:
        for column, value in zip(element.columns, row.values, strict=True):
            line = _started(element, row, column, value)
            if line.verdict != NOT_RUN:
                given: dict[str, Any] = {}
            elif column.evaluation:
                given = _of_space(element, row, column, value, results)
            elif is_cost(column.metric):
                given = _cost(element, row, column, results)
            else:
                given = _value(ours(column), row, column, value)
            result.append(dataclasses.replace(line, **given))
    if element.widths:
        result += _at_their_widths(element)
    return result + list(_orders(element, ours)) + list(_orders_of_spaces(element, results))


def beside(element: Element, results: Mapping[str, Mapping[str, Results]], metric: str) -> tuple[Element, list[Line]]:
    """An element's rows in a metric that the paper does not state: one column for each data set, and ours in it."""
    columns = {c.data: dataclasses.replace(c, name=c.data, metric=metric) for c in element.columns}
    kept = [row for row in element.rows if row.variant is not None]
    rows = tuple(dataclasses.replace(row, values=(math.nan,) * len(columns)) for row in kept)
    changed = dataclasses.replace(element, columns=tuple(columns.values()), rows=rows, orders=(), widths={})
    return changed, lines(changed, results)


def _chosen(column: Column, element: Element, results: Mapping[str, Mapping[str, Results]]) -> Column:
    """The column on the paper's own data, where they were measured."""
    there = column.original is not None and any(column.original in results.get(name, {}) for name in element.recipes)
    evaluation = column.original_evaluation or column.evaluation
    return dataclasses.replace(column, ours=column.original, same=True, evaluation=evaluation) if there else column


def _started(element: Element, row: Row, column: Column, value: float) -> Line:
    """A number of the paper, before ours is known; where nothing of ours stands in its place, with what that means."""
    cell = row.name if len(element.columns) == 1 else f"{row.name}, {column.name}"
    line = Line(element.name, cell, column.metric, value, column.data)
    if row.cited:
        return dataclasses.replace(line, verdict=CITED, reason="quoted from the paper")
    if row.variant is None or column.ours is None or (row.original and column.ours != column.original):
        return dataclasses.replace(line, verdict=NOT_THERE, reason="nothing of ours stands in its place")
    return dataclasses.replace(line, our_data=label(column.ours), reason="nothing was measured")


def _value(ours: Ours | None, row: Row, column: Column, value: float) -> dict[str, Any]:
    """A score of the test rows."""
    part = pd.DataFrame() if ours is None else ours.part(row, column.present)
    if ours is None or part.empty:
        return {} if ours is None or row.variant not in ours.failed else {"reason": ours.failed[row.variant]}
    result = summary(part, ours.metric, ours.resampler)
    verdict, reason = _verdict(value, result, ours.metric, same=column.same and not row.like)
    if verdict in (HELD, NOT_HELD) and ours.at_chance(part, result):
        verdict, reason = OPEN, f"ours is no better than the {CONSTANTS[ours.metric.task]}"
    measured = {"ours": result.mean, "low": result.low, "high": result.high, "seeds": result.seeds}
    return measured | {"verdict": verdict, "reason": f"ours is {row.like}" if row.like else reason}


def _verdict(value: float, result: Summary, metric: Metric, *, same: bool) -> tuple[str, str]:
    """A number is held where our whole interval reaches it, but for the margin of equivalence."""
    if not same:
        return OTHER, "other data"
    if result.seeds < 2 or math.isnan(result.low):
        return OPEN, f"{result.seeds} seed; at least 2 needed"
    margin, higher = default_margin(metric, value), metric.direction == "higher"
    held, reason = reaches(value, (result.low, result.high), margin, higher=higher)
    if held is not None:
        return _VERDICTS[held], reason
    distance, half = abs(result.mean - value + (margin if higher else -margin)), (result.high - result.low) / 2
    needed = math.ceil(result.seeds * (half / distance) ** 2) if distance > 0 else 0
    return OPEN, f"{reason}; {needed} seeds needed" if 0 < needed <= 1000 else reason


def _orders(element: Element, ours: Any) -> Iterator[Line]:
    """Of each pair of rows: the paper has one above the other, or both level; do we? Corrected by Holm over the element."""

    def test(one: Row, other: Row, column: Column) -> tuple[float, tuple[Metric, Comparison]] | None:
        plain = column.ours is not None and not column.evaluation and not is_cost(column.metric)
        known = ours(column) if plain else None
        mine, theirs = (pd.DataFrame() if known is None else known.part(row, column.present) for row in (one, other))
        if known is None or mine.empty or theirs.empty:
            return None
        comparison = compare_parts(mine, theirs, known.metric, known.resampler)
        return comparison.test.p, (known.metric, comparison)

    for one, other, column, (above, below), (metric, comparison), p in ordered(element, test):
        theirs, level = above - below, abs(above - below) <= default_margin(metric, below)
        result = comparison.verdict(p)
        better = BETTER if (theirs > 0) == (metric.direction == "higher") else WORSE
        held = result in ((EQUIVALENT, SAME) if level else (better,))
        verdict = (HELD if held else NOT_HELD) if result in (BETTER, WORSE, EQUIVALENT, SAME) else OPEN
        line = _order(element, (one, other), column, theirs, level=level)
        words = comparison.words(p)
        reason = _undecided(words) if verdict == OPEN else f"ours is {words}"
        yield dataclasses.replace(line, **_ours(comparison.test, verdict, reason))


def _order(element: Element, rows: tuple[Row, Row], column: Column, theirs: float, *, level: bool) -> Line:
    """The line of a pair of rows, of which the paper says that the first is so much above the second."""
    word = "level with" if level else "above" if theirs > 0 else "below"
    cell = f"{rows[0].name} {word} {rows[1].name}, {column.name}"
    return Line(element.name, cell, column.metric, theirs, column.data, our_data=label(column.ours), order=True)


def _ours(test: Difference, verdict: str, reason: str) -> dict[str, Any]:
    ours = {"ours": test.value, "seeds": test.pairs, "low": test.low, "high": test.high}
    return {**ours, "verdict": verdict, "reason": reason}


def _undecided(words: str) -> str:
    """Why an order is not decided, without saying again that it is not.

    Example:
        >>> _undecided("not decided with 2 seeds (about 9 would be needed)"), _undecided("both no better; not decided")
        ('with 2 seeds (about 9 would be needed)', 'both no better')
    """
    return re.sub(r"^not decided:? ?|; not decided$", "", words)


def _of_space(
    element: Element, row: Row, column: Column, value: float, results: Mapping[str, Mapping[str, Results]]
) -> dict[str, Any]:
    """A number of an evaluation of aligned vectors."""
    there = found_in(column, element, results)
    values = None if there is None else values_of(there, row, column)
    if there is None or values is None or values.empty:
        return {}
    ours = interval_of(values)
    if not column.same:
        return _ours(ours, OTHER, "other data")
    if len(values) < 2 or math.isnan(ours.low):
        return _ours(ours, OPEN, "one run; at least 2 needed")
    if informed(there, row, column) is False:
        return _ours(ours, OPEN, "ours is no better than the commonest class")
    held, reason = reaches(value, (ours.low, ours.high), POINT)
    return _ours(ours, _VERDICTS[held], reason)


def _orders_of_spaces(element: Element, results: Mapping[str, Mapping[str, Results]]) -> Iterator[Line]:
    for order in orders(element, results):
        line = _order(element, (order.above, order.below), order.column, order.theirs, level=order.level)
        said = order.at_chance or f"ours {order.ours.value:+.3f}, p {order.p:.2g}"
        yield dataclasses.replace(line, **_ours(order.ours, _VERDICTS[order.verdict], said))


def _cost(element: Element, row: Row, column: Column, results: Mapping[str, Mapping[str, Results]]) -> dict[str, Any]:
    """A time, a count of weights or epochs: the mean over our runs, which holds nothing against the paper's."""
    level, _, name = column.metric.removeprefix(EPOCHS).partition(":")
    for there in [results[n][str(column.ours)] for n in element.recipes if column.ours in results.get(n, {})]:
        values = measured(there, column.metric, row)
        if len(values):
            why = "another machine" if is_time(column.metric) else "other widths of features"
            why = "other data" if column.metric not in COSTS and not is_time(column.metric) else why
            return {"ours": float(values.mean()), "seeds": len(values), "verdict": OTHER, "reason": why}
        if column.metric.startswith(EPOCHS) and len(measured(there, f"{FIRST}{name}", row)):
            return {"verdict": OPEN, "reason": f"no run of ours reached {level}"}
    return {}


def _at_their_widths(element: Element) -> Iterator[Line]:
    """The weights of our network at the widths of features that the paper states."""
    widths = " + ".join(str(v) for k, v in element.widths.items() if k not in ("classes", "pulled"))
    for row, ours in zip(element.rows, weights_at(element.widths), strict=False):
        held = abs(ours - row.values[0]) <= _NEAR * row.values[0]
        near = f"{'within' if held else 'more than'} {_NEAR:.0%} {'of' if held else 'away from'} the paper's about"
        line = Line(element.name, f"{row.name}, at the paper's widths ({widths})", WEIGHTS, row.values[0])
        given: dict[str, Any] = {"ours": float(ours), "verdict": HELD if held else NOT_HELD, "reason": near}
        yield dataclasses.replace(line, data=element.columns[0].data, our_data="counted, not trained", **given)
