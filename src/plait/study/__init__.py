"""Studies: one file describes a fair comparison; one command runs it, survives anything, and says what is proven."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from plait.base import config
from plait.base.config import PAPERS
from plait.base.errors import ConfigError, nearest
from plait.study.reader import Lines, read_with_lines
from plait.study.reading import read_spec

if TYPE_CHECKING:
    import pandas as pd

    from plait.data.modality import Schema
    from plait.study.launch import Plan
    from plait.study.results import Predictions, Results
    from plait.study.runs import Run
    from plait.study.subjects import Subject
    from plait.study.tables import StudyTable
    from plait.study.variants import Variant


__all__ = ["Mistake", "Predictions", "Results", "Study", "recipes"]

#: Recipes of no paper; those of one lie in its folder.
_PLAIN = Path(__file__).parent.parent / "recipes"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Something in a study file that must be put right."""

    text: str
    line: int | None = None

    def __str__(self) -> str:
        return self.text if self.line is None else f"line {self.line}: {self.text}"


def recipes() -> list[str]:
    """Names of the studies that come with plait."""
    return sorted(recipe_files())


def recipe_files() -> dict[str, Path]:
    """Every recipe by its name: those of papers lie in the folders of these."""
    files = [*_PLAIN.glob("*.yaml"), *PAPERS.glob("*/recipes/*.yaml")]
    return {path.stem: path for path in files}


class Study:
    """One study file.

    Example:
        >>> study = Study.from_dict({"name": "depths", "data": {"dataset": "pokemon", "target": "type_1"},
        ...                          "grid": {"depth": ["early", "late"]}, "seeds": 2})
        >>> [variant.label for variant in study.variants]
        ['depth=early', 'depth=late']
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        where: str = "study",
        base: Path | None = None,
        lines: Lines | None = None,
        frames: Mapping[str, tuple[pd.DataFrame, Schema]] | None = None,
    ) -> None:
        """Use ``load`` or ``from_dict``."""
        self.where, self.base, self.lines = where, base or Path.cwd(), lines or Lines()
        self.frames = dict(frames or {})
        self.spec, self._read = read_spec(spec, Path(where).stem)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a study file, or a recipe by its name.

        Raises:
            ConfigError: no such file or recipe, or no YAML. What else is wrong is told by ``check``.
        """
        file = Path(path)
        if not file.is_file():
            file = recipe_files().get(str(path), file)
            if not file.is_file():
                raise ConfigError(f"{path}: neither a file nor a recipe; {nearest(str(path), recipes())}")
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as a text file ({error})") from None
        value, lines = read_with_lines(text, str(file))
        return cls(value, str(file), file.absolute().parent, lines)

    @classmethod
    def from_dict(
        cls,
        spec: Mapping[str, Any],
        frames: Mapping[str, tuple[pd.DataFrame, Schema]] | None = None,
        base: str | Path | None = None,
    ) -> Self:
        """A study from plain values; ``frames`` are tables in memory that ``data: {frame: NAME}`` names."""
        return cls(spec, str(spec.get("name", "study")), None if base is None else Path(base), None, frames)

    # -- what it says ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What it is called."""
        return self.spec.name

    @cached_property
    def subject(self) -> Subject:
        """What its runs make and judge."""
        from plait.study.subjects import subject_of

        return subject_of(self.spec)

    @cached_property
    def variants(self) -> Sequence[Variant]:
        """All variants."""
        return self.subject.variants()

    def check(self, *, data: bool = True) -> list[Mistake]:
        """Every mistake of the file; none means that it can be run."""
        from plait.study import subjects

        result = [*self._read.problems, *subjects.file_problems(self.subject)]
        if data and not result:
            result += subjects.data_problems(self.subject, self.base, self.frames)
        places = [(self._read.origins.get(place, place), text) for place, text in dict.fromkeys(result)]
        values = list(dict.fromkeys(Mistake(text, self.lines.of(place)) for place, text in places))
        return sorted(values, key=lambda mistake: mistake.line or 0)

    def require(self, *, data: bool = False) -> None:
        """Raise all mistakes as one error."""
        result = self.check(data=data)
        if result:
            raise ConfigError(f"{self.where}: {'; '.join(map(str, result))}")

    # -- tables and runs -----------------------------------------------------------------------------------------------

    @cached_property
    def tables(self) -> dict[tuple[int, int | None], StudyTable]:
        """Every table by its position, and by the seed where a data set is drawn anew."""
        from plait.study.tables import load_table, redrawn

        result = {}
        for number, value in enumerate(self.spec.data):
            for seed in self.spec.seeds if redrawn(value) else (None,):
                result[number, seed] = load_table(value, self.base, seed, self.frames, pairs=self.subject.pairs)
        labels = [table.label for (number, seed), table in result.items() if seed in (None, self.spec.seeds[0])]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            text = f"the data {', '.join(twice)} is named twice; give one of them a name: of its own"
            raise ConfigError(f"{self.where}: {text}")
        return result

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, in the order in which they are begun."""
        return self.subject.runs(self.tables)

    def folder(self, out: str | Path | None = None) -> Path:
        """The folder of the results."""
        return Path(out) if out is not None else Path("runs") / f"study-{self.name}"

    def plan(self, out: str | Path | None = None, *, probes: int = 3, workers: int | None = None) -> Plan:
        """How many runs there are, what they share, and how long they will take after a few of them."""
        from plait.study.launch import plan

        return plan(self, self.folder(out), probes, workers)

    def run(
        self,
        out: str | Path | None = None,
        *,
        workers: int | None = None,
        engine: str = "local",
        retry_failed: bool = False,
        store: str | None = None,
        **options: Any,
    ) -> Results:
        """Do what is not done yet; killed at any moment, the same call goes on.

        Args:
            out: folder; default ``runs/study-NAME``.
            workers: processes; None: one per core. With several, each gets its share of the cores.
            engine: ``local`` (processes), ``ray``, or ``inline`` (this process).
            retry_failed: try failed runs again.
            store: folder of the store of embeddings; None: the user's.
            options: further fields of ``RunOptions``: command, view, race, only, share.

        Raises:
            ConfigError: the file has a mistake, or the folder holds another study.
            DiskFullError: what was finished is kept.
        """
        from plait.study.launch import RunOptions, launch

        given = {"workers": workers, "engine": engine, "retry_failed": retry_failed, "store": store, **options}
        chosen = config.build(RunOptions, given, "run")
        self.require()
        return launch(self, self.folder(out), chosen)


def __getattr__(name: str) -> Any:
    """Import what reads results when it is asked for: it takes pandas."""
    if name not in ("Predictions", "Results"):
        raise AttributeError(f"module 'plait.study' has no attribute '{name}'")
    return getattr(importlib.import_module("plait.study.results"), name)
