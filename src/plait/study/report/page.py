"""The report of a study: one page, the same as Markdown and CSV, every figure as SVG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from plait.base.errors import need
from plait.base.folders import claim_folder
from plait.report.blocks import Page, Picture, Row, Section
from plait.report.page import write_page
from plait.report.words import counted
from plait.study.report.evidence import Evidence, gather
from plait.study.report.sections.design import design_section
from plait.study.report.sections.findings import claims_section, ranks_section
from plait.study.report.sections.modalities import modalities_section
from plait.study.report.sections.origin import left_out_section, origin_section
from plait.study.report.sections.robustness import robustness_section
from plait.study.report.sections.scores import scores_section
from plait.study.report.sections.training import cost_section, learning_section
from plait.study.statistics.ranks import LEAST
from plait.study.statistics.scores import StudyResults
from plait.study.statistics.summary import RESAMPLES

if TYPE_CHECKING:
    from plait.study.results import Results

#: Bytes of figures in the page; larger figures stay beside it, so that the page stays under 5 MB.
ROOM = 4_000_000
#: What lies beside the page.
FOOT = "all of it as report.md"
#: Parts that a study may have nothing for, and why.
ABSENT = {
    "modalities": ("Modalities", "one subset of modalities and one pattern of presence: nothing to compare"),
    "design": ("Depth by operator", "the grid does not have two fields that vary"),
    "robustness": ("Robustness", "no conditions at test"),
    "learning": ("Learning curves", "no history of epochs was kept"),
    "cost": ("Cost against score", "one variant, or costs that are not known or all the same"),
    "ranks": (
        "Ranks over data sets",
        f"critical differences need {LEAST} data sets and two variants that are on all of them",
    ),
    "claims": ("Claims", "the study file makes none that was measured"),
}


def write_study_report(
    results: StudyResults, folder: str | Path, *, metric: str | None = None, resamples: int = RESAMPLES
) -> Path:
    """Write ``report.html``, ``report.md``, ``figures/*.svg``, ``figures/*.pdf`` and ``tables/*.csv`` (extra ``report``).

    Args:
        results: of a study, finished or not.
        folder: is made where it is missing.
        metric: to compare by; None: each data set's main one.
        resamples: of the bootstrap.

    Returns:
        The path of the page.

    Raises:
        ConfigError: the metric was not measured.
        PlaitError: the folder cannot be written.
    """
    need("jinja2", "report")
    folder = claim_folder(folder, ["report.html", "report.md"])
    if getattr(results.spec, "space", None) is not None:
        from plait.study.report.sections.space import write_space_report

        return write_space_report(cast("Results", results), folder)
    evidence = gather(results, metric, resamples)
    sections = _sections(results, evidence, metric, resamples)
    lead = sections[0].sentence if evidence else "No run is done yet: there is nothing to compare."
    facts = _facts(results, evidence)
    about = [str(getattr(results.spec, "about", "") or "")]
    page = Page(results.name, lead, facts, sections, about, shown=_fitting(sections), kind="plait study", foot=FOOT)
    return write_page(folder, page, full=True)


def _sections(results: StudyResults, evidence: Sequence[Evidence], metric: str | None, resamples: int) -> list[Section]:
    """All that there is something for, in the order of the page."""
    result = []
    if evidence:
        result = [
            scores_section(evidence),
            modalities_section(evidence),
            design_section(evidence),
            robustness_section(evidence),
            cost_section(evidence),
            learning_section(evidence),
            ranks_section(results, metric),
            claims_section(results, evidence, resamples),
        ]
    there = [section for section in result if section is not None]
    missing = {title: why for key, (title, why) in ABSENT.items() if key not in {s.key for s in there}}
    return [*there, left_out_section(results, missing if evidence else {}), origin_section(results, evidence)]


def _facts(results: StudyResults, evidence: Sequence[Evidence]) -> list[tuple[str, str]]:
    """The line of figures under the headline."""
    runs = results.runs
    done = runs[runs["status"] == "done"] if len(runs) else runs
    facts = [("runs done" if len(done) != 1 else "run done", len(done))]
    if evidence:
        options = {
            "variant": max(e.headline["label"].nunique() for e in evidence),
            "seed": done["seed"].nunique(),
            "data set": len(evidence),
            "modality": max(len(e.full.split("+")) for e in evidence),
        }
        plural = {"modality": "modalities"}
        facts += [(name if number == 1 else plural.get(name, name + "s"), number) for name, number in options.items()]
    rows = [int(n) for e in evidence for n in e.headline["test_rows"]]
    return [(name, f"{number:,}") for name, number in facts] + ([("test rows of a run", _range(rows))] if rows else [])


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _fitting(sections: Sequence[Section]) -> list[Section]:
    """The sections for the page; where their figures are too many bytes, the largest are left beside it."""
    drawn = sorted((p for s in sections for p in s.pictures), key=lambda p: len(p.markup))
    kept, total = set(), 0
    for picture in drawn:
        total += len(picture.markup.encode())
        if total <= ROOM:
            kept.add(picture.name)
    return [
        replace(
            section,
            blocks=[
                Row([_beside(p, p.name in kept) for p in block.pictures]) if isinstance(block, Row) else block
                for block in section.blocks
            ],
        )
        for section in sections
    ]


def _beside(picture: Picture, kept: bool) -> Picture:
    if kept:
        return picture
    size = counted(len(picture.markup) // 1000, "kilobyte")
    return replace(
        picture, markup="", caption=f"{picture.caption} (left beside the page, {size}: figures/{picture.name}.svg)"
    )
