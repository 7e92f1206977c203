"""Numbers, names and labels as a reader wants them; names of files from any text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def brief(labels: Sequence[str]) -> tuple[dict[str, str], str]:
    """Label -> what is left when what all of them share is said once; and what that is.

    Example:
        >>> brief(["fusion=mean depth=late", "fusion=max depth=early"])
        ({'fusion=mean depth=late': 'mean late', 'fusion=max depth=early': 'max early'}, 'fusion, depth')
        >>> brief(["linear", "fusion=max"])
        ({'linear': 'linear', 'fusion=max': 'fusion=max'}, 'variant')
    """
    parts = {label: [part.partition("=") for part in re.split(r" (?=[\w.]+=)", label)] for label in labels}
    keys = [tuple(key for key, sign, _ in setting if sign) for setting in parts.values()]
    whole = all(all(sign for _, sign, _ in setting) for setting in parts.values())
    short = {label: " ".join(value for _, _, value in setting) for label, setting in parts.items()}
    if not labels or not whole or len(set(keys)) > 1 or len(set(short.values())) < len(short):
        return {label: label for label in labels}, "variant"
    return short, ", ".join(keys[0])


def slug(text: str) -> str:
    """Letters, digits and dashes only.

    Example:
        >>> slug("pokemon/type_1: a & b")
        'pokemon-type-1-a-b'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def listed(names: Sequence[str], most: int = 3, joined: str = "and") -> str:
    """Names in a sentence; beyond a few, how many more.

    Example:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
        ('a', 'a and b', 'a, b, c and 2 more')
    """
    values = list(names)
    if len(values) > most + 1:
        values = [*values[:most], f"{len(values) - most} more"]
    return f" {joined} ".join(filter(None, [", ".join(values[:-1]), values[-1]])) if values else "none"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "seed"), counted(2000, "seed"), counted(0, "study", "studies")
        ('1 seed', '2,000 seeds', '0 studies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def number(value: float | int | None, *, significant: bool = False) -> str:
    """A number as a reader wants it; nothing there is a dash.

    ``significant``: keep the digits of a number near 0 (one with a unit) instead of rounding it to 0.000.

    Example:
        >>> number(0.12345), number(12345.678), number(float("nan")), number(1234), number(-1e-6)
        ('0.123', '12,346', '–', '1,234', '0.000')
        >>> number(-1e-6, significant=True)
        '−1e−06'
    """
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        message = f"{value:,}"
    elif abs(value) >= 10:
        message = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    elif significant and 0 < abs(value) < 0.1:
        message = f"{value:.3g}"
    else:
        message = f"{value:.3f}"
    return message.replace("-0.000", "0.000").replace("-", "−")


def span(values: Sequence[int]) -> str:
    """From the least to the greatest.

    Example:
        >>> span([1200, 3]), span([5, 5])
        ('3 to 1,200', '5')
    """
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def subset_name(modalities: Sequence[str], every: Sequence[str]) -> str:
    """A subset as a reader sees it at a glance.

    Example:
        >>> subset_name(["a", "b", "d"], ["a", "b", "c", "d"])
        'all but c'
    """
    gone = [name for name in every if name not in modalities]
    if not gone:
        return "everything" if len(every) > 1 else every[0]
    return f"all but {gone[0]}" if len(gone) == 1 and len(every) > 3 else " + ".join(modalities)
