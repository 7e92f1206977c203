"""Are probabilities what they say? And predicted numbers beside true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.evaluation.breakdown import Confusion
from plait.evaluation.evaluate import Evaluation
from plait.metrics.base import metrics
from plait.report.canvas import COLOURS, LINES, WIDTH, axes, distinct, rows_axes, settings, tick, width_of

HEIGHT = 250.0


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


#: Characters of a class name that a matrix has room for.
NAMED = 18


def confusion_figure(confusion: Confusion) -> Any:
    """Share of each true class (line) that is predicted as each class (column); the numbers are rows."""
    names = distinct(confusion["labels"], NAMED)
    cell = 46.0 if len(names) <= 4 else 32.0 if len(names) <= 10 else 23.0
    edge = 16.0 + 5.4 * max(map(width_of, names))
    side = cell * len(names)
    with settings():
        figure, ax = axes(edge + side + 12, edge + side + 16, left=edge + 8, bottom=4, right=4, top=edge + 12)
        for line, counts in enumerate(confusion["counts"]):
            _line(ax, line, counts, small=cell < 30)
        size = len(names)
        ax.set_xlim(-0.5, size - 0.5)
        ax.set_ylim(size - 0.5, -0.5)
        ax.set_xticks(range(size), names, rotation=90)
        ax.set_yticks(range(size), names)
        ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelcolor=COLOURS["ink"], pad=3)
        ax.set_xlabel("predicted", loc="left")
        ax.xaxis.set_label_position("top")
        ax.set_ylabel("true", loc="top")
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def _line(ax: Any, line: int, counts: list[int], *, small: bool) -> None:
    """One true class: a cell for every class that it was taken for."""
    from matplotlib.patches import Rectangle

    total = max(sum(counts), 1)
    ax.axhline(line + 0.5, color=COLOURS["rule"], lw=0.4, zorder=0)
    for column, count in enumerate(counts):
        if not count:
            continue
        share = count / total
        colour = COLOURS["blue"] if column == line else COLOURS["orange"]
        ax.add_patch(Rectangle((column - 0.47, line - 0.47), 0.94, 0.94, fc=colour, alpha=0.08 + 0.87 * share, lw=0))
        text = f"{count}" if count < 10_000 else f"{count / 1000:.0f}k"
        ink = COLOURS["on-blue"] if share > 0.7 else COLOURS["ink"]
        size = 8.5 - (1.5 if small else 0) - (1.0 if len(text) > 3 else 0)
        ax.text(column, line, text, ha="center", va="center_baseline", color=ink, fontsize=size)


#: Classes that the figure shows.
SHOWN = 20


def target_figure(evaluation: Evaluation) -> Any:
    """Rows of each class, most first, or a histogram of a number."""
    if evaluation.task == "regression":
        return _histogram(evaluation)
    value = evaluation.distribution[:SHOWN]
    names = [record["label"] for record in value]
    rows = [record["rows"] for record in value]
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
    value = evaluation.distribution
    with settings():
        edges = [record["low"] for record in value]
        longest = max(len(tick(round(edge))) for edge in edges)
        figure, ax = axes(WIDTH, 170.0, left=44, bottom=34, right=8 + 2.4 * longest)  # half of a number at the edge
        widths = [record["high"] - record["low"] for record in value]
        ax.bar(edges, [r["rows"] for r in value], widths, align="edge", color=COLOURS["sky"], ec="none")
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


def learning_figure(history: Sequence[Mapping[str, Any]]) -> Any:
    """Validation loss of every member over the epochs (from 1), training loss dashed; None without a history."""
    members = {str(record.get("member", 0)): None for record in history}
    if not history:
        return None
    with settings():
        figure, ax = axes(WIDTH, 200.0, left=44, bottom=34, right=12)
        for place, member in enumerate(members):
            values = [r for r in history if str(r.get("member", 0)) == member]
            colour = COLOURS[LINES[place % len(LINES)]]
            _learning_line(ax, values, "train_loss", color=colour, lw=1.0, alpha=0.55, dashes=(3, 2))
            _learning_line(ax, values, "valid_loss", color=colour, lw=1.5)
        ax.locator_params(axis="x", integer=True, nbins=6)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
    return figure


def _learning_line(ax: Any, spec: list[Mapping[str, Any]], key: str, **style: Any) -> None:
    points = [(r["epoch"] + 1, r[key]) for r in spec if isinstance(r.get(key), (int, float)) and math.isfinite(r[key])]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker="o" if len(points) == 1 else None, ms=4, **style)
