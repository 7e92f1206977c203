"""What an estimator does when it is fitted, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait import enhancement, network_choice, precision
from plait.assembly import Design, dropouts, maker, member_count, schedule
from plait.checkpoint import Checkpoints
from plait.crossfit import Members, crossfit
from plait.errors import ConfigError
from plait.features import Featurizer
from plait.fit_record import Clock, record_of
from plait.fusion._base import resolve
from plait.hiding import hiding
from plait.inputs import Inputs
from plait.networks.fusion import depth_number
from plait.prepared import SHARING, Prepared
from plait.preparing import groups_of, prepare, scaled, seed_of
from plait.pretraining import pace, regime
from plait.progress import step, track
from plait.records.asked import following, listeners, watching
from plait.scaling import Scaler
from plait.schema import Schema
from plait.tasks import Multilabel, Task
from plait.train import Training

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator


@dataclasses.dataclass(frozen=True)
class Fitted:
    """All that fitting gives; ``inputs`` are the distinct rows as the networks saw them, ``went`` each given row's place."""

    schema: Schema
    features: Featurizer
    enhancers: Mapping[str, enhancement.Enhancer]
    scalers: dict[str, Scaler]
    members: Members
    record: dict[str, Any]
    inputs: Inputs
    went: np.ndarray
    checkpoints: Checkpoints | None = None
    pretrain_history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    leaks: Sequence[Mapping[str, Any]] = ()


def fit(
    told: FusionEstimator,
    frame: pd.DataFrame,
    target: np.ndarray,
    weight: np.ndarray,
    groups: np.ndarray | None = None,
    test: tuple[pd.DataFrame, Any] | None = None,
) -> Fitted:
    """Everything from rows to trained members; rows of one group (n,) are held out together.

    ``test``: rows and their targets, scored after every epoch where that is asked for; nothing is learned from them.
    """
    precision.device_of(told.device)  # refused before anything is encoded
    _check_design(told)
    pace.check_warmup(told.warmup)
    seed = seed_of(told.random_state)
    ready = _ready(told, frame, target, weight, groups)
    found, task, features, scalers = ready.schema, ready.task, ready.features, ready.scalers
    task = _with_threshold(task, told.threshold)
    inputs, target, row_weight = ready.inputs, ready.target, ready.weight
    clock = Clock(ready.seconds, ready.peak_mb)
    learning = {m.name: features.encoders[m.name] for m in found.modalities if m.learns}
    members = member_count(told.members, len(inputs), bool(learning))
    learning |= enhancement.encoders(ready.enhancers)
    dropout, input_dropout = dropouts(len(inputs), told.dropout, told.input_dropout)
    design = Design(
        fusion=told.fusion,
        depth=told.depth,
        layers=told.layers,
        width=told.width,
        dropout=dropout,
        branches=tuple(told.branches),
        max_weights=told.max_weights,
        members=members,
        network=told.network,
    )
    names = [m.name for m in found.modalities]
    dims = {name: (scalers[name].dim if name in scalers else learning[name].dim) for name in names}
    design, make = maker(design, dims, task.out_dim, learning)
    training = schedule(
        regime.paced(told, ready, training_of(told, names, input_dropout)), len(inputs), told.epochs, told.batch_size
    )
    step("train", told.progress)
    with clock.stage("train"), track(members * training.epochs, "training", "epochs", told.progress) as bar:
        row_weight = row_weight / row_weight.mean()
        alone = regime.stage(told, ready, row_weight, training, seed)
        seen = None
        if told.record_epochs and test is not None:
            seen = (scaled(told, test[0], found, features, scalers, ready.enhancers), test[1])
        score, tell = listeners(told, ready, row_weight, seen)
        alone.watching = watching(ready, score, tell)
        follow = following(told, design, score, tell)
        result = crossfit(
            make,
            task,
            inputs,
            task.encode(target),
            row_weight,
            task.strata(target),
            names,
            training,
            members,
            seed,
            bar.advance,
            None if groups is None else groups_of(groups, ready.went),
            alone,
            follow,
        )
        bar.advance((bar.total or 0) - bar.done)  # of few rows there are fewer members
    regime.tell(alone, clock)
    record = record_of(told, seed, ready, clock, result, design, training)
    record["pretrain"] = alone.record()
    record["tuned"] = ready.tuned
    follow.close()
    kept = follow.checkpoints
    return Fitted(
        found, features, ready.enhancers, scalers, result, record, inputs, ready.went, kept, alone.history, ready.leaks
    )


def _ready(
    told: FusionEstimator, frame: pd.DataFrame, target: np.ndarray, weight: np.ndarray, groups: np.ndarray | None
) -> Prepared:
    """Rows ready for networks; an alignment learns from a seed, so its rows are never another model's."""

    def make() -> Prepared:
        return prepare(told, frame, target, weight, groups)

    return make() if told.align else SHARING.get()(told, make)


def _with_threshold(task: Task, threshold: float | None) -> Task:
    """The task with the threshold that was given for several labels.

    Raises:
        ConfigError: the task has none.
    """
    if threshold is None:
        return task
    if not isinstance(task, Multilabel):
        raise ConfigError(f"threshold {threshold}: is for several labels; the task is {task.name}")
    return dataclasses.replace(task, thresholds=(float(threshold),) * task.out_dim)


def _check_design(told: FusionEstimator) -> None:
    """Refuse a fusion or a depth that there is not before anything is encoded."""
    resolve(told.fusion)
    depth_number(told.depth, told.layers)
    network_choice.check_depth(told.network, told.depth, told.layers)


def training_of(told: FusionEstimator, names: Sequence[str], input_dropout: float) -> Training:
    """What the estimator's fields say of training; epochs and batch size are settled later."""
    return Training(
        epochs=0,
        batch_size=0,
        learning_rate=told.learning_rate or 0.0,
        weight_decay=told.weight_decay,
        patience=told.patience,
        smoothing=told.smoothing,
        input_dropout=input_dropout,
        modality_dropout=hiding(told.modality_dropout, names),
    )
