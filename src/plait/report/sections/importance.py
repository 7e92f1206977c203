"""What each column is worth: by shuffling it among the test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait.metrics.base import SECOND, metrics
from plait.report.blocks import Picture, Section, Table, picture, sheet
from plait.report.canvas import signed_bars
from plait.report.fit import FitReport
from plait.report.words import listed

if TYPE_CHECKING:
    import pandas as pd

PLACE = 30
#: Columns that the picture shows.
SHOWN = 20


def section(report: FitReport) -> Section | None:
    """Columns by importance, with intervals."""
    frame = report.importance
    if frame is None or len(frame) < 2:
        return None
    label = metrics(report.evaluation.task)[SECOND[report.evaluation.task]].label
    result = Section("importance", "What each column is worth", sentence(frame, label))
    result.add_row(*pictures(frame, label))
    shown = ["modality", "column", "importance", "low", "high", "share", "worth"]
    title = f"Growth of the {label} when a column is shuffled; its share of its modality, and of that modality's worth"
    result.add(sheet("importance", frame, title, shown=shown, folded=len(frame) > SHOWN))
    return result


def sentence(frame: pd.DataFrame, label: str) -> str:
    """Which columns certainly matter, and how many do not."""
    certain = frame[frame["low"] > 0]
    if not len(certain):
        return f"No column is certain to matter: shuffling any one of them among the rows does not surely raise the {label}."
    rest = len(frame) - len(certain)
    more = f"; of {rest} others that is not certain" if rest else ""
    return f"Shuffled among the rows, {listed(list(certain['column']), 5)} certainly raise the {label}{more}."


def pictures(frame: pd.DataFrame, label: str = "loss") -> list[Picture]:
    """The most important columns, as a figure."""
    caption = (
        f"How much the {label} grows when a column is shuffled among the rows; lines: 95\N{NO-BREAK SPACE}% intervals"
    )
    drawn = picture("column-importance", caption, importance_figure(frame.head(SHOWN), label))
    return [] if drawn is None else [drawn]


def table(frame: pd.DataFrame) -> Table:
    """All of it, for a file."""
    return sheet("importance", frame).full


def importance_figure(frame: pd.DataFrame, label: str) -> Any:
    """One bar per column with its interval, the most important on top."""
    if not len(frame):
        return None
    records = frame.rename(columns={"column": "name", "importance": "value"}).to_dict("records")
    return signed_bars(records, f"growth of the {label}", per_row=15.0, line=1.2)
