"""What is wrong with a study, seen from its tables."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from plait.base.errors import PlaitError, PlaitWarning, nearest
from plait.encoders.featurize import Featurizer
from plait.estimators import regime
from plait.metrics.base import METRICS
from plait.networks import choice
from plait.study import conditions, splits
from plait.study.check import told_fields
from plait.study.reader import Place
from plait.study.runs import for_subset, subsets
from plait.study.spec import CLEAN
from plait.study.tables import StudyTable, load_table, redrawn

if TYPE_CHECKING:
    from plait.study.protocol import StudyFile

Problem = tuple[Place, str]


def data_problems(study: StudyFile) -> list[Problem]:
    """All mistakes that only the tables show."""
    result: list[Problem] = []
    tables: dict[int, StudyTable] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        for i, value in enumerate(study.spec.data):
            place: Place = ("data",) if len(study.spec.data) == 1 else ("data", i)
            try:
                seed = study.spec.seeds[0] if redrawn(value) else None
                tables[i] = load_table(value, study.base, seed, study.frames)
                result += _split_problems(study, i, tables[i], place)
            except (PlaitError, OSError) as error:
                result.append((place, str(error)))
    if not result:
        result += [*_labels(study, tables), *_modality_names(study, tables), *_encoders(study, tables)]
        result += [*_conditions(study, tables), *_metrics(study, tables), *_claims(study, tables)]
    return result


def _split_problems(study: StudyFile, number: int, table: StudyTable, place: Place) -> Iterator[Problem]:
    value = study.spec.data[number].split
    split = value or study.spec.split
    where = (*place, "split") if value else ("split",)
    try:
        for index in range(splits.count(table, split)):
            splits.rows_of(table, split, study.spec.seeds[0], index)
    except (PlaitError, ValueError) as error:
        yield where, str(error)


def _labels(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    labels = [table.label for table in tables.values()]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            yield ("data", i), f"data: '{label}' is named twice; give one of them a name: of its own"


def _modality_names(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    known = {name for table in tables.values() for name in table.modalities}
    kinds = {m.kind for table in tables.values() for m in table.schema.modalities}
    for field, patterns, inner in (
        ("modalities", study.spec.modalities, ("subsets",)),
        ("present", study.spec.present, ()),
    ):
        if isinstance(patterns, str):
            continue
        for i, pattern in enumerate(patterns):
            for name in pattern:
                if name not in known:
                    yield (field, *inner, i), f"{field}: unknown modality '{name}' ({nearest(name, known)})"
        for table in tables.values():
            if not subsets(patterns, table.modalities):
                yield (field,), f"{field}: none of them fits {table.label}, which has {', '.join(table.modalities)}"
    for place, name, value in told_fields(study.spec):
        keys = [name.split(".")[1]] if name.startswith("encoders.") else list(value) if name == "encoders" else []
        for key in keys:
            if key not in known | kinds:
                yield place, f"encoders: unknown modality '{key}' ({nearest(str(key), known | kinds)})"
        for key in regime.names_in(name, value):
            if key not in known | kinds:
                yield place, f"{name.partition('.')[0]}: unknown modality '{key}' ({nearest(key, known | kinds)})"


def _encoders(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    """Encoders that cannot be made: of another kind, or with options that they do not have."""
    value: set[str] = set()
    for variant in study.variants:
        for table in tables.values():
            try:
                told_there = for_subset(variant.model, table.modalities, table)
                named = told_there.get("encoders")
                fed = choice.schema_for(told_there.get("network", "fusion"), table.schema, named)
                Featurizer(regime.schema_for(told_there, fed), named)
            except PlaitError as error:
                if str(error) not in value:
                    value.add(str(error))
                    yield _encoder_place(study), f"{table.label}: {error}"


def _encoder_place(study: StudyFile) -> Place:
    for place, name, _ in told_fields(study.spec):
        if name.startswith("encoders"):
            return place
    return ("data",)


def _conditions(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    for part, listed in (("train", study.spec.train), ("test", study.spec.test)):
        for i, value in enumerate(listed):
            place: Place = ("conditions", part, i)
            reasons = [_refused(value, table) for table in tables.values()]
            if all(reasons):
                yield place, str(reasons[0])
        some = [value for value in listed if not all(_refused(value, table) for table in tables.values())]
        for table in tables.values():
            if some and all(_refused(value, table) for value in some):
                yield ("conditions", part), f"{part}: none of the conditions fits {table.label}; add {CLEAN}"
    for i, value in enumerate(study.spec.train):
        if any(_nothing_left(value, table) for table in tables.values()):
            label = conditions.label(conditions.parsed(value))
            text = f"train: '{label}' takes every modality from every row; nothing is left to learn from"
            yield ("conditions", "train", i), text


def _refused(value: Any, table: StudyTable) -> str | None:
    try:
        condition = conditions.parsed(value)
        if condition is not None:
            for part in conditions.parts(condition):
                part.targets(table.schema)
    except PlaitError as error:
        return str(error)
    return None


def _nothing_left(value: Any, table: StudyTable) -> bool:
    _, absences = conditions.divided(conditions.parsed(value))
    if not absences or _refused(value, table):
        return False
    gone = conditions.lost(absences, table.frame, table.schema, table.schema.root)
    return all(bool(rows.all()) for rows in gone.values())


def _metrics(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    their = {table.task for table in tables.values()}
    known = {name for task, name in METRICS if task in their}
    for i, name in enumerate(study.spec.metrics):
        if name not in known:
            yield ("metrics", i), f"metric '{name}' is not for {' or '.join(sorted(their))} ({nearest(name, known)})"
    for table in tables.values():
        fitting = {name for task, name in METRICS if task == table.task}
        if study.spec.metrics and not fitting & set(study.spec.metrics):
            yield ("metrics",), f"metrics: none of them is for {table.label} ({table.task}); {nearest('', fitting)}"


def _claims(study: StudyFile, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
    labels = {table.label for table in tables.values()}
    names = {name for table in tables.values() for name in table.modalities}
    variants = {variant.label for variant in study.variants}
    tested = {conditions.label(conditions.parsed(setting)) for setting in study.spec.test}
    for i, claim in enumerate(study.spec.claims):
        # A paper's data need not be ours; what is nearly the name of ours is a slip.
        slip = difflib.get_close_matches(str(claim.data), labels, n=1, cutoff=0.85) if claim.data else []
        if slip and slip[0] != claim.data:
            yield ("claims", i, "data"), f"claim on the data '{claim.data}': did you mean '{slip[0]}'?"
        for field, value, known in (("variant", claim.variant, variants), ("condition", claim.condition, tested)):
            if value is not None and value not in known:
                text = f"claim on the {field} '{value}', which the study has not ({nearest(value, known)})"
                yield ("claims", i, field), text
        for name in claim.subset or ():
            if name not in names:
                yield ("claims", i, "subset"), f"claim: unknown modality '{name}' ({nearest(name, names)})"
