"""Studies: one file describes a fair comparison; one command runs it, survives anything, and says what is proven."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.study.results import Predictions, Results
    from plait.study.study import Mistake, Study, recipes

__all__ = ["Mistake", "Predictions", "Results", "Study", "recipes"]

_HOME = {"Mistake": "study", "Predictions": "results", "Results": "results", "Study": "study", "recipes": "study"}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'plait.study' has no attribute '{name}'")
    return getattr(importlib.import_module(f"plait.study.{_HOME[name]}"), name)
