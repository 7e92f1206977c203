"""Conditions in one line: ``name:modality:option=value,option=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plait.base.documents import read_yaml_value
from plait.base.errors import ConfigError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\.?inf", re.IGNORECASE)
_OPEN, _CLOSE = "{[", "}]"


def text_form(name: str, modality: str | None, options: Mapping[str, Any]) -> str:
    """The line that ``from_text`` takes back.

    Example:
        >>> text_form("white_noise", "image", {"snr_db": 0.0}), text_form("blur", None, {})
        ('white_noise:image:snr_db=0', 'blur')
    """
    setting = ",".join(f"{key}={_written(value)}" for key, value in options.items())
    return ":".join(part for part in (name, modality, setting) if part)


def from_text(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a line; a number alone is the strength.

    Raises:
        ConfigError: it has not that form.

    Example:
        >>> from_text("white_noise:image:snr_db=-5"), from_text("blur:0.1")
        (('white_noise', {'modality': 'image', 'snr_db': -5}), ('blur', {'strength': 0.1}))
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    options: dict[str, Any] = {}
    first, _, others = rest.partition(":")
    if first and "=" not in first and not _NUMBER.fullmatch(first.strip()):
        options["modality"], rest = first.strip(), others
    for part in split(rest, ","):
        key, sign, value = (p.strip() for p in part.partition("="))
        if not sign and _NUMBER.fullmatch(key):
            key, value = "strength", key
        elif not sign or not key or not value:
            raise ConfigError(
                f"condition '{text}': '{part.strip()}' is no option; "
                "expected name:strength, name:modality=strength or name:modality:option=value,option=value"
            )
        if key in options:
            raise ConfigError(f"condition '{text}': '{key}' is given twice; keep one")
        options[key] = _read(value, text)
    return name, options


def split(text: str, sign: str) -> list[str]:
    """Parts between the signs that stand outside of brackets; no empty ones.

    Example:
        >>> split("a={x: 1, y: 2},b=3", ",")
        ['a={x: 1, y: 2}', 'b=3']
    """
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0 and text.startswith(sign, i):
            parts.append(text[start:i])
            start = i + len(sign)
    return [part for part in [*parts, text[start:]] if part.strip()]


def _read(value: str, text: str) -> Any:
    if value.lower().lstrip("+-") == "inf":  # YAML writes .inf
        return float(value)
    try:
        return read_yaml_value(value, f"condition '{' '.join(text.split())[:80]}'")
    except ConfigError as error:
        raise ConfigError(f"{error}; quote it") from None


def _written(value: Any) -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
