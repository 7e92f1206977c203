"""The score beside what it must beat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from plait.evaluation import Evaluation
from plait.metrics import metrics
from plait.report.figures._canvas import COLOURS, rows_axes, settings


def headline_figure(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> Any:
    """The main metric of this model with its interval, and of every baseline."""
    names = {"majority": "mean" if evaluation.task == "regression" else "majority", "linear": "linear"}
    rows = [("this model", evaluation.score["value"])]
    rows += [(names.get(k, k), v.get(evaluation.main_metric, math.nan)) for k, v in reversed(list(baselines.items()))]
    with settings():
        figure, ax, places = rows_axes([name for name, _ in rows])
        for place, (_, value) in zip(places[1:], rows[1:], strict=True):
            ax.plot([value], [place], "o", ms=6, mfc="none", mec=COLOURS["muted"], mew=1.4)
        score = evaluation.score
        if math.isfinite(score["low"]):
            ax.plot(
                [score["low"], score["high"]],
                [places[0]] * 2,
                color=COLOURS["blue"],
                lw=3,
                solid_capstyle="butt",
                alpha=0.45,
            )
        ax.plot([score["value"]], [places[0]], "o", ms=8, color=COLOURS["blue"])
        ax.set_xlabel(metrics(evaluation.task)[evaluation.main_metric].label)
        _limits(ax, [*(v for _, v in rows), score["low"], score["high"]])
    return figure


def _limits(ax: Any, values: list[float]) -> None:
    """From 0 to 1 at least, so that no difference looks larger than it is; wider where a value or an interval is."""
    known = [v for v in values if math.isfinite(v)]
    low, high = min([*known, 0.0]), max([*known, 1.0])
    room = 0.02 * (high - low)
    ax.set_xlim(low - room, high + room)
