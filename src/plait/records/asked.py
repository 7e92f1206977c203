"""What an estimator's fields ask of its fit beside the members: records, events, a checkpoint, a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from plait.assembly import Design
from plait.crossfit import prior
from plait.encoders._base import Encoder
from plait.inputs import Inputs
from plait.precision import device_of
from plait.prepared import Prepared
from plait.records.follow import Follow
from plait.records.scorer import Scorer, truth_given
from plait.schema import Schema

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator

#: Fields that change no number of a fit.
_BESIDE = ("progress", "store", "tensorboard", "checkpoint", "record_epochs", "modalities", "device")


def following(
    told: FusionEstimator, ready: Prepared, weight: Tensor, test: tuple[Inputs, Any] | None, design: Design
) -> Follow:
    """What the fields ``device``, ``record_epochs``, ``tensorboard`` and ``checkpoint`` ask for.

    Args:
        told: the estimator.
        ready: its rows.
        weight: of these, normalised.
        test: rows to be scored after every epoch, and their targets.
        design: of the members.
    """
    settings = {k: v for k, v in told.get_params(deep=False).items() if k not in _BESIDE}
    follow = Follow(device_of(told.device), checkpoint=told.checkpoint, told={**settings, "design": vars(design)})
    if told.record_epochs:
        target = ready.task.encode(ready.target)
        names = [m.name for m in ready.schema.modalities]
        judged = None if test is None else (test[0], truth_given(ready.task, test[1]))
        follow.score = Scorer(ready.task, ready.inputs, target, names, prior(ready.task, target, weight), judged)
    if told.tensorboard is not None:
        from plait.records.tensorboard import Events

        follow.tell = Events(told.tensorboard)
    return follow


def frozen_weights(encoders: Mapping[str, Encoder], schema: Schema) -> int | None:
    """Weights of the encoders that do not learn with the model, each encoder once; None where one does not say."""
    found: dict[tuple[str, str], int | None] = {}
    for modality in schema.modalities:
        encoder = encoders[modality.name]
        if not modality.learns and encoder.weights_id():
            found[encoder.name(), encoder.weights_id()] = encoder.frozen_weights
    known = [count for count in found.values() if count is not None]
    return sum(known) if len(known) == len(found) else None
