"""The part ``space:`` of a study file: an aligned space is fitted on pairs and judged, instead of a classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from plait.study.reader import Reader

#: Fields of the aligner that are the study's own business, and where it has them.
MANAGED = {
    "modalities": "data:",
    "root": "data:",
    "store": "the option --store",
    "progress": "the runner",
    "random_state": "seeds:",
}


@dataclasses.dataclass(frozen=True)
class SpaceSpec:
    """How aligned spaces are judged.

    Attributes:
        evaluations: each ``{name: ..., option: ...}`` of ``plait.evaluation.spaces``.
        reference: the variant that others are compared with; None: the first.
    """

    evaluations: tuple[Mapping[str, Any], ...]
    reference: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a study file has it."""
        options: dict[str, Any] = {
            "evaluations": [dict(one) if len(one) > 1 else one["name"] for one in self.evaluations]
        }
        return options if self.reference is None else {**options, "reference": self.reference}


def read_space(read: Reader, value: Any) -> SpaceSpec | None:
    """What ``space:`` says; None for a study of predictions."""
    if value is None:
        return None
    given = read.fields(value, ("space",), ("evaluations", "reference"), "space")
    if "evaluations" not in given:
        read.wrong(("space",), "space: which evaluations? expected evaluations: [retrieval, ...]")
    result = []
    for i, entry in enumerate(read.listed(given.get("evaluations", ["-"]), ("space", "evaluations"), "evaluations")):
        one = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(one, Mapping) or "name" not in one:
            text = f"evaluations: expected a name, or {{name: ..., option: ...}}, found {entry!r:.60}"
            read.wrong(("space", "evaluations", i), text)
            continue
        result.append({str(k): v for k, v in one.items()})
    reference = given.get("reference")
    return SpaceSpec(tuple(result), None if reference is None else read.text(reference, ("space", "reference")))


@cache
def defaults() -> dict[str, Any]:
    """The aligner's own values."""
    from plait.alignment.aligner import ModalityAligner

    return {f.name: f.default for f in dataclasses.fields(ModalityAligner)}
