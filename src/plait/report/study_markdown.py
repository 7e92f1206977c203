"""The report of a study as Markdown: the same sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence

from plait.markdown import cell, plain
from plait.report.study_parts import Block, Facts, Heading, Row, Section, Sheet, Text

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
        told = _fenced(block.text) if block.code else [plain(block.text)]
        return [*([plain(block.title), ""] if block.title else []), *told]
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
