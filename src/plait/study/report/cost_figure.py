"""Cost against score: which variants no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plait.base.errors import need
from plait.report.canvas import COLOURS, WIDTH, axes, settings
from plait.report.charts import fenced

#: Costs spread over more than this are shown on a logarithmic axis.
WIDE = 8.0


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


def cost_figure(points: Sequence[Mapping[str, Any]], across: str, up: str, *, higher: bool = True) -> Any:
    """Every variant by cost and score; those on the front are numbered, cheapest first. None with fewer than two costs.

    Scores far from all others are triangles at the edge, so that the rest can be told apart.

    Args:
        points: cost, score, low, high.
        across: label of the cost.
        up: label of the score.
        higher: more is better.
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
                away = "v" if point["score"] < low else "^" if point["score"] > high else "o"
                ax.plot(
                    [point["cost"]],
                    [min(max(point["score"], low), high)],
                    away,
                    ms=4.5,
                    mfc="none",
                    mec=COLOURS["muted"],
                )
        values = [points[i] for i in best]
        ax.plot(
            [p["cost"] for p in values],
            [p["score"] for p in values],
            drawstyle="steps-post",
            color=COLOURS["blue"],
            lw=1,
        )
        for number, point in enumerate(values, start=1):
            _numbered(ax, point, number)
        _ticks(ax, costs)
        ax.locator_params(axis="y", nbins=6)
        ax.margins(x=0.08, y=0.14)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True)
        ax.set_xlabel(across)
        ax.set_ylabel(up)
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
