"""The pictures of the convolutional LSTM's paper: heat maps over noise, their differences, curves, activations over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plait.base.errors import TableError, need
from plait.data.media.images import pixels
from plait.data.modality import Schema
from plait.encoders.spectrogram import Spectrogram
from plait.papers.early_fusion_conv_lstm.noise_grids import Activations, Grid, noise
from plait.report.canvas import COLOURS, LINES, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

#: Points of one cell of a heat map, and of the room around a map.
_CELL, _LEFT, _RIGHT, _TOP, _BOTTOM = 15.0, 62.0, 16.0, 34.0, 50.0
_BAR, _LEAST = 62.0, 150.0
#: Of a figure at most: the width of a page, beyond which it would be scrolled.
_MOST = 690.0


def level_name(level: float) -> str:
    """A ratio as the paper writes it: ``orig`` without noise.

    Example:
        >>> [level_name(v) for v in (math.inf, 2.0, 0.125)]
        ['orig', '2', '0.125']
    """
    return "orig" if math.isinf(level) and level > 0 else f"{level:g}"


def heat_maps(grids: Sequence[Grid], columns: int = 4) -> Figure:
    """Accuracy of each model over the test ratios, its training ratios marked (the paper's figure 2).

    Example:
        >>> grid = Grid(("image", "audio"), ((1.0,), (1.0,)), np.ones((1, 1, 5), bool))
        >>> len(heat_maps([grid]).axes)  # the map and its scale
        2
    """
    _check(grids)
    columns = min(columns, len(grids))
    rows = -(-len(grids) // columns)
    with settings():
        figure, places = _panels(grids[0], rows, columns)
        for place, (ax, grid) in enumerate(zip(places, grids, strict=False)):
            drawn = _map(ax, grid, grid.accuracy, "viridis", (0.0, 1.0), named=place % columns == 0)
        for ax in places[len(grids) :]:
            ax.set_visible(False)
        _scale(figure, drawn, "accuracy")
    return figure


def comparison(grids: Sequence[Grid], marks: Mapping[int, np.ndarray] | None = None) -> Figure:
    """Accuracy of several models above, and the first one's lead over each below (figures 1 and 7 to 10).

    Args:
        grids: the first is what the others are compared with; of several seeds give the mean (``Seeds.mean``).
        marks: place of a grid -> (R, C) bool, cells whose difference is significant: they get a dot.
    """
    _check(grids)
    with settings():
        figure, places = _panels(grids[0], 2, len(grids), bar=2)
        gaps = [grids[0].accuracy - grid.accuracy for grid in grids]
        most = max(0.01, *(float(np.abs(gap).max()) for gap in gaps))
        for place, grid in enumerate(grids):
            above = _map(places[place], grid, grid.accuracy, "viridis", (0.0, 1.0), named=place == 0)
            below = places[len(grids) + place]
            if place == 0:
                below.set_visible(False)
                continue
            title = f"{grids[0].label} -\n{grid.label}"
            drawn = _map(below, grid, gaps[place], "RdBu", (-most, most), named=place == 1, title=title)
            for r, c in np.argwhere((marks or {}).get(place, np.zeros(gaps[place].shape, bool))):
                below.plot(c, r, marker="o", ms=2.2, color=COLOURS["ink"], lw=0)
        _scale(figure, above, "accuracy", part=(2, 0))
        if len(grids) > 1:
            _scale(figure, drawn, "difference", part=(2, 1))
    return figure


def curves(
    levels: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    modality: str,
    ratio: str,
    trained: Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy of models of one modality over its ratios, one line per training ratio (figures 3 and 4).

    Args:
        levels: ratios of the test rows.
        lines: what a line is called -> accuracy at each ratio.
        modality: whose ratios they are.
        ratio: what they are: ``amplitude_ratio``, ``snr`` or ``snr_db``.
        trained: line -> ratio it was trained at: that point is marked.
    """
    with settings():
        figure = _figure(330, 230)
        ax = figure.add_subplot()
        for place, (name, values) in enumerate(lines.items()):
            colour = COLOURS[LINES[place % len(LINES)]]
            ax.plot(range(len(levels)), values, color=colour, lw=1.4, label=name)
            point = (trained or {}).get(name)
            if point is not None and point in levels:
                at = list(levels).index(point)
                ax.plot(at, values[at], marker="s", ms=6, mfc="none", mec=colour, lw=0)
        ax.set_xticks(range(len(levels)), [level_name(v) for v in levels], rotation=45)
        ax.set_ylim(0, 1.02)
        ax.grid(True, axis="y")
        ax.set_xlabel(f"{modality} {RATIO_NAMES[ratio]} in the test; squares: in training")
        ax.set_ylabel("accuracy")
        ax.legend(title="trained at")
    return figure


def _figure(width: float, height: float) -> Figure:
    """So many points, with room for what stands around the axes."""
    result: Figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72), layout="constrained")
    return result


def activation_lines(panels: Sequence[Activations]) -> Figure:
    """The last layer after every step, one line per class, the steps before the sound shaded (figures 11 to 16)."""
    if not panels:
        raise TableError("no activations to draw; give one setting of ratios at least")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with settings():
        figure = _figure(columns * 240, rows * 165 + 20)
        places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, panel in zip(places, panels, strict=False):
            _lines(ax, panel)
        for ax in places[len(panels) :]:
            ax.set_visible(False)
        handles, names = places[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", title="class")
        figure.supxlabel("step; shaded: front padding, the picture alone is seen", fontsize=9)
        figure.supylabel("activation of the last layer", fontsize=9)
    return figure


def _lines(ax: Axes, panel: Activations) -> None:
    matplotlib = need("matplotlib", "report")
    colours = matplotlib.colormaps["tab10" if len(panel.classes) <= 10 else "tab20"].colors
    steps = np.arange(1, len(panel.values) + 1)
    if panel.padding:
        ax.axvspan(0.5, panel.padding + 0.5, color=COLOURS["rule"], alpha=0.5, lw=0)
    for place, name in enumerate(panel.classes):
        right = name == panel.truth
        colour = colours[place % len(colours)]
        label = f"{name} (true)" if right else name
        ax.plot(
            steps, panel.values[:, place], color=colour, lw=2.4 if right else 1.0, zorder=3 if right else 2, label=label
        )
    ax.set_xlim(0.5, len(panel.values) + 0.5)
    ax.set_title(", ".join(f"{modality} {level_name(level)}" for modality, level in panel.levels.items()))
    ax.tick_params(labelcolor=COLOURS["muted"])


def write(figure: Figure, path: str | Path) -> Path:
    """Save as what the path ends with (``.svg``, ``.png``, ``.pdf``), on white."""
    with settings():
        figure.savefig(path, dpi=160, facecolor="white")
    return Path(path)


def _check(grids: Sequence[Grid]) -> None:
    if not grids:
        raise TableError("no grid to draw; give one at least")
    if any(grid.levels != grids[0].levels for grid in grids):
        raise TableError("the grids have different ratios; draw those of one set of levels together")


def _panels(grid: Grid, rows: int, columns: int, bar: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with so many maps of equal cells, and room for scales at its right."""
    cell = max(_CELL, _LEAST / grid.correct.shape[1])  # a map of few cells still has room for its title
    cell = min(cell, ((_MOST - _LEFT - _BAR) / columns - _RIGHT) / grid.correct.shape[1])
    high, wide = grid.correct.shape[0] * cell, grid.correct.shape[1] * cell
    width = _LEFT + columns * (wide + _RIGHT) + _BAR
    height = rows * (high + _TOP + _BOTTOM)
    figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
    places = []
    for row in range(rows):
        for column in range(columns):
            left = _LEFT + column * (wide + _RIGHT)
            bottom = height - (row + 1) * (high + _TOP + _BOTTOM) + _BOTTOM
            places.append(figure.add_axes((left / width, bottom / height, wide / width, high / height)))
    return figure, places


def _map(
    ax: Axes,
    grid: Grid,
    values: np.ndarray,
    colours: str,
    limits: tuple[float, float],
    *,
    named: bool,
    title: str | None = None,
) -> AxesImage:
    drawn = ax.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    first, second = grid.modalities
    ax.set_xticks(range(values.shape[1]), [level_name(v) for v in grid.levels[1]], rotation=90)
    ax.set_yticks(range(values.shape[0]), [level_name(v) for v in grid.levels[0]] if named else [])
    ax.tick_params(length=0, labelcolor=COLOURS["muted"])
    ax.set_xlabel(f"{second} {RATIO_NAMES[grid.ratio]}", labelpad=2)
    if named:
        ax.set_ylabel(f"{first} {RATIO_NAMES[grid.ratio]}", labelpad=2)
    ax.set_title(grid.label if title is None else title, fontsize=8.5)
    ax.spines[["left", "bottom"]].set_visible(False)
    if grid.trained is not None:
        _mark(ax, grid)
    return drawn


#: What a ratio is called beside an axis.
RATIO_NAMES = {"snr": "SNR", "amplitude_ratio": "amplitude ratio", "snr_db": "SNR, dB"}


def _mark(ax: Axes, grid: Grid) -> None:
    """A box round the cell of the training ratios, where the grid has it."""
    assert grid.trained is not None
    if all(level in axis for level, axis in zip(grid.trained, grid.levels, strict=True)):
        row, column = (axis.index(level) for level, axis in zip(grid.trained, grid.levels, strict=True))
        box = need("matplotlib.patches", "report").Rectangle((column - 0.5, row - 0.5), 1, 1)
        box.set(facecolor="none", edgecolor="#e4002b", linewidth=1.8, clip_on=False, zorder=4)
        ax.add_patch(box)


def _scale(figure: Figure, drawn: AxesImage, name: str, part: tuple[int, int] = (1, 0)) -> None:
    """A colour scale at the right edge, in one of so many parts from the top."""
    width = figure.get_figwidth() * 72
    share = 1.0 / part[0]
    ax = figure.add_axes(((width - _BAR + 6) / width, 1 - share * (part[1] + 0.8), 8 / width, share * 0.65))
    bar = figure.colorbar(drawn, cax=ax)
    bar.locator = need("matplotlib.ticker", "report").MaxNLocator(4)
    bar.outline.set_visible(False)
    bar.ax.set_title(name, fontsize=8.5, loc="center")
    bar.ax.tick_params(length=0, labelcolor=COLOURS["muted"])


def samples(
    row: pd.DataFrame, schema: Schema, modalities: tuple[str, str], levels: Sequence[float], ratios: Sequence[str]
) -> Figure:
    """One picture and the spectrum of one sound at every ratio, a pair of lines for each meaning of a ratio (figure 6).

    Args:
        row: of a table, one.
        schema: of the table.
        modalities: the picture's and the sound's.
        levels: signal-to-noise ratios.
        ratios: what they are, ``snr`` (of powers) or ``amplitude_ratio``.
    """
    with settings():
        figure = _figure(len(levels) * 66, 2 * len(ratios) * 74)
        places = figure.subplots(2 * len(ratios), len(levels), squeeze=False)
        for i, ratio in enumerate(ratios):
            for j, level in enumerate(levels):
                _sample(places[2 * i, j], row, schema, modalities[0], level, ratio)
                _sample(places[2 * i + 1, j], row, schema, modalities[1], level, ratio)
                places[2 * i, j].set_title(level_name(level), fontsize=8.5)
            places[2 * i, 0].set_ylabel(RATIO_NAMES[ratio], fontsize=8.5)
    return figure


def _sample(ax: Axes, row: pd.DataFrame, schema: Schema, modality: str, level: float, ratio: str) -> None:
    kind = next(m.kind for m in schema.modalities if m.name == modality)
    cell = noise(modality, level, ratio).apply(row, schema)[modality].iloc[0]
    if kind == "image":
        ax.imshow(pixels(cell).mean(-1), cmap="gray")
    else:
        frames = Spectrogram().fit([cell]).prepare([cell])["spectrogram"][0]  # (F, bins)
        ax.imshow(np.log1p(frames.astype(np.float32).T), cmap="magma", aspect="auto", origin="lower")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
