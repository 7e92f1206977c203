"""A stranger's change: a metric and a section of the report are each brought by one file, here by one class or function."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import plait
from plait.metrics.base import METRICS, ByRows
from plait.metrics.base import register as metric
from plait.report.blocks import Section, Text
from plait.study.report import Material, ReportSection, write_study_report
from study_tiny import study


@pytest.fixture
def share_right() -> Iterator[str]:
    """A metric that a file of ``plait.metrics`` would bring by its decorator."""

    def right(y: np.ndarray, output: np.ndarray) -> np.ndarray:
        return (y == output).astype(float)

    @metric(
        "classification", "share right", input="labels", direction="higher", range=(0.0, 1.0), resampled=ByRows(right)
    )
    def share_right(y: np.ndarray, output: np.ndarray) -> float:
        """Share of rows whose class is right."""
        return float((y == output).mean())

    yield "share_right"
    del METRICS["classification", "share_right"]


def test_a_metric_and_a_section_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share_right: str) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")

    @plait.register("sections")
    class Rows(ReportSection):
        """How many rows every run was judged on."""

        place: ClassVar[int] = 15

        def sections(self, material: Material) -> Iterator[Section]:
            section = Section("rows", "Rows by hand", f"{sorted(set(material.results.runs['test_rows']))} rows.")
            section.add(Text("Counted by a section of one's own."))
            yield section

    results = study(tmp_path, seeds=1, metrics=["accuracy", share_right]).run(tmp_path / "out", engine="inline")
    frame = results.frame.pivot_table(index="run", columns="metric", values="value")
    assert frame[share_right].tolist() == pytest.approx(frame["accuracy"].tolist())
    write_study_report(results, tmp_path / "page")
    text = (tmp_path / "page" / "report.md").read_text()
    assert text.index("## Scores") < text.index("## Rows by hand") < text.index("## Run it again")
    assert "Counted by a section of one's own." in text
    assert "share right" in text
