"""The rows that the model gets most wrong, with their cells."""

from __future__ import annotations

from plait.metrics.base import SECOND, metrics
from plait.report.blocks import Section, Sheet, Table
from plait.report.fit import FitReport
from plait.report.words import number

PLACE = 65
#: Characters of a cell on the page; the file has more.
CELL = 60


def section(report: FitReport) -> Section | None:
    """The largest losses of the test rows."""
    worst, task = report.evaluation.worst, report.evaluation.task
    if not worst:
        return None
    label = metrics(task)[SECOND[task]].label
    words = "Look here for wrong labels, unreadable cells, and what the table does not say."
    result = Section("rows", "The worst rows", f"The test rows with the largest {label}. {words}")
    cells = list(worst[0]["cells"])
    full = [[r["row"], str(r["true"]), str(r["answer"]), r["loss"], *r["cells"].values()] for r in worst]
    columns = ["row", "true", "answer", label, *cells]
    shown = [
        [str(r["row"]), _said(r["true"]), _said(r["answer"]), number(r["loss"]), _cells(r["cells"])] for r in worst
    ]
    table = Table("worst_rows", columns, full)
    result.add(Sheet(table, "", ["row", "true", "answer", label, "cells"], shown, (3,), [""] * len(shown)))
    return result


def _said(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _cells(cells: dict[str, str]) -> str:
    """What is there, column by column."""
    return "; ".join(f"{name}: {v if len(v) <= CELL else v[: CELL - 1] + '…'}" for name, v in cells.items() if v)
