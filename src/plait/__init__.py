"""plait: light, honest, robust multimodal fusion. One table of mixed columns in, one small model out, with the evidence.

Public names are imported when first used, so ``import plait`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plait.base import __version__ as __version__

if TYPE_CHECKING:
    from plait.alignment.aligner import ModalityAligner
    from plait.base.branch import Branch
    from plait.base.encoder import Cells, Encoder
    from plait.base.errors import PlaitError, PlaitWarning
    from plait.base.fusion import Fusion
    from plait.base.registry import register
    from plait.base.tokens import Tokens
    from plait.conditions.base import Condition
    from plait.data import schema
    from plait.data.modality import Modality, Schema
    from plait.data.schema import infer as infer_schema
    from plait.data.table import read_table
    from plait.estimators.estimators import FusionClassifier, FusionRegressor, export, load
    from plait.evaluation.evaluate import evaluate
    from plait.evaluation.explain import explain
    from plait.evaluation.importance import importance
    from plait.serving.app import serve
    from plait.store import Store
    from plait.store.model_files import push
    from plait.study import Study
    from plait.study.advice import advise
    from plait.study.results import Results
    from plait.study.search import sensitivity as search
    from plait.workflow.fit import fit_table
    from plait.workflow.inspection.inspecting import inspect
    from plait.workflow.pretrain import pretrain

#: Public name -> module, and the name there where it is another one.
_HOME = {
    "Branch": "base.branch",
    "Cells": "base.encoder",
    "Condition": "conditions.base",
    "Encoder": "base.encoder",
    "Fusion": "base.fusion",
    "FusionClassifier": "estimators.estimators",
    "FusionRegressor": "estimators.estimators",
    "Modality": "data.modality",
    "ModalityAligner": "alignment.aligner",
    "PlaitError": "base.errors",
    "PlaitWarning": "base.errors",
    "Results": "study.results",
    "Schema": "data.modality",
    "Store": "store",
    "Study": "study",
    "Tokens": "base.tokens",
    "advise": "study.advice",
    "evaluate": "evaluation.evaluate",
    "explain": "evaluation.explain",
    "export": "estimators.estimators",
    "fit_table": "workflow.fit",
    "importance": "evaluation.importance",
    "infer_schema": "data.schema:infer",
    "inspect": "workflow.inspection.inspecting",
    "load": "estimators.estimators",
    "pretrain": "workflow.pretrain",
    "push": "store.model_files",
    "read_table": "data.table",
    "register": "base.registry",
    "schema": "data.schema:",
    "search": "study.search:sensitivity",
    "serve": "serving.app",
}

__all__ = [
    "Branch",
    "Cells",
    "Condition",
    "Encoder",
    "Fusion",
    "FusionClassifier",
    "FusionRegressor",
    "Modality",
    "ModalityAligner",
    "PlaitError",
    "PlaitWarning",
    "Results",
    "Schema",
    "Store",
    "Study",
    "Tokens",
    "advise",
    "evaluate",
    "explain",
    "export",
    "fit_table",
    "importance",
    "infer_schema",
    "inspect",
    "load",
    "pretrain",
    "push",
    "read_table",
    "register",
    "schema",
    "search",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'plait' has no attribute '{name}'")
    place, colon, other = _HOME[name].partition(":")
    module = importlib.import_module(f"plait.{place}")
    return module if colon and not other else getattr(module, other or name)


def __dir__() -> list[str]:
    """Public names."""
    return sorted([*__all__, "__version__"])
