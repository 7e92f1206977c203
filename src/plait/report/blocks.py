"""What reports are made of: sections of sentences, tables and pictures, for the page, Markdown and files alike."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.report.canvas import inline, settings, svg
from plait.report.words import number

if TYPE_CHECKING:
    import pandas as pd

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
class Table:
    """Rows under a heading; cells are text, int or float (NaN: nothing there).

    Attributes:
        name: of its CSV file.
    """

    name: str
    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Picture:
    """A figure, as part of the page and as files.

    Attributes:
        name: of its files, and of its ids in the page.
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
        rows: texts that are shown.
        numeric: places of the columns that stand to the right.
        marks: of each row: a verdict (see ``SIGNS``), or nothing.
        folded: closed until asked for.
        links: of each row: the page that its first cell leads to, or nothing.
    """

    full: Table
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    marks: Sequence[str] = ()
    note: str = ""
    folded: bool = False
    links: Sequence[str] = ()

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
    """Names and what they are; ``title`` folds them away, ``brief`` sets long ones apart on a phone, too."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""
    brief: bool = True


@dataclass(frozen=True)
class Heading:
    """A heading within a section, such as a data set or a kind of noise."""

    text: str


@dataclass(frozen=True)
class Row:
    """Pictures beside each other where there is room."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Words:
    """A text in parts, each coloured by a number from -1 (orange) to 1 (blue)."""

    parts: Sequence[tuple[str, float]]

    @property
    def styled(self) -> list[tuple[str, str]]:
        """Each part with its style."""
        return [
            (
                text,
                f"background: color-mix(in srgb, var(--{'blue' if s > 0 else 'orange'}) {60 * abs(s):.0f}%, transparent)",
            )
            for text, s in self.parts
        ]


Block = Sheet | Text | Facts | Heading | Row | Words


@dataclass
class Section:
    """One part of the report.

    Attributes:
        key: its anchor.
        sentence: what is proven, in one sentence.
        blocks: what proves it.
        tables: of which only CSV files are written.
    """

    key: str
    title: str
    sentence: str
    blocks: list[Block] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

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


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        lead: the first sentence.
        facts: the line of figures under it: what, how many.
        about: paragraphs under the lead.
        warned: what is to be looked at first.
        shown: the sections as they stand on the page; None: as they are.
        kind: what the page is of.
        foot: beside the figures and tables, what else lies there.
        beside: files of the figures and tables lie beside it.
    """

    name: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    about: Sequence[str] = ()
    warned: Sequence[str] = ()
    shown: Sequence[Section] | None = None
    kind: str = "plait report"
    foot: str = ""
    beside: bool = True


def frame_table(name: str, frame: pd.DataFrame) -> Table:
    """A data frame as what is written to a CSV file."""
    return Table(name, [str(c) for c in frame.columns], frame.astype(object).to_numpy().tolist())


def sheet(
    name: str, frame: pd.DataFrame, title: str = "", *, shown: Sequence[str] = (), note: str = "", folded: bool = False
) -> Sheet:
    """A data frame as a table: in full as a file, its columns ``shown`` (default: all) on the page, numbers to the right."""
    kept = frame[list(shown)] if shown else frame
    numeric = [i for i, c in enumerate(kept.columns) if kept[c].dtype.kind in "iuf"]
    rows = [[_shown(value) for value in row] for row in kept.astype(object).to_numpy().tolist()]
    columns = [str(c).replace("_", " ") for c in kept.columns]
    return Sheet(frame_table(name, frame), title, columns, rows, numeric, note=note, folded=folded)


def _shown(value: object) -> str:
    """A cell as a reader wants it; nothing where there is nothing."""
    if value is None or value != value:
        return ""
    return (
        number(value, significant=True)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value)
    )
