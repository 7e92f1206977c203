"""The section of what aligned spaces cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from plait.report.blocks import Section, Sheet, Table
from plait.report.words import number
from plait.study.report.section import Material, ReportSection

_COSTS: dict[str, tuple[str, ...]] = {
    "pairs": ("train_rows",),
    "trained weights": ("weights", "trained"),
    "epochs": ("epochs",),
    "seconds": ("seconds", "fit"),
    "processor seconds": ("seconds", "fit_processor"),
}


class SpaceCost(ReportSection):
    """What each aligned space was learned from, and what that took."""

    subjects: ClassVar[tuple[str, ...]] = ("space",)
    place: ClassVar[int] = 50

    def sections(self, material: Material) -> Iterator[Section]:
        """What there is to say."""
        results = material.results
        if not material.evidence:
            return
        runs = results.runs[results.runs["status"] == "done"]
        extra = {line["run"]: line for line in results.lines if line["status"] == "done"}
        full, rows = [], []
        for (dataset, variant), part in runs.groupby(["dataset", "variant"], sort=False):
            lines = [extra[run] for run in part["run"]]
            means = [float(np.mean([_cell(line, *keys) for line in lines])) for keys in _COSTS.values()]
            full.append([dataset, variant, len(lines), *means])
            rows.append([str(dataset), str(variant), *(f"{v:,.0f}" for v in means[:3]), *map(number, means[3:])])
        columns = ["data set", "space", "runs", *_COSTS]
        section = Section("cost", "Cost", "What each space was learned from, and what that took (means over runs).")
        heads = ["data set", "space", *_COSTS]
        section.add(Sheet(Table("cost", columns, full), "", heads, rows, tuple(range(2, len(heads)))))
        yield section


def _cell(line: Mapping[str, Any], *keys: str) -> float:
    value: Any = line
    for key in keys:
        value = value[key]
    return float(value)
