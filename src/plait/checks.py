"""Numbers among options, refused in one line and in one wording where they cannot be meant."""

from __future__ import annotations

import math
from typing import Any

from plait.errors import ConfigError


def whole(value: Any, what: str, low: int = 0, high: float = math.inf) -> int:
    """A whole number within bounds, both included.

    Args:
        value: told.
        what: where and which, as in ``encoder cnn: size``.
        low: least.
        high: greatest.

    Raises:
        ConfigError: it is none (True and 3.0 are none either).

    Example:
        >>> whole(0, "pretrain: epochs", 1)
        Traceback (most recent call last):
        plait.errors.ConfigError: pretrain: epochs must be a whole number from 1, found 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{what} must be a whole number {_bounds(low, high)}, found {value!r}")
    return value


def number(value: Any, what: str, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """A number within bounds, both included, or ``above`` the lower one.

    Raises:
        ConfigError: it is none (True and NaN are none either).

    Example:
        >>> number("much", "mlp: dropout", 0, 1)
        Traceback (most recent call last):
        plait.errors.ConfigError: mlp: dropout must be a number from 0 to 1, found 'much'
    """
    right = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not right or (above and value == low):
        raise ConfigError(
            f"{what} must be a number {_bounds(low, high, 'above' if above else 'from')}, found {value!r}"
        )
    return float(value)


def _bounds(low: float, high: float, word: str = "from") -> str:
    return f"{word} {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
