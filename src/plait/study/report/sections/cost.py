"""The section of cost: which variants no other beats in both cost and score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plait.base.errors import need
from plait.report.blocks import Heading, Section, Sheet, Table, picture
from plait.report.canvas import COLOURS, ENDLESS, WIDTH, axes, bound, settings
from plait.report.charts import fenced
from plait.report.words import counted, number
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import Evidence

#: Costs spread over more than this are shown on a logarithmic axis.
WIDE = 8.0
#: Column of ``runs`` -> what it is.
COSTS = {"trained_weights": "trained weights", "fit_seconds": "seconds of one fit", "peak_mb": "peak memory, MB"}


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Places of the points that no other beats: none cheaper is as good, none as cheap is better; cheapest first.

    Example:
        >>> front([1, 2, 3, 2], [0.5, 0.7, 0.6, 0.6])
        [0, 1]
    """
    result: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i])):
        if not result or gains[i] > gains[result[-1]]:
            result.append(i)
    return result


def cost_figure(
    points: Sequence[Mapping[str, Any]],
    across: str,
    up: str,
    *,
    higher: bool = True,
    ends: tuple[float, float] = ENDLESS,
) -> Any:
    """Every variant by cost and score; those on the front are numbered, cheapest first. None with fewer than two costs.

    Scores far from all others are triangles at the edge, so that the rest can be told apart.
    Points have cost, score, low and high; ``ends``: least and greatest score that there can be.
    """
    costs = [float(p["cost"]) for p in points]
    if len(set(costs)) < 2:
        return None
    best = front(costs, [p["score"] if higher else -p["score"] for p in points])
    with settings():
        figure, ax = axes(WIDTH, 215.0, left=46, bottom=34, right=14, top=12)
        low, high = fenced([p["score"] for p in points])
        for i, point in enumerate(points):
            if i not in best:
                away, y = "v" if point["score"] < low else "^" if point["score"] > high else "o", point["score"]
                ax.plot([point["cost"]], [min(max(y, low), high)], away, ms=4.5, mfc="none", mec=COLOURS["muted"])
        values = [points[i] for i in best]
        xs, ys = [p["cost"] for p in values], [p["score"] for p in values]
        ax.plot(xs, ys, drawstyle="steps-post", color=COLOURS["blue"], lw=1)
        for number, point in enumerate(values, start=1):
            _numbered(ax, point, number)
        _ticks(ax, costs)
        ax.locator_params(axis="y", nbins=6)
        ax.margins(x=0.08, y=0.14)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True)
        ax.set_xlabel(across)
        ax.set_ylabel(up)
        bound(ax.yaxis, ends)
    return figure


def _ticks(ax: Any, costs: Sequence[float]) -> None:
    """Few ticks, in words such as 200k; logarithmic where costs are far apart."""
    ticker = need("matplotlib.ticker", "report")
    if min(costs) > 0 and max(costs) / min(costs) > WIDE:
        ax.set_xscale("log")
        decades = math.log10(max(costs) / min(costs))
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0) if decades < 3 else (1.0,)))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: amount(value)))


def amount(value: float) -> str:
    """A cost in few letters.

    Example:
        >>> amount(1_200_000), amount(30_000), amount(512.0), amount(0.25)
        ('1.2M', '30k', '512', '0.25')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _numbered(ax: Any, point: Mapping[str, Any], number: int) -> None:
    if math.isfinite(point["low"]):
        ax.plot([point["cost"]] * 2, [point["low"], point["high"]], color=COLOURS["blue"], lw=1.2, alpha=0.45)
    ax.plot([point["cost"]], [point["score"]], "o", ms=9.5, color=COLOURS["blue"])
    ax.annotate(
        str(number), (point["cost"], point["score"]), ha="center", va="center", color=COLOURS["on-blue"], fontsize=7
    )


class Cost(ReportSection):
    """Score against trained weights, seconds and memory."""

    place = 50
    missing = ("Cost against score", "one variant, or costs that are not known or all the same")

    def sections(self, material: Material) -> Iterator[Section]:
        result = [(e, points) for e in material.evidence if len(points := _points(e)) > 1 and _column(points)]
        if not result:
            return
        section = Section("cost", "Cost against score", " ".join(_cheapest(e, points) for e, points in result[:3]))
        for e, points in result:
            section.add(Heading(e.dataset) if e.several else None)
            drawn = []
            for column, label in COSTS.items():
                values = [p | {"cost": p[column]} for p in points if math.isfinite(p[column]) and p[column] >= 0]
                given = {"higher": e.higher, "ends": e.metric.range}
                figure = cost_figure(values, label, e.label(), **given) if len(values) > 1 else None
                drawn.append(picture(f"cost-{column.replace('_', '-')}{e.at}", _front(e, values, label), figure))
            section.add_row(*drawn)
            section.add(_sheet(e, points))
        yield section


def _points(evidence: Evidence) -> list[dict[str, Any]]:
    """Score and mean costs of every variant, best first."""
    runs = evidence.results.runs.set_index("run")[list(COSTS)].astype(float)
    result = []
    for label in evidence.ranked:
        s = evidence.rows[label]["summary"]
        costs = runs.loc[evidence.headline.loc[evidence.headline["label"] == label, "run"]].mean()
        if costs.notna().any():
            options = {"label": label, "name": evidence.names[label], "score": s.mean, "low": s.low, "high": s.high}
            result.append(options | {"verdict": evidence.verdicts[label]} | {c: float(costs[c]) for c in COSTS})
    return result


def _front(evidence: Evidence, points: Sequence[dict[str, Any]], label: str) -> str:
    """The caption: who is on the front, by number."""
    if len(points) < 2:
        return label
    sign = 1 if evidence.higher else -1
    on = front([p["cost"] for p in points], [sign * p["score"] for p in points])
    value = "; ".join(f"{i} {points[place]['name']}" for i, place in enumerate(on, start=1))
    low, high = fenced([p["score"] for p in points])
    away = "; triangles: beyond the edge" if any(not low <= p["score"] <= high for p in points) else ""
    return f"{label}. Numbered: variants that no cheaper one reaches: {value}{away}"


def _column(points: Sequence[dict[str, Any]]) -> str | None:
    """The first cost that is known of all and not the same for all."""
    value = (c for c in COSTS if len({p[c] for p in points}) > 1 and all(math.isfinite(p[c]) for p in points))
    return next(value, None)


def _cheapest(evidence: Evidence, points: Sequence[dict[str, Any]]) -> str:
    """The cheapest variant that is not proven worse than the best."""
    column = _column(points)
    assert column is not None
    if evidence.at_chance:
        return evidence.begun(f"no variant is better than the {evidence.constant}, whatever it costs.")
    level = [p for p in points if p["verdict"] != "worse"]
    least = min(level, key=lambda p: p[column])
    best = next(p for p in points if p["verdict"] == "best")
    what = f"({_amount(least[column])} {COSTS[column]})"
    if least is best:
        verb = f"not proven worse cost{'s' if len(level) == 2 else ''} more"
        others = f"{counted(len(level) - 1, 'other variant')} {verb}"
        tail = others if len(level) > 1 else "all cheaper ones are proven worse"
        return evidence.begun(f"the best variant {what} is also the cheapest of its level: {tail}.")
    proven = "proven equivalent to" if least["verdict"] in ("equivalent", "identical") else "not proven worse than"
    times = best[column] / least[column] if least[column] else 0.0
    beside = f"1/{times:.{int(times < 10)}f} of the cost of" if times else "against"
    return evidence.begun(
        f"the cheapest variant that is {proven} the best is {evidence.said(least['label'])} {what}, "
        f"{beside} {evidence.said(best['label'])} ({_amount(best[column])})."
    )


def _amount(value: float) -> str:
    return number(round(value)) if value >= 100 else f"{value:.3g}" if math.isfinite(value) else "–"


def _sheet(evidence: Evidence, points: Sequence[dict[str, Any]]) -> Sheet:
    full = [[p["label"], p["score"], *[p[c] for c in COSTS], p["verdict"]] for p in points]
    rows = [[p["name"], evidence.number(p["score"]), *[_amount(p[c]) for c in COSTS]] for p in points]
    shown = [evidence.named_by, evidence.label(), *COSTS.values()]
    table = Table(f"cost{evidence.at}", ["variant", "mean", *COSTS, "verdict"], full)
    note, marks = "Means over the runs, as measured while this study ran.", [p["verdict"] for p in points]
    return Sheet(table, "Costs of every variant", shown, rows, range(1, len(shown)), marks, note, True)
