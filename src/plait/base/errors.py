"""What goes wrong, said in one line: where, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class PlaitError(ValueError):
    """Something the user can put right. The command line prints it as one line and exits with code 2."""


class ConfigError(PlaitError):
    """A setting, a YAML file or a name that plait does not know."""


class TableError(PlaitError):
    """A table, a column or a target that cannot be used as it is."""


class CellError(PlaitError):
    """One cell that cannot be read: it becomes absent and is counted, or with ``strict`` it is an error."""


class ModelError(PlaitError):
    """A model folder that is broken, incomplete or of another format."""


class StoreError(PlaitError):
    """The store of embeddings cannot be opened, written or read."""


class MissingDependencyError(PlaitError, ImportError):
    """An optional package is needed and not installed."""


class PlaitWarning(UserWarning):
    """Something was handled (a cell made absent, a column left out) that the user should know of."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional ``module``, or say which extra brings it.

    Example:
        >>> need("json", "text").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"the package '{module.partition('.')[0]}' is needed and could not be imported ({error}); "
            f'run: pip install "plait[{extra}]"'
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, or list them all.

    Example:
        >>> nearest("concatt", ["concat", "mean"])
        "did you mean 'concat'?"
    """
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(options) or 'none'}"
