"""Accuracy over trained weights: the points that a paper states, its rivals among them, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.base.errors import need
from plait.papers.holding import Line, Reproduction, label
from plait.papers.paper import WEIGHTS
from plait.report.canvas import COLOURS, LINES, settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def weights(result: Reproduction, lines: list[Line]) -> Figure | None:
    """Accuracy over trained weights (the paper's figure 2): the paper's points and ours, each with its data."""
    points = [*_paper_points(result, lines), *_our_points(result, lines)]
    if not points:
        return None
    with settings():
        figure: Figure = need("matplotlib.figure", "report").Figure(figsize=(4.6, 3.2), layout="constrained")
        ax = figure.subplots()
        for colour, (side, marker) in zip(LINES, (("paper", "o"), ("ours", "s")), strict=False):
            mine = [p for p in points if p[0] == side]
            ax.scatter(
                [p[2] for p in mine],
                [p[3] for p in mine],
                color=COLOURS[colour],
                marker=marker,
                label=mine[0][4] if mine else None,
            )
            for _, name, x, y, _ in mine:
                ax.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        ax.set_xscale("log")
        ticker = need("matplotlib.ticker", "report")  # powers of ten would need the mathematics that labels do without
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_xlabel("trained weights")
        ax.set_ylabel("accuracy")
        ax.legend(loc="lower right", fontsize=7)
    return figure


_Point = tuple[str, str, float, float, str]


def _paper_points(result: Reproduction, lines: list[Line]) -> list[_Point]:
    """What the paper states of both, weights here and accuracy in the tables on the same data."""
    scores = {
        (row.name, column.data): value
        for element in result.paper.elements
        for row in element.rows
        for column, value in zip(element.columns, row.values, strict=True)
        if column.metric == "accuracy"
    }
    alias = {"Early fusion": "Early fusion (All)"}
    rows = [line for line in lines if line.metric == WEIGHTS and ", at" not in line.cell and line.paper is not None]
    return [
        ("paper", line.cell, float(line.paper or 0), scores[key], f"paper, {line.data}")
        for line in rows
        if (key := (alias.get(line.cell, line.cell), line.data)) in scores
    ]


def _our_points(result: Reproduction, lines: list[Line]) -> list[_Point]:
    points: list[_Point] = []
    for line in lines:
        if line.metric != WEIGHTS or line.ours is None or not line.seeds:
            continue
        for studies in result.results.values():
            for dataset, measured in studies.items():
                if label(dataset) != line.our_data:
                    continue
                element = next(e for e in result.elements if e.name == line.element)
                row = element.row(line.cell)
                frame: pd.DataFrame = measured.frame
                mine = frame[(frame["metric"] == "accuracy") & (frame["variant"] == row.variant)]
                mine = mine[[set(s.split("+")) == set(row.subset) for s in mine["subset"]]]
                if len(mine):
                    points.append(("ours", line.cell, line.ours, float(mine["value"].mean()), f"ours, {line.our_data}"))
    return points
