"""Rows of a table made ready for networks: schema resolved, equal rows made one, encoded, aligned, scaled."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
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
from plait.data import leaks, rows, schema
from plait.data.labels import label_text
from plait.data.modality import Modality, Schema
from plait.data.rows import data_hash
from plait.encoders.featurize import Featurizer, check_found_again
from plait.encoders.ngrams import appended, fit_ngrams
from plait.encoders.pairs import fit_pairs, linear_target
from plait.encoders.scale import Scaler
from plait.estimators import regime
from plait.estimators import target as targets
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Clock, GivenRows, Pipeline, Prepared
from plait.estimators.regime import tune
from plait.estimators.settings import encoders_of
from plait.networks.conv_lstm import ConvLSTM
from plait.networks.tasks import Classification, Multilabel, task_class
from plait.store.record import parse_size
from plait.training import design
from plait.training.finetuning import FinetuningTarget
from plait.training.rows import hiding

#: What to do about a column that is missing when a fitted model is used.
PARTIAL = "where the modality is to count as absent, pass --partial (in Python: model.partial = True)"
#: Rows that are never too many, rows that are encoded by the clock, and rows that a sample has of a class, if there are so many.
FEW_ROWS, PILOT_ROWS, ROWS_OF_CLASS = 400, 96, 10
#: Seconds of the processor that a default fit learns for, once and for a row; share of the time for it that is planned with.
LEARNING, LEARNING_ROW, PLANNED = 4.0, 4e-3, 0.9
#: A tabular modality keeps so many features whatever ``components`` says.
TABULAR_FEATURES = 1024


def resolve_schema(
    schema_given: Mapping[str, object] | Schema | None, frame: pd.DataFrame, root: str | None, named: bool
) -> Schema:
    """The schema that was given, or the one inferred; a plain array is one tabular modality, all of it."""
    if isinstance(schema_given, Schema):
        result = schema_given
    elif schema_given is not None:
        result = schema.from_dict({"modalities": schema_given}, "modalities")
    elif named:
        result = schema.infer(frame, root=root)
    else:
        result = Schema((Modality("tabular", "tabular", tuple(frame.columns)),))
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


def prepare(settings: FitSettings, given: GivenRows) -> Prepared:
    """Equal rows made one, encoded and scaled; ``target``: places among the estimator's classes (n,), indicators or values."""
    clock = Clock()
    frame, target, weight, groups = given.frame, given.target, given.weight, given.groups
    digest = data_hash(frame)
    with clock.stage("schema"):
        result = resolve_schema(settings.modalities, frame, settings.root, given.named)
        if settings.modalities is None and given.named:
            schema.tell_unused(result, frame)
        result = regime.schema_for(vars(settings), design.schema_for(settings.network, result, settings.encoders))
        task_name = rows.infer_task(target, given.regressor) if settings.task is None else settings.task
        targets.check(task_name, settings.target_transform, settings.metric, settings.costs)
        features = Featurizer(result, encoders_of(settings, result), schema.tabular_types(result, frame))
        check_found_again(features.encoders)
        classes = tuple(given.classes)
        weight = weight * rows.class_weights(target, settings.class_weight, task_name, classes)
        counted = weight > 0
        leaking = leaks.of_target(
            frame[counted], result, readable_target(target[counted], classes, task_name), task_name
        )
        leaks.warn(leaking)
        used = list(result.columns)
        frame, target, weight, row_index = rows.merge_equal(frame[used], target, weight, features.column_types)
        kept = affordable(settings, features, frame, target, given.end)
        if kept is not None:
            weight = weight * _evening(target, weight, kept)
            frame, target, weight, row_index = rows.only(kept, frame, target, weight, row_index)
        unlearned = _without_rows(target, classes) if task_name == "classification" else ()
        task = task_class(task_name).learn(target, weight)
        if isinstance(task, Classification):
            task = dataclasses.replace(task, classes=classes, unlearned=unlearned)
        elif isinstance(task, Multilabel):
            task = dataclasses.replace(task, classes=classes)
        enhancements = enhancement.parse(settings.align, result)
        hiding(settings.modality_dropout, [m.name for m in result.modalities])  # refused before anything is encoded
    with clock.stage("encode"):
        features.fit(frame, settings.root)
    together = None if groups is None else groups_of(groups, row_index)
    with clock.stage("tune"):
        of = (task, target, weight, together)
        seed = partial(seed_of, settings.random_state)  # drawn only where something is tuned
        tuned, tokens = tune(settings, features, frame, lambda: FinetuningTarget.of(*of, seed(), given.end))
    with clock.stage("encode"):
        raw = encode(settings, features, frame, tokens, end=given.end)
    enhancers: dict[str, enhancement.Enhancer] = {}
    if enhancements:
        step("align", settings.progress)
        with clock.stage("align"):
            how = (seed(), settings.progress, given.end.training_over)
            enhancers = enhancement.fit(enhancements, raw, *how)
            raw = enhancement.apply(enhancers, raw, training=True)
            result, features, raw = enhancement.without_dropped(enhancers, result, features, raw)
    with clock.stage("scale"):
        row_weight = torch.from_numpy(weight).float()
        kinds = {m.name: m.kind for m in result.modalities}
        # Flags of a table are few and each its own: reducing them lost 3 points of accuracy on Pokemon.
        limits = dict.fromkeys(raw.tokens, settings.components)
        limits |= {n: max(TABULAR_FEATURES, settings.components) for n in raw.tokens if kinds[n] == "tabular"}
        scalers = {
            name: Scaler(limits[name], standardise=settings.scale).fit(t, row_weight) for name, t in raw.tokens.items()
        }
        inputs = dataclasses.replace(raw, tokens={name: scalers[name](t) for name, t in raw.tokens.items()})
        plain = {n: e for n, e in features.encoders.items() if kinds[n] != "tabular" and n not in enhancers}
        numbers = linear_target(target, task_name, len(classes))
        if takes(settings, "pairs"):
            inputs = dataclasses.replace(inputs, pairs=fit_pairs(plain, scalers, inputs, row_weight, numbers, together))
        if takes(settings, "ngrams"):
            given_as_is = [m for m in result.modalities if m.name in plain]
            features.ngrams, inputs = fit_ngrams(given_as_is, frame, inputs, numbers, together)
    return Prepared(
        pipeline=Pipeline(result, features, scalers, enhancers, inputs.pairs),
        task=task,
        target=target,
        inputs=inputs,
        weight=row_weight,
        row_index=row_index,
        digest=digest,
        given=len(given.frame),
        seconds=clock.seconds,
        tuned=tuned,
        peak_mb=clock.peak_mb,
        leaks=leaking,
    )


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
    return np.sort(order[np.argsort(_seen_before(target[order]), kind="stable")[:room]])


def _evening(target: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Factors (n,) by which classes weigh in the rows ``kept`` what they weigh in all; of labels and values one.

    Example:
        >>> _evening(np.array([0, 0, 0, 1]), np.ones(4), np.array([0, 3])).tolist()
        [1.5, 1.5, 1.5, 0.5]
    """
    if target.ndim == 2 or target.dtype.kind == "f":
        return np.ones(len(target))
    whole = np.bincount(target, weight)
    part = np.bincount(target[kept], weight[kept], minlength=len(whole))
    share = (whole / whole.sum()) / np.maximum(part / part.sum(), 1e-12)
    return np.asarray(share[target])


def _seen_before(target: np.ndarray) -> np.ndarray:
    """How many rows before each one have its class, or the rarest so far of its labels (n,); ``ROWS_OF_CLASS`` at most.

    Example:
        >>> _seen_before(np.array([0, 0, 1, 0])).tolist(), _seen_before(np.array([[1, 0], [1, 1], [0, 0]])).tolist()
        ([0, 1, 0, 2], [0, 0, 10])
    """
    if target.ndim == 2:
        labels = target > 0
        before = np.where(labels, np.cumsum(labels, axis=0) - labels, ROWS_OF_CLASS)
        return np.asarray(before.min(axis=1, initial=ROWS_OF_CLASS))
    if target.dtype.kind == "f":
        return np.full(len(target), ROWS_OF_CLASS)
    return np.minimum(pd.Series(target).groupby(target).cumcount().to_numpy(), ROWS_OF_CLASS)


def takes(settings: FitSettings, field: str) -> bool:
    """Whether what ``pairs`` or ``ngrams`` bring may stand beside features: the network takes vectors, and no one said no."""
    return getattr(settings, field) == "auto" and design.parse(settings.network)[0] is not ConvLSTM


def as_given(prepared: Prepared) -> Prepared:
    """Every given row by itself again, in its order: equal rows are no longer one."""
    there = prepared.row_index >= 0
    rows = prepared.row_index[there]
    times = np.bincount(rows, minlength=len(prepared.inputs))
    order = torch.from_numpy(rows)
    row_index = np.where(there, np.cumsum(there) - 1, -1)
    return dataclasses.replace(
        prepared,
        target=prepared.target[rows],
        inputs=prepared.inputs.take(order),
        weight=prepared.weight[order] / torch.from_numpy(times)[order],
        row_index=row_index,
    )


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


def groups_of(groups: np.ndarray, row_index: np.ndarray) -> np.ndarray:
    """The group of each distinct row (m,), from those of the given rows (n,) and where they went."""
    codes = pd.factorize(np.asarray(groups, dtype=object))[0]
    result = np.zeros(int(row_index.max()) + 1, dtype=np.int64)
    result[row_index[row_index >= 0]] = codes[row_index >= 0]
    return result


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
