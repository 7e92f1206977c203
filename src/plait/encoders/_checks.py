"""Options of encoders, refused in one line where they cannot be meant."""

from __future__ import annotations

from collections.abc import Sequence

from plait import checks
from plait.encoders._base import Encoder
from plait.errors import ConfigError, nearest


def check_whole(encoder: Encoder, **least: int) -> None:
    """Each named option must be a whole number of at least the given one."""
    for name, bound in least.items():
        checks.whole(getattr(encoder, name), f"encoder {encoder.name()}: {name}", bound)


def check_number(encoder: Encoder, **bounds: tuple[float, float]) -> None:
    """Each named option must be a number between two bounds, both included."""
    for name, (low, high) in bounds.items():
        checks.number(getattr(encoder, name), f"encoder {encoder.name()}: {name}", low, high)


def check_choice(encoder: Encoder, name: str, choices: Sequence[object]) -> None:
    """The option must be one of a few values."""
    value = getattr(encoder, name)
    if isinstance(value, bool) or value not in choices:
        words = [c for c in choices if isinstance(c, str)]
        meant = nearest(value, words) if words and isinstance(value, str) else f"known: {', '.join(map(str, choices))}"
        raise ConfigError(f"encoder {encoder.name()}: unknown {name} {value!r}; {meant}")
