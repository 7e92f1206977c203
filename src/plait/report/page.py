"""Pages made of sections, with figures, tables and the same as Markdown beside them; each file whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plait.base.errors import PlaitError, need
from plait.base.folders import part_file
from plait.base.markdown import cell, plain
from plait.base.version import __version__
from plait.report import sentences
from plait.report.blocks import Block, Facts, Heading, Row, Section, Sheet, Table, Text, kind


def write_text(path: Path, text: str) -> Path:
    """Write a text file beside its place and move it there; missing folders are made.

    Raises:
        PlaitError: the place cannot be written.
    """
    return write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> Path:
    """The same for bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_file(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise PlaitError(f"{path}: cannot be written ({error.strerror}); choose another folder or make room") from error
    return path


def csv_text(table: Table) -> str:
    """A table as CSV: numbers in full, NaN as nothing."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([[_cell(value) for value in row] for row in table.rows])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return value


TEMPLATES = Path(__file__).parent / "templates"
#: Rows of a table that are shown at once; longer ones are folded.
UNFOLDED = 25


def render(template: str, **setting: Any) -> str:
    """One page from a template of this package and what it names."""
    jinja2 = need("jinja2", "report")
    # Escaping is on for every template: names of columns and classes are a stranger's text.
    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = need("markupsafe", "report").Markup
    surroundings.filters["number"] = sentences.number
    surroundings.filters["drawn"] = lambda drawing: markup(drawing.markup)
    surroundings.tests["a_number"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    surroundings.globals["unfolded"] = UNFOLDED
    return str(surroundings.get_template(template).render(**setting))


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


#: Rows of a folded table that Markdown shows; it cannot fold, and the CSV file has all.
FOLDED = 60


def markdown(name: str, lead: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], version: str) -> str:
    """The whole document."""
    lines = [f"# {plain(name)}", "", plain(lead), "", ", ".join(f"{plain(v)} {plain(k)}" for k, v in facts) + ".", ""]
    for place, section in enumerate(sections):
        lines += [f"## {plain(section.title)}", ""]
        lines += [plain(section.sentence), ""] if place or section.sentence != lead else []
        for block in section.blocks:
            lines += [*_block(block), ""]
    lines += [f"Made by plait {version}. Figures: `figures/` (SVG and PDF); tables: `tables/` (CSV).", ""]
    return "\n".join(lines)


def _block(block: Block) -> list[str]:
    if isinstance(block, Heading):
        return [f"### {plain(block.text)}"]
    if isinstance(block, Row):
        return [
            line
            for p in block.pictures
            for line in (f"![{plain(p.caption)}](figures/{p.name}.svg)", "", f"*{plain(p.caption)}*", "")
        ][:-1]
    if isinstance(block, Facts):
        return [f"- {plain(key)}: {plain(value)}" for key, value in block.pairs]
    if isinstance(block, Text):
        setting = _fenced(block.text) if block.code else [plain(block.text)]
        return [*([plain(block.title), ""] if block.title else []), *setting]
    return _sheet(block)


def _sheet(sheet: Sheet) -> list[str]:
    shown = sheet.rows[:FOLDED] if sheet.folded else sheet.rows
    lines = [f"{plain(sheet.title)}:", ""] if sheet.title else []
    lines += ["| " + " | ".join(cell(c) for c in sheet.columns) + " |"]
    lines += ["|" + "|".join("---:" if i in sheet.numeric else "---" for i in range(len(sheet.columns))) + "|"]
    for place, row in enumerate(shown):
        texts = [cell(text) for text in row]
        texts[0] = " ".join(filter(None, [sheet.sign(place), texts[0]]))
        best = sheet.mark(place) == "best"
        lines.append("| " + " | ".join(f"**{t}**" if best and t else t for t in texts) + " |")
    left = len(sheet.rows) - len(shown)
    notes = [sheet.note] if sheet.note else []
    notes += [f"{left} more rows in tables/{sheet.full.name}.csv."] if left else []
    return [*lines, "", plain(" ".join(notes))] if notes else lines


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, *text.rstrip().splitlines(), fence]
