"""What ``plait explain --out`` writes: pictures and tables of an explanation."""

from __future__ import annotations

from pathlib import Path

from plait.explanation import Explanation
from plait.report import tables
from plait.report.drawings import worths
from plait.report.files import csv_text, write_text


def write_explanation(folder: str | Path, explanation: Explanation) -> list[Path]:
    """Write the modalities' values as SVG, and those of modalities, pairs and rows as CSV; the paths written."""
    folder = Path(folder)
    written = [write_text(folder / f"{d.name}.svg", d.document) for d in worths(explanation).values()]
    told = [tables.worths(explanation), tables.interactions(explanation), tables.explained_rows(explanation)]
    return written + [write_text(folder / f"{t.name}.csv", csv_text(t)) for t in told if t is not None]
