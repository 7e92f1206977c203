"""Options that hold for every modality, and for single ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from plait.base import config
from plait.base.errors import ConfigError
from plait.data.modality import Schema

T = TypeVar("T")


def per_modality(
    variant: type[T], spec: Mapping[str, Any] | None, schema: Schema, field: str, example: str
) -> dict[str, T]:
    """Modality -> its options: those told for all, with those of its kind, then those of its name over them.

    Args:
        variant: a dataclass of options.
        spec: option -> value, and modality (or kind) -> option -> value.
        schema: whose modalities there are.
        field: the estimator's field, for errors.
        example: of what may be told, for errors.

    Raises:
        ConfigError: an unknown modality or option, or a value that is none.
    """
    options = config.fields_of(variant)
    if spec is not None and not isinstance(spec, Mapping):
        raise ConfigError(f"{field}: expected options, as in {example}, found {spec!r}")
    shared = {k: v for k, v in (spec or {}).items() if k in options}
    single = {k: v for k, v in (spec or {}).items() if k not in options}
    known = [m.name for m in schema.modalities] + [m.kind for m in schema.modalities]
    config.check_fields(single, dict.fromkeys([*options, *known]), field)
    for name, value in single.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{field}.{name}: expected options ({', '.join(options)}), found {value!r}")
        config.build(variant, value, f"{field}.{name}")
    config.build(variant, shared, field)
    return {
        m.name: config.build(
            variant, {**shared, **single.get(m.kind, {}), **single.get(m.name, {})}, f"{field}.{m.name}"
        )
        for m in schema.modalities
    }
