"""How encoders come by their weights within a fit: from scratch, pretrained alone before, or tuned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from plait.base.errors import ConfigError, need
from plait.base.machine import give_back
from plait.base.mapped import Limits
from plait.base.tokens import Tokens
from plait.data.cells import cells
from plait.data.modality import Schema
from plait.data.row_numbers import row_numbers
from plait.encoders.embed import Column
from plait.encoders.featurize import Featurizer
from plait.estimators.fit_settings import FitSettings
from plait.training import settings as training_settings
from plait.training.design import schedule
from plait.training.finetuning import FinetuningTarget, Single
from plait.training.pretrained import Pretrained
from plait.training.pretraining import EncoderListener, Stage
from plait.training.rows import Examples, Hiding
from plait.training.settings import (
    PRETRAINING_OPTIONS,
    Pretraining,
    Training,
    Tuning,
    per_modality,
    with_regimes,
)

if TYPE_CHECKING:
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
    first = per_modality(Pretraining, trained, spec.get("pretrain"))
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
    names = {m.name: m.kind for m in prepared.pipeline.schema.modalities}
    first = per_modality(Pretraining, prepared.pipeline.schema, settings.pretrain)
    still = {name for name, how in first.items() if how.frozen}
    learning = [m.name for m in prepared.pipeline.schema.modalities if m.learns]
    begun = [n for n in learning if n in first or isinstance(prepared.pipeline.features.encoders[n], Pretrained)]
    thaws = training_settings.thaws(settings.thaw, learning, begun, names)
    return dataclasses.replace(
        training,
        warmup=settings.warmup,
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
    first = per_modality(Pretraining, prepared.pipeline.schema, settings.pretrain)
    return Stage(
        first,
        prepared.pipeline.features.encoders,
        Examples(prepared.task, prepared.inputs, prepared.task.encode(prepared.target), weight),
        {name: alone(how, training, settings, prepared.learned_from) for name, how in first.items()},
        seed,
        settings.opened_store,
        listener,
    )


def alone(how: Pretraining, training: Training, settings: FitSettings, rows: int) -> Training:
    """Settings of an encoder's own training: its own where told, else the model's."""
    own = dataclasses.replace(
        training,
        learning_rate=how.learning_rate or 0.0,
        weight_decay=training.weight_decay if how.weight_decay is None else how.weight_decay,
        patience=how.patience or training.patience,
        input_dropout=0.0,
        modality_dropout=Hiding(),
        encoder_rates={},
        thaw={},
    )
    return schedule(own, rows, how.epochs, how.batch_size or settings.batch_size)


def tell(stage: Stage, clock: Clock) -> None:
    """Tell the stage's seconds and peak memory apart from those of training (whose peak begins anew after it)."""
    if stage.spec:
        clock.seconds["train"] -= stage.seconds
        clock.seconds["pretrain"], clock.peak_mb["pretrain"] = stage.seconds, stage.peak_mb


def tune(
    settings: FitSettings, features: Featurizer, frame: pd.DataFrame, supervision: Callable[[], FinetuningTarget]
) -> tuple[dict[str, Any], dict[str, Tokens]]:
    """Tune the encoders of the modalities with ``train: tuned``, which are replaced in ``features``.

    Returns:
        Of each: what it cost, and the tokens of these rows, made by encoders that did not know their labels.

    Raises:
        ConfigError: an option that there is not, or more layers than the network has; before anything is computed.
    """
    records: dict[str, Any] = {}
    tokens: dict[str, Tokens] = {}
    if not (wanted := checked(features, settings.tune)):
        return records, tokens
    rows = supervision()
    with settings.opened_store() or nullcontext() as store:
        for modality in features.schema.modalities:
            if modality.name not in wanted:
                continue
            parts = cells(frame, modality, settings.root, strict=settings.strict)
            if len(parts) != 1:
                raise ConfigError(f"modality '{modality.name}': train: tuned takes one column, found {len(parts)}")
            column = Column(
                parts[0],
                name=modality.name,
                strict=settings.strict,
                rows=row_numbers(frame),
                progress=settings.progress,
                limits=Limits(end=rows.end),
            )
            encoder = features.encoders[modality.name]
            one = Single(column, encoder, wanted[modality.name], rows, store, settings.progress)
            features.encoders[modality.name], tokens[modality.name], records[modality.name] = one.run()
            give_back()
    return records, tokens


def checked(features: Featurizer, spec: Mapping[str, object] | None) -> dict[str, Tuning]:
    """How each modality is tuned, after a look at what its encoder has."""
    schema: Schema = features.schema
    wanted = per_modality(Tuning, schema, spec)
    for name, tuning in wanted.items():
        encoder = features.encoders[name]
        if tuning.layers > encoder.tunable:
            raise ConfigError(
                f"modality '{name}': tune.layers is {tuning.layers}, "
                f"but '{encoder.name()}' has only {encoder.tunable} that can be tuned"
            )
    if wanted:
        need("peft", "tune")
    return wanted
