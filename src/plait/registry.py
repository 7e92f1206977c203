"""A variant is a file: its name is the file's name, and nothing else mentions it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from plait.errors import ConfigError, nearest

#: family -> name of the base class, which lives in the family's ``_base.py``.
FAMILIES = {
    "encoders": "Encoder",
    "fusion": "Fusion",
    "datasets": "Dataset",
    "networks": "Network",
    "alignment": "Alignment",
    "conditions": "Condition",
}


def names(family: str) -> list[str]:
    """Names of all variants of a family, sorted, without importing any of them.

    Example:
        >>> "concat" in names("fusion")
        True
    """
    if family not in FAMILIES:
        raise ConfigError(f"unknown family '{family}': {nearest(family, FAMILIES)}")
    package = importlib.import_module(f"plait.{family}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(family: str, name: str) -> type[Any]:
    """The class of the variant ``name``: the one public class of that file that extends the family's base.

    Raises:
        ConfigError: no such variant; the message names the nearest one.
    """
    if name not in names(family):
        raise ConfigError(f"unknown name '{name}' in {family}: {nearest(name, names(family))}")
    base = getattr(importlib.import_module(f"plait.{family}._base"), FAMILIES[family])
    module = importlib.import_module(f"plait.{family}.{name}")
    found = [
        member
        for label, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base) and member.__module__ == module.__name__ and not label.startswith("_")
    ]
    if len(found) != 1:
        raise ConfigError(f"{module.__file__}: expected one public {base.__name__}, found {len(found)}")
    return found[0]


def describe(family: str) -> list[dict[str, str]]:
    """One record per variant: its name, the first line of its docstring and what its base says of it."""
    records = []
    for name in names(family):
        variant = find(family, name)
        summary = (inspect.getdoc(variant) or "").partition("\n")[0]
        facts = variant.facts() if hasattr(variant, "facts") else {}
        records.append({"name": name, "summary": summary, **facts})
    return records
