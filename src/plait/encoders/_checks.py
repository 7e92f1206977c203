"""Options of encoders, refused in one line where they cannot be meant."""

from __future__ import annotations

from collections.abc import Sequence

from plait.encoders._base import Encoder
from plait.errors import ConfigError, nearest


def check_whole(encoder: Encoder, **least: int) -> None:
    """Each named option must be a whole number of at least the given one."""
    for name, bound in least.items():
        value = getattr(encoder, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < bound:
            raise _refusal(encoder, name, f"a whole number of at least {bound}")


def check_number(encoder: Encoder, **bounds: tuple[float, float]) -> None:
    """Each named option must be a number between two bounds, both included."""
    for name, (low, high) in bounds.items():
        value = getattr(encoder, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _refusal(encoder, name, f"a number from {low:g} to {high:g}")


def check_choice(encoder: Encoder, name: str, choices: Sequence[object]) -> None:
    """The option must be one of a few values."""
    value = getattr(encoder, name)
    if isinstance(value, bool) or value not in choices:
        words = [c for c in choices if isinstance(c, str)]
        meant = nearest(value, words) if words and isinstance(value, str) else f"known: {', '.join(map(str, choices))}"
        raise ConfigError(f"encoder {encoder.name()}: unknown {name} {value!r}; {meant}")


def _refusal(encoder: Encoder, name: str, expected: str) -> ConfigError:
    return ConfigError(f"encoder {encoder.name()}: {name} must be {expected}, found {getattr(encoder, name)!r}")
