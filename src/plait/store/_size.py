"""Bytes as people write and read them."""

from __future__ import annotations

import re

from plait.errors import ConfigError

_UNITS = {"": 1} | {f"{p}b": 1000**i for i, p in enumerate(("", "k", "m", "g", "t"))}
_UNITS |= {f"{p}ib": 1024**i for i, p in enumerate(("", "k", "m", "g", "t")) if p}


def parse_size(text: str | int) -> int:
    """Bytes of ``500MB`` (thousands), ``2 GiB`` (1024s) or a plain number.

    Example:
        >>> parse_size("2 GiB"), parse_size("1.5kB"), parse_size("300")
        (2147483648, 1500, 300)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"size '{text}': expected a number and a unit, such as 500MB or 2 GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def show_size(size: float) -> str:
    """Bytes as people read them.

    Example:
        >>> show_size(999), show_size(1_234_567)
        ('999 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
