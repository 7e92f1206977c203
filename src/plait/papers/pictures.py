"""What the page of a paper draws from numbers: the paper's beside ours as bars, changes, parts of a whole, points and curves."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, nearest, need
from plait.papers.holding import Line, Reproduction, label, lines
from plait.papers.paper import PICTURES, Element
from plait.report.blocks import Block, Picture, Section, picture
from plait.report.canvas import COLOURS, LINES, settings
from plait.report.charts import Curve, curves_figure
from plait.study.folder import RUNS
from plait.study.report.sections.evaluations import add_curves
from plait.study.results import Results
from plait.training.history import TRAIN, pattern_codes, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, OURS = "paper", "ours"
#: Points: of a picture, and of a bar with its gap.
_WIDTH, _BAR = 330.0, 11.0


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The cells of an element: rows by columns, the paper's and ours.

    Attributes:
        element: they are of.
        cells: a line for each row and column; ``orders`` and counts behind them are left out.
    """

    element: Element
    cells: Sequence[Sequence[Line]]

    def column(self, name: str) -> int:
        """The place of a column by its name.

        Raises:
            ConfigError: there is none.
        """
        known = [column.name for column in self.element.columns]
        if name not in known:
            raise ConfigError(f"{self.element.name}: draws: no column '{name}': {nearest(name, known)}")
        return known.index(name)

    def values(self, side: str, column: int) -> list[float]:
        """Of one column: the paper's numbers or ours; NaN where there is none."""
        values = [getattr(row[column], side) for row in self.cells]
        return [float("nan") if value is None else float(value) for value in values]

    def our_data(self, column: int) -> str:
        """What ours of one column were measured on; empty where nothing was."""
        return next((row[column].our_data for row in self.cells if row[column].our_data), "")

    @property
    def rows(self) -> list[str]:
        """Names of the rows."""
        return [row.name for row in self.element.rows]


def numbers(element: Element, lines: Sequence[Line]) -> Numbers:
    """The first lines of an element are its cells, row by row."""
    width = len(element.columns)
    return Numbers(element, [lines[place * width : (place + 1) * width] for place in range(len(element.rows))])


def draw(result: Reproduction, element: Element) -> list[Block] | None:
    """The pictures of an element by its ``draws:``; None where the figure is none of these.

    ``bars``: rows as pairs of bars, one picture per column. ``changes``: what each row adds to the first, in the columns named,
    of the elements in ``of``; ``relative``: in parts of it. ``stacked``: ``parts``, columns that add up. ``points``: one column
    over another, each ``[element, column]``. ``epochs``: ``metrics`` of the test rows over the epochs for some ``variants``, with
    all modalities or by ``patterns``. ``evaluation``: the curves of an evaluation of aligned spaces, by its ``name``.
    ``boxes``: ``rows`` of parts, from the input downwards, what leads to what.
    """
    known: dict[str, Callable[..., Iterator[Picture | None]]] = dict(
        zip(PICTURES, (bars, changes, stacked, points, epochs, evaluation, boxes), strict=True)
    )
    options = dict(element.draws)
    figure = str(options.pop("figure", None))
    if figure not in known:
        return None
    tables = [_of(result, name) for name in options.pop("of", [element.name])]
    try:
        inspect.signature(known[figure]).bind(result, tables, **options)
    except TypeError as error:
        raise ConfigError(f"{result.paper.name}: {element.name}: draws: {figure}: {error}") from error
    drawn = [one for one in known[figure](result, tables, **options) if one is not None]
    named = [dataclasses.replace(one, name=f"{element.name}-{one.name}".replace(".", "-")) for one in drawn]
    section = Section(element.name, "", "")
    section.add_row(*named)
    return section.blocks


def _of(result: Reproduction, name: str) -> Numbers:
    [element] = result.paper.chosen(name)
    return numbers(element, lines(element, result.results))


def bars(result: Reproduction, tables: Sequence[Numbers]) -> Iterator[Picture | None]:
    """One picture per column."""
    for place, column in enumerate(tables[0].element.columns):
        given = {side: tables[0].values(side, place) for side in (PAPER, OURS)}
        ends = [(row[place].low, row[place].high) for row in tables[0].cells]
        caption = f"{column.name}: the paper's ({column.data}) and ours ({_data(tables[0], place, OURS)})"
        yield picture(_key(column.name), caption, _pairs(tables[0].rows, given, ends, column.name))


def changes(
    result: Reproduction, tables: Sequence[Numbers], columns: Sequence[str], relative: bool = False
) -> Iterator[Picture | None]:
    """Each row against the first, a bar per column; the paper's and ours apart."""
    for side in (PAPER, OURS):
        groups, values = [], []
        for table in tables:
            each = np.array([table.values(side, table.column(name)) for name in columns]).T  # (rows, columns)
            gain = each[1:] - each[:1]
            values += (gain / each[:1] if relative else gain).tolist()
            metric = table.element.columns[table.column(columns[0])].metric
            few = len(tables) == 1 or len(table.rows) > 2
            groups += [", ".join([name] * few + [metric] * (len(tables) > 1)) for name in table.rows[1:]]
        what = "change against the first row" + (", in parts of it" if relative else "")
        caption = f"{side}: {what}; {_data(tables[0], tables[0].column(columns[0]), side)}"
        bunches = {name: [row[place] for row in values] for place, name in enumerate(columns)}
        yield picture(f"changes-{side}", caption, _grouped(groups, bunches, f"{what} ({side})"))


def stacked(result: Reproduction, tables: Sequence[Numbers], parts: Sequence[str]) -> Iterator[Picture | None]:
    """Columns that add up, a bar for each row; the paper's and ours apart, for their machines differ."""
    table = tables[0]
    for side in (PAPER, OURS):
        layers = {name: np.nan_to_num(table.values(side, table.column(name))) for name in parts}
        caption = f"{side}: {', '.join(parts)}; {_data(table, table.column(parts[0]), side)}"
        yield picture(f"parts-{side}", caption, _layers(table.rows, layers, side))


def points(
    result: Reproduction, tables: Sequence[Numbers], x: Sequence[str], y: Sequence[str]
) -> Iterator[Picture | None]:
    """Each row as a point: a column of one element over a column of another; the paper's and ours apart."""
    across, up = _of(result, x[0]), _of(result, y[0])
    i, j = across.column(x[1]), up.column(y[1])
    for side in (PAPER, OURS):
        costs = dict(zip(across.rows, across.values(side, i), strict=True))
        gains = dict(zip(up.rows, up.values(side, j), strict=True))
        both = [(name, costs[name], gains[name]) for name in costs if name in gains]
        caption = f"{side}: {y[1]} over {x[1]}; {_data(up, j, side)}"
        yield picture(f"points-{side}", caption, _points([p for p in both if np.isfinite(p[1:]).all()], x[1], y[1]))


def epochs(
    result: Reproduction,
    tables: Sequence[Numbers],
    metrics: Sequence[str],
    variants: Sequence[str],
    patterns: Sequence[str] = ("",),
) -> Iterator[Picture | None]:
    """Scores of the test rows over the epochs, mean over the seeds, with the least and the greatest of them."""
    element = tables[0].element
    for name in element.recipes:
        for dataset, measured in result.results.get(name, {}).items():
            for metric in metrics:
                for pattern in patterns if metric != "loss" else patterns[:1]:  # of all modalities alone
                    curves = [c for v in variants if (c := _curve(measured, v, metric, pattern)) is not None]
                    where = f", {pattern} alone" if pattern else ", all modalities"
                    caption = f"{metric} of the test rows over the epochs{where}; {label(dataset)}; band: over seeds"
                    several = sum(len(result.results.get(one, {})) for one in element.recipes) > 1
                    key = f"{_key(metric)}-{_key(pattern) or 'all'}" + f"-{_key(dataset)}" * several
                    drawn = curves_figure(curves, "epoch", metric, markers=False, whole=True) if curves else None
                    yield picture(key, caption, drawn)


def _curve(results: Results, variant: str, metric: str, pattern: str) -> Curve | None:
    """Mean, least and greatest over the runs of a variant; of one modality alone where ``pattern`` names it."""
    runs = results.runs
    mine = runs[(runs["status"] == "done") & (runs["variant"] == variant) & (runs["train_condition"] == "clean")]
    each = []
    for run, subset in zip(mine["run"], mine["subset"], strict=True):
        place = Path(results.folder) / RUNS / str(run)
        if not (place / "epoch_metrics.csv").is_file():
            continue
        frame, wanted = read(place), (pattern,) if pattern else tuple(str(subset).split("+"))
        codes = pattern_codes(str(subset).split("+"))
        code = "" if metric == "loss" else next((c for c, kept in codes.items() if kept == wanted), "")
        chosen = (frame["part"] == "test") & (frame["metric"] == metric) & (frame["stage"] == TRAIN)
        each.append(frame[chosen & (frame["pattern"] == code)].groupby("epoch")["value"].mean())
    table = pd.concat(each, axis=1) if each else pd.DataFrame()
    if table.empty:
        return None
    ends = [table.min(axis=1).tolist(), table.max(axis=1).tolist()] if table.shape[1] > 1 else []
    return Curve(variant, [float(e) for e in table.index], table.mean(axis=1).tolist(), *ends)


def evaluation(result: Reproduction, tables: Sequence[Numbers], name: str) -> Iterator[Picture | None]:
    """The curves of one evaluation of aligned spaces, as their report has them; of all its data sets where none is named."""
    for recipe in tables[0].element.recipes:
        for measured in result.results.get(recipe, {}).values():
            done = [line for line in measured.lines if line["status"] == "done"]
            judged = [one["condition"].partition(": ")[0] for line in done for one in line["evaluations"]]
            named = [one for one in dict.fromkeys(judged) if one == name or one.startswith(f"{name} ")]
            for dataset, one in itertools.product(dict.fromkeys(line["dataset"] for line in done), named):
                section = Section(_key(one), "", "")
                add_curves(section, measured, one, dataset, f"{_key(one)}-{_key(recipe)}")
                yield from section.pictures


def boxes(
    result: Reproduction, tables: Sequence[Numbers], rows: Sequence[Sequence[str]], caption: str = ""
) -> Iterator[Picture | None]:
    """Parts of a network or of a course of work: each row leads to the next, one to one where they are as many."""
    yield picture("boxes", caption or tables[0].element.title, _boxes(rows))


# -- drawing -----------------------------------------------------------------------------------------------------------


def _figure(rows: int, bars_each: int) -> tuple[Figure, Axes]:
    height = rows * (bars_each * _BAR + 8) + 74
    figure: Figure = need("matplotlib.figure", "report").Figure(
        figsize=(_WIDTH / 72, height / 72), layout="constrained"
    )
    return figure, figure.add_subplot()


def _named(ax: Axes, names: Sequence[str], across: str) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.grid(True, axis="x")
    ax.set_axisbelow(True)
    ax.set_xlabel(across)
    ax.tick_params(length=0)


def _pairs(
    names: Sequence[str],
    given: Mapping[str, Sequence[float]],
    ends: Sequence[tuple[float | None, float | None]],
    across: str,
) -> Figure:
    """The paper's number and ours for each row, ours with its interval."""
    with settings():
        figure, ax = _figure(len(names), 2)
        _bunches(ax, given, (COLOURS["rule"], COLOURS["blue"]))
        for place, (value, (low, high)) in enumerate(zip(given[OURS], ends, strict=True)):
            if low is not None and high is not None and np.isfinite([value, low, high]).all():
                ax.plot([low, high], [place + 0.2] * 2, color=COLOURS["ink"], lw=1.1)
        _named(ax, names, across)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _grouped(names: Sequence[str], bunches: Mapping[str, Sequence[float]], across: str) -> Figure | None:
    if not np.isfinite([value for values in bunches.values() for value in values]).any():
        return None
    with settings():
        figure, ax = _figure(len(names), len(bunches))
        _bunches(ax, bunches, [COLOURS[name] for name in LINES])
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)
        _named(ax, names, across)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=len(bunches))
    return figure


def _bunches(ax: Axes, given: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    high = 0.8 / len(given)
    for place, ((name, values), colour) in enumerate(zip(given.items(), colours, strict=False)):
        at = np.arange(len(values)) + (place - (len(given) - 1) / 2) * high
        ax.barh(at, np.nan_to_num(values), high * 0.92, color=colour, label=name)


def _layers(names: Sequence[str], layers: Mapping[str, np.ndarray], side: str) -> Figure | None:
    if not any(np.any(values) for values in layers.values()):
        return None
    with settings():
        figure, ax = _figure(len(names), 1)
        left = np.zeros(len(names))
        for (name, values), colour in zip(layers.items(), LINES, strict=False):
            ax.barh(np.arange(len(names)), values, 0.6, left=left, color=COLOURS[colour], label=name)
            left = left + values
        for place, total in enumerate(left):
            ax.annotate(f" {total:,.0f}" if total >= 100 else f" {total:.3g}", (total, place), va="center", fontsize=8)
        ax.margins(x=0.16)
        _named(ax, names, f"seconds ({side})")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=len(layers))
    return figure


def _points(points: Sequence[tuple[str, float, float]], across: str, up: str) -> Figure | None:
    if len(points) < 2:
        return None
    with settings():
        figure, ax = _figure(4, 3)
        for place, (name, x, y) in enumerate(points):
            ax.scatter([x], [y], color=COLOURS[LINES[place % len(LINES)]], label=name)
            ax.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        ax.margins(0.2)
        ax.grid(True)
        ax.set_axisbelow(True)
        ax.set_xlabel(across)
        ax.set_ylabel(up)
    return figure


def _boxes(rows: Sequence[Sequence[str]]) -> Figure:
    wide, gap = 150.0, 20.0  # points, as are all coordinates
    wrapped = [["\n".join(textwrap.wrap(text, 30)) for text in row] for row in rows]
    shape = need("matplotlib.patches", "report").FancyBboxPatch
    heights = [10.0 * max(text.count("\n") + 1 for text in row) + 10 for row in wrapped]
    size = (wide * max(map(len, rows)), sum(heights) + gap * len(rows))
    with settings():
        figure: Figure = need("matplotlib.figure", "report").Figure(figsize=(size[0] / 72, size[1] / 72))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
        ax.set_axis_off()
        top, before = gap / 2, list[tuple[float, float]]()
        for row, height in zip(wrapped, heights, strict=True):
            across = [(i + 0.5) * size[0] / len(row) for i in range(len(row))]
            for text, x in zip(row, across, strict=True):
                size_of, look = (wide - 14, height), {"fc": "none", "ec": COLOURS["blue"], "lw": 0.9}
                ax.add_patch(shape((x - wide / 2 + 7, top), *size_of, boxstyle="round,pad=0,rounding_size=4", **look))
                ax.text(x, top + height / 2, text, ha="center", va="center", fontsize=8, color=COLOURS["ink"])
            pairs = zip(before, across, strict=True) if len(before) == len(row) else itertools.product(before, across)
            for (start, bottom), end in pairs:
                arrow = {"arrowstyle": "-|>", "color": COLOURS["muted"], "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
                ax.annotate("", (end, top), (start, bottom), arrowprops=arrow)
            before = [(x, top + height) for x in across]
            top += height + gap
    return figure


def _key(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _data(table: Numbers, column: int, side: str) -> str:
    return table.element.columns[column].data if side == PAPER else table.our_data(column) or "none"
