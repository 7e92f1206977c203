"""What the parts of a study know of each other: the whole (``Study``) is built on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plait.study.reader import Lines
from plait.study.runs import Run
from plait.study.spec import Spec
from plait.study.tables import StudyTable

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Schema


class StudyFile(Protocol):
    """A study as it was read from its file."""

    spec: Spec
    base: Path
    lines: Lines
    where: str

    @property
    def frames(self) -> Mapping[str, tuple[pd.DataFrame, Schema]]:
        """Tables in memory."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def variants(self) -> Sequence[Any]:
        """All variants."""

    @property
    def tables(self) -> Mapping[tuple[int, int | None], StudyTable]:
        """The tables, read."""

    @property
    def runs(self) -> Sequence[Run]:
        """All runs."""

    def require(self, *, data: bool = False) -> None:
        """Raise every mistake of the file."""

    def run(
        self, out: str | Path | None = None, *, workers: int | None = None, only: Sequence[str] | None = None
    ) -> Any:
        """Run what is missing."""


class StudyLines(Protocol):
    """What the runs of a study left."""

    spec: Spec
    folder: Path

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]:
        """A line per run."""
