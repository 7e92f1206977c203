"""The estimator's field ``network``: which network joins the modalities, with which options, and what it must be given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from plait.base import config, registry
from plait.base.errors import ConfigError
from plait.data.modality import Modality, Schema
from plait.networks.base import Network
from plait.networks.conv_lstm import ConvLSTM, own_layers
from plait.networks.conv_lstm_stack import ConvLSTMOptions

NetworkSpec = str | Mapping[str, Any]


def parse(spec: NetworkSpec) -> tuple[type[Network], dict[str, Any]]:
    """The network's class and its options, from a name or ``{name: ..., option: ...}``.

    Raises:
        ConfigError: no such network; the message names the nearest one.

    Example:
        >>> parse({"name": "conv_lstm", "dense": 32})[1]
        {'dense': 32}
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    if not isinstance(options.get("name"), str):
        raise ConfigError(f"network: expected a name, or a mapping with one, found {spec!r}")
    variant: type[Network] = registry.find("networks", options.pop("name"))
    if not issubclass(variant, ConvLSTM) and options:
        name = registry.name_of(variant)
        hint = f"its settings are the estimator's own (fusion, depth, layers, width, dropout), not {', '.join(options)}"
        raise ConfigError(f"network {name}: {hint}")
    if issubclass(variant, ConvLSTM):
        config.build(ConvLSTMOptions, options, "network conv_lstm")
    return variant, options


def check_depth(spec: NetworkSpec, depth: str | int, layers: int) -> None:
    """Refuse a depth that the network has not, before anything is encoded.

    Raises:
        ConfigError: no such network, or no such depth of it.
    """
    variant, _ = parse(spec)
    if issubclass(variant, ConvLSTM):
        own_layers(depth, layers)


def schema_for(spec: NetworkSpec, schema: Schema, overrides: Mapping[str, Any] | None = None) -> Schema:
    """The schema with the encoders that the network wants where none is chosen, and as it wants them trained.

    A modality whose encoder is the user's choice is left as it is, except that raw cells are always fed as they are.
    """
    variant, _ = parse(spec)
    wanted: Mapping[str, str] = getattr(variant, "encoders", {})
    if not wanted:
        return schema
    return dataclasses.replace(schema, modalities=tuple(_fed(m, wanted, overrides or {}) for m in schema.modalities))


def _fed(modality: Modality, wanted: Mapping[str, str], overrides: Mapping[str, object]) -> Modality:
    chosen = overrides.get(modality.name, overrides.get(modality.kind, modality.encoder))
    if chosen is None and modality.kind in wanted:
        return dataclasses.replace(modality, encoder=wanted[modality.kind], train="scratch")
    if isinstance(chosen, Mapping):
        name = chosen.get("name")
    else:
        name = chosen.name() if hasattr(chosen, "name") else chosen
    if name in registry.names("encoders") and registry.find("encoders", str(name)).raw:
        return dataclasses.replace(modality, train="scratch")
    return modality
