"""A page made of sections, with its figures beside it; and the report of a study, with its tables and the same as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plait.report.files import csv_text, write_bytes, write_text
from plait.report.rendering import render
from plait.report.study_markdown import markdown
from plait.report.study_parts import Section, kind
from plait.version import __version__


def write_sections(
    template: str,
    folder: Path,
    *,
    name: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    shown: Sequence[Section] | None = None,
    about: str = "",
) -> Path:
    """Write ``report.html`` and every picture of the sections as ``figures/*.svg`` (extra ``report``).

    Args:
        template: of this package; it extends that of a study.
        folder: is made where it is missing.
        name: the headline.
        lead: the first sentence.
        facts: the line of figures under it: what, how many.
        sections: all of them.
        shown: as they stand on the page; None: as they are.
        about: a sentence of the user's own.

    Returns:
        The path of the page.
    """
    page = render(
        template,
        name=name,
        about=about,
        lead=lead,
        facts=facts,
        sections=sections if shown is None else shown,
        kind=kind,
        version=__version__,
    )
    for section in sections:
        for drawn in section.pictures:
            write_text(folder / "figures" / f"{drawn.name}.svg", drawn.document)
    return write_text(folder / "report.html", page)


def write_report(
    folder: Path,
    *,
    name: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    shown: Sequence[Section] | None = None,
    about: str = "",
) -> Path:
    """Write the page of a study, ``report.md``, ``figures/*.pdf`` and ``tables/*.csv``; arguments as of ``write_sections``."""
    page = write_sections(
        "study.html.j2", folder, name=name, lead=lead, facts=facts, sections=sections, shown=shown, about=about
    )
    for section in sections:
        for drawn in section.pictures:
            write_bytes(folder / "figures" / f"{drawn.name}.pdf", drawn.pdf)
        for sheet in section.sheets:
            write_text(folder / "tables" / f"{sheet.full.name}.csv", csv_text(sheet.full))
    write_text(folder / "report.md", markdown(name, lead, facts, sections, __version__))
    return page
