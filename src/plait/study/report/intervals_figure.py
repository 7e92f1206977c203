"""Scores of many variants, and their differences from the best, one line each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plait.report.canvas import COLOURS, rows_axes, settings

#: Verdict -> colour, marker, filled. The form says it too, for whoever does not see the colour.
LOOKS: dict[str, tuple[str, str, bool]] = {
    "best": ("blue", "o", True),
    "reference": ("blue", "o", True),
    "better": ("blue", "^", True),
    "equivalent": ("green", "s", True),
    "identical": ("green", "s", True),
    "not decided": ("muted", "o", False),
    "worse": ("orange", "d", True),
}
_WORDS = {
    "reference": "the reference",
    "equivalent": "equivalent",
    "identical": "equivalent",
    "not decided": "not decided",
    "worse": "worse",
}


def scores_figure(rows: Sequence[Mapping[str, Any]], label: str) -> Any:
    """Mean with its interval, and every run as a tick; None without rows.

    Args:
        rows: best first: name, mean, low, high, verdict, runs (values).
        label: of the metric.
    """
    if not rows:
        return None
    with settings():
        figure, ax, places = _rows(rows)
        for place, row in zip(places, rows, strict=True):
            ax.plot(row["runs"], [place] * len(row["runs"]), "|", ms=5, mew=0.8, color=COLOURS["muted"], alpha=0.55)
            _line(ax, place, row["low"], row["high"], row["verdict"])
            _dot(ax, row["mean"], place, row["verdict"])
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        _legend(ax, [row["verdict"] for row in rows])
    return figure


def differences_figure(rows: Sequence[Mapping[str, Any]], label: str, margin: float) -> Any:
    """Differences from the reference with their intervals; the band is what does not matter. None without rows.

    Args:
        rows: name, difference, low, high, verdict; without the reference itself.
        label: of the axis.
        margin: of equivalence.
    """
    values = [row for row in rows if math.isfinite(row["difference"])]
    if not values:
        return None
    with settings():
        figure, ax, places = _rows(values)
        if math.isfinite(margin):
            ax.axvspan(-margin, margin, color=COLOURS["sky"], alpha=0.22, lw=0)
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)
        for place, row in zip(places, values, strict=True):
            _line(ax, place, row["low"], row["high"], row["verdict"])
            _dot(ax, row["difference"], place, row["verdict"])
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        _legend(ax, [row["verdict"] for row in values])
    return figure


def _rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    many = len(rows) > 12
    return rows_axes([row["name"] for row in rows], per_row=13.5 if many else 18.0, top=26.0, most=28)


def _line(ax: Any, place: float, low: float, high: float, verdict: str) -> None:
    if math.isfinite(low) and math.isfinite(high):
        ax.plot(
            [low, high], [place, place], color=COLOURS[LOOKS[verdict][0]], lw=1.7, alpha=0.55, solid_capstyle="butt"
        )


def _dot(ax: Any, value: float, place: float, verdict: str) -> None:
    colour, marker, filled = LOOKS[verdict]
    face = COLOURS[colour] if filled else "none"
    ax.plot([value], [place], marker, ms=5.5, color=COLOURS[colour], mfc=face, mew=1.3)


def _legend(ax: Any, verdicts: Sequence[str]) -> None:
    """What the forms mean, of those that are there."""
    options: dict[str, tuple[str, str, bool]] = {}
    for verdict in ("best", "reference", "better", "equivalent", "identical", "not decided", "worse"):
        if verdict in verdicts:
            options.setdefault(_WORDS.get(verdict, verdict), LOOKS[verdict])
    handles = [
        ax.plot([], [], m, color=COLOURS[c], mfc=COLOURS[c] if full else "none", ms=5.5, label=word)[0]
        for word, (c, m, full) in options.items()
    ]
    ax.figure.legend(
        handles=handles,
        loc="upper left",
        ncols=4,
        borderpad=0.1,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
    )
