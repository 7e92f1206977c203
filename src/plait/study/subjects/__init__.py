"""What the runs of a study make and judge: classifiers and regressors, aligned spaces, trials of a search."""

from __future__ import annotations

import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.errors import PlaitError, PlaitWarning, nearest
from plait.data.modality import Schema
from plait.data.schema_yaml import Place, Problem
from plait.study.results import Results
from plait.study.runs import Run, Schedule, runs_of
from plait.study.spec import Spec, SplitSpec
from plait.study.splits import Rows
from plait.study.state import Line, State
from plait.study.tables import Latest, Setting, StudyTable, load_table, redrawn
from plait.study.variants import Variant, told_fields, variants

Tables = Mapping[tuple[int, int | None], StudyTable]
#: Tables in memory.
Frames = Mapping[str, tuple["pd.DataFrame", "Schema"]]


@dataclass(frozen=True)
class Finished:
    """What a run gives: its line of results.jsonl, arrays of predictions.npz, records of epochs.jsonl, and what went wrong."""

    line: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    trace: str = ""


class Subject(ABC):
    """One kind of thing that a study compares: how its runs are made, checked, executed, summed up and reported.

    A subject is a file of ``plait.study.subjects``; sections of the report say for which subjects they are.

    Attributes:
        whose: what the fields of ``model`` and the variants belong to, within a sentence.
        thing: what a variant is, within a sentence.
        managed: fields of it that are the study's own business, and where it has them.
        pairs: the tables need no target.
    """

    whose: ClassVar[str]
    thing: ClassVar[str]
    managed: ClassVar[Mapping[str, str]] = {
        "modalities": "data:",
        "root": "data:",
        "store": "the option --store",
        "progress": "the runner",
        "random_state": "seeds:",
    }
    pairs: ClassVar[bool] = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    # -- what the file says --------------------------------------------------------------------------------------------

    @abstractmethod
    def defaults(self) -> Mapping[str, Any]:
        """Every field that the study may set, with its own value."""

    @abstractmethod
    def field_problem(self, name: str, value: object) -> str | None:
        """What is wrong with the value of a dotted field; None if nothing is."""

    @abstractmethod
    def canonical(self, variant: Variant) -> Mapping[str, Any]:
        """All fields that matter; two variants with the same ones are the same thing."""

    @abstractmethod
    def problems(self) -> Iterator[Problem]:
        """Mistakes that are seen without the tables."""

    @abstractmethod
    def variant_problems(self, known: Sequence[Variant]) -> Iterator[Problem]:
        """Mistakes of variants whose fields are right one by one."""

    @abstractmethod
    def table_problems(self, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
        """Mistakes that only the tables show."""

    def variants(self) -> list[Variant]:
        """Everything that is compared."""
        return variants(self.spec, self.defaults())

    # -- runs ----------------------------------------------------------------------------------------------------------

    def split_of(self, data: int) -> SplitSpec:
        """How the rows of a table are split."""
        return self.spec.data[data].split or self.spec.split

    @abstractmethod
    def count(self, table: StudyTable, split: SplitSpec) -> int:
        """Splits per seed."""

    @abstractmethod
    def rows(self, table: StudyTable, split: SplitSpec, seed: int, index: int) -> Rows:
        """Positions of the rows that are learned from, and of those that are judged on."""

    def defines(self) -> Mapping[str, Any]:
        """What else makes a run another one."""
        return {}

    def runs(self, tables: Tables) -> list[Run]:
        """All runs that are known before any is done, in the order in which they are begun."""
        return runs_of(self.spec, tables, self.variants(), self.count, self.defines())

    def total(self, tables: Tables) -> int:
        """How many runs there will be."""
        return len(self.runs(tables))

    def earlier(self, tables: Tables) -> Iterable[Line]:
        """Lines of runs that are kept elsewhere, which count as done."""
        return ()

    def schedule(self, tables: Tables, state: State) -> Schedule:
        """What hands out the runs that are not done yet."""
        return Schedule(state.waiting())

    @abstractmethod
    def execute(self, table: StudyTable, run: Run, setting: Setting, groups: Latest) -> Finished:
        """Fit and judge; ``groups`` keeps what neighbouring runs share.

        Raises:
            PlaitError: it cannot be done; the run has failed.
        """

    # -- results -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def summary(self, results: Results) -> pd.DataFrame:
        """One row for everything that is compared: means over seeds and splits."""

    def shown(self, rows: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The summary as tables for a terminal, each with its title."""
        yield "", [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]

    def lacks(self) -> str:
        """What should stand beside the variants and does not, with the words that bring it; empty if nothing."""
        return ""

    @abstractmethod
    def evidence(self, results: Results, metric: str | None, resamples: int) -> Sequence[Any]:
        """What the sections of the report read; empty where no run is done."""

    def counts(self, results: Results, evidence: Sequence[Any]) -> list[tuple[str, str]]:
        """The line of figures under the headline of the report: what, how many."""
        done = results.runs[results.runs["status"] == "done"]
        return [("runs done", f"{len(done):,}"), (f"{self.thing}s", str(done["variant"].nunique()))]


def subject_of(spec: Spec) -> Subject:
    """The subject of a study."""
    made: Subject = registry.find("subjects", spec.subject)(spec)
    return made


#: A plan lists every run; this many take a few hundred megabytes.
MOST_RUNS = 100_000


def file_problems(subject: Subject) -> list[Problem]:
    """All mistakes that can be seen without the tables."""
    result = [*_datasets(subject.spec), *_settings(subject), *subject.problems()]
    return result or [*_variants(subject)]


def _datasets(spec: Spec) -> Iterator[Problem]:
    known = registry.names("datasets")
    for i, value in enumerate(spec.data):
        if value.dataset is not None and value.dataset not in known:
            place: Place = ("data", "dataset") if len(spec.data) == 1 else ("data", i, "dataset")
            yield place, f"unknown data set '{value.dataset}' ({nearest(value.dataset, known)})"


def _settings(subject: Subject) -> Iterator[Problem]:
    spec = subject.spec
    for place, name, value in told_fields(spec):
        wrong = unknown_field(name, subject.managed, subject.defaults(), subject.whose)
        wrong = wrong or subject.field_problem(name, value)
        if wrong is not None:
            yield place, wrong
    for label, fields in spec.variants.items():
        for name in fields:
            if name in spec.grid:
                yield ("variants", label, name), f"'{name}' is varied by the grid too, which would win; keep one"


def unknown_field(name: str, managed: Mapping[str, str], known: Collection[str], whose: str) -> str | None:
    """What is wrong with naming a field: it is the study's own business (``managed``), or there is none."""
    root = name.partition(".")[0]
    if root in managed:
        return f"'{root}' is told by {managed[root]}, not as a field of the {whose}"
    if root not in known:
        return f"unknown field '{name}' of the {whose} ({nearest(root, set(known) - set(managed))})"
    return None


def _variants(subject: Subject) -> Iterator[Problem]:
    spec = subject.spec
    count = max(1, len(spec.variants)) * math.prod(len(values) for values in spec.grid.values())
    runs = count * len(spec.seeds) * max(1, len(spec.data))
    if runs > MOST_RUNS:
        yield ("grid",), f"{runs:,} runs (variants, seeds and tables multiplied); a study takes up to {MOST_RUNS:,}"
        return
    result = subject.variants()
    if not result:
        yield ("exclude",), "exclude: leaves no variant; take a rule away"
    known: dict[str, str] = {}
    for variant in result:
        same = known.setdefault(json.dumps(subject.canonical(variant), sort_keys=True, default=str), variant.label)
        if same != variant.label:
            where: Place = ("variants",) if spec.variants else ("grid",)
            both = f"variants '{same}' and '{variant.label}' are the same {subject.thing}"
            yield where, f"{both}; exclude one (exclude: [{{field: value}}])"
    yield from subject.variant_problems(result)


# -- with the tables ---------------------------------------------------------------------------------------------------


def data_problems(subject: Subject, base: Path, frames: Frames) -> list[Problem]:
    """All mistakes that only the tables show."""
    spec, result = subject.spec, list[Problem]()
    tables: dict[int, StudyTable] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        for i, value in enumerate(spec.data):
            place: Place = ("data",) if len(spec.data) == 1 else ("data", i)
            try:
                seed = spec.seeds[0] if redrawn(value) else None
                tables[i] = load_table(value, base, seed, frames, pairs=subject.pairs)
            except (PlaitError, OSError, ValueError) as error:
                result.append((place, str(error)))
                continue
            try:
                for index in range(subject.count(tables[i], subject.split_of(i))):
                    subject.rows(tables[i], subject.split_of(i), spec.seeds[0], index)
            except (PlaitError, ValueError) as error:
                result.append(((*place, "split") if value.split else ("split",), str(error)))
        return result or [*_labels(tables), *subject.table_problems(tables)]


def _labels(tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    labels = [table.label for table in tables.values()]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            yield ("data", i), f"data: '{label}' is named twice; give one of them a name: of its own"
