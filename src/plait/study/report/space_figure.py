"""Curves of aligned spaces: accuracy under a tolerance, what a search finds, accuracy over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.report.canvas import COLOURS, LINES, distinct, settings

#: After all colours are used once, lines are dashed, then dotted.
DASHES = ("-", "--", ":")


def tolerance_figure(curves: Mapping[str, np.ndarray], tolerances: np.ndarray) -> Any:
    """One panel per similarity class, one line per way to compare sentences (Faye et al., figure 3); None without lines.

    Args:
        curves: name -> (classes, tolerances) shares within the tolerance.
        tolerances: (tolerances,).
    """
    if not curves:
        return None
    from matplotlib.figure import Figure

    classes = len(next(iter(curves.values())))
    with settings():
        figure = Figure(figsize=(2.2 * classes + 2.4, 2.9), layout="constrained")
        panels = figure.subplots(1, classes, sharey=True)
        for place, panel in enumerate(panels):
            for number, shares in enumerate(curves.values()):
                panel.plot(tolerances, shares[place], lw=1.3, **_look(number))
            panel.set(title=f"score {place} to {place + 1}", xlabel="tolerance", ylim=(0, 1.02))
        panels[0].set_ylabel("share within the tolerance")
        figure.legend(list(panels[0].lines), distinct(list(curves), 40), loc="outside right center")
    return figure


def lines_figure(curves: Mapping[str, Mapping[float, float]], across: str, up: str, *, log: bool = False) -> Any:
    """One line per space; None where none has two points.

    Args:
        curves: name -> place -> value.
        across: label of the x axis.
        up: label of the y axis.
        log: logarithmic x axis.
    """
    options = {name: curve for name, curve in curves.items() if len(curve) > 1}
    if not options:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    with settings():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        panel = figure.subplots()
        for number, curve in enumerate(options.values()):
            places: Sequence[float] = sorted(curve)
            panel.plot(places, [curve[x] for x in places], marker="o", ms=3, lw=1.3, **_look(number))
        panel.set(xlabel=across, ylabel=up)
        if log:
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xticks(sorted({x for curve in options.values() for x in curve}))
        panel.yaxis.grid(True)
        figure.legend(list(panel.lines), distinct(list(options), 34), loc="outside right center")
    return figure


def _look(number: int) -> dict[str, Any]:
    dashes = DASHES[number // len(LINES) % len(DASHES)]
    return {"color": COLOURS[LINES[number % len(LINES)]], "linestyle": dashes}
