"""What the table holds: the target's distribution, and how often a modality is absent."""

from __future__ import annotations

from typing import Any

from plait.evaluation import Evaluation
from plait.report.figures._canvas import COLOURS, WIDTH, axes, rows_axes, settings, tick

#: Classes that the figure shows.
SHOWN = 20


def target_figure(evaluation: Evaluation) -> Any:
    """Rows of each class, most first, or a histogram of a number."""
    if evaluation.task == "regression":
        return _histogram(evaluation)
    told = evaluation.distribution[:SHOWN]
    names = [record["label"] for record in told]
    rows = [record["rows"] for record in told]
    left = evaluation.distribution[SHOWN:]
    if left:
        names.append(f"{len(left)} more")
        rows.append(sum(record["rows"] for record in left))
    with settings():
        figure, ax, places = rows_axes(names, per_row=15.0)
        bars = ax.barh(places, rows, height=0.6, color=COLOURS["sky"])
        if left:
            bars[-1].set_alpha(0.4)
        ax.set_xlabel("rows")
    return figure


def _histogram(evaluation: Evaluation) -> Any:
    told = evaluation.distribution
    with settings():
        edges = [record["low"] for record in told]
        longest = max(len(tick(round(edge))) for edge in edges)
        figure, ax = axes(WIDTH, 170.0, left=44, bottom=34, right=8 + 2.4 * longest)  # half of a number at the edge
        widths = [record["high"] - record["low"] for record in told]
        ax.bar(edges, [r["rows"] for r in told], widths, align="edge", color=COLOURS["sky"], ec="none")
        ax.locator_params(nbins=4 if longest > 7 else 5)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.yaxis.grid(True)
        ax.set_ylabel("rows")
    return figure


def absences_figure(evaluation: Evaluation) -> Any:
    """Share of rows that lack each modality; None where nothing is absent."""
    shares = {name: count / evaluation.rows for name, count in evaluation.absences.items()}
    if not any(shares.values()):
        return None
    with settings():
        figure, ax, places = rows_axes(list(shares), per_row=15.0)
        ax.barh(places, [100 * s for s in shares.values()], height=0.6, color=COLOURS["amber"])
        ax.set_xlim(0, max(5.0, min(100.0, 110 * max(shares.values()))))
        ax.set_xlabel("% of rows without it")
    return figure
