"""Line charts (score over strength of a condition, loss over epochs) and maps (one number for each pair of settings)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plait.report.canvas import (
    COLOURS,
    ENDLESS,
    LINES,
    WIDTH,
    axes,
    bound,
    broken,
    distinct,
    line_width,
    settings,
    tick,
)

#: Lines that get a colour and a name; the others are grey.
NAMED = 6
MARKERS = ("o", "s", "^", "D", "v", "P")
#: After all colours are used once, lines are dashed, then dotted.
DASHES = ("-", "--", ":")


def look(place: int) -> dict[str, Any]:
    """Colour and dashes of a line by its place."""
    return {"color": COLOURS[LINES[place % len(LINES)]], "linestyle": DASHES[place // len(LINES) % len(DASHES)]}


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: empty: grey and without a name.
        low: and ``high``: ends of an interval, or nothing.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


#: Points on the right of an axis, and that a number at it takes for each character.
MARGIN, DIGIT = 12.0, 5.1


def log_places(ax: Any, curves: Sequence[Curve]) -> None:
    """A logarithmic x axis with a number at every place of the curves, and at no other."""
    places = _places(curves)
    ax.set_xscale("log")
    ax.set_xticks(places, [tick(x) for x in places])
    ax.set_xticks([], minor=True)


def room_for(curves: Sequence[Curve]) -> float:
    """Points on the right of such an axis, so that half of the last number, which stands at its end, is not cut."""
    return max(MARGIN, DIGIT / 2 * max((len(tick(x)) for x in _places(curves)), default=0))


def _places(curves: Sequence[Curve]) -> list[float]:
    return sorted({x for curve in curves for x in curve.x})


def curves_figure(
    curves: Sequence[Curve],
    across: str,
    up: str,
    *,
    markers: bool = True,
    whole: bool = False,
    log: bool = False,
    ends: tuple[float, float] = ENDLESS,
) -> Any:
    """Lines with their names above; None where no line has two points.

    Named curves come in order of importance; ``whole``: x in whole numbers; ``log``: x is logarithmic, a tick at every place;
    ``ends``: of the range of what is drawn.
    """
    if not any(len(curve.x) > 1 for curve in curves):
        return None
    named = [curve for curve in curves if curve.name]
    shown = distinct([curve.name for curve in named], 46) if named else []
    top = 8.0 + 13.0 * len(named)
    with settings():
        right = room_for(curves) if log else MARGIN
        figure, ax = axes(WIDTH, 190.0 + top, left=46, bottom=34, right=right, top=top)
        for curve in curves:
            if not curve.name:
                ax.plot(curve.x, curve.y, color=COLOURS["rule"], lw=0.9, zorder=1)
        for place, (curve, name) in enumerate(zip(named, shown, strict=True)):
            style = look(place)
            if len(curve.low):
                ax.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.12, lw=0, zorder=2)
            style |= {"marker": MARKERS[place % len(MARKERS)], "ms": 4.5} if markers else {}
            ax.plot(curve.x, curve.y, lw=1.5, label=name, zorder=3, **style)
        if log:
            log_places(ax, curves)
        else:
            ax.locator_params(axis="x", nbins=6, **({"integer": True} if whole else {}))
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel(across)
        ax.set_ylabel(up)
        bound(ax.yaxis, ends)
        if named:
            figure.legend(loc="upper left", borderpad=0.1, borderaxespad=0.2, labelspacing=0.25, handlelength=1.8)
    return figure


#: Characters of a label that a map has room for.
LABELLED = 26
#: Opacity of the best cell.
DARKEST = 0.6


def map_figure(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    axes_are: tuple[str, str],
    texts: Sequence[Sequence[str]],
    framed: tuple[tuple[int, int] | None, Sequence[tuple[int, int]]] = (None, ()),
    higher: bool | None = True,
    limits: tuple[float, float] | None = None,
) -> Any:
    """A map with a number in every cell; NaN is left empty.

    ``axes_are``: what rows and columns are; ``texts`` stand in the cells. The first of ``framed`` has a bold frame, those not
    told apart from it a thin one. Darker is better (``higher``), or None: coloured by sign, blue above 0,
    orange below; ``limits`` of the colours put several maps on one scale.
    """
    names, tops = broken(rows, LABELLED), broken(columns, LABELLED)
    cell = max(30.0, 9.0 + 5.0 * max((len(t) for line in texts for t in line), default=4))
    height = 24.0 if any("\n" in name for name in names) else 19.0
    left = 14.0 + 5.2 * line_width(names)
    turned = line_width(tops) * 4.9 > cell - 4 or any("\n" in top for top in tops)
    top = (16.0 + 5.5 * line_width(tops) if turned else 20.0) + 14.0
    with settings():
        figure, ax = axes(
            left + cell * len(tops) + 12, top + height * len(names) + 6, left=left, bottom=6, right=12, top=top
        )
        there = [v for line in values for v in line if math.isfinite(v)] or [0.0]
        shade = _shades(*(limits or fenced(there)), higher)
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                if math.isfinite(value):
                    _fill(ax, j, i, shade(value), texts[i][j], higher is None and value < 0)
        best, ties = framed
        for i, j in ties:
            _frame(ax, j, i, 0.9, (1.5, 1.5))
        if best is not None:
            _frame(ax, best[1], best[0], 1.8, None)
        _label(ax, names, tops, turned, axes_are)
    return figure


def _shades(low: float, high: float, higher: bool | None) -> Any:
    """Value -> opacity, at most ``DARKEST``: in light and dark pages alike text stays readable on it."""
    if higher is None:
        most = max(abs(low), abs(high)) or 1.0
        return lambda v: DARKEST * min(1.0, abs(v) / most)
    span = (high - low) or 1.0
    return lambda v: 0.04 + (DARKEST - 0.04) * min(max((v - low if higher else high - v) / span, 0.0), 1.0)


def fenced(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest value, but for those far from the others, which would leave the rest no shades (Tukey's fences).

    Example:
        >>> fenced([0.7, 0.71, 0.72, 0.73, 0.74, 0.1])
        (0.665, 0.74)
    """
    ordered = sorted(values)
    if len(ordered) < 4:
        return ordered[0], ordered[-1]
    low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    reach = 1.5 * (high - low)
    return round(max(ordered[0], low - reach), 9), round(min(ordered[-1], high + reach), 9)


def _fill(ax: Any, x: int, y: int, shade: float, text: str, negative: bool) -> None:
    from matplotlib.patches import Rectangle

    colour = COLOURS["orange"] if negative else COLOURS["blue"]
    ax.add_patch(Rectangle((x - 0.485, y - 0.47), 0.97, 0.94, fc=colour, alpha=shade, lw=0))
    ax.text(x, y, text, ha="center", va="center_baseline", color=COLOURS["ink"], fontsize=8.0)


def _frame(ax: Any, x: int, y: int, width: float, dashes: tuple[float, float] | None) -> None:
    from matplotlib.patches import Rectangle

    style = (0, dashes) if dashes else "solid"
    box = Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fc="none", ec=COLOURS["ink"], lw=width, ls=style)
    ax.add_patch(box)


def _label(ax: Any, names: list[str], tops: list[str], turned: bool, axes_are: tuple[str, str]) -> None:
    ax.set_xlim(-0.5, len(tops) - 0.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xticks(range(len(tops)), tops, rotation=90 if turned else 0)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelcolor=COLOURS["ink"], pad=3)
    down, across = axes_are
    ax.set_xlabel(f"{down} ↓   {across} →" if down != across else down, loc="left", labelpad=8 if turned else 4)
    ax.xaxis.set_label_position("top")
    for spine in ax.spines.values():
        spine.set_visible(False)
