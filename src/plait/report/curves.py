"""Learning curves of several trainings side by side: one panel per score, one line per model."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.base.errors import ConfigError, nearest, need
from plait.base.folders import check_file
from plait.base.parts import write_file
from plait.report.blocks import Page, Section, picture
from plait.report.canvas import COLOURS, distinct, settings, svg, width_of
from plait.report.charts import MARGIN, MARKERS, NAMED, Curve, log_places, look, room_for
from plait.report.page import render
from plait.training.history import PRETRAIN, STAGES, TRAIN, epochs_to, of_stage, read, select

if TYPE_CHECKING:
    import pandas as pd


#: Points: a panel's height, the most that stand beside each other, and the names above them.
_HEIGHT, _ACROSS, _ROW = 190.0, 3, 13.0
_WIDTH, _LEFT, _BOTTOM, _BETWEEN, _TITLE = 250.0, 44.0, 34.0, 44.0, 18.0


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        up: label of the y axis.
        curves: in the same order in every panel; an empty one takes a colour and draws nothing.
        threshold: a level to be reached, dashed.
        across: label of the x axis.
        log: it is logarithmic, with a number at every place.
    """

    title: str
    up: str
    curves: Sequence[Curve]
    threshold: float | None = None
    across: str = "epoch"
    log: bool = False


def panels_figure(panels: Sequence[Panel], most: int = NAMED) -> Any:
    """All panels, their lines named once above them; None where nothing can be drawn.

    The first ``most`` lines have colours and names, the others are grey.
    """
    if not any(math.isfinite(y) for panel in panels for curve in panel.curves for y in curve.y):
        return None
    names = distinct([c.name for c in panels[0].curves[:most]], 60)
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    width = across * (_WIDTH + _BETWEEN) + max(room_for(p.curves) if p.log else MARGIN for p in panels)
    columns = max(1, min(len(names), int(width // (40 + 5.2 * max(map(width_of, names))))))
    top = 8 + _ROW * (-(-len(names) // columns))
    height = top + down * (_HEIGHT + _TITLE + _BOTTOM) + 4
    with settings():
        figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
        for place, panel in enumerate(panels):
            left = _LEFT + (place % across) * (_WIDTH + _BETWEEN)
            low = height - top - (place // across) * (_HEIGHT + _TITLE + _BOTTOM) - _TITLE - _HEIGHT
            box = (left / width, low / height, _WIDTH / width, _HEIGHT / height)
            _draw(figure.add_axes(box), panel, names)
        _level(figure.axes, panels)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        spaces = {"borderpad": 0.1, "borderaxespad": 0.3, "labelspacing": 0.25, "handlelength": 1.8}
        figure.legend(handles, labels, loc="upper left", ncols=columns, **spaces)
    return figure


def _level(drawn: Sequence[Any], panels: Sequence[Panel]) -> None:
    """Panels of one score get one scale, so that heights may be compared."""
    for up in dict.fromkeys(panel.up for panel in panels):
        same = [ax for ax, panel in zip(drawn, panels, strict=True) if panel.up == up]
        ends = [ax.get_ylim() for ax in same]
        for ax in same:
            ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def _draw(ax: Any, panel: Panel, names: Sequence[str]) -> None:
    for curve in panel.curves[len(names) :]:
        ax.plot(curve.x, curve.y, color=COLOURS["rule"], lw=0.9, zorder=1)
    for place, (curve, name) in enumerate(zip(panel.curves, names, strict=False)):
        style = look(place)
        if len(curve.low) > 1:
            ax.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.13, lw=0, zorder=2)
        style |= {"marker": MARKERS[place % len(MARKERS)], "ms": 3.5} if len(curve.x) <= 12 else {}
        ax.plot(curve.x, curve.y, lw=1.5, label=name, zorder=3, **style)
    if panel.threshold is not None:
        ax.axhline(panel.threshold, color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)), zorder=1)
    ax.set_title(panel.title, pad=5)
    ax.set_xlabel(panel.across)
    ax.set_ylabel(panel.up)
    if panel.log:
        log_places(ax, panel.curves)
    else:
        ax.locator_params(axis="x", nbins=6, integer=panel.across == "epoch")
    ax.tick_params(labelcolor=COLOURS["muted"])
    ax.grid(True, axis="y")


FORMATS = (".svg", ".png", ".html")
#: Every stage that was recorded.
ALL = "all"


def gather(folders: Sequence[str | Path], stage: str = TRAIN) -> pd.DataFrame:
    """The records of several folders in one table; folders of one name are told apart by their paths.

    ``stage``: ``train``, ``pretrain`` (encoders alone), or ``all``.
    """
    import pandas as pd

    names = [Path(folder).name for folder in folders]
    parts = []
    for folder, name in zip(folders, names, strict=True):
        result = read(folder)
        if names.count(name) > 1:
            result["label"] = [f"{folder}" if label == name else f"{folder} · {label}" for label in result["label"]]
        parts.append(result)
    return _of_stage(pd.concat(parts, ignore_index=True), stage)


def _of_stage(frame: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Rows of a stage; an encoder alone is a line of its own: ``model · image alone``."""
    if stage not in (*STAGES, ALL):
        raise ConfigError(f"unknown stage '{stage}': {nearest(stage, (*STAGES, ALL))}")
    kept = frame if stage == ALL else of_stage(frame, stage)
    kept = kept.sort_values("stage", kind="stable", key=lambda value: value != TRAIN)  # lines of whole models first
    alone = kept["stage"] == PRETRAIN
    named = kept["label"] + " · " + kept["modality"] + " alone"
    return kept.assign(label=kept["label"].where(~alone, named)).reset_index(drop=True)


def chosen(
    frame: pd.DataFrame, metrics: Sequence[str], parts: Sequence[str], patterns: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Metric, part and pattern of every panel; without patterns the full one of each metric, and those of encoders alone."""
    values = []
    for metric in metrics:
        for part in parts:
            rows = select(frame, metric, part, patterns[0] if patterns and metric != "loss" else None, None)
            codes = list(patterns if rows["pattern"].iloc[0] else [""]) or _usual(frame, metric, part)
            for code in codes:
                select(frame, metric, part, code, None)
                values.append((metric, part, code))
    return values


def _usual(frame: pd.DataFrame, metric: str, part: str) -> list[str]:
    rows = frame[(frame["metric"] == metric) & (frame["part"] == part)]
    members, alone = rows[rows["stage"] == TRAIN]["pattern"], rows[rows["stage"] == PRETRAIN]["pattern"]
    return list(dict.fromkeys([*members[:1], *alone]))


def curve(frame: pd.DataFrame, metric: str, part: str, pattern: str) -> pd.DataFrame:
    """Per label and epoch: mean, least and greatest value over runs and members, and how many there are."""
    rows = select(frame, metric, part, pattern, None).dropna(subset="value")
    value = rows.groupby(["label", "epoch"], sort=False)["value"].agg(["mean", "min", "max", "count"])
    return value.reset_index()


def summaries(frame: pd.DataFrame, values: Sequence[tuple[str, str, str]], reach: float | None) -> list[dict[str, Any]]:
    """Per panel and label: first, best and last value, the best epoch, and epochs to ``reach``, means over trainings."""
    rows = []
    for metric, part, pattern in values:
        each = epochs_to(frame, float("nan") if reach is None else reach, metric, part, pattern, None)
        for label, one in each.groupby("label", sort=False):
            row: dict[str, Any] = {"label": label, "metric": metric, "part": part, "pattern": pattern or None}
            row |= {"trainings": len(one), **{k: float(one[k].mean()) for k in ("first", "best", "best_epoch", "last")}}
            if reach is not None:
                got = one.dropna(subset="epochs_to")
                row |= {"reached": len(got), "epochs_to": float(got["epochs_to"].mean()) if len(got) else None}
                row |= {"seconds_to": float(got["seconds_to"].mean()) if len(got) else None}
            rows.append(row)
    return rows


def panels(frame: pd.DataFrame, values: Sequence[tuple[str, str, str]], reach: float | None) -> list[Panel]:
    """What the figure draws; every panel has the labels in the same order."""
    labels = list(dict.fromkeys(frame["label"]))
    made = []
    for metric, part, pattern in values:
        lines = curve(frame, metric, part, pattern)
        curves = []
        for label in labels:
            one = lines[lines["label"] == label].sort_values("epoch")
            ends = [one["min"].tolist(), one["max"].tolist()] if (one["count"] > 1).any() else [[], []]
            curves.append(Curve(label, one["epoch"].tolist(), one["mean"].tolist(), *ends))
        title = f"{part}{', ' + pattern if pattern else ''}"
        made.append(Panel(title, metric.replace("_", " "), curves, reach if metric == values[0][0] else None))
    return made


def draw(made: Sequence[Panel], out: Path, caption: str = "") -> Path:
    """Write the figure as SVG, PNG or an HTML page, by the ending of ``out``."""
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends with {', '.join(FORMATS)}")
    figure = panels_figure(made)
    if figure is None:
        raise ConfigError("nothing to draw: no value is a number")
    check_file(out, folders=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".png":
        held = io.BytesIO()
        with settings():
            figure.savefig(held, format="png", dpi=150, facecolor="white")
        write_file(out, held.getvalue())
    elif out.suffix.lower() == ".svg":
        write_file(out, svg(figure).encode())
    else:
        said = caption or "learning curves"
        section = Section("curves", "Curves", "")
        section.add_row(picture("curves", said, figure))
        page = Page("Learning curves", said, [], [section], kind="plait curves", beside=False)
        write_file(out, render(page).encode())
    return out
