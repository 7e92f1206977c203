"""What a section of a study's report is: a class in a file of ``plait.study.report.sections``, found by itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from plait.base import registry
from plait.report.blocks import Section, Sheet, Table
from plait.study.statistics.scores import StudyResults


@dataclass(frozen=True)
class Material:
    """What sections are made of.

    Attributes:
        results: of the study, finished or not.
        evidence: what its subject makes of them (``Subject.evidence``); empty where no run is done.
        metric: to compare by; None: each data set's main one.
        resamples: of the bootstrap.
    """

    results: StudyResults
    evidence: Sequence[Any]
    metric: str | None
    resamples: int


class ReportSection(ABC):
    """Makes one part of the page, or several of one kind.

    Attributes:
        subjects: of which studies; empty: of all.
        place: sections with less come first.
        missing: what is told where there is nothing for it: title and reason; None: nothing.
    """

    subjects: ClassVar[tuple[str, ...]] = ("model",)
    place: ClassVar[int] = 50
    missing: ClassVar[tuple[str, str] | None] = None

    @abstractmethod
    def sections(self, material: Material) -> Iterator[Section]:
        """What there is to say; nothing where the study has nothing for it."""


def sections_for(subject: str) -> list[ReportSection]:
    """All sections for a subject, in the order of the page."""
    made: list[ReportSection] = [registry.find("sections", name)() for name in registry.names("sections")]
    return sorted((s for s in made if not s.subjects or subject in s.subjects), key=lambda s: s.place)


def frame_sheet(
    name: str, full: pd.DataFrame, shown: pd.DataFrame, title: str, note: str = "", *, folded: bool = False
) -> Sheet:
    """A DataFrame as a table of the page: ``shown`` is seen, ``full`` goes into the CSV file."""
    numeric = [i for i, c in enumerate(shown.columns) if pd.api.types.is_numeric_dtype(shown[c])]
    rows = [[_cell(v) for v in row] for row in shown.itertuples(index=False)]
    columns = [str(c).replace("_", " ") for c in shown.columns]
    return Sheet(table_of(name, full), title, columns, rows, numeric, note=note, folded=folded)


def table_of(name: str, frame: pd.DataFrame) -> Table:
    """A DataFrame as a table of a CSV file."""
    return Table(name, [str(c) for c in frame.columns], frame.astype(object).to_numpy().tolist())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4g}"
    return str(value)
