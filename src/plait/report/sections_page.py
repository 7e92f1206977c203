"""A page made of sections, with its figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plait import __version__
from plait.report.files import write_text
from plait.report.rendering import render
from plait.report.study_parts import Section, kind


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
