"""Conditions from YAML and from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

from plait.base import config, registry
from plait.base.errors import ConfigError
from plait.conditions.base import Condition, from_text, split
from plait.conditions.chain import Chain

#: What messages call the grammar of all conditions.
FORM = "write name:strength, name:modality=strength or name:modality:option=value, as in typos:text=0.3"

ConditionSpec = Condition | Mapping[str, Any] | str | Sequence[Any]


def parse(spec: ConditionSpec, where: str = "conditions") -> Condition:
    """A condition from plain values or from a line of text; several of them follow each other.

    Args:
        spec: ``{white_noise: {modality: image, snr_db: 0}}``, ``{blur: 0.1}`` (a number is the strength),
            ``{typos: {text: 0.3}}`` (a modality with its strength), a list of such, ``"white_noise:image:snr_db=0"``,
            ``"typos:text=0.3"``, ``"absent:image=0.5"``, with `` + `` between several, or YAML in braces.
        where: what messages call the place it comes from.

    Raises:
        ConfigError: an unknown condition or option; the message names the nearest one.

    Example:
        >>> parse({"white_noise": {"modality": "image", "snr_db": 0}}).label
        'white_noise:image:snr_db=0'
        >>> parse("absent:image=0.5 + typos:0.1").to_dict()
        [{'absent': {'rates': {'image': 0.5}}}, {'typos': {'strength': 0.1}}]
        >>> parse("typos:text=0.3").label
        'typos:text:strength=0.3'
    """
    if isinstance(spec, Condition):
        return spec
    if isinstance(spec, str):
        parts = [_from_line(part, where) for part in split(spec, " + ")]
    elif isinstance(spec, Mapping):
        parts = [_made(str(name), options, where) for name, options in spec.items()]
    elif isinstance(spec, Sequence):
        parts = [parse(part, where) for part in spec]
    else:
        raise ConfigError(f"{where}: expected a condition's name with its options, found {type(spec).__name__}")
    if not parts:
        raise ConfigError(f"{where}: no condition is named; known: {', '.join(registry.names('conditions'))}")
    return parts[0] if len(parts) == 1 else Chain(parts=tuple(parts))


def _from_line(text: str, where: str) -> Condition:
    if text.strip().startswith("{"):
        return parse(config.parse_yaml(text, where), where)
    name, options = from_text(text)
    return _made(name, options, where)


def _made(name: str, options: object, where: str) -> Condition:
    if "=" in name:
        raise ConfigError(f"{where}: '{name}' has no ':' behind the condition's name; {FORM}")
    variant = cast(type[Condition], registry.find("conditions", name))
    if isinstance(options, int | float) and not isinstance(options, bool):
        options = {"strength": options}
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"{where}: condition {name}: expected its options or its strength, found {options!r}")
    mapping = {str(k): v for k, v in (options or {}).items()}
    parts = [variant.from_options(part, f"condition {name}") for part in _by_modality(variant, mapping)]
    return parts[0] if len(parts) == 1 else Chain(parts=tuple(parts))


def _by_modality(variant: type[Condition], options: dict[str, Any]) -> list[dict[str, Any]]:
    """Options of one condition per modality that is given with its strength, as in ``text=0.3``.

    ``absent`` draws several modalities at once and reads them itself.

    Raises:
        ConfigError: an option that is neither known nor a modality with a number; the message gives the right form.
    """
    known = config.fields_of(variant)
    named = {k: v for k, v in options.items() if k not in known}
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in named.values())
    mistaken = [k for k in named if get_close_matches(k, known, 1, 0.7)]
    if not named or ("rates" in known and not mistaken):
        return [options]
    if mistaken or not numbers or "modality" in options or "strength" in options:
        try:
            config.check_fields(options, known, f"condition {variant.name()}")
        except ConfigError as error:
            raise ConfigError(f"{error}; {FORM}") from None
    others = {k: v for k, v in options.items() if k in known}
    return [{"modality": name, "strength": value, **others} for name, value in named.items()]
