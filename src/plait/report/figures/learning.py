"""How the loss fell: one line per member of the average."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plait.report.figures._canvas import COLOURS, LINES, WIDTH, axes, settings


def learning_figure(history: Sequence[Mapping[str, Any]]) -> Any:
    """Validation loss of every member over the epochs (from 1), training loss dashed; None without a history."""
    members = {str(record.get("member", 0)): None for record in history}
    if not history:
        return None
    with settings():
        figure, ax = axes(WIDTH, 200.0, left=44, bottom=34, right=12)
        for place, member in enumerate(members):
            told = [r for r in history if str(r.get("member", 0)) == member]
            colour = COLOURS[LINES[place % len(LINES)]]
            _line(ax, told, "train_loss", color=colour, lw=1.0, alpha=0.55, dashes=(3, 2))
            _line(ax, told, "valid_loss", color=colour, lw=1.5)
        ax.locator_params(axis="x", integer=True, nbins=6)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
    return figure


def _line(ax: Any, told: list[Mapping[str, Any]], key: str, **style: Any) -> None:
    points = [(r["epoch"] + 1, r[key]) for r in told if isinstance(r.get(key), (int, float)) and math.isfinite(r[key])]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker="o" if len(points) == 1 else None, ms=4, **style)
