"""Class by class: who is told from whom, and how well."""

from __future__ import annotations

from typing import Any

from plait.evaluation.breakdown import Confusion
from plait.report.blocks import Section, Sheet, Table, Text, picture
from plait.report.canvas import COLOURS, axes, broken, distinct, line_width, settings
from plait.report.fit import FitReport
from plait.report.words import number

PLACE = 50
#: Rows of a table that are shown at once; longer ones are folded.
UNFOLDED = 25


def section(report: FitReport) -> Section | None:
    """Precision, recall and the like of each class, and the confusions."""
    evaluation = report.evaluation
    if not evaluation.per_class:
        return None
    result = Section("classes", "Class by class", "")
    if evaluation.confusion is not None:
        value = evaluation.confusion
        caption = (
            "Rows by true and predicted class; darker: a larger share of the true class; blue: right, orange: wrong"
        )
        result.add_row(picture("confusion", caption, confusion_figure(value)))
        rows: list[list[Any]] = [[name, *counts] for name, counts in zip(value["labels"], value["counts"], strict=True)]
        result.tables.append(Table("confusion", ["true \\ predicted", *value["labels"]], rows))
    keys = ["label", "support", "predicted", "precision", "recall", "f1", "auc"]
    columns = ["class", "rows", "predicted", "precision", "recall", "F1", "AUC"]
    full = Table("per_class", columns, [[record[k] for k in keys] for record in evaluation.per_class])
    shown = [[str(row[0]), *map(number, row[1:])] for row in full.rows]
    result.add(Sheet(full, "Every class", columns, shown, range(1, 7), folded=len(shown) > UNFOLDED))
    result.add(Text("A dash: undefined, because the class has no rows here or is never predicted."))
    return result


#: Characters of a class name that a matrix has room for.
NAMED = 18


def confusion_figure(confusion: Confusion) -> Any:
    """Share of each true class (line) that is predicted as each class (column); the numbers are rows."""
    few = len(confusion["labels"]) <= 10  # in the others' lines two of a name have no room
    names = (broken if few else distinct)(confusion["labels"], NAMED)
    cell = 46.0 if len(names) <= 4 else 32.0 if few else 23.0
    edge = 16.0 + 5.4 * line_width(names)
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
