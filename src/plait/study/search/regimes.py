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


def read_regimes(spec: Sequence[str] | Mapping[str, Any] | None) -> tuple[Regime, ...]:
    """Regimes from words (``frozen``, ``scratch``), or from name -> ``{train: ..., setting: ...}``; None: as the schema says.

    Raises:
        ConfigError: a word or a setting that there is not.

    Example:
        >>> [regime.train for regime in read_regimes({"a": {"train": {"image": "scratch"}}})]
        [{'image': 'scratch'}]
    """
    if spec is None:
        return (Regime("as told"),)
    if isinstance(spec, Mapping):
        result = tuple(_regime(str(name), settings) for name, settings in spec.items())
    else:
        result = tuple(_regime(str(name), {"train": name}) for name in dict.fromkeys(spec))
    if not result:
        raise ConfigError("regimes: none is named; give one, as frozen or scratch")
    return result


def _regime(name: str, value: Any) -> Regime:
    from plait.estimators.estimators import FusionClassifier

    value = {} if value is None else value
    if isinstance(value, str):
        value = {"train": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"regime '{name}': expected settings of the estimator, found {value!r}")
    config.check_fields(value, ["train", *config.fields_of(FusionClassifier)], f"regime '{name}'")
    train = value.get("train")
    for word in train.values() if isinstance(train, Mapping) else [train] if train is not None else []:
        if word not in TRAIN:
            raise ConfigError(f"regime '{name}': unknown train '{word}': {nearest(str(word), TRAIN)}")
    return Regime(name, train, {k: v for k, v in value.items() if k != "train"})


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
    value = encoders.get(modality.name, encoders.get(modality.kind, modality.encoder))
    if isinstance(value, Mapping):
        value = value.get("name")
    if value is None:
        value = default_encoder(modality.kind) if word == "tuned" else trainable_encoder(modality.kind)
    if isinstance(value, str) and value not in registry.names("encoders"):
        return True  # a folder, or a name that building it will refuse
    kind = type(value) if isinstance(value, Encoder) else cast(type[Encoder], registry.find("encoders", value))
    return bool(kind.tunable) if word == "tuned" else kind.trainable
