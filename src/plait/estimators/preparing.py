"""Rows of a table made ready for networks: schema resolved, equal rows made one, encoded, aligned, scaled."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.alignment import enhancement
from plait.base.deadline import Deadline
from plait.base.encoder import Encoder
from plait.base.errors import TableError, warn
from plait.base.inputs import Inputs, followed_by
from plait.base.mapped import Limits
from plait.base.progress import step
from plait.base.tokens import Tokens
from plait.data import equal_rows, leaks, rows, schema
from plait.data.dropped import Columns, left_out
from plait.data.labels import label_text
from plait.data.modality import Modality, Schema
from plait.data.rows import data_hash
from plait.encoders.featurize import Featurizer, check_found_again
from plait.encoders.ngrams import appended, fit_ngrams
from plait.encoders.pairs import fit_pairs, linear_target
from plait.encoders.scale import Scaler
from plait.estimators import objective, regime
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Clock, GivenRows, Pipeline, Prepared, groups_of
from plait.estimators.regime import tune
from plait.estimators.settings import encoders_of
from plait.networks.conv_lstm import ConvLSTM
from plait.networks.tasks import Classification, Multilabel, Task, task_class
from plait.store.record import parse_size
from plait.training import design
from plait.training.finetuning import FinetuningTarget
from plait.training.rows import hiding

#: What to do about a column that is missing when a fitted model is used.
PARTIAL = "where the modality is to count as absent, pass --partial (in Python: model.partial = True)"
#: Rows that are never too many, and rows that are encoded by the clock.
FEW_ROWS, PILOT_ROWS = 400, 96
#: Seconds of the processor that a default fit learns for, once and for a row; share of the time for it that is planned with.
LEARNING, LEARNING_ROW, PLANNED = 4.0, 4e-3, 0.9
#: A tabular modality keeps so many features whatever ``components`` says.
TABULAR_FEATURES = 1024


def resolve_schema(
    schema_given: Mapping[str, object] | Schema | None,
    frame: pd.DataFrame,
    root: str | None,
    named: bool,
    drop: Columns | None = None,
) -> Schema:
    """The schema that was given, or the one inferred, without ``drop``; a plain array is one tabular modality, all of it."""
    if isinstance(schema_given, Schema):
        result = schema_given
    elif schema_given is not None:
        result = schema.from_dict({"modalities": schema_given}, "modalities")
    elif named:
        result = schema.infer(frame, root=root, drop=drop)
    else:
        result = Schema((Modality("tabular", "tabular", tuple(frame.columns)),))
    result = left_out(result, drop, frame.columns)
    schema.check_columns(result)
    schema.validate(result, frame)
    return result


def scaled(settings: FitSettings, frame: pd.DataFrame, pipeline: Pipeline) -> Inputs:
    """Rows as the networks take them: validated, encoded, aligned, scaled; with what compares modalities."""
    frame = validated(settings, frame, pipeline.schema)
    raw = enhancement.apply(pipeline.enhancers, encode(settings, pipeline.features, frame, whole=False))
    tokens = {name: pipeline.scalers[name](t) for name, t in raw.tokens.items()}
    inputs = dataclasses.replace(raw, tokens=tokens, pairs=pipeline.pairs)
    return appended(pipeline.features.ngrams, pipeline.schema.modalities, frame, inputs)


def validated(settings: FitSettings, frame: pd.DataFrame, table_schema: Schema) -> pd.DataFrame:
    """The rows, which have every column of the schema; with ``partial`` those that are missing are added, empty."""
    frame = with_missing_columns(table_schema, frame) if settings.partial else frame
    schema.validate(table_schema, frame, advice=PARTIAL)
    return frame


def with_missing_columns(table_schema: Schema, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with every missing column of the schema added, empty; said of modalities that lack only some of theirs."""
    gone = [c for c in table_schema.columns if c not in frame.columns]
    for m in table_schema.modalities:
        lacks = [c for c in m.columns if c in gone]
        if lacks and len(lacks) < len(m.columns):
            many = len(lacks) > 1
            said = "columns {} are missing and count as empty" if many else "column {} is missing and counts as empty"
            warn(f"modality '{m.name}': {said.format(', '.join(map(repr, lacks)))}")
    return frame.assign(**dict.fromkeys(gone, None)) if gone else frame


def encode(
    settings: FitSettings,
    features: Featurizer,
    frame: pd.DataFrame,
    prepared: Mapping[str, Tokens] | None = None,
    *,
    whole: bool = True,
    end: Deadline | None = None,
) -> Inputs:
    """Rows encoded through the store, if any encoder keeps its output there; ``prepared`` tokens are taken as they are.

    ``whole``: these are all rows of a table, so that some of a column's files must be there; ``end``: of the fit that they
    are encoded for.
    """
    stored = any(m.kind not in ("tabular",) and features.encoders[m.name].stored for m in features.schema.modalities)
    limits = Limits(parse_size(settings.feature_memory), end or Deadline())
    how: dict[str, Any] = {"strict": settings.strict, "progress": settings.progress, "limits": limits}
    with (settings.opened_store() if stored else None) or nullcontext() as store:
        return features.transform(frame, settings.root, store, ready=prepared, whole=whole, **how)


@dataclasses.dataclass(frozen=True)
class Distinct:
    """The rows that are learned from, equal ones made one, before any is encoded.

    Attributes:
        weight: (n,), that of their class included.
        times: (n,) how often each stands by itself where branches are cross-fitted (``equal_rows.repeats``).
        row_index: where each given row is among them (-1: nowhere).
        groups: of the rows, or None.
    """

    frame: pd.DataFrame
    target: np.ndarray
    weight: np.ndarray
    times: np.ndarray
    row_index: np.ndarray
    task: Task
    groups: np.ndarray | None


def prepare(settings: FitSettings, given: GivenRows) -> Prepared:
    """Rows made ready: described, equal ones made one, encoded, aligned, scaled, and words and pairs put beside them."""
    clock, digest = Clock(), data_hash(given.frame)
    seed = partial(seed_of, settings.random_state)  # drawn only where something is tuned or aligned
    with clock.stage("schema"):
        features, task_name = described(settings, given)
        by_class = rows.class_weights(given.target, settings.class_weight, task_name, tuple(given.classes))
        leaking = _leaks(given, given.weight * by_class > 0, features.schema, task_name)
        learned = distinct(settings, given, features, by_class, task_name)
        enhancements = enhancement.parse(settings.align, features.schema)
        names = [m.name for m in features.schema.modalities]
        hiding(settings.modality_dropout, names)  # refused before anything is encoded
    raw, tuned = _encoded(settings, features, learned, seed, clock, given.end)
    enhancers: dict[str, enhancement.Enhancer] = {}
    if enhancements:
        step("align", settings.progress)
        with clock.stage("align"):
            enhancers = enhancement.fit(enhancements, raw, seed(), settings.progress, given.end.training_over)
            raw = enhancement.apply(enhancers, raw, training=True)
            features, raw = enhancement.without_dropped(enhancers, features, raw)
    with clock.stage("scale"):
        pipeline = Pipeline(features.schema, features, scalers_of(settings, features.schema, raw), enhancers)
        pipeline, inputs = _with_words_and_pairs(settings, pipeline, raw, learned)
    return Prepared(
        pipeline=pipeline,
        task=learned.task,
        target=learned.target,
        inputs=inputs,
        weight=torch.from_numpy(learned.weight).float(),
        row_index=learned.row_index,
        times=learned.times,
        digest=digest,
        given=len(given.frame),
        seconds=clock.seconds,
        tuned=tuned,
        peak_mb=clock.peak_mb,
        leaks=leaking,
    )


def _encoded(
    settings: FitSettings,
    features: Featurizer,
    learned: Distinct,
    seed: Callable[[], int],
    clock: Clock,
    end: Deadline,
) -> tuple[Inputs, dict[str, Any]]:
    """The rows encoded, by encoders that are tuned on them first where that is asked for; and what tuning cost."""
    with clock.stage("encode"):
        features.fit(learned.frame, settings.root)
    with clock.stage("tune"):
        of = (learned.task, learned.target, learned.weight, learned.groups)
        tuned, tokens = tune(settings, features, learned.frame, lambda: FinetuningTarget.of(*of, seed(), end))
    with clock.stage("encode"):
        return encode(settings, features, learned.frame, tokens, end=end), tuned


def described(settings: FitSettings, given: GivenRows) -> tuple[Featurizer, str]:
    """The schema with an encoder for each modality, nothing fitted yet, and the task; what no fit can take is refused."""
    result = resolve_schema(settings.modalities, given.frame, settings.root, given.named, settings.drop)
    if settings.modalities is None and given.named:
        schema.tell_unused(result, given.frame)
    result = regime.schema_for(vars(settings), design.schema_for(settings.network, result, settings.encoders))
    task_name = rows.infer_task(given.target, given.regressor) if settings.task is None else settings.task
    if settings.task is None and any("|" in str(label) for label in given.classes) and task_name == "classification":
        schema.warn_of_lists(readable_target(given.target, tuple(given.classes), task_name))
    objective.check(task_name, settings.target_transform, settings.metric, settings.costs)
    features = Featurizer(result, encoders_of(settings, result), schema.tabular_types(result, given.frame))
    check_found_again(features.encoders)
    return features, task_name


def _leaks(given: GivenRows, counted: np.ndarray, table_schema: Schema, task: str) -> list[leaks.Leak]:
    """What looks like the target in disguise, warned of; ``counted``: rows of some weight (n,) bool."""
    target = readable_target(given.target[counted], tuple(given.classes), task)
    result = leaks.of_target(given.frame[counted], table_schema, target, task)
    leaks.warn(result)
    return result


def distinct(
    settings: FitSettings, given: GivenRows, features: Featurizer, by_class: np.ndarray, task_name: str
) -> Distinct:
    """Equal rows made one, and of these as many as a budget of time allows; ``by_class``: weights of the given rows (n,)."""
    classes, used = tuple(given.classes), list(features.schema.columns)
    merged = equal_rows.merge_equal(given.frame[used], given.target, given.weight * by_class, features.column_types)
    frame, target, weight, row_index = merged
    kept = affordable(settings, features, frame, target, given.end)
    if kept is not None:
        weight = weight * rows.evening(target, weight, kept)
        frame, target, weight, row_index = rows.only(kept, frame, target, weight, row_index)
    unlearned = _without_rows(target, classes) if task_name == "classification" else ()
    task = task_class(task_name).learn(target, weight)
    if isinstance(task, Classification):
        task = dataclasses.replace(task, classes=classes, unlearned=unlearned)
    elif isinstance(task, Multilabel):
        task = dataclasses.replace(task, classes=classes)
    together = None if given.groups is None else groups_of(given.groups, row_index)
    there = row_index >= 0
    counts = np.bincount(row_index[there], given.weight[there], minlength=len(frame))
    times = (
        np.ones(len(frame), np.int64)
        if together is not None
        else equal_rows.repeats(frame, counts, features.column_types)
    )
    return Distinct(frame, target, weight, times, row_index, task, together)


def scalers_of(settings: FitSettings, table_schema: Schema, raw: Inputs) -> dict[str, Scaler]:
    """What scales and reduces the features of each modality, fitted on the rows that are learned from."""
    # Flags of a table are few and each its own: reducing them lost 3 points of accuracy on Pokemon.
    tables = {m.name for m in table_schema.modalities if m.kind == "tabular"}
    most = {n: max(TABULAR_FEATURES, settings.components) if n in tables else settings.components for n in raw.tokens}
    return {n: Scaler(most[n], standardise=settings.scale).fit(t) for n, t in raw.tokens.items()}


def _with_words_and_pairs(
    settings: FitSettings, pipeline: Pipeline, raw: Inputs, learned: Distinct
) -> tuple[Pipeline, Inputs]:
    """The rows scaled, with what compares two modalities and words of texts beside them, where a linear fit gains by it."""
    inputs = dataclasses.replace(raw, tokens={n: pipeline.scalers[n](t) for n, t in raw.tokens.items()})
    plain = [m for m in pipeline.schema.modalities if m.kind != "tabular" and m.name not in pipeline.enhancers]
    numbers = linear_target(learned.target, learned.task.name, learned.task.out_dim)
    if takes(settings, "pairs"):
        encoders = {m.name: pipeline.features.encoders[m.name] for m in plain}
        pairs = fit_pairs(encoders, pipeline.scalers, inputs, numbers, learned.groups)
        inputs, pipeline = dataclasses.replace(inputs, pairs=pairs), dataclasses.replace(pipeline, pairs=pairs)
    if takes(settings, "ngrams"):
        pipeline.features.ngrams, inputs = fit_ngrams(plain, learned.frame, inputs, numbers, learned.groups)
    return pipeline, inputs


def affordable(
    settings: FitSettings, features: Featurizer, frame: pd.DataFrame, target: np.ndarray, end: Deadline
) -> np.ndarray | None:
    """Places of the rows, drawn by the seed, that a budget of time leaves room to encode; None: all of them.

    A few rows are encoded by the clock: what the store has already costs nothing. Every class and label keeps some of its rows.
    """
    frozen = tuple(m for m in features.schema.modalities if m.kind not in ("tabular", "vector") and not m.learns)
    frozen = tuple(m for m in frozen if type(features.encoders[m.name]).fit is Encoder.fit)
    if end.minutes is None or not frozen or len(frame) <= FEW_ROWS:
        return None
    order = np.random.default_rng(seed_of(settings.random_state)).permutation(len(frame))
    some = copy.copy(features)
    some.schema = dataclasses.replace(features.schema, modalities=frozen)
    for part in (order[:8], order[8 : 8 + PILOT_ROWS]):  # the first ones load the weights
        begun = end.spent
        encode(settings, some, frame.iloc[part], whole=False, end=end)
        end.encoding = (end.spent - begun) / len(part)
    time = PLANNED * (end.for_training() - end.lasting(LEARNING))
    room = max(FEW_ROWS, int(time / (end.encoding + end.lasting(LEARNING_ROW))))
    if room >= len(frame):
        return None
    end.left_out.append(f"{len(frame) - room:,} of {len(frame):,} rows to learn from")
    return np.sort(order[np.argsort(rows.seen_before(target[order]), kind="stable")[:room]])


def takes(settings: FitSettings, field: str) -> bool:
    """Whether what ``pairs`` or ``ngrams`` bring may stand beside features: the network takes vectors, and no one said no."""
    return getattr(settings, field) == "auto" and design.parse(settings.network)[0] is not ConvLSTM


def with_validation(settings: FitSettings, prepared: Prepared, valid: tuple[pd.DataFrame, Any]) -> Prepared:
    """The training rows followed by the rows that only choose; these are encoded by what was learned from the others."""
    frame, target = valid
    known = target.min(axis=1) >= 0 if target.ndim == 2 else target >= 0
    if isinstance(prepared.task, Classification) and not known.all():
        text = f"{int((~known).sum())} of {len(known)} validation rows hold a class that no training row has; they choose nothing"
        warn(text)
        frame, target = frame[known], target[known]
    if not len(frame):
        raise TableError("valid: no row is left to choose by")
    inputs = scaled(settings, frame, prepared.pipeline)
    return dataclasses.replace(
        prepared,
        inputs=followed_by(prepared.inputs, inputs),
        target=np.concatenate([prepared.target, target]),
        weight=torch.cat([prepared.weight, torch.full((len(frame),), float(prepared.weight.mean()))]),
        chosen_by=len(frame),
    )


def readable_target(target: np.ndarray, classes: tuple[object, ...], task: str) -> Any:
    """A target in words: labels, lists of labels, or numbers."""
    names = [label_text(label) for label in classes]
    if task == "classification":
        return [names[code] for code in target]
    return [[n for n, on in zip(names, row, strict=True) if on] for row in target] if task == "multilabel" else target


def _without_rows(codes: np.ndarray, classes: tuple[object, ...]) -> tuple[int, ...]:
    """Places of the classes that no row has: they stay classes, as in scikit-learn, of probability 0."""
    present = np.unique(codes)
    kept = tuple(classes[c] for c in present)
    if len(kept) == 1:
        raise TableError(
            f"the target holds one class only ({label_text(kept[0])!r}){'' if len(classes) < 2 else ' with a weight above 0'}; "
            "at least two are needed"
        )
    gone = [label_text(label) for place, label in enumerate(classes) if place not in present]
    if gone:
        warn(
            f"{len(gone)} of {len(classes)} classes have no row of a weight above 0 and are not learned: "
            f"{', '.join(gone[:5])}{', ...' if len(gone) > 5 else ''}"
        )
    return tuple(np.setdiff1d(np.arange(len(classes)), present).tolist())


def seed_of(random_state: Any) -> int:
    """One number from what scikit-learn takes for a ``random_state``."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return int(random_state)
