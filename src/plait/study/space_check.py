"""What is wrong with a study of aligned spaces."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from plait.base import registry
from plait.base.errors import PlaitError, PlaitWarning, nearest
from plait.study import space as space_rows
from plait.study.reader import Place
from plait.study.space_spec import MANAGED, SpaceSpec, defaults
from plait.study.spec import CLEAN, Spec
from plait.study.tables import StudyTable, load_table, redrawn
from plait.study.variants import Variant, variants

if TYPE_CHECKING:
    from plait.study.protocol import StudyFile

Problem = tuple[Place, str]


def problems(spec: Spec, space: SpaceSpec) -> list[Problem]:
    """All mistakes that can be seen without the tables."""
    result = [*_foreign(spec), *_data(spec), *_evaluations(spec, space), *_fields(spec)]
    return result or [*_variants(spec, space)]


def _foreign(spec: Spec) -> Iterator[Problem]:
    """Fields that only a study of predictions has."""
    options: dict[str, bool] = {
        "modalities": spec.modalities != "full",
        "conditions": spec.train != (CLEAN,) or spec.test != (CLEAN,),
        "present": spec.present != "full",
        "metrics": bool(spec.metrics),
    }
    for name, there in options.items():
        if there:
            yield (name,), f"{name}: a study of a space has none; its evaluations say what is measured; leave it out"
    if spec.budget.trained_weights is not None:
        yield ("budget", "trained_weights"), "budget: trained_weights matches classifiers; a space has stage.width"
    for i, data in enumerate(spec.data):
        split = data.split or spec.split
        if split.kind not in space_rows.KINDS:
            place: Place = ("data", i, "split") if data.split else ("split",)
            known = ", ".join(space_rows.KINDS)
            yield place, f"split {split.kind}: pairs of a space are split by {known}"


def _data(spec: Spec) -> Iterator[Problem]:
    single = len(spec.data) == 1
    for i, value in enumerate(spec.data):
        if value.dataset is not None and value.dataset not in registry.names("datasets"):
            place: Place = ("data", "dataset") if single else ("data", i, "dataset")
            yield place, f"unknown data set '{value.dataset}' ({nearest(value.dataset, registry.names('datasets'))})"


def _evaluations(spec: Spec, space: SpaceSpec) -> Iterator[Problem]:
    from plait.evaluation.spaces import check_evaluation

    seen: set[str] = set()
    for i, value in enumerate(space.evaluations):
        place: Place = ("space", "evaluations", i)
        name = str(value["name"])
        try:
            check_evaluation(value)
        except PlaitError as error:
            yield place, str(error)
            continue
        if name in seen:
            yield place, f"evaluations: '{name}' is named twice; keep one"
        seen.add(name)
        if name == "retrieval" and any((data.split or spec.split).kind == space_rows.NONE for data in spec.data):
            yield place, "retrieval searches rows that are held out; take split: kfold or holdout"


def _fields(spec: Spec) -> Iterator[Problem]:
    from plait.study.check import told_fields, unknown_field

    for place, name, value in told_fields(spec):
        wrong = unknown_field(name, MANAGED, defaults(), "aligner")
        if wrong is not None:
            yield place, wrong
        elif name == "encoders" and not isinstance(value, Mapping):
            yield place, f"encoders: expected modality: encoder, found {value!r:.60}"


def _variants(spec: Spec, space: SpaceSpec) -> Iterator[Problem]:
    from plait.alignment.make import make_stage

    result = variants(spec, defaults())
    if not result:
        yield ("exclude",), "exclude: leaves no variant; take a rule away"
    known: dict[str, str] = {}
    value: set[str] = set()
    for variant in result:
        same = known.setdefault(_canonical(variant), variant.label)
        if same != variant.label:
            where: Place = ("variants",) if spec.variants else ("grid",)
            yield where, f"variants '{same}' and '{variant.label}' are the same space; exclude one"
        try:
            make_stage(variant.model.get("stage", defaults()["stage"]))
        except PlaitError as error:
            if str(error) not in value:
                value.add(str(error))
                yield _stage_place(spec, variant.label), str(error)
    labels = {variant.label for variant in result}
    if space.reference is not None and space.reference not in labels:
        yield ("space", "reference"), f"reference: no variant '{space.reference}' ({nearest(space.reference, labels)})"
    for i, claim in enumerate(spec.claims):
        if claim.variant is not None and claim.variant not in labels:
            text = f"claim on the variant '{claim.variant}', which the study has not ({nearest(claim.variant, labels)})"
            yield ("claims", i, "variant"), text


def _canonical(variant: Variant) -> str:
    model = {**defaults(), **variant.model}
    stage = model["stage"]
    model["stage"] = {"name": stage} if isinstance(stage, str) else stage
    return json.dumps(model, sort_keys=True, default=str)


def _stage_place(spec: Spec, label: str) -> Place:
    if label in spec.variants:
        return ("variants", label, "stage")
    return ("grid", "stage") if "stage" in spec.grid else ("model", "stage") if "stage" in spec.model else ("grid",)


# -- with the tables ---------------------------------------------------------------------------------------------------


def data_problems(study: StudyFile) -> list[Problem]:
    """All mistakes that only the tables show."""
    result: list[Problem] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        for i, value in enumerate(study.spec.data):
            place: Place = ("data",) if len(study.spec.data) == 1 else ("data", i)
            try:
                seed = study.spec.seeds[0] if redrawn(value) else None
                table = load_table(value, study.base, seed, study.frames, pairs=True)
                split = value.split or study.spec.split
                for index in range(space_rows.count(split)):
                    space_rows.rows_of(table, split, study.spec.seeds[0], index)
                result += [*_fit(study, table)]
            except (PlaitError, OSError, ValueError) as error:
                result.append((place, str(error)))
    return result


def _fit(study: StudyFile, table: StudyTable) -> Iterator[Problem]:
    """Modalities and encoders that cannot be aligned."""
    from plait.alignment.aligner import ModalityAligner
    from plait.alignment.cells import schema_of
    from plait.alignment.make import make_stage
    from plait.encoders.featurize import Featurizer

    value: set[str] = set()
    for variant in study.variants:
        model = ModalityAligner(modalities=table.schema, **variant.model)
        try:
            group = model.group
            if group is not None and group not in table.frame.columns:
                columns = list(map(str, table.frame.columns))
                yield ("model", "group"), f"{table.label}: no column '{group}' to group by; {nearest(group, columns)}"
                return
            schema = schema_of(table.schema, table.frame, None, group)
            make_stage(model.stage).pairs_of([m.name for m in schema.modalities])
            Featurizer(schema, model.encoders)
        except PlaitError as error:
            if str(error) not in value:
                value.add(str(error))
                yield _stage_place(study.spec, variant.label), f"{table.label}: {error}"
