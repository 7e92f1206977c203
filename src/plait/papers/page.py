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
from plait.papers.originals import originals, to_type
from plait.papers.paper import WEIGHTS, Element, Row
from plait.report.blocks import Block, Page, Section, Sheet, Table, Text, picture, sheet
from plait.report.canvas import COLOURS, LINES, settings
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
        section.add_row(
            picture(
                section.key,
                "Accuracy over trained weights; rivals as the paper states them.",
                weights(result, lines),
            )
        )
    if element.rows:
        section.add(*_shape(section.key, element, lines))
        section.add(*(sheet for metric in element.also for sheet in _also(section.key, result, element, metric)))
    if element.draws:
        section.add(*_drawn(result, element))
    if element.rows:
        section.add(*_sheets(section.key, lines))
    if element.draws:
        return section
    if not element.mapped:
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
    headings = ["row", *(f"{name}, {side}" for name in names for side in ("paper", "ours"))]
    note = f"The paper's number / ours, where something of ours stands in its place.{_likes(element.rows)}"
    numeric = tuple(range(1, len(names) + 1))
    return [Sheet(Table(f"{name}-shape", headings, full), "", ("", *names), shown, numeric, note=note)]


def _also(name: str, result: Reproduction, element: Element, metric: str) -> list[Sheet]:
    """Ours in a metric that the paper does not state, in its rows, with the 95 % interval over seeds and rows."""
    told, lines = beside(element, result.results, metric)
    table = pictures.numbers(told, lines)
    rows = [
        [_row_name(row), *(_with_interval(line) for line in cells)]
        for row, cells in zip(told.rows, table.cells, strict=True)
        if any(line.ours is not None for line in cells)
    ]
    if not rows:
        return []
    given = [column for column in range(1, len(rows[0])) if any(row[column] for row in rows)]
    headings = ["", *(_data_name(table, column - 1) for column in given)]
    kept = [[row[0], *(row[column] for column in given)] for row in rows]
    short = {_row_name(row): row for row in told.rows}
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


def _data_name(table: pictures.Numbers, column: int) -> str:
    return next((row[column].our_data for row in table.cells if row[column].our_data), "")


def _with_interval(line: Line) -> str:
    return "" if line.ours is None else f"{_number(line.ours)}{f' ({ends})' if (ends := interval(line)) else ''}"


def _sheets(name: str, result: list[Line]) -> list[Sheet]:
    """What stands beside something of ours, or is cited; orders by themselves; empty places folded under it."""
    cells = [line for line in result if line.verdict not in (NOT_THERE, MEASURED) and not line.order]
    orders = [line for line in result if line.order]
    gone = [(line.cell, _number(line.paper), line.data) for line in result if line.verdict == NOT_THERE]
    title = f"{len(gone)} more cells, in whose place nothing of ours stands"
    rest = Table(f"{name}-not-there", ["cell", "paper", "data"], [list(row) for row in gone])
    return [
        *(
            [_sheet(name, cells, "Each number with its data, seeds, interval and verdict", folded=True)]
            if cells
            else []
        ),
        *([_orders(f"{name}-orders", orders)] if orders else []),
        *([Sheet(rest, title, ("cell", "paper", "paper's data"), gone, (1,), folded=True)] if gone else []),
    ]


def _orders(name: str, orders: list[Line]) -> Sheet:
    """What is above what; where it is measured on several data sets, which is which stands once under the table."""
    sheet = _sheet(name, orders, "What the paper sets in an order (differences)")
    places = [place for place, column in enumerate(sheet.columns) if column in _DATA]
    if not places:
        return sheet
    pairs = dict.fromkeys(f"the paper's on {line.data}, ours on {line.our_data}" for line in orders)
    kept = [place for place in range(len(sheet.columns)) if place not in places]
    numeric = [at for at, place in enumerate(kept) if place in sheet.numeric]
    rows = [[row[place] for place in kept] for row in sheet.rows]
    note = f"T{'; '.join(pairs)[1:]}. {sheet.note}".strip()
    return dataclasses.replace(
        sheet, columns=[sheet.columns[place] for place in kept], rows=rows, numeric=numeric, note=note
    )


def _sheet(name: str, result: list[Line], title: str, *, folded: bool = False) -> Sheet:
    full = Table(name, list(_fields()), [[_plain(v) for v in dataclasses.astuple(line)] for line in result])
    rows = [
        (
            line.cell,
            line.verdict,
            _number(line.paper),
            line.data,
            _number(line.ours),
            line.our_data,
            str(line.seeds or ""),
            interval(line),
            line.reason,
        )
        for line in result
    ]
    alike = {
        name: rows[0][place]
        for place, name in enumerate(_COLUMNS)
        if name in _ONCE and len({r[place] for r in rows}) == 1
    }
    kept = [
        place for place, name in enumerate(_COLUMNS) if place < 2 or (name not in alike and any(r[place] for r in rows))
    ]
    note = "; ".join(f"{_ONCE[name]} {value}" for name, value in alike.items() if value)
    shown = [[row[place] for place in kept] for row in rows]
    numeric = [place for place, column in enumerate(kept) if _COLUMNS[column] in ("paper", "ours", "seeds")]
    marks = [_MARKS.get(line.verdict, "") for line in result]
    names = [_COLUMNS[place] for place in kept]
    return Sheet(full, title, names, shown, numeric, marks, note=f"All: {note}." if note else "", folded=folded)


def _fields() -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(Line))


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
            ax.scatter(
                [p[2] for p in mine],
                [p[3] for p in mine],
                color=COLOURS[colour],
                marker=marker,
                label=mine[0][4] if mine else None,
            )
            for _, name, x, y, _ in mine:
                ax.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        ax.set_xscale("log")
        ticker = need("matplotlib.ticker", "report")  # powers of ten would need the mathematics that labels do without
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_xlabel("trained weights")
        ax.set_ylabel("accuracy")
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
    for line in lines:
        if line.metric != WEIGHTS or line.ours is None or not line.seeds:
            continue
        for studies in result.results.values():
            for dataset, measured in studies.items():
                if label(dataset) != line.our_data:
                    continue
                element = next(e for e in result.elements if e.name == line.element)
                row = element.row(line.cell)
                frame: pd.DataFrame = measured.frame
                mine = frame[(frame["metric"] == "accuracy") & (frame["variant"] == row.variant)]
                mine = mine[[set(s.split("+")) == set(row.subset) for s in mine["subset"]]]
                if len(mine):
                    points.append(("ours", line.cell, line.ours, float(mine["value"].mean()), f"ours, {line.our_data}"))
    return points
