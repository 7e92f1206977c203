"""Pages made of sections, with figures, tables and the same as Markdown beside them; each file whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from plait.base import __version__
from plait.base.documents import cell, plain
from plait.base.errors import PlaitError, need
from plait.base.parts import part_file
from plait.report.blocks import Block, Facts, Heading, Page, Row, Sheet, Table, Text, Words, kind


def write_text(path: Path, text: str) -> Path:
    """Write a text file beside its place and move it there; missing folders are made."""
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


def _cell(value: object) -> Any:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return value


TEMPLATES = Path(__file__).parent / "templates"


def render(page: Page) -> str:
    """The HTML of a page."""
    jinja2 = need("jinja2", "report")
    # Escaping is on: names of columns and classes are a stranger's text.
    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = need("markupsafe", "report").Markup
    surroundings.filters["drawn"] = lambda drawing: markup(drawing.markup)
    return str(surroundings.get_template("page.html.j2").render(page=page, kind=kind, version=__version__))


def write_page(folder: Path, page: Page, *, full: bool = False) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``tables/*.csv`` (extra ``report``).

    ``full``: also ``report.md`` and every figure as PDF.
    """
    html = render(page)
    for section in page.sections:
        for drawn in section.pictures:
            write_text(folder / "figures" / f"{drawn.name}.svg", drawn.document)
            if full:
                write_bytes(folder / "figures" / f"{drawn.name}.pdf", drawn.pdf)
        for table in [*(sheet.full for sheet in section.sheets), *section.tables]:
            write_text(folder / "tables" / f"{table.name}.csv", csv_text(table))
    path = write_text(folder / "report.html", html)
    if full:
        write_text(folder / "report.md", markdown(page))
    return path


#: Rows of a folded table that Markdown shows; it cannot fold, and the CSV file has all.
FOLDED = 60


def markdown(page: Page) -> str:
    """The whole document."""
    facts = ", ".join(f"{plain(v)} {plain(k)}" for k, v in page.facts)
    lines = [f"# {plain(page.name)}", "", plain(page.lead), "", f"{facts}.", ""]
    for place, section in enumerate(page.sections):
        lines += [f"## {plain(section.title)}", ""]
        lines += [plain(section.sentence), ""] if place or section.sentence != page.lead else []
        for block in section.blocks:
            lines += [*_block(block), ""]
    lines += [f"Made by plait {__version__}. Figures: `figures/` (SVG and PDF); tables: `tables/` (CSV).", ""]
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
    if isinstance(block, Words):
        return [" ".join(f"**{plain(text)}**" if shade > 0.5 else plain(text) for text, shade in block.parts)]
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
        if sheet.links:
            texts[0] = f"[{texts[0]}]({sheet.links[place]})"
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
