"""The section of how the score of a search answers to each field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from plait.report.blocks import Picture, Section, picture, sheet
from plait.report.canvas import COLOURS, ENDLESS, WIDTH, axes, bound, distinct, settings, short
from plait.report.charts import MARKERS, look
from plait.study.report import Material, ReportSection
from plait.study.sensitivity import metric_label, metric_range

#: Dots over which the line of a response is averaged, as a share of all.
_PARTS = 4


class Response(ReportSection):
    """The score over each field that was searched."""

    subjects = ("search",)
    place = 20

    def sections(self, material: Material) -> Iterator[Section]:
        for sensitivity in material.evidence:
            words = "Each dot is a trial; the line is the mean over quarters of the range. Other fields vary too: dots scatter."
            section = Section("response", "How the score answers", words)
            done = sensitivity.trials[sensitivity.trials["state"] == "done"]
            pictures: list[Picture | None] = []
            for r in sensitivity.ranges:
                points = {
                    str(name): (mine[r.field].tolist(), mine["score"].tolist())
                    for name, mine in done.groupby("regime", sort=False)
                }
                name = f"response-{r.field.replace('.', '-').replace('_', '-')}"
                given = {"log": r.log, "ends": metric_range(sensitivity)}
                drawn = response_figure(points, r.field, metric_label(sensitivity), **given)
                pictures.append(picture(name, f"{metric_label(sensitivity).capitalize()} over {r.field}.", drawn))
            section.add_row(*pictures)
            section.add(sheet("trials", sensitivity.trials, "Every trial", folded=True))
            yield section


def response_figure(
    points: Mapping[str, tuple[Sequence[object], Sequence[float]]],
    field: str,
    label: str,
    *,
    log: bool = False,
    ends: tuple[float, float] = ENDLESS,
) -> Any:
    """Dots of every trial and a line of their means over quarters of the range, per regime; None without a trial.

    ``points``: regime -> values of the field, scores; ``ends``: of the range of the score.
    """
    there = {name: p for name, p in points.items() if len(p[0])}
    if not there:
        return None
    words = _words(there)
    head = 8.0 + 13.0 * len(there)
    with settings():
        figure, ax = axes(WIDTH, 176.0 + head, left=48, bottom=34, right=12, top=head)
        for place, (name, (values, scores)) in enumerate(there.items()):
            style, marker = look(place), MARKERS[place % len(MARKERS)]
            x = np.asarray([words.index(str(v)) for v in values] if words else values, dtype=float)
            y = np.asarray(scores, dtype=float)
            shift = 0.08 * (place - (len(there) - 1) / 2) if words else 0.0
            ax.plot(x + shift, y, marker, ms=3.8, mew=0, color=style["color"], alpha=0.55)
            ax.plot(*_means(x, y, log and not words, bool(words)), lw=1.5, label=short(name, 44), **style)
        if log and not words:
            _log_axis(ax)
        if words:
            ax.set_xticks(range(len(words)), distinct(words, 14))
            ax.set_xlim(-0.5, len(words) - 0.5)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel(field)
        ax.set_ylabel(label)
        bound(ax.yaxis, ends)
        figure.legend(loc="upper left", borderpad=0.1, borderaxespad=0.2, labelspacing=0.25, handlelength=1.8)
    return figure


def _log_axis(ax: Any) -> None:
    """Powers of ten, or over less than two of them 1, 2 and 5 too, as plain numbers: text of formulas is off."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    digits = (1,) if high / low >= 100 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [t for power in powers for d in digits if low <= (t := d * 10.0**power) <= high]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(low, high)


def _words(points: Mapping[str, tuple[Sequence[object], Sequence[float]]]) -> list[str]:
    """The values as text, where one of them is no number."""
    values = [v for result, _ in points.values() for v in result]
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values):
        return []
    return sorted({str(v) for v in values})


def _means(x: np.ndarray, y: np.ndarray, log: bool, each: bool) -> tuple[np.ndarray, np.ndarray]:
    """Means of x and y over parts of like many dots, by x; of words over each word."""
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    order = np.argsort(x, kind="stable")
    if each:
        parts = [order[x[order] == value] for value in np.unique(x)]
    else:
        parts = [p for p in np.array_split(order, min(_PARTS, max(1, len(x) // 2))) if len(p)]
    middle = [math.exp(float(np.log(x[p]).mean())) if log else float(x[p].mean()) for p in parts]
    return np.asarray(middle), np.asarray([float(y[p].mean()) for p in parts])
