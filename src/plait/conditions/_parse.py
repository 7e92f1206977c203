"""Conditions from YAML and from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from plait import config, registry
from plait.conditions._base import Condition
from plait.conditions._chain import Chain
from plait.conditions._text_form import from_text, split
from plait.errors import ConfigError

Told = Condition | Mapping[str, Any] | str | Sequence[Any]


def parse(told: Told, where: str = "conditions") -> Condition:
    """A condition from plain values or from a line of text; several of them follow each other.

    Args:
        told: ``{white_noise: {modality: image, snr_db: 0}}``, ``{blur: 0.1}`` (a number is the strength), a list of such,
            ``"white_noise:image:snr_db=0"``, ``"absent:image=0.5"``, with `` + `` between several, or YAML in braces.
        where: what messages call the place it comes from.

    Raises:
        ConfigError: an unknown condition or option; the message names the nearest one.

    Example:
        >>> parse({"white_noise": {"modality": "image", "snr_db": 0}}).label
        'white_noise:image:snr_db=0'
        >>> parse("absent:image=0.5 + typos:0.1").to_dict()
        [{'absent': {'rates': {'image': 0.5}}}, {'typos': {'strength': 0.1}}]
    """
    if isinstance(told, Condition):
        return told
    if isinstance(told, str):
        parts = [_from_line(part, where) for part in split(told, " + ")]
    elif isinstance(told, Mapping):
        parts = [_made(str(name), options, where) for name, options in told.items()]
    elif isinstance(told, Sequence):
        parts = [parse(part, where) for part in told]
    else:
        raise ConfigError(f"{where}: expected a condition's name with its options, found {type(told).__name__}")
    if not parts:
        raise ConfigError(f"{where}: no condition is named; known: {', '.join(registry.names('conditions'))}")
    return parts[0] if len(parts) == 1 else Chain(parts=tuple(parts))


def _from_line(text: str, where: str) -> Condition:
    if text.strip().startswith("{"):
        return parse(config.parse_yaml(text, where), where)
    name, options = from_text(text)
    return _made(name, options, where)


def _made(name: str, options: Any, where: str) -> Condition:
    variant = cast(type[Condition], registry.find("conditions", name))
    if isinstance(options, int | float) and not isinstance(options, bool):
        options = {"strength": options}
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"{where}: condition {name}: expected its options or its strength, found {options!r}")
    return variant.from_options({str(k): v for k, v in (options or {}).items()}, f"condition {name}")
