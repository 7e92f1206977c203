"""What in single texts and pictures moved an answer: coloured words, and heat over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.evaluation.parts import GRID, Moved
from plait.report.blocks import Heading, Section, Table, Text, Words, picture
from plait.report.canvas import COLOURS, WIDTH, axes, settings
from plait.report.words import number

#: Opacity of the part that moved an answer most.
DARKEST = 0.6


def section(parts: Sequence[Moved]) -> Section:
    """A heading per row and cell, its words or its picture, and all values as a file."""
    about = (
        "Each word, or each patch of a picture, was taken away once: blue speaks for the answer, orange against it; the "
        "darkest of a row moved it most."
    )
    result = Section("parts", "What moved single answers", about)
    for place, one in enumerate(parts):
        result.add(Heading(f"Row {one.row}, {one.column}: {one.answer}"))
        said = ", ".join(f"{name} {number(value, significant=True)}" for name, value in one.strongest())
        result.add(Text(f"Answered with {number(one.full)}. Strongest parts: {said or 'none moves it'}."))
        if one.picture is None:
            result.add(Words([(name, shade) for name, shade in zip(one.parts, shades(one, parts), strict=True)]))
        else:
            result.add_row(picture(f"moved-{place}", f"Row {one.row}, {one.column}", heat_figure(one, parts)))
    rows = [
        [one.row, one.modality, one.column, one.answer, one.full, name, value]
        for one in parts
        for name, value in zip(one.parts, one.values, strict=True)
    ]
    result.tables.append(Table("moved", ["row", "modality", "column", "answer", "full", "part", "value"], rows))
    return result


def shades(one: Moved, every: Sequence[Moved]) -> list[float]:
    """From -1 to 1: each value over the greatest of all cells of its row; all 0 where nothing moved the answer."""
    most = max((abs(value) for other in every if other.row == one.row for value in other.values), default=0.0)
    return [value / most if most > 1e-12 else 0.0 for value in one.values]


def heat_figure(one: Moved, every: Sequence[Moved]) -> Any:
    """The picture, with a colour over each patch, on one scale with the other cells of its row."""
    from matplotlib.patches import Rectangle

    assert one.picture is not None
    height, width = one.picture.shape[:2]
    shade = np.asarray(shades(one, every)).reshape(GRID, GRID)
    with settings():
        figure, ax = axes(WIDTH, WIDTH * height / width, left=0, bottom=0, right=0, top=0)
        ax.imshow(one.picture, extent=(0, GRID, GRID, 0), aspect="auto", alpha=0.75)
        for (r, c), value in np.ndenumerate(shade):
            colour = COLOURS["blue" if value > 0 else "orange"]
            ax.add_patch(Rectangle((c, r), 1, 1, fc=colour, alpha=DARKEST * abs(value), lw=0))
        ax.set_axis_off()
    return figure
