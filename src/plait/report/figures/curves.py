"""Learning curves of several trainings side by side: one panel per score, one line per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plait.base.errors import need
from plait.report.figures.canvas import COLOURS, LINES, distinct, settings, width_of
from plait.report.figures.lines import MARKERS, NAMED, Curve

#: Points: a panel's height, the most that stand beside each other, and the names above them.
_HEIGHT, _ACROSS, _ROW = 190.0, 3, 13.0
_WIDTH, _LEFT, _BOTTOM, _BETWEEN, _TITLE = 250.0, 44.0, 34.0, 44.0, 18.0


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        up: label of the y axis.
        curves: in the same order in every panel; an empty one takes a colour and draws nothing.
        threshold: a level to be reached, dashed.
    """

    title: str
    up: str
    curves: Sequence[Curve]
    threshold: float | None = None


def panels_figure(panels: Sequence[Panel]) -> Any:
    """All panels, their lines named once above them; None where nothing can be drawn.

    The first ``NAMED`` lines have colours and names, the others are grey.
    """
    if not any(_finite(curve) for panel in panels for curve in panel.curves):
        return None
    names = distinct([c.name for c in panels[0].curves[:NAMED]], 60)
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    width = across * (_WIDTH + _BETWEEN) + 12
    columns = _columns(names, width)
    top = 8 + _ROW * (-(-len(names) // columns))
    height = top + down * (_HEIGHT + _TITLE + _BOTTOM) + 4
    with settings():
        figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
        for place, panel in enumerate(panels):
            left = _LEFT + (place % across) * (_WIDTH + _BETWEEN)
            low = height - top - (place // across) * (_HEIGHT + _TITLE + _BOTTOM) - _TITLE - _HEIGHT
            box = (left / width, low / height, _WIDTH / width, _HEIGHT / height)
            _draw(figure.add_axes(box), panel, names)
        _level(figure.axes, panels)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="upper left",
            ncols=columns,
            borderpad=0.1,
            borderaxespad=0.3,
            labelspacing=0.25,
            handlelength=1.8,
        )
    return figure


def _level(drawn: Sequence[Any], panels: Sequence[Panel]) -> None:
    """Panels of one score get one scale, so that heights may be compared."""
    for up in dict.fromkeys(panel.up for panel in panels):
        same = [ax for ax, panel in zip(drawn, panels, strict=True) if panel.up == up]
        ends = [ax.get_ylim() for ax in same]
        for ax in same:
            ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def _columns(names: Sequence[str], width: float) -> int:
    """How many names fit beside each other."""
    widest = 40 + 5.2 * max(map(width_of, names))
    return max(1, min(len(names), int(width // widest)))


def _finite(curve: Curve) -> bool:
    return any(math.isfinite(value) for value in curve.y)


def _draw(ax: Any, panel: Panel, names: Sequence[str]) -> None:
    for curve in panel.curves[NAMED:]:
        ax.plot(curve.x, curve.y, color=COLOURS["rule"], lw=0.9, zorder=1)
    for place, (curve, name) in enumerate(zip(panel.curves, names, strict=False)):
        colour = COLOURS[LINES[place % len(LINES)]]
        if len(curve.low) > 1:
            ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, lw=0, zorder=2)
        few = len(curve.x) <= 12
        style = {"marker": MARKERS[place % len(MARKERS)], "ms": 3.5} if few else {}
        ax.plot(curve.x, curve.y, color=colour, lw=1.5, label=name, zorder=3, **style)
    if panel.threshold is not None:
        ax.axhline(panel.threshold, color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)), zorder=1)
    ax.set_title(panel.title, pad=5)
    ax.set_xlabel("epoch")
    ax.set_ylabel(panel.up)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.tick_params(labelcolor=COLOURS["muted"])
    ax.grid(True, axis="y")
