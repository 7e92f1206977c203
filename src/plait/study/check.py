"""What is wrong with a study although every field is of the right form: what its subject says, and what holds for all."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Iterator, Mapping

from plait.base import registry
from plait.base.errors import PlaitError, PlaitWarning, nearest
from plait.study.reader import Place, Problem
from plait.study.spec import Spec
from plait.study.subject import StudyFile, Subject
from plait.study.tables import StudyTable, load_table, redrawn
from plait.study.variants import told_fields

#: A plan lists every run; this many take a few hundred megabytes.
MOST_RUNS = 100_000


def problems(subject: Subject) -> list[Problem]:
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


def data_problems(study: StudyFile) -> list[Problem]:
    """All mistakes that only the tables show."""
    subject, result = study.subject, list[Problem]()
    tables: dict[int, StudyTable] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        for i, value in enumerate(study.spec.data):
            place: Place = ("data",) if len(study.spec.data) == 1 else ("data", i)
            try:
                seed = study.spec.seeds[0] if redrawn(value) else None
                tables[i] = load_table(value, study.base, seed, study.frames, pairs=subject.pairs)
            except (PlaitError, OSError, ValueError) as error:
                result.append((place, str(error)))
                continue
            try:
                for index in range(subject.count(tables[i], subject.split_of(i))):
                    subject.rows(tables[i], subject.split_of(i), study.spec.seeds[0], index)
            except (PlaitError, ValueError) as error:
                result.append(((*place, "split") if value.split else ("split",), str(error)))
        return result or [*_labels(tables), *subject.table_problems(study, tables)]


def _labels(tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    labels = [table.label for table in tables.values()]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            yield ("data", i), f"data: '{label}' is named twice; give one of them a name: of its own"
