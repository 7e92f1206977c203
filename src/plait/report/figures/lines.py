"""Lines: score over strength of a condition, loss over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plait.report.figures.canvas import COLOURS, LINES, WIDTH, axes, distinct, settings

#: Lines that get a colour and a name; the others are grey.
NAMED = 6
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: empty: grey and without a name.
        x: places.
        y: values.
        low: lower ends of an interval, or nothing.
        high: upper ends.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def curves_figure(
    curves: Sequence[Curve], across: str, up: str, *, markers: bool = True, log: bool = False, whole: bool = False
) -> Any:
    """Lines with their names above; None where no line has two points.

    Args:
        curves: named ones in order of importance; at most ``NAMED`` names.
        across: label of the x axis.
        up: label of the y axis.
        markers: at every point.
        log: logarithmic y axis.
        whole: x in whole numbers.
    """
    if not any(len(curve.x) > 1 for curve in curves):
        return None
    named = [curve for curve in curves if curve.name]
    shown = distinct([curve.name for curve in named], 46) if named else []
    top = 8.0 + 13.0 * len(named)
    with settings():
        figure, ax = axes(WIDTH, 190.0 + top, left=46, bottom=34, right=12, top=top)
        for curve in curves:
            if not curve.name:
                ax.plot(curve.x, curve.y, color=COLOURS["rule"], lw=0.9, zorder=1)
        for place, (curve, name) in enumerate(zip(named, shown, strict=True)):
            _line(ax, curve, name, place, markers)
        if log:
            ax.set_yscale("log")
        ax.locator_params(axis="x", nbins=6, **({"integer": True} if whole else {}))
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel(across)
        ax.set_ylabel(up)
        if named:
            figure.legend(loc="upper left", borderpad=0.1, borderaxespad=0.2, labelspacing=0.25, handlelength=1.8)
    return figure


def _line(ax: Any, curve: Curve, name: str, place: int, markers: bool) -> None:
    colour, marker = COLOURS[LINES[place % len(LINES)]], MARKERS[place % len(MARKERS)]
    if len(curve.low):
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.12, lw=0, zorder=2)
    style = {"marker": marker, "ms": 4.5} if markers else {}
    ax.plot(curve.x, curve.y, color=colour, lw=1.5, label=name, zorder=3, **style)
