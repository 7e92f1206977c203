"""What pretraining does to the representations: ``plait inspect``.

``inspect`` looks into one model or two; every measure is one function of its own.
"""

from __future__ import annotations

from plait.inspection.cka import debiased_cka, linear_cka
from plait.inspection.compare import compare_runs
from plait.inspection.embeddings import Embedding, embeddings
from plait.inspection.hypersphere import alignment, class_alignment, uniformity
from plait.inspection.inspecting import inspect
from plait.inspection.probe import Probe, linear_probe
from plait.inspection.projection import project
from plait.inspection.result import Inspection

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
