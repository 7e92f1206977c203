"""A stage from its name, or from a mapping with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.alignment.base import Alignment
from plait.base import config, registry
from plait.base.errors import ConfigError


def make_stage(spec: str | Mapping[str, Any]) -> Alignment:
    """The stage that a name, or ``{name: ..., option: ...}``, asks for.

    Raises:
        ConfigError: no such stage or option; the message names the nearest one.

    Example:
        >>> make_stage({"name": "cca", "components": 8}).components
        8
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    if "name" not in options:
        known = ", ".join(registry.names("alignment"))
        raise ConfigError(f"stage: name it, as in {{name: context, width: 128}}; known: {known}")
    variant: type[Alignment] = registry.find("alignment", str(options.pop("name")))
    return config.build(variant, options, f"stage {variant.name()}")
