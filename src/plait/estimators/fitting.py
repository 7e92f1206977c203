"""What an estimator does when it is fitted, step by step, and what is recorded of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from plait.base import config, deadline, machine, versions
from plait.base.branch import resolve_all, suited
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.base.fusion import resolve
from plait.base.inputs import Inputs
from plait.base.progress import step, track
from plait.branches.branches import Branches, trained_weights
from plait.branches.mixing import prior
from plait.branches.mixture import patterns
from plait.data.modality import Schema
from plait.encoders import ngrams
from plait.estimators import objective, regime
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Clock, GivenRows, Pipeline, Prepared, as_given, as_repeated, groups_of
from plait.estimators.preparing import prepare, scaled, seed_of, takes, with_validation
from plait.networks.base import depth_number
from plait.networks.tasks import Task
from plait.training import design as choice
from plait.training.callbacks import FitCallbacks, Scorer, truth_given
from plait.training.checkpoint import Checkpoints
from plait.training.crossfit import Plan, crossfit
from plait.training.design import Design, dropouts, maker, member_count, schedule
from plait.training.member import Members
from plait.training.pretraining import EncoderListener
from plait.training.rows import Examples, hiding
from plait.training.settings import Training

if TYPE_CHECKING:
    from plait.training.history import Events


#: Fields that change no number of a fit.
_BESIDE = (
    "progress",
    "store",
    "feature_memory",
    "tensorboard",
    "checkpoint",
    "minutes",
    "record_epochs",
    "modalities",
    "device",
    "remote",
    "track",
    "engine",
    "workers",
)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """All that fitting gives; ``prepared``: the distinct rows as the networks saw them, and what made them so."""

    prepared: Prepared
    members: Members
    record: dict[str, Any]
    checkpoints: Checkpoints | None
    pretrain_history: list[dict[str, Any]]


def fit(settings: FitSettings, given: GivenRows, test: tuple[pd.DataFrame, Any] | None = None) -> Fitted:
    """Everything from rows to trained members; rows of one group (n,) are held out together.

    ``test``: rows and their targets, scored after every epoch where that is asked for; nothing is learned from them.
    """
    _check(settings)
    seed = seed_of(settings.random_state)
    prepared = _ready(settings, given, seed)
    pipeline, inputs, task, rows = prepared.pipeline, prepared.inputs, prepared.task, prepared.learned_from
    clock = Clock(prepared.seconds, prepared.peak_mb)
    members = member_count(settings.members, rows, any(m.learns for m in pipeline.schema.modalities))
    dropout, input_dropout = dropouts(rows, settings.dropout, settings.input_dropout)
    design = design_of(settings, pipeline, members, dropout)
    features, learning = sum(pipeline.dims.values()), bool(pipeline.learning)
    design = dataclasses.replace(design, branches=suited(design.branches, rows, features, task.out_dim, learning))
    design, make = maker(design, pipeline.dims, task.out_dim, pipeline.learning)
    training = regime.paced(settings, prepared, training_of(settings, pipeline.names, input_dropout))
    training = schedule(training, rows, settings.epochs, settings.batch_size)
    step("train", settings.progress)
    with clock.stage("train"), track(members * training.epochs, "training", "epochs", settings.progress) as bar:
        weight = prepared.weight / prepared.weight[:rows].mean()
        scored = settings.record_epochs and test is not None
        seen = (scaled(settings, test[0], pipeline), test[1]) if scored and test is not None else None
        score, events = listeners(settings, prepared, weight, seen)
        listener = EncoderListener(pipeline.names, score, events, given.end.training_over)
        alone = regime.stage(settings, prepared, weight, training, seed, listener)
        identity = {k: v for k, v in vars(settings).items() if k not in _BESIDE} | {"design": vars(design)}
        follow = FitCallbacks(machine.device_of(settings.device), score, events, settings.checkpoint, identity)
        plan = _plan(settings, given, prepared, training, members, seed)
        examples = Examples(task, inputs, task.encode(prepared.target), weight)
        held = rows * min(1.0, members / 5) * len(patterns(pipeline.names))
        with given.end.expecting(deadline.MIXTURE + deadline.ANSWER * held):
            result = crossfit(make, examples, plan, bar.advance, alone, follow)
        bar.advance((bar.total or 0) - bar.done)  # of few rows there are fewer members
    regime.tell(alone, clock)
    record = record_of(settings, seed, prepared, clock, result, design, training)
    record["pretrain"] = alone.record()
    follow.close()
    return Fitted(prepared, result, record, follow.checkpoints, alone.history)


def _plan(
    settings: FitSettings, given: GivenRows, prepared: Prepared, training: Training, members: int, seed: int
) -> Plan:
    """How the members are cross-fitted, or learn from all rows but those that choose."""
    everything, rows = torch.arange(len(prepared.inputs)), prepared.learned_from  # those to learn from come first
    folds = None if settings.validation == "folds" else [(everything[:rows], everything[rows:])] * members
    return Plan(
        names=prepared.pipeline.names,
        training=training,
        members=members,
        seed=seed,
        strata=prepared.task.strata(prepared.target),
        groups=None if given.groups is None or folds else groups_of(given.groups, prepared.row_index),
        warns=settings.branches != FitSettings.branches,
        folds=folds,
        mix=settings.mix,
        engine=settings.engine,
        workers=settings.workers,
        end=given.end,
        progress=settings.progress,
    )


def _check(settings: FitSettings) -> None:
    """Refuse a device, a fusion or a depth that there is not before anything is encoded."""
    machine.device_of(settings.device)
    resolve(settings.fusion)
    for branch in resolve_all(settings.branches):
        branch.check()
    depth_number(settings.depth, settings.layers)
    choice.check_depth(settings.network, settings.depth, settings.layers)
    if settings.engine == "ray" and settings.minutes is not None:
        raise ConfigError(
            "engine 'ray' with minutes: a budget of time is kept on one machine only; leave one of them out"
        )


def _ready(settings: FitSettings, given: GivenRows, seed: int) -> Prepared:
    """Rows ready for networks; an alignment learns from a seed, so its rows are never another model's."""
    shared = None if settings.align else given.share
    prepared = prepare(settings, given) if shared is None else shared(settings, lambda: prepare(settings, given))
    prepared = as_repeated(prepared) if settings.validation == "folds" else as_given(prepared)
    prepared = dataclasses.replace(prepared, task=_task(settings, prepared, given, seed))
    if given.valid is not None:
        prepared = with_validation(settings, prepared, given.valid)
    pipeline, inputs = prepared.pipeline, prepared.inputs
    if not takes(settings, "pairs"):  # rows that were prepared for another model may have some
        pipeline, inputs = dataclasses.replace(pipeline, pairs={}), dataclasses.replace(inputs, pairs={})
    if not takes(settings, "ngrams"):
        pipeline = dataclasses.replace(pipeline, features=pipeline.features.without_ngrams())
        inputs = ngrams.without(inputs)
    return dataclasses.replace(prepared, pipeline=pipeline, inputs=inputs)


def _task(settings: FitSettings, prepared: Prepared, given: GivenRows, seed: int) -> Task:
    """The task as the settings want it tuned and answered."""
    own = config.with_protocol({"protocol": settings.protocol}).get("threshold")
    several = prepared.task.name == "multilabel"
    # A protocol's threshold is for tables of several labels, whatever else it is used on.
    task = objective.with_threshold(prepared.task, settings.threshold if several or settings.threshold != own else None)
    task = objective.with_metric(task, settings.metric, settings.costs)
    rows = (prepared.target, prepared.weight.double().numpy())
    groups = None if given.groups is None else groups_of(given.groups, prepared.row_index)
    return objective.with_transform(task, settings.target_transform, prepared.inputs, rows, groups, seed)


def design_of(settings: Any, pipeline: Pipeline, members: int, dropout: float) -> Design:
    """What the fields of an estimator say of its networks."""
    return Design(
        fusion=settings.fusion,
        depth=settings.depth,
        layers=settings.layers,
        width=settings.width,
        dropout=dropout,
        branches=tuple(settings.branches),
        max_weights=settings.max_weights,
        members=members,
        network=settings.network,
        pairs={name: pair.parts for name, pair in pipeline.pairs.items()},
    )


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


def listeners(
    settings: FitSettings, prepared: Prepared, weight: Tensor, test: tuple[Inputs, object] | None
) -> tuple[Scorer | None, Events | None]:
    """What the fields ``record_epochs`` and ``tensorboard`` ask for.

    Args:
        settings: the estimator.
        prepared: its rows.
        weight: of these, normalised.
        test: rows to be scored after every epoch, and their targets.
    """
    score = events = None
    if settings.record_epochs:
        target = prepared.task.encode(prepared.target)
        judged = None if test is None else (test[0], truth_given(prepared.task, test[1]))
        learned = slice(prepared.learned_from)
        known = prior(prepared.task, target[learned], weight[learned])
        score = Scorer(prepared.task, prepared.inputs, target, prepared.pipeline.names, known, judged)
    if settings.tensorboard is not None:
        from plait.training.history import Events

        events = Events(settings.tensorboard)
    return score, events


def frozen_weights(encoders: Mapping[str, Encoder], schema: Schema, members: Sequence[Branches] = ()) -> int | None:
    """Weights of the encoders that do not learn with the model, each encoder once; None where one does not say.

    Those that stay frozen after they were pretrained count for each of the ``members``, which have one each.
    """
    result: dict[tuple[str, str], int | None] = {}
    for modality in schema.modalities:
        encoder = encoders[modality.name]
        if not modality.learns and encoder.weights_id():
            result[encoder.name(), encoder.weights_id()] = encoder.frozen_weights
    known = [count for count in result.values() if count is not None]
    resolved = [member.encoders[name] for member in members for name in member.resolved]
    own = sum(p.numel() for encoder in resolved for p in encoder.parameters())
    return sum(known) + own if len(known) == len(result) else None


def record_of(
    settings: FitSettings,
    seed: int,
    prepared: Prepared,
    clock: Clock,
    result: Members,
    design: Design,
    training: Training,
) -> dict[str, Any]:
    """What must be known to repeat the fit, and what it cost."""
    encoders, enhancers = prepared.pipeline.features.encoders, prepared.pipeline.enhancers
    return {
        "seed": seed,
        "data_hash": prepared.digest,
        "rows": prepared.given,
        "distinct_rows": prepared.learned_from,
        "validation_rows": prepared.chosen_by,
        "width": design.width,
        "members": len(result.members),
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "dropout": design.dropout,
        "input_dropout": training.input_dropout,
        "branches": result.leaderboard,
        "alone": dict(result.alone),
        "built": list(design.branches),  # what a later version's ``quality`` stands for may differ
        "trained_weights": sum(record.get("weights", 0) for record in result.leaderboard if record["kept"])
        + sum(trained_weights(m.encoders) for m in result.members)
        + sum(enhancer.record.get("trained_weights", 0) for enhancer in enhancers.values())
        + sum(one["trained_weights"] for one in prepared.tuned.values()),
        "align": {name: dict(enhancer.record) for name, enhancer in enhancers.items()},
        "pairs": list(prepared.inputs.pairs),
        "ngrams": list(prepared.inputs.words),
        "tuned": prepared.tuned,
        **({"samples": {what: list(rows) for what, rows in result.samples.items()}} if result.samples else {}),
        "target_transform": getattr(prepared.task, "transform", "none"),
        "frozen_weights": frozen_weights(encoders, prepared.pipeline.schema, result.members),
        "device": str(machine.device_of(settings.device)),
        "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
        "stage_peak_mb": clock.peak_mb,
        "peak_memory_mb": machine.process_mb(),
        "absent": {name: float((~there).float().mean()) for name, there in prepared.inputs.present.items()},
        "encoders": {
            name: {"name": e.name(), "licence": e.licence, "dim": e.dim, "fingerprint": e.fingerprint()}
            for name, e in encoders.items()
        },
        "versions": versions(),
    }
