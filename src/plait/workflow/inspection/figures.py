"""Pictures of representations: what probes read, rows on a plane, how alike two representations are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.base.errors import need
from plait.report.canvas import COLOURS, LINES, clean, distinct, rows_axes, settings, short

#: Classes that get a colour of their own; the others are grey.
COLOURED = 12
_MARKERS = ("o", "^")
#: Places in the order of the columns; what joins all stands under the first.
ORDER, JOINED = ("encoder", "own", "fused", "joint"), "fused"
_RUNS = ("o", "D")
_PANEL = 132.0


def probes_figure(records: Sequence[Mapping[str, Any]], label: str) -> Any:
    """One line per representation, a mark with its interval per run, a tick where looking at nothing ends up.

    Args:
        records: name, run, value, low, high, chance; in the order of the picture.
        label: of the metric.
    """
    names, runs = list(dict.fromkeys(r["name"] for r in records)), list(dict.fromkeys(r["run"] for r in records))
    if not any(math.isfinite(r["value"]) for r in records):
        return None
    with settings():
        figure, ax, places = rows_axes(names, per_row=15.0 + 6.0 * len(runs), top=24.0, most=30)
        at = dict(zip(names, places, strict=True))
        step = 0.3 if len(runs) > 1 else 0.0
        for number, run in enumerate(runs):
            colour = COLOURS[LINES[number]]
            mine = [r for r in records if r["run"] == run and math.isfinite(r["value"])]
            for r in mine:
                y = at[r["name"]] + step * (0.5 * (len(runs) - 1) - number)
                ax.plot([r["low"], r["high"]], [y, y], color=colour, lw=1.6, alpha=0.5, solid_capstyle="butt")
                ax.plot([r["chance"]], [y], "|", ms=7, mew=1.2, color=COLOURS["muted"])
                ax.plot([r["value"]], [y], _RUNS[number % 2], ms=5.2, color=colour, mew=0)
            ax.plot([], [], _RUNS[number % 2], ms=5.2, mew=0, color=colour, label=short(run, 24))
        ax.plot([], [], "|", ms=7, mew=1.2, color=COLOURS["muted"], label="without looking")
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        figure.legend(loc="upper left", ncols=3, borderpad=0.1, borderaxespad=0.2, handletextpad=0.1, columnspacing=1.0)
    return figure


def planes_figure(panels: Mapping[tuple[str, str], tuple[np.ndarray, Sequence[str]]]) -> Any:
    """Small planes in a grid: one row per modality, one column per place; rows of the table as dots, coloured by class.

    Args:
        panels: (modality, place) -> points (n, 2) and the class of each, as text.
    """
    if not panels:
        return None
    down, across = list(dict.fromkeys(m for m, _ in panels)), [p for p in ORDER if p in {p for _, p in panels}]
    columns_of = {place: at for at, place in enumerate(p for p in across if p != JOINED)} | {JOINED: 0}
    counts = Counter(name for _, names in panels.values() for name in names)
    known = [name for name, _ in counts.most_common(COLOURED)]
    looks = {n: (COLOURS[LINES[i % len(LINES)]], _MARKERS[i // len(LINES)]) for i, n in enumerate(known)}
    words = [*known, *(["others"] if len(counts) > len(known) else [])]
    columns = max(2, min(6, int(_PANEL * max(2, len(across) - 1) // 66)))
    head, left, gap = 14.0 * -(-len(words) // columns) + 20.0, 20.0, 10.0
    wide = max(2, max(columns_of.values()) + 1)
    width, height = left + wide * (_PANEL + gap), head + len(down) * (_PANEL + gap) + 12.0
    first = {place: next(m for m, p in panels if p == place) for place in across}
    with settings():
        figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
        for (modality, place), (points, names) in panels.items():
            i, j = down.index(modality), columns_of[place]
            x, y = (
                left + j * (_PANEL + gap),
                height - head - (i + 1) * _PANEL - i * gap - 12.0 * (JOINED in across) * (i == len(down) - 1),
            )
            ax = figure.add_axes((x / width, y / height, _PANEL / width, _PANEL / height))
            _plane(ax, points, names, looks)
            if first[place] == modality:
                ax.set_title(place, pad=3, color=COLOURS["muted"])
            if j == min(columns_of[p] for m, p in panels if m == modality):
                ax.set_ylabel(short(modality, 22), color=COLOURS["ink"], labelpad=3)
        _class_legend(figure, words, looks, columns)
    return figure


def _plane(ax: Any, points: np.ndarray, names: Sequence[str], looks: Mapping[str, tuple[str, str]]) -> None:
    named = np.asarray(names, dtype=object)
    grey = np.asarray([name not in looks for name in names], dtype=bool)
    ax.plot(*points[grey].T, "o", ms=1.8, mew=0, color=COLOURS["muted"], alpha=0.45)
    for name, (colour, marker) in looks.items():
        ax.plot(
            *points[(named == name) & ~grey].T, marker, ms=3.0 if marker == "o" else 3.4, mew=0, color=colour, alpha=0.8
        )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    ax.margins(0.05)


def _class_legend(figure: Any, words: Sequence[str], looks: Mapping[str, tuple[str, str]], columns: int) -> None:
    handles = []
    line = need("matplotlib.lines", "report").Line2D
    for word, text in zip(words, distinct(words, 13), strict=True):
        colour, marker = looks.get(word, (COLOURS["muted"], "o"))
        handles.append(line([], [], ls="", marker=marker, ms=5, mew=0, color=colour, label=clean(text)))
    figure.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        borderpad=0.1,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=0.9,
        labelspacing=0.3,
    )
