"""What an estimator's fields say of encoders that learn, as the steps of a fit need it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from plait.base.errors import ConfigError
from plait.estimators.fit_settings import FitSettings
from plait.training import settings as training_settings
from plait.training.pretrained import Pretrained
from plait.training.pretraining import EncoderListener, Stage
from plait.training.rows import Examples, Hiding
from plait.training.settings import PRETRAINING_OPTIONS, Pretraining, Training, pretrained_first, with_regimes

if TYPE_CHECKING:
    from plait.data.modality import Schema
    from plait.estimators.prepared import Clock, Prepared


#: Fields of the estimator whose keys may be modalities or kinds.
FIELDS = ("train", "pretrain", "encoder_learning_rate", "thaw")


def names_in(field: str, value: object) -> list[str]:
    """The modalities and kinds that a field about regimes, dotted or not, speaks of.

    Example:
        >>> names_in("train.audio", "pretrain"), names_in("pretrain", {"epochs": 3, "text": {"epochs": 1}}), names_in("thaw", 2)
        (['audio'], ['text'], [])
    """
    root, _, rest = field.partition(".")
    if root not in FIELDS:
        return []
    options = {"pretrain": PRETRAINING_OPTIONS, "thaw": ("after", "every")}.get(root, ())
    keys = [rest.partition(".")[0]] if rest else list(value) if isinstance(value, Mapping) else []
    return [str(key) for key in keys if key not in options]


def schema_for(spec: Mapping[str, Any], schema: Schema) -> Schema:
    """The schema with the regimes of the field ``train``; all fields about regimes are checked.

    Raises:
        ConfigError: an unknown modality, word or option.
    """
    trained = with_regimes(schema, spec.get("train"))
    first = pretrained_first(trained, spec.get("pretrain"))
    names = {m.name: m.kind for m in trained.modalities}
    learning = [m.name for m in trained.modalities if m.learns]
    training_settings.rates(spec.get("encoder_learning_rate"), learning, names)
    thaws = training_settings.thaws(spec.get("thaw", 0), learning, [], names)
    both = [name for name in thaws if name in first and first[name].frozen]
    if both:
        raise ConfigError(f"thaw: '{both[0]}' stays frozen after pretraining (pretrain: frozen); take one of them away")
    return trained


def paced(settings: FitSettings, prepared: Prepared, training: Training) -> Training:
    """Training settings with warm-up, the encoders' own learning rates, and when they thaw."""
    names = {m.name: m.kind for m in prepared.schema.modalities}
    first = pretrained_first(prepared.schema, settings.pretrain)
    still = {name for name, how in first.items() if how.frozen}
    learning = [m.name for m in prepared.schema.modalities if m.learns]
    begun = [n for n in learning if n in first or isinstance(prepared.features.encoders[n], Pretrained)]
    thaws = training_settings.thaws(settings.thaw, learning, begun, names)
    return dataclasses.replace(
        training,
        warmup=training_settings.check_warmup(settings.warmup),
        encoder_rates=training_settings.rates(settings.encoder_learning_rate, learning, names),
        thaw={name: thawing for name, thawing in thaws.items() if name not in still},
    )


def stage(
    settings: FitSettings,
    prepared: Prepared,
    weight: Tensor,
    training: Training,
    seed: int,
    listener: EncoderListener,
) -> Stage:
    """What trains encoders alone before the members; it does nothing where none asks for it."""
    first = pretrained_first(prepared.schema, settings.pretrain)
    return Stage(
        first,
        prepared.features.encoders,
        Examples(prepared.task, prepared.inputs, prepared.task.encode(prepared.target), weight),
        {name: alone(how, training, settings, prepared.learned_from) for name, how in first.items()},
        seed,
        settings.opened_store,
        listener,
    )


def alone(how: Pretraining, training: Training, settings: FitSettings, rows: int) -> Training:
    """Settings of an encoder's own training: its own where told, else the model's."""
    from plait.training.design import schedule

    own = Training(
        epochs=0,
        batch_size=0,
        learning_rate=how.learning_rate or 0.0,
        weight_decay=training.weight_decay if how.weight_decay is None else how.weight_decay,
        patience=how.patience or training.patience,
        smoothing=training.smoothing,
        input_dropout=0.0,
        modality_dropout=Hiding(),
        warmup=training.warmup,
        optimiser=training.optimiser,
        schedule=training.schedule,
        clip=training.clip,
    )
    return schedule(own, rows, how.epochs, how.batch_size or settings.batch_size)


def tell(stage: Stage, clock: Clock) -> None:
    """Tell the stage's seconds and peak memory apart from those of training (whose peak begins anew after it)."""
    if stage.spec:
        clock.seconds["train"] -= stage.seconds
        clock.seconds["pretrain"], clock.peak_mb["pretrain"] = stage.seconds, stage.peak_mb
