"""What ``plait explain --out`` writes: pictures and tables of an explanation."""

from __future__ import annotations

from pathlib import Path

from plait.base.folders import claim_folder
from plait.evaluation.explain import Explanation
from plait.report import tables
from plait.report.drawings import worths
from plait.report.page import csv_text, write_text


def write_explanation(folder: str | Path, explanation: Explanation) -> list[Path]:
    """Write the modalities' values as SVG, and those of modalities, pairs and rows as CSV; the paths written."""
    pictures = worths(explanation).values()
    each = [tables.worths(explanation), tables.interactions(explanation), tables.explained_rows(explanation)]
    values = [t for t in each if t is not None]
    folder = claim_folder(folder, [*(f"{d.name}.svg" for d in pictures), *(f"{t.name}.csv" for t in values)])
    written = [write_text(folder / f"{d.name}.svg", d.document) for d in pictures]
    return written + [write_text(folder / f"{t.name}.csv", csv_text(t)) for t in values]
