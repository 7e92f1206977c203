"""plait: light, honest, robust multimodal fusion. One table of mixed columns in, one small model out, with the evidence.

Public names are imported when first used, so ``import plait`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plait.version import __version__ as __version__

if TYPE_CHECKING:
    from plait.aligner import ModalityAligner
    from plait.conditions import Condition
    from plait.encoders._base import Encoder
    from plait.errors import PlaitError, PlaitWarning
    from plait.estimators import FusionClassifier, FusionRegressor, load
    from plait.evaluation import evaluate
    from plait.explanation import explain
    from plait.fusion._base import Fusion
    from plait.registry import register
    from plait.schema import Modality, Schema
    from plait.store import Store
    from plait.table import read_table
    from plait.workflow import fit_table

_HOME = {
    "Condition": "conditions",
    "Encoder": "encoders._base",
    "Fusion": "fusion._base",
    "FusionClassifier": "estimators",
    "FusionRegressor": "estimators",
    "Modality": "schema",
    "ModalityAligner": "aligner",
    "PlaitError": "errors",
    "PlaitWarning": "errors",
    "Schema": "schema",
    "Store": "store",
    "evaluate": "evaluation",
    "explain": "explanation",
    "fit_table": "workflow",
    "load": "estimators",
    "read_table": "table",
    "register": "registry",
}

__all__ = [
    "Condition",
    "Encoder",
    "Fusion",
    "FusionClassifier",
    "FusionRegressor",
    "Modality",
    "ModalityAligner",
    "PlaitError",
    "PlaitWarning",
    "Schema",
    "Store",
    "evaluate",
    "explain",
    "fit_table",
    "load",
    "read_table",
    "register",
]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'plait' has no attribute '{name}'")
    return getattr(importlib.import_module(f"plait.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Public names."""
    return sorted([*__all__, "__version__"])
