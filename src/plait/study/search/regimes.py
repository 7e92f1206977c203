"""Regimes: how encoders come by their weights, told in one word or as settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

from plait.base import config, registry
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, nearest
from plait.data.modality import TRAIN, Schema
from plait.encoders.defaults import default_encoder, trainable_encoder


@dataclasses.dataclass(frozen=True)
class Regime:
    """One way to train.

    Attributes:
        name: as pictures call it.
        train: one word for every modality that can learn, modality -> word, or nothing: as the schema says.
        settings: of the estimator, for this regime alone.
    """

    name: str
    train: str | Mapping[str, str] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        train = self.train if isinstance(self.train, str | None) else dict(self.train)
        return {"train": train, **self.settings}


def read_regimes(told: Sequence[str] | Mapping[str, Any] | None) -> tuple[Regime, ...]:
    """Regimes from words (``frozen``, ``scratch``), or from name -> ``{train: ..., setting: ...}``; None: as the schema says.

    Raises:
        ConfigError: a word or a setting that there is not.

    Example:
        >>> [regime.train for regime in read_regimes({"a": {"train": {"image": "scratch"}}})]
        [{'image': 'scratch'}]
    """
    if told is None:
        return (Regime("as told"),)
    if isinstance(told, Mapping):
        found = tuple(_regime(str(name), settings) for name, settings in told.items())
    else:
        found = tuple(_regime(str(name), {"train": name}) for name in dict.fromkeys(told))
    if not found:
        raise ConfigError("regimes: none is named; give one, as frozen or scratch")
    return found


def _regime(name: str, told: Any) -> Regime:
    from plait.estimators.estimators import FusionClassifier

    told = {} if told is None else told
    if isinstance(told, str):
        told = {"train": told}
    if not isinstance(told, Mapping):
        raise ConfigError(f"regime '{name}': expected settings of the estimator, found {told!r}")
    config.check_fields(told, ["train", *config.fields_of(FusionClassifier)], f"regime '{name}'")
    train = told.get("train")
    for word in train.values() if isinstance(train, Mapping) else [train] if train is not None else []:
        if word not in TRAIN:
            raise ConfigError(f"regime '{name}': unknown train '{word}': {nearest(str(word), TRAIN)}")
    return Regime(name, train, {k: v for k, v in told.items() if k != "train"})


def schema_for(regime: Regime, schema: Schema, encoders: Mapping[str, Any] | None = None) -> Schema:
    """The schema with every modality's ``train`` as the regime says.

    One word for all goes to the modalities whose encoder can learn, or whose encoder is not named and whose kind has one that
    can; the others (tables of numbers, say) stay frozen in every regime.

    Raises:
        ConfigError: an unknown modality, or none that can learn.
    """
    if regime.train is None:
        return schema
    if isinstance(regime.train, Mapping):
        known = [word for m in schema.modalities for word in (m.name, m.kind)]
        config.check_fields(regime.train, known, f"regime '{regime.name}', train")
        words = {m.name: regime.train.get(m.name, regime.train.get(m.kind, m.train)) for m in schema.modalities}
    elif regime.train == "frozen":
        words = {m.name: "frozen" for m in schema.modalities}
    else:
        can = [m.name for m in schema.modalities if _can(regime.train, m, encoders or {})]
        if not can:
            raise ConfigError(f"regime '{regime.name}': no modality has an encoder for it; name one (encoders)")
        words = {m.name: regime.train if m.name in can else "frozen" for m in schema.modalities}
    return dataclasses.replace(
        schema, modalities=tuple(dataclasses.replace(m, train=words[m.name]) for m in schema.modalities)
    )


def _can(word: str, modality: Any, encoders: Mapping[str, Any]) -> bool:
    """Whether the modality's encoder, or the usual one where none is named, can come by its weights this way."""
    told = encoders.get(modality.name, encoders.get(modality.kind, modality.encoder))
    if isinstance(told, Mapping):
        told = told.get("name")
    if told is None:
        told = default_encoder(modality.kind) if word == "tuned" else trainable_encoder(modality.kind)
    if isinstance(told, str) and told not in registry.names("encoders"):
        return True  # a folder, or a name that building it will refuse
    kind = type(told) if isinstance(told, Encoder) else cast(type[Encoder], registry.find("encoders", told))
    return bool(kind.tunable) if word == "tuned" else kind.trainable
