"""The section of a paper's numbers beside those of aligned spaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from plait.report.blocks import Section, Sheet, Table
from plait.report.words import counted, number
from plait.study.report.section import Material, ReportSection
from plait.study.space_results import FROZEN


class SpaceClaims(ReportSection):
    """The numbers of a paper of aligned spaces beside ours."""

    subjects: ClassVar[tuple[str, ...]] = ("space",)
    place: ClassVar[int] = 80

    def sections(self, material: Material) -> Iterator[Section]:
        """What there is to say."""
        full: list[list[Any]] = []
        for claim in material.results.spec.claims if material.evidence else ():
            table = material.evidence[0].table
            evaluation, _, part = str(claim.condition or "").partition(": ")
            own = table[
                (table["metric"] == claim.metric) & (table["evaluation"] == evaluation) & (table["part"] == part)
            ]
            own = own[own["variant"].isin([claim.variant or FROZEN])]
            ours = float(own["value"].mean()) if len(own) else float("nan")
            what = f"{claim.condition}, {claim.metric}" + (f", {claim.variant}" if claim.variant else "")
            full.append([what, claim.where, claim.value, claim.data or "", ours])
        if not full:
            return
        text = f"{counted(len(full), 'number')} of the paper, on its data and encoders, beside ours: only their order compares."
        section = Section("claims", "The paper's numbers", text)
        rows = [[r[0], r[1], number(r[2]), r[3], number(r[4])] for r in full]
        heads = ["what", "where", "theirs", "on", "ours"]
        section.add(Sheet(Table("claims", heads, full), "", heads, rows, (2, 4)))
        yield section
