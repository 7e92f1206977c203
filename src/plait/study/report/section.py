"""What a section of a study's report is: a class in a file of ``plait.study.report.sections``, found by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from plait.base import registry
from plait.report.blocks import Section
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
