"""Are probabilities what they say? And predicted numbers beside true ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.evaluation.evaluate import Evaluation
from plait.report.blocks import Section, Sheet, Table, picture
from plait.report.canvas import COLOURS, WIDTH, axes, settings, tick
from plait.report.fit import FitReport
from plait.report.words import number

PLACE = 60
HEIGHT = 250.0


def section(report: FitReport) -> Section:
    """Reliability of probabilities, or predicted against true values."""
    evaluation = report.evaluation
    if evaluation.task == "regression":
        result = Section("calibration", "Predicted and true", "")
        caption = "Predicted against true values; on the dashed line they agree"
        result.add_row(picture("values", caption, values_figure(evaluation)))
        return result
    result = Section("calibration", "Calibration", "")
    which = "The most probable class" if evaluation.task == "classification" else "Every label of every row"
    caption = f"{which}, in 15 bins; area: rows; on the dashed line probabilities are what they say"
    result.add_row(picture("calibration", caption, calibration_figure(evaluation)))
    keys = ["low", "high", "rows", "confidence", "hit_rate"]
    columns = ["from", "to", "rows", "mean probability", "share right"]
    full = Table("reliability", columns, [[record[k] for k in keys] for record in evaluation.reliability])
    shown = [[number(v) for v in row] for row in full.rows]
    result.add(Sheet(full, "The bins", columns, shown, range(5), folded=True))
    return result


def calibration_figure(evaluation: Evaluation) -> Any:
    """Hit rate against probability, bin by bin; the dots' area is their rows. None for a number."""
    bins = evaluation.reliability
    if not bins:
        return None
    rows = np.array([b["rows"] for b in bins], dtype=float)
    with settings():
        figure, ax = axes(WIDTH, HEIGHT, left=40, bottom=34, right=12)
        ax.plot([0, 1], [0, 1], color=COLOURS["muted"], lw=0.9, dashes=(4, 3))
        ax.scatter(
            [b["confidence"] for b in bins],
            [b["hit_rate"] for b in bins],
            s=14 + 160 * rows / rows.max(),
            color=COLOURS["blue"],
            alpha=0.75,
            linewidths=0,
        )
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.05, 1.05)
        ax.grid(True)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.set_xlabel("probability of the answer" if evaluation.task == "classification" else "probability of a label")
        ax.set_ylabel("share that is right" if evaluation.task == "classification" else "share that has it")
    return figure


def values_figure(evaluation: Evaluation) -> Any:
    """Predicted against true values; None where nothing is a number."""
    if not evaluation.points:
        return None
    true, predicted = np.array(evaluation.points).T
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    room = 0.04 * (high - low or 1.0)
    with settings():
        longest = max(len(tick(round(end))) for end in (low, high))
        figure, ax = axes(WIDTH, HEIGHT, left=max(52.0, 26 + 4.8 * longest), bottom=34, right=8 + 2.4 * longest)
        ax.plot([low, high], [low, high], color=COLOURS["muted"], lw=0.9, dashes=(4, 3))
        ax.plot(true, predicted, "o", ms=3.6, mew=0, color=COLOURS["blue"], alpha=0.4)
        ax.set_xlim(low - room, high + room)
        ax.set_ylim(low - room, high + room)
        ax.locator_params(nbins=5 if longest <= 7 else 4)
        ax.grid(True)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.set_xlabel("true")
        ax.set_ylabel("predicted")
    return figure
