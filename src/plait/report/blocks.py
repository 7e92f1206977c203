"""What a study's report is made of: sections of sentences, tables and pictures, for the page, Markdown and files alike."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from plait.report.blocks import Table
from plait.report.canvas import inline, settings, svg

#: Pixels beyond which a figure is too wide for half a page, or a phone.
WIDE = 470.0
#: Sign before a row's name; the legend under a table says the same in words.
SIGNS = {
    "best": "●",
    "reference": "●",
    "equivalent": "≈",
    "identical": "≈",
    "not decided": "○",
    "better": "▲",
    "worse": "",
}


@dataclass(frozen=True)
class Picture:
    """A figure, as part of the page and as files.

    Attributes:
        name: of its files, and of its ids in the page.
        caption: what is seen.
        document: SVG file.
        markup: SVG within the page.
        figure: matplotlib's, of which the PDF is made where one is wanted.
        wide: too wide for a phone: scrolled there, not shrunk.
    """

    name: str
    caption: str
    document: str
    markup: str
    figure: Any
    wide: bool = False

    @property
    def pdf(self) -> bytes:
        """The PDF file."""
        buffer = io.BytesIO()
        with settings():
            self.figure.savefig(
                buffer, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None}
            )
        return buffer.getvalue()


def picture(name: str, caption: str, figure: Any) -> Picture | None:
    """A matplotlib Figure in all its forms; None stays None."""
    if figure is None:
        return None
    document = svg(figure)
    natural = 96 * float(figure.get_figwidth())
    wide = natural > WIDE
    markup = inline(document, name, html.escape(caption, quote=True))
    if wide:  # its own width, less what still reads well
        markup = markup.replace('style="', f'style="min-width:{0.85 * natural:.0f}px;', 1)
    return Picture(name, caption, document, markup, figure, wide)


@dataclass(frozen=True)
class Sheet:
    """A table: in full for its CSV file, and as a reader sees it.

    Attributes:
        full: every column, numbers in full.
        title: over it on the page.
        columns: headings that are shown.
        rows: texts that are shown.
        numeric: places of the columns that stand to the right.
        marks: of each row: a verdict (see ``SIGNS``), or nothing.
        note: under it.
        folded: closed until asked for.
    """

    full: Table
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    marks: Sequence[str] = ()
    note: str = ""
    folded: bool = False

    def mark(self, row: int) -> str:
        """The verdict of a row."""
        return self.marks[row] if self.marks else ""

    def sign(self, row: int) -> str:
        """The sign before a row's name."""
        return SIGNS.get(self.mark(row), "")


@dataclass(frozen=True)
class Text:
    """A paragraph, or with ``code`` a block of it; ``title`` folds it away."""

    text: str
    title: str = ""
    code: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Heading:
    """Of a part of a section: a data set, a kind of noise."""

    text: str


@dataclass(frozen=True)
class Row:
    """Pictures beside each other where there is room."""

    pictures: Sequence[Picture]


Block = Sheet | Text | Facts | Heading | Row


@dataclass
class Section:
    """One part of the report.

    Attributes:
        key: its anchor.
        title: its heading.
        sentence: what is proven, in one sentence.
        blocks: what proves it.
    """

    key: str
    title: str
    sentence: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block | None) -> None:
        """Append what there is."""
        self.blocks += [block for block in blocks if block is not None]

    def add_row(self, *pictures: Picture | None) -> None:
        """Pictures side by side, if there is one; wide ones each by itself."""
        there = [p for p in pictures if p is not None]
        narrow = [p for p in there if not p.wide]
        self.blocks += [Row(narrow)] if narrow else []
        self.blocks += [Row([p]) for p in there if p.wide]

    @property
    def pictures(self) -> list[Picture]:
        """All of them."""
        return [p for block in self.blocks if isinstance(block, Row) for p in block.pictures]

    @property
    def sheets(self) -> list[Sheet]:
        """All of them."""
        return [block for block in self.blocks if isinstance(block, Sheet)]


def kind(block: Block) -> str:
    """What a template calls it."""
    return type(block).__name__.lower()
