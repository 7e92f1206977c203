"""What pretraining does to the representations: ``plait inspect``.

``inspect`` looks into one model or two; every measure is one function of its own.
"""

from __future__ import annotations

from plait.workflow.inspection.embeddings import Embedding, embeddings, project
from plait.workflow.inspection.inspecting import compare_runs, inspect
from plait.workflow.inspection.measures import (
    Probe,
    alignment,
    class_alignment,
    debiased_cka,
    linear_cka,
    linear_probe,
    uniformity,
)
from plait.workflow.inspection.page import write_inspection
from plait.workflow.inspection.result import HeldOut, Inspection

__all__ = [
    "Embedding",
    "HeldOut",
    "Inspection",
    "Probe",
    "alignment",
    "class_alignment",
    "compare_runs",
    "debiased_cka",
    "embeddings",
    "inspect",
    "linear_cka",
    "linear_probe",
    "project",
    "uniformity",
    "write_inspection",
]
