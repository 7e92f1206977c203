"""What an estimator's fields ask of its fit beside the members: records, events, a checkpoint, a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from plait.base import machine, versions
from plait.base.encoder import Encoder
from plait.base.inputs import Inputs
from plait.base.machine import device_of
from plait.branches.branches import Branches, trained_weights
from plait.data.modality import Schema
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Clock, Prepared
from plait.training.callbacks import FitCallbacks, Scorer, truth_given
from plait.training.crossfit import prior
from plait.training.design import Design
from plait.training.pretraining import EncoderListener

if TYPE_CHECKING:
    from plait.training.history import Events
    from plait.training.member import Members
    from plait.training.settings import Training


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
        names = [m.name for m in prepared.schema.modalities]
        judged = None if test is None else (test[0], truth_given(prepared.task, test[1]))
        learned = slice(prepared.learned_from)
        known = prior(prepared.task, target[learned], weight[learned])
        score = Scorer(prepared.task, prepared.inputs, target, names, known, judged)
    if settings.tensorboard is not None:
        from plait.training.history import Events

        events = Events(settings.tensorboard)
    return score, events


def encoder_listener(
    prepared: Prepared, score: Scorer | None, events: Events | None, stopped: Callable[[], bool] = lambda: False
) -> EncoderListener:
    """What the listeners hear of encoders that are trained alone, until ``stopped``."""
    return EncoderListener([m.name for m in prepared.schema.modalities], score, events, stopped)


def following(settings: FitSettings, design: Design, score: Scorer | None, tell: Events | None) -> FitCallbacks:
    """What the fields ``device`` and ``checkpoint`` ask for, beside the listeners; ``design``: of the members."""
    identity = {k: v for k, v in vars(settings).items() if k not in _BESIDE} | {"design": vars(design)}
    return FitCallbacks(device_of(settings.device), score, tell, settings.checkpoint, identity)


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
        + sum(enhancer.record.get("trained_weights", 0) for enhancer in prepared.enhancers.values())
        + sum(one["trained_weights"] for one in prepared.tuned.values()),
        "align": {name: dict(enhancer.record) for name, enhancer in prepared.enhancers.items()},
        "frozen_weights": frozen_weights(prepared.features.encoders, prepared.schema, result.members),
        "device": str(machine.device_of(settings.device)),
        "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
        "stage_peak_mb": clock.peak_mb,
        "peak_memory_mb": machine.process_mb(),
        "absent": {name: float((~there).float().mean()) for name, there in prepared.inputs.present.items()},
        "encoders": {
            name: {"name": e.name(), "licence": e.licence, "dim": e.dim, "fingerprint": e.fingerprint()}
            for name, e in prepared.features.encoders.items()
        },
        "versions": versions(),
    }
