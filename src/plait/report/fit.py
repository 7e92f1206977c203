"""The pages of a fit: its report, and what moved single answers."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.base.folders import claim_folder
from plait.data.modality import Schema
from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation
from plait.evaluation.parts import GRID, Moved
from plait.report import sections
from plait.report.blocks import Heading, Page, Section, Table, Text, Words, picture
from plait.report.canvas import COLOURS, WIDTH, axes, settings
from plait.report.page import csv_text, write_page, write_text
from plait.report.words import number

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitReport:
    """What the page of a fit is made of.

    Attributes:
        evaluation: on held-out rows.
        schema: what each column was taken for.
        explanation: what each modality is worth, or None.
        baselines: their scores on the same rows.
        importance: of each column and modality, or None.
        leaderboard: of branches, or None.
        record: what the fit noted: seeds, versions, data hash, seconds, weights, warnings, leaks.
        command: what to run to do it again.
    """

    evaluation: Evaluation
    schema: Schema
    explanation: Explanation | None = None
    baselines: Baselines = dataclasses.field(default_factory=lambda: Baselines({}))
    importance: pd.DataFrame | None = None
    leaderboard: pd.DataFrame | None = None
    history: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""


def write_report(folder: str | Path, report: FitReport) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``tables/*.csv`` (extra ``report``)."""
    evaluation = report.evaluation
    page = Page(
        name=f"Predicting {evaluation.target}",
        lead=_module("scores").headline(evaluation, report.baselines),
        facts=_facts(report),
        sections=fit_sections(report),
        warned=_warned(report.record),
        kind=f"plait report · {evaluation.task}",
    )
    return write_page(Path(folder), page)


def fit_sections(report: FitReport) -> list[Section]:
    """All that there is something for, by their places on the page."""
    result = [_module(info.name) for info in pkgutil.iter_modules(sections.__path__)]
    made = [module.section(report) for module in sorted(result, key=lambda module: int(module.PLACE))]
    return [section for section in made if section is not None]


def write_explanation(
    folder: str | Path, explanation: Explanation, importance: pd.DataFrame | None = None
) -> list[Path]:
    """Write what an explanation holds into a folder; the paths written.

    The modalities' values as SVG, those of modalities, pairs, rows and columns as CSV, and where words and patches are among
    it, a page of them.
    """
    worths = _module("modalities")
    pictures, tables = worths.worth_pictures(explanation), worths.tables(explanation)
    if importance is not None:
        columns = _module("importance")
        pictures, tables = [*pictures, *columns.pictures(importance)], [*tables, columns.table(importance)]
    page = ["report.html"] * bool(explanation.parts)
    folder = claim_folder(folder, [*(f"{d.name}.svg" for d in pictures), *(f"{t.name}.csv" for t in tables), *page])
    written = [write_text(folder / f"{d.name}.svg", d.document) for d in pictures]
    if explanation.parts:
        shown = section(explanation.parts)
        written.append(write_page(folder, Page(shown.title, shown.sentence, [], [shown], kind="plait explanation")))
    return written + [write_text(folder / f"{t.name}.csv", csv_text(t)) for t in tables]


def _module(name: str) -> Any:
    return importlib.import_module(f"{sections.__name__}.{name}")


def _warned(record: Mapping[str, Any]) -> list[str]:
    """Likely leaks first, then every warning of the fit, each once."""
    leaks = [leak.get("message", leak) if isinstance(leak, Mapping) else leak for leak in record.get("leaks") or []]
    return list(dict.fromkeys(str(text) for text in [*leaks, *(record.get("warnings") or [])]))


def _facts(report: FitReport) -> list[tuple[str, str]]:
    """The line of figures under the headline."""
    evaluation, record = report.evaluation, report.record
    result = {
        "training rows": record.get("rows"),
        "test rows": evaluation.rows,
        "modalities": len(report.schema.modalities),
    }
    result["classes" if evaluation.task == "classification" else "labels"] = len(evaluation.classes)
    result["trained weights"] = record.get("trained_weights")
    return [(name, f"{int(value):,}") for name, value in result.items() if value]


#: Opacity of the part that moved an answer most.
DARKEST = 0.6


def section(parts: Sequence[Moved]) -> Section:
    """A heading per row and cell, its words or its picture, and all values as a file."""
    about = (
        "Each word, or each patch of a picture, was taken away once: blue speaks for the answer, orange against it; the "
        "darkest of a row moved it most."
    )
    result = Section("parts", "What moved single answers", about)
    for place, one in enumerate(parts):
        result.add(Heading(f"Row {one.row}, {one.column}: {one.answer}"))
        result.add(Text(f"Answered with {number(one.full)}. Strongest parts: {one.said().replace('-', '−')}."))
        if one.picture is None:
            result.add(Words([(name, shade) for name, shade in zip(one.parts, shades(one, parts), strict=True)]))
        else:
            result.add_row(picture(f"moved-{place}", f"Row {one.row}, {one.column}", heat_figure(one, parts)))
    rows = [
        [one.row, one.modality, one.column, one.answer, one.full, name, value]
        for one in parts
        for name, value in zip(one.parts, one.values, strict=True)
    ]
    result.tables.append(Table("moved", ["row", "modality", "column", "answer", "full", "part", "value"], rows))
    return result


def shades(one: Moved, every: Sequence[Moved]) -> list[float]:
    """From -1 to 1: each value over the greatest of all cells of its row; all 0 where nothing moved the answer."""
    most = max((abs(value) for other in every if other.row == one.row for value in other.values), default=0.0)
    return [value / most if most > 1e-12 else 0.0 for value in one.values]


def heat_figure(one: Moved, every: Sequence[Moved]) -> Any:
    """The picture, with a colour over each patch, on one scale with the other cells of its row."""
    from matplotlib.patches import Rectangle

    assert one.picture is not None
    height, width = one.picture.shape[:2]
    shade = np.asarray(shades(one, every)).reshape(GRID, GRID)
    with settings():
        figure, ax = axes(WIDTH, WIDTH * height / width, left=0, bottom=0, right=0, top=0)
        ax.imshow(one.picture, extent=(0, GRID, GRID, 0), aspect="auto", alpha=0.75)
        for (r, c), value in np.ndenumerate(shade):
            colour = COLOURS["blue" if value > 0 else "orange"]
            ax.add_patch(Rectangle((c, r), 1, 1, fc=colour, alpha=DARKEST * abs(value), lw=0))
        ax.set_axis_off()
    return figure
