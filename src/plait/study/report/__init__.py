"""The report of a study: what a section is, and the page, Markdown, CSV and figures that are made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from plait.base import registry
from plait.base.errors import need
from plait.base.folders import claim_folder
from plait.report.blocks import Block, Facts, Page, Picture, Row, Section, Sheet, Table
from plait.report.page import write_page
from plait.report.words import counted
from plait.study.results import Results
from plait.study.statistics.summary import RESAMPLES
from plait.study.subjects import subject_of


@dataclass(frozen=True)
class Material:
    """What sections are made of.

    Attributes:
        results: of the study, finished or not.
        evidence: what its subject makes of them (``Subject.evidence``); empty where no run is done.
        metric: to compare by; None: each data set's main one.
    """

    results: Results
    evidence: Sequence[Any]
    metric: str | None
    resamples: int


class ReportSection(ABC):
    """Makes one part of the page, or several of one kind.

    Attributes:
        subjects: of which studies; empty: of all.
        place: sections with less come first.
        missing: what is told where there is nothing for it: title and reason; None: nothing.
    """

    subjects: ClassVar[tuple[str, ...]] = ("model",)
    place: ClassVar[int] = 50
    missing: ClassVar[tuple[str, str] | None] = None

    @abstractmethod
    def sections(self, material: Material) -> Iterator[Section]:
        """What there is to say; nothing where the study has nothing for it."""


def sections_for(subject: str) -> list[ReportSection]:
    """All sections for a subject, in the order of the page."""
    made: list[ReportSection] = [registry.find("sections", name)() for name in registry.names("sections")]
    return sorted((s for s in made if not s.subjects or subject in s.subjects), key=lambda s: s.place)


#: Bytes of figures in the page; larger figures stay beside it, so that the page stays under 5 MB.
ROOM = 4_000_000
#: Place of the first section that comes after what failed.
LAST = 100
#: Failed runs that the page names; the CSV file names all.
NAMED = 30


def write_study_report(
    results: Results, folder: str | Path, *, metric: str | None = None, resamples: int = RESAMPLES
) -> Path:
    """Write ``report.html``, ``report.md``, ``figures`` and ``tables`` (extra ``report``); the path of the page."""
    need("jinja2", "report")
    folder = claim_folder(folder, ["report.html", "report.md"])
    subject = subject_of(results.spec)
    evidence = subject.evidence(results, metric, resamples)
    sections = _sections(Material(results, evidence, metric, resamples), results.spec.subject)
    lead = sections[0].sentence if evidence else "No run is done yet: there is nothing to compare."
    facts = subject.counts(results, evidence)
    about = [str(results.spec.about)]
    beside = "all of it as report.md"
    page = Page(results.name, lead, facts, sections, about, shown=_fitting(sections), kind="plait study", foot=beside)
    return write_page(folder, page, full=True)


def _sections(material: Material, subject: str) -> list[Section]:
    """All that there is something for, in the order of the page; what failed or is missing comes before the origin."""
    ahead, last, missing = list[Section](), list[Section](), {}
    for one in sections_for(subject):
        made = list(one.sections(material))
        if not made and one.missing is not None and material.evidence:
            missing[one.missing[0]] = one.missing[1]
        (last if one.place >= LAST else ahead).extend(made)
    return [*ahead, left_out_section(material.results, missing), *last]


def left_out_section(results: Results, reasons: Mapping[str, str]) -> Section:
    """Runs without a result, and parts of the report that there was nothing for."""
    runs = results.runs
    counts = Counter(runs["status"]) if len(runs) else Counter[str]()
    waiting = max(int(results.about.get("runs", len(runs))) - len(runs), 0)
    whole = len(runs) + waiting
    parts = [f"{counts[status]} {status}" for status in ("failed", "stopped") if counts[status]]
    parts += [f"{waiting} not begun"] if waiting else []
    sentence = f"All {counted(whole, 'run')} are done."
    if parts:
        both = "Comparisons use the seeds and splits that both sides have."
        sentence = f"Of {counted(whole, 'run')}, {', '.join(parts)}. {both}"
    section = Section("left-out", "Failed and left out", sentence)
    section.add(_failures(results))
    if reasons:
        section.add(Facts([(name, reason) for name, reason in reasons.items()]))
    return section


def _failures(results: Results) -> Sheet | None:
    runs = results.runs
    gone = runs[runs["status"] != "done"] if len(runs) else runs
    if gone.empty:
        return None
    columns = ["run", "status", "dataset", "variant", "subset", "train_condition", "seed", "split", "reason"]
    full = gone[columns].astype(object).to_numpy().tolist()
    groups = gone.fillna({"reason": ""}).groupby(["status", "reason", "variant"], sort=False)
    grouped = groups.size().reset_index(name="runs")
    value = grouped.sort_values("runs", ascending=False, kind="stable").head(NAMED)
    rows = [[r["status"], str(r["runs"]), str(r["variant"]), r["reason"] or "–"] for r in value.to_dict("records")]
    more = f"{len(grouped) - len(value)} more in tables/failures.csv." if len(grouped) > len(value) else ""
    shown = ["status", "runs", "variant", "reason"]
    return Sheet(Table("failures", columns, full), "", shown, rows, (1,), (), more)


def _fitting(sections: Sequence[Section]) -> list[Section]:
    """The sections for the page; where their figures are too many bytes, the largest are left beside it."""
    drawn = sorted((p for s in sections for p in s.pictures), key=lambda p: len(p.markup))
    kept, total = set(), 0
    for picture in drawn:
        total += len(picture.markup.encode())
        if total <= ROOM:
            kept.add(picture.name)

    def fitted(block: Block) -> Block:
        return Row([_beside(p, p.name in kept) for p in block.pictures]) if isinstance(block, Row) else block

    return [replace(section, blocks=[fitted(block) for block in section.blocks]) for section in sections]


def _beside(picture: Picture, kept: bool) -> Picture:
    if kept:
        return picture
    size = counted(len(picture.markup) // 1000, "kilobyte")
    return replace(
        picture, markup="", caption=f"{picture.caption} (left beside the page, {size}: figures/{picture.name}.svg)"
    )
