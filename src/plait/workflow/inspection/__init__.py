"""What pretraining does to the representations: ``plait inspect``.

``inspect`` looks into one model or two; every measure is one function of its own.
"""

from __future__ import annotations

from plait.workflow.inspection.compare import compare_runs
from plait.workflow.inspection.embeddings import Embedding, embeddings
from plait.workflow.inspection.inspecting import inspect
from plait.workflow.inspection.measures import alignment, class_alignment, debiased_cka, linear_cka, uniformity
from plait.workflow.inspection.probe import Probe, linear_probe
from plait.workflow.inspection.projection import project
from plait.workflow.inspection.result import Inspection

__all__ = [
    "Embedding",
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
]
