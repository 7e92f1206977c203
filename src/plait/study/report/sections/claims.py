"""The section of claims: what papers say beside what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from plait.metrics.base import metrics
from plait.report.blocks import Section, Sheet, frame_table
from plait.report.words import counted, number
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import signed_number
from plait.study.statistics.claims import HELD, NOT_HELD, UNDECIDABLE, check_claims


class Claims(ReportSection):
    """What papers say beside what was found: held, not held, or not decidable."""

    place = 80
    missing = ("Claims", "the study file makes none that was measured")

    def sections(self, material: Material) -> Iterator[Section]:
        results, evidence, resamples = material.results, material.evidence, material.resamples
        value = check_claims(results, resamples=resamples)
        if value.empty:
            return
        counts = Counter(value["verdict"])
        other = int((value["reason"] == "other data").sum())
        why = {UNDECIDABLE: f" ({other} for the paper's data are other data than ours)" if other else ""}
        parts = [f"{counts[v]} {v}{why.get(v, '')}" for v in (HELD, NOT_HELD, UNDECIDABLE) if counts[v]]
        section = Section("claims", "Claims", f"Of {counted(len(value), 'claim')}: {', '.join(parts)}.")
        titles = {name: m.label for e in evidence for name, m in metrics(e.metric.task).items()}
        rows = []
        for row in value.to_dict("records"):
            digits = signed_number if row["kind"] == "order" else number
            ours = f"{digits(row['ours'])} ({digits(row['low'])} to {digits(row['high'])})"
            where = f"{row['text']}" + (f" [{row['where']}]" if row["where"] else "")
            theirs = f"{digits(row['theirs'])} on {row['their_data']}"
            line = [where, row["verdict"], row["reason"], titles.get(row["metric"], row["metric"])]
            rows.append([*line, theirs, f"{ours} on {row['our_data']}"])
        note = (
            "Theirs: as the paper tells it, on the paper's data. "
            "Ours: mean and 95\N{NO-BREAK SPACE}% interval; of an order, the difference."
        )
        shown = ["claim", "verdict", "why", "metric", "theirs", "ours"]
        section.add(Sheet(frame_table("claims", value), "", shown, rows, (), (), note))
        yield section
