"""The page after a fit: headline, sections, figures and tables beside it."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.base.folders import claim_folder
from plait.data.modality import Schema
from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation
from plait.report import parts, sections
from plait.report.blocks import Page, Section
from plait.report.page import csv_text, write_page, write_text

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
        history: of every epoch.
        settings: the estimator's fields.
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
    """Write ``report.html``, ``figures/*.svg`` and ``tables/*.csv`` (extra ``report``).

    Args:
        folder: is made where it is missing.
        report: what there is to show.

    Returns:
        The path of the page.
    """
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
        shown = parts.section(explanation.parts)
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
