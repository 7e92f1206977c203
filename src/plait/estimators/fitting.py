"""What an estimator does when it is fitted, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plait.alignment import enhancement
from plait.base import config, deadline, machine
from plait.base.branch import resolve_all
from plait.base.errors import ConfigError
from plait.base.fusion import resolve
from plait.base.inputs import Inputs
from plait.base.progress import step, track
from plait.branches.mixture import patterns
from plait.data.modality import Schema
from plait.encoders import ngrams
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import Scaler
from plait.estimators import regime
from plait.estimators import target as targets
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Clock, GivenRows, Prepared
from plait.estimators.preparing import (
    as_given,
    groups_of,
    prepare,
    scaled,
    seed_of,
    takes_ngrams,
    takes_pairs,
    with_validation,
)
from plait.estimators.record import encoder_listener, following, listeners, record_of
from plait.networks import choice
from plait.networks.fusion import depth_number
from plait.networks.tasks import Task
from plait.training import settings as training_settings
from plait.training.checkpoint import Checkpoints
from plait.training.crossfit import Plan, crossfit
from plait.training.design import Design, dropouts, maker, member_count, schedule
from plait.training.member import Members
from plait.training.rows import Examples, hiding
from plait.training.settings import Training


@dataclasses.dataclass(frozen=True)
class Fitted:
    """All that fitting gives; ``inputs`` are the distinct rows as the networks saw them, ``row_index`` each given row's place."""

    schema: Schema
    features: Featurizer
    enhancers: Mapping[str, enhancement.Enhancer]
    scalers: dict[str, Scaler]
    members: Members
    record: dict[str, Any]
    inputs: Inputs
    row_index: np.ndarray
    checkpoints: Checkpoints | None = None
    pretrain_history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    leaks: Sequence[Mapping[str, Any]] = ()


def fit(
    settings: FitSettings,
    given: GivenRows,
    test: tuple[pd.DataFrame, Any] | None = None,
) -> Fitted:
    """Everything from rows to trained members; rows of one group (n,) are held out together.

    ``test``: rows and their targets, scored after every epoch where that is asked for; nothing is learned from them.
    """
    machine.device_of(settings.device)  # refused before anything is encoded
    _check_design(settings)
    training_settings.check_warmup(settings.warmup)
    if settings.engine == "ray" and settings.minutes is not None:
        raise ConfigError(
            "engine 'ray' with minutes: a budget of time is kept on one machine only; leave one of them out"
        )
    seed = seed_of(settings.random_state)
    prepared = _ready(settings, given)
    if settings.validation != "folds":
        prepared = as_given(prepared)
    prepared = dataclasses.replace(prepared, task=_task(settings, prepared, given, seed))
    if given.valid is not None:
        prepared = with_validation(settings, prepared, given.valid)
    rows = prepared.learned_from
    results, task, features, scalers = prepared.schema, prepared.task, prepared.features, prepared.scalers
    inputs, target, row_weight = prepared.inputs, prepared.target, prepared.weight
    if not takes_pairs(settings):  # rows that were prepared for another model may have some
        inputs = dataclasses.replace(inputs, pairs={})
    if not takes_ngrams(settings):
        features, inputs = features.without_ngrams(), ngrams.without(inputs)
    clock = Clock(prepared.seconds, prepared.peak_mb)
    learning = {m.name: features.encoders[m.name] for m in results.modalities if m.learns}
    members = member_count(settings.members, rows, bool(learning))
    learning |= enhancement.encoders(prepared.enhancers)
    dropout, input_dropout = dropouts(rows, settings.dropout, settings.input_dropout)
    design = Design(
        fusion=settings.fusion,
        depth=settings.depth,
        layers=settings.layers,
        width=settings.width,
        dropout=dropout,
        branches=tuple(settings.branches),
        max_weights=settings.max_weights,
        members=members,
        network=settings.network,
        pairs={name: pair.parts for name, pair in inputs.pairs.items()},
    )
    names = [m.name for m in results.modalities]
    dims = {
        name: (scalers[name].dim if name in scalers else learning[name].dim) + inputs.words.get(name, 0)
        for name in names
    }
    dims |= {name: pair.dim for name, pair in inputs.pairs.items()}
    design, make = maker(design, dims, task.out_dim, learning)
    training = schedule(
        regime.paced(settings, prepared, training_of(settings, names, input_dropout)),
        rows,
        settings.epochs,
        settings.batch_size,
    )
    step("train", settings.progress)
    with clock.stage("train"), track(members * training.epochs, "training", "epochs", settings.progress) as bar:
        row_weight = row_weight / row_weight[:rows].mean()
        seen = None
        if settings.record_epochs and test is not None:
            parts = (results, features, scalers, prepared.enhancers, inputs.pairs)
            seen = (scaled(settings, test[0], *parts), test[1])
        score, tell = listeners(settings, prepared, row_weight, seen)
        listener = encoder_listener(prepared, score, tell, given.end.training_over)
        alone = regime.stage(settings, prepared, row_weight, training, seed, listener)
        follow = following(settings, design, score, tell)
        folds = None if settings.validation == "folds" else [_parts(rows, len(inputs))] * members
        groups = None if given.groups is None or folds else groups_of(given.groups, prepared.row_index)
        examples = Examples(task, inputs, task.encode(target), row_weight)
        chosen = settings.branches != FitSettings.branches
        plan = Plan(
            names,
            training,
            members,
            seed,
            task.strata(target),
            groups,
            chosen,
            folds,
            settings.mix,
            settings.engine,
            settings.workers,
            given.end,
            settings.progress,
        )
        held = rows * min(1.0, members / 5) * len(patterns(names))
        with given.end.expecting(deadline.MIXTURE + deadline.ANSWER * held):
            result = crossfit(make, examples, plan, bar.advance, alone, follow)
        bar.advance((bar.total or 0) - bar.done)  # of few rows there are fewer members
    regime.tell(alone, clock)
    record = record_of(settings, seed, prepared, clock, result, design, training)
    record["pretrain"] = alone.record()
    record["pairs"] = list(inputs.pairs)
    record["ngrams"] = list(inputs.words)
    record["tuned"] = prepared.tuned
    if result.samples:
        record["samples"] = {what: list(rows) for what, rows in result.samples.items()}
    record["target_transform"] = getattr(task, "transform", "none")
    follow.close()
    kept = follow.checkpoints
    return Fitted(
        results,
        features,
        prepared.enhancers,
        scalers,
        result,
        record,
        inputs,
        prepared.row_index,
        kept,
        alone.history,
        prepared.leaks,
    )


def _parts(rows: int, all_rows: int) -> tuple[Tensor, Tensor]:
    """The rows to learn from, which come first, and those to choose by."""
    everything = torch.arange(all_rows)
    return everything[:rows], everything[rows:]


def _ready(settings: FitSettings, given: GivenRows) -> Prepared:
    """Rows ready for networks; an alignment learns from a seed, so its rows are never another model's."""
    if given.share is None or settings.align:
        return prepare(settings, given)
    return given.share(settings, lambda: prepare(settings, given))


def _task(settings: FitSettings, prepared: Prepared, given: GivenRows, seed: int) -> Task:
    """The task as the settings want it tuned and answered."""
    own = config.with_protocol({"protocol": settings.protocol}).get("threshold")
    several = prepared.task.name == "multilabel"
    # A protocol's threshold is for tables of several labels, whatever else it is used on.
    task = targets.with_threshold(prepared.task, settings.threshold if several or settings.threshold != own else None)
    task = targets.with_metric(task, settings.metric, settings.costs)
    rows = (prepared.target, prepared.weight.double().numpy())
    groups = None if given.groups is None else groups_of(given.groups, prepared.row_index)
    return targets.with_transform(task, settings.target_transform, prepared.inputs, rows, groups, seed)


def _check_design(settings: FitSettings) -> None:
    """Refuse a fusion or a depth that there is not before anything is encoded."""
    resolve(settings.fusion)
    for branch in resolve_all(settings.branches):
        branch.check()
    depth_number(settings.depth, settings.layers)
    choice.check_depth(settings.network, settings.depth, settings.layers)


def training_of(settings: FitSettings, names: Sequence[str], input_dropout: float) -> Training:
    """What the estimator's fields say of training; epochs and batch size are settled later."""
    return Training(
        epochs=0,
        batch_size=0,
        learning_rate=settings.learning_rate or 0.0,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        smoothing=settings.smoothing,
        input_dropout=input_dropout,
        modality_dropout=hiding(settings.modality_dropout, names),
        optimiser=settings.optimiser,
        schedule=settings.schedule,
        clip=settings.clip,
    )
