"""The page of a reproduction: the paper's numbers beside ours, and accuracy over trained weights."""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from plait.base.errors import need
from plait.papers import pictures
from plait.papers.holding import (
    CITED,
    HELD,
    MEASURED,
    NOT_HELD,
    NOT_RUN,
    NOT_THERE,
    OPEN,
    OTHER,
    Line,
    Reproduction,
    beside,
    interval,
    label,
    means,
)
from plait.papers.paper import WEIGHTS, Element, Row, originals, to_type
from plait.report.blocks import Block, Page, Section, Sheet, Table, Text, picture, sheet
from plait.report.canvas import COLOURS, LINES, bound, settings
from plait.report.page import write_page
from plait.report.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATUS = {
    "there": "There. {}",
    "deviation": "There, with a stated deviation: {}",
    "not_there": "Not there: {}",
}
_MARKS = {HELD: "better", NOT_HELD: "worse", OPEN: "not decided"}
#: Columns that stand once under a table where they are the same in every row, and how they are put there.
_ONCE = {"paper's data": "the paper's on", "our data": "ours on", "seeds": "seeds:"}
_DATA = ("paper's data", "our data")
#: Rows of a table of means that are shown at once; longer ones are folded.
_SHOWN = 24
_COLUMNS = ("cell", "verdict", "paper", "paper's data", "ours", "our data", "seeds", "95 % interval", "why")


def write(result: Reproduction) -> Path:
    """Write ``report.html`` with its tables and figures into the folder of the reproduction (extra ``report``)."""
    counts = result.verdicts
    shown = [
        (v, f"{counts[v]:,}") for v in (HELD, NOT_HELD, OPEN, OTHER, MEASURED, CITED, NOT_THERE, NOT_RUN) if counts[v]
    ]
    paper = result.paper
    small = (
        "A quick run (few rows, seeds and epochs, light encoders) shows that everything runs; its numbers mean little. "
    )
    about = (
        f"{paper.citation}. {paper.url}",
        " ".join(paper.about.split()),
        f"{small * result.quick}Numbers on other data than the paper's stand beside its own and prove nothing of them; what the "
        "paper sets in an order is tested on ours.",
    )
    page = Page(
        paper.title,
        f"{len(result.elements)} of {len(paper.elements)} tables and figures, its numbers beside ours, each with its data.",
        shown,
        [*(_section(result, element) for element in result.elements), *_own_data(result)],
        about=about,
        warned=result.not_run,
        kind="plait reproduce",
        foot="and a folder for each study, which plait study report shows in full",
    )
    return write_page(result.folder, page)


def _section(result: Reproduction, element: Element) -> Section:
    lines = [line for line in result.lines if line.element == element.name]
    section = Section(element.name.replace(".", "-"), f"{element.name}: {element.title}", _sentence(element, lines))
    section.add(Text(_STATUS[element.status].format(" ".join(element.why.split()))))
    if element.columns and any(column.metric == WEIGHTS for column in element.columns):
        caption = "Accuracy over trained weights; rivals as the paper states them."
        section.add_row(picture(section.key, caption, weights(result, lines)))
    if element.rows:
        section.add(*_shape(section.key, element, lines))
        section.add(*(sheet for metric in element.also for sheet in _also(section.key, result, element, metric)))
    section.add(*(_drawn(result, element) if element.draws else ()))
    section.add(*(_sheets(section.key, lines) if element.rows else ()))
    if not element.mapped and not element.draws:
        for recipe in element.recipes:
            for dataset, measured in result.results.get(recipe, {}).items():
                frame = means(measured).dropna(axis=1, how="all")
                name = f"{section.key}-{recipe}-{dataset.replace('/', '-')}"
                if len(frame):
                    section.add(sheet(name, frame, f"{recipe} on {label(dataset)}", folded=len(frame) > _SHOWN))
    return section


def _own_data(result: Reproduction) -> list[Section]:
    """What a reader who owns the paper's data types; nothing where all are here."""
    gone = originals(result.paper, result.elements)
    if not gone:
        return []
    sentence = f"{len(gone)} of its data sets are not here. With them in their places, what stands on them is run by:"
    section = Section("own-data", "On the paper's own data", sentence)
    section.add(Text(to_type(result.paper, result.elements), code=True))
    rows = [[one.label, one.how, ", ".join(one.elements)] for one in gone]
    columns = ["data set", "how it is had", "for"]
    section.add(Sheet(Table("own-data", columns, rows), "", columns, rows))
    return [section]


def _drawn(result: Reproduction, element: Element) -> list[Block]:
    """The pictures of an element: from its numbers, or what the paper's own module makes of its studies."""
    drawn = pictures.draw(result, element)
    if drawn is not None:
        return drawn
    module = importlib.import_module(f"plait.papers.{result.paper.folder.name}.drawn")
    measured = [one for recipe in element.recipes for one in result.results.get(recipe, {}).values()]
    blocks: list[Block] = module.draw(element.name, element.draws, measured, result.folder)
    return blocks


def _sentence(element: Element, result: list[Line]) -> str:
    count = Counter(line.verdict for line in result)
    parts = [f"{n} {verdict}" for verdict, n in count.items()]
    return f"{len(result)} numbers: {', '.join(parts)}." if element.rows else ""


def _shape(name: str, element: Element, lines: list[Line]) -> list[Sheet]:
    """The table in the paper's own rows and columns: its number, and ours behind it."""
    table = pictures.numbers(element, lines)
    if not table.cells or len(element.columns) * len(element.rows) < 2:
        return []
    shown, full = [], []
    for row, cells in zip(element.rows, table.cells, strict=True):
        ours = ["" if line.ours is None else f" / {_number(line.ours)}" for line in cells]
        shown.append([_short(row), *(f"{_number(line.paper)}{mine}" for line, mine in zip(cells, ours, strict=True))])
        full.append([row.name, *(_plain(v) for line in cells for v in (line.paper, line.ours))])
    names = [column.name for column in element.columns]
    headings = ["row", *(f"{name}, {side}" for name in names for side in (pictures.PAPER, pictures.OURS))]
    note = f"The paper's number / ours, where something of ours stands in its place.{_likes(element.rows)}"
    numeric = tuple(range(1, len(names) + 1))
    return [Sheet(Table(f"{name}-shape", headings, full), "", ("", *names), shown, numeric, note=note)]


def _also(name: str, result: Reproduction, element: Element, metric: str) -> list[Sheet]:
    """Ours in a metric that the paper does not state, in its rows, with the 95 % interval over seeds and rows."""
    measured, lines = beside(element, result.results, metric)
    table = pictures.numbers(measured, lines)
    rows = [
        [_row_name(row), *(_with_interval(line) for line in cells)]
        for row, cells in zip(measured.rows, table.cells, strict=True)
        if any(line.ours is not None for line in cells)
    ]
    if not rows:
        return []
    given = [column for column in range(1, len(rows[0])) if any(row[column] for row in rows)]
    headings = ["", *(table.our_data(column - 1) for column in given)]
    kept = [[row[0], *(row[column] for column in given)] for row in rows]
    short = {_row_name(row): row for row in measured.rows}
    shown = [[_short(short[name]), *values] for name, *values in kept]
    title = f"Ours in {metric.replace('_', ' ')}, which the paper does not state here"
    numeric = tuple(range(1, len(headings)))
    note = _likes([short[name] for name, *_ in kept]).strip()
    return [Sheet(Table(f"{name}-{metric}", ["row", *headings[1:]], kept), title, headings, shown, numeric, note=note)]


def _short(row: Row) -> str:
    """A row's name with a mark where ours is a part of it, which stands under the table (``_likes``)."""
    return f"{row.name} †" if row.like else row.name


def _likes(rows: Sequence[Row]) -> str:
    """What of the rivals ours is."""
    said = "; ".join(_row_name(row) for row in rows if row.like)
    return f" † {said}." if said else ""


def _row_name(row: Row) -> str:
    return f"{row.name} (ours: {row.like})" if row.like else row.name


def _with_interval(line: Line) -> str:
    return "" if line.ours is None else f"{_number(line.ours)}{f' ({ends})' if (ends := interval(line)) else ''}"


def _sheets(name: str, result: list[Line]) -> list[Sheet]:
    """What stands beside something of ours, or is cited; orders by themselves; empty places folded under it."""
    cells = [line for line in result if line.verdict not in (NOT_THERE, MEASURED) and not line.order]
    orders = [line for line in result if line.order]
    gone = [(line.cell, _number(line.paper), line.data) for line in result if line.verdict == NOT_THERE]
    sheets = (
        [_sheet(name, cells, "Each number with its data, seeds, interval and verdict", folded=True)] if cells else []
    )
    title = "What the paper sets in an order (differences)"
    sheets += [_sheet(f"{name}-orders", orders, title, paired=True)] if orders else []
    title = f"{len(gone)} more cells, in whose place nothing of ours stands"
    rest = Table(f"{name}-not-there", ["cell", "paper", "data"], [list(row) for row in gone])
    return [
        *sheets,
        *([Sheet(rest, title, ("cell", "paper", "paper's data"), gone, (1,), folded=True)] if gone else []),
    ]


def _sheet(name: str, result: list[Line], title: str, *, folded: bool = False, paired: bool = False) -> Sheet:
    """Lines as a table; what is the same in all stands once under it, as do the pairs of data where these are ``paired``."""
    full = Table(
        name, [f.name for f in dataclasses.fields(Line)], [[*map(_plain, vars(line).values())] for line in result]
    )
    rows = [
        [x.cell, x.verdict, _number(x.paper), x.data, _number(x.ours), x.our_data, str(x.seeds or ""), interval(x)]
        for x in result
    ]
    frame = pd.DataFrame([[*row, x.reason] for row, x in zip(rows, result, strict=True)], columns=_COLUMNS)
    alike = {name: frame[name].iloc[0] for name in _ONCE if frame[name].nunique() == 1}
    note = "; ".join(f"{_ONCE[name]} {value}" for name, value in alike.items() if value)
    note = f"All: {note}." if note else ""
    apart = [name for name in _DATA if paired and name not in alike]
    if apart:
        pairs = dict.fromkeys(f"the paper's on {line.data}, ours on {line.our_data}" for line in result)
        note = f"T{'; '.join(pairs)[1:]}. {note}".strip()
    shown = [name for name in _COLUMNS[2:] if name not in (*alike, *apart) and (frame[name] != "").any()]
    kept = [*_COLUMNS[:2], *shown]
    numeric = [place for place, name in enumerate(kept) if name in ("paper", "ours", "seeds")]
    marks = [_MARKS.get(line.verdict, "") for line in result]
    return Sheet(full, title, kept, frame[kept].to_numpy().tolist(), numeric, marks, note=note, folded=folded)


def _plain(value: object) -> Any:
    return float("nan") if value is None else value


def _number(value: float | None) -> str:
    if value is None or value != value:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else number(value)


def weights(result: Reproduction, lines: list[Line]) -> Figure | None:
    """Accuracy over trained weights (the paper's figure 2): the paper's points and ours, each with its data."""
    points = [*_paper_points(result, lines), *_our_points(result, lines)]
    if not points:
        return None
    with settings():
        figure: Figure = need("matplotlib.figure", "report").Figure(figsize=(4.6, 3.2), layout="constrained")
        ax = figure.subplots()
        for colour, (side, marker) in zip(LINES, (("paper", "o"), ("ours", "s")), strict=False):
            mine = [p for p in points if p[0] == side]
            look: dict[str, Any] = {"color": COLOURS[colour], "marker": marker, "label": mine[0][4] if mine else None}
            ax.scatter([p[2] for p in mine], [p[3] for p in mine], **look)
            for _, name, x, y, _ in mine:
                ax.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        ax.set_xscale("log")
        ticker = need("matplotlib.ticker", "report")  # powers of ten would need the mathematics that labels do without
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_xlabel("trained weights")
        ax.set_ylabel("accuracy")
        bound(ax.yaxis, (0.0, 1.0))
        ax.legend(loc="lower right", fontsize=7)
    return figure


_Point = tuple[str, str, float, float, str]


def _paper_points(result: Reproduction, lines: list[Line]) -> list[_Point]:
    """What the paper states of both, weights here and accuracy in the tables on the same data."""
    scores = {
        (row.name, column.data): value
        for element in result.paper.elements
        for row in element.rows
        for column, value in zip(element.columns, row.values, strict=True)
        if column.metric == "accuracy"
    }
    alias = {"Early fusion": "Early fusion (All)"}
    rows = [line for line in lines if line.metric == WEIGHTS and ", at" not in line.cell and line.paper is not None]
    return [
        ("paper", line.cell, float(line.paper or 0), scores[key], f"paper, {line.data}")
        for line in rows
        if (key := (alias.get(line.cell, line.cell), line.data)) in scores
    ]


def _our_points(result: Reproduction, lines: list[Line]) -> list[_Point]:
    points: list[_Point] = []
    for line in [x for x in lines if x.metric == WEIGHTS and x.ours is not None and x.seeds]:
        row = next(e for e in result.elements if e.name == line.element).row(line.cell)
        every = [(d, there) for studies in result.results.values() for d, there in studies.items()]
        for frame in [there.frame for dataset, there in every if label(dataset) == line.our_data]:
            mine = frame[(frame["metric"] == "accuracy") & (frame["variant"] == row.variant)]
            mine = mine[[set(s.split("+")) == set(row.subset) for s in mine["subset"]]]
            if len(mine):
                score, ours = float(mine["value"].mean()), float(line.ours or 0)
                points.append(("ours", line.cell, ours, score, f"ours, {line.our_data}"))
    return points
