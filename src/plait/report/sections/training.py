"""How training went, what it cost, and which branches answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plait.report.blocks import Facts, Section, Table, Text, picture, sheet
from plait.report.canvas import COLOURS, LINES, WIDTH, axes, settings
from plait.report.fit import FitReport
from plait.report.words import number, span

PLACE = 80


def section(report: FitReport) -> Section:
    """Losses over epochs, the leaderboard of branches, costs."""
    record, history = report.record, report.history
    together = any(m.train == "scratch" for m in report.schema.modalities)
    result = Section("training", "Training", "")
    epochs = kept_epochs(history, record.get("epochs"), together)
    result.add(Text(epochs) if epochs else None)
    caption = "Loss while training, one colour per member; dashed: on rows learned from, solid: on held-out rows"
    result.add_row(picture("learning", caption, learning_figure(history)))
    if report.leaderboard is not None and len(report.leaderboard):
        title = "Branches: loss on rows they did not learn from, their weight in the answer, and what each cost"
        result.add(sheet("leaderboard", report.leaderboard, title))
    result.add(Facts(list(_costs(record).items())))
    if history:
        beside = ("metrics", "seconds", "batches")  # in epoch_metrics.csv
        columns = [key for key in dict.fromkeys(key for record in history for key in record) if key not in beside]
        result.tables.append(Table("learning", columns, [[record.get(c, "") for c in columns] for record in history]))
    return result


def _costs(record: Mapping[str, Any]) -> dict[str, str]:
    """What the fit took."""
    names = {"trained_weights": "trained weights", "frozen_weights": "frozen weights", "members": "members"}
    names |= {"epochs": "epochs at most", "batch_size": "batch size", "peak_memory_mb": "peak memory, MB"}
    result = {}
    for key, label in names.items():
        if (value := record.get(key)) is not None:
            result[label] = number(value) if isinstance(value, int | float) else str(value)
    return result | {f"{stage}, seconds": f"{s:.1f}" for stage, s in (record.get("seconds") or {}).items()}


def kept_epochs(history: Sequence[Mapping[str, object]], most: int | None, together: bool = False) -> str:
    """How many epochs were run and which of them was kept, of each branch or ``together``; epochs count from 1.

    Example:
        >>> history = [{"member": 0, "epoch": e, "valid": {"joint": v}} for e, v in enumerate((0.9, 0.5, 0.7))]
        >>> kept_epochs(history, 30)
        'Of at most 30 epochs, 3 were run. Kept was the epoch with the least loss on held-out rows: 2.'
    """
    members: dict[Any, list[Mapping[str, Any]]] = {}
    for record in history:
        members.setdefault(record.get("member", 0), []).append(record)
    if not members:
        return ""
    run = [len(records) for records in members.values()]
    kept: dict[str, list[int]] = {}
    for records in members.values():
        for branch in ["all"] if together and "valid_loss" in records[0] else records[0].get("valid") or {}:
            losses = [r["valid_loss"] if together else r.get("valid", {}).get(branch, math.inf) for r in records]
            kept.setdefault(branch, []).append(1 + min(range(len(losses)), key=lambda i: losses[i]))
    said = f"Of at most {most:,} epochs, {span(run)} were run." if most else f"{span(run)} epochs were run."
    if not kept:
        return f"{said} Kept was the last: there were no held-out rows."
    one = len(kept) == 1
    each = "; ".join(span(epochs) if one else f"{branch} {span(epochs)}" for branch, epochs in kept.items())
    return f"{said} Kept was the epoch with the least loss on held-out rows: {each}."


def learning_figure(history: Sequence[Mapping[str, object]]) -> Any:
    """Validation loss of every member over the epochs (from 1), training loss dashed; None without a history."""
    members = {str(record.get("member", 0)): None for record in history}
    if not history:
        return None
    with settings():
        figure, ax = axes(WIDTH, 200.0, left=44, bottom=34, right=12)
        for place, member in enumerate(members):
            values = [r for r in history if str(r.get("member", 0)) == member]
            colour = COLOURS[LINES[place % len(LINES)]]
            _learning_line(ax, values, "train_loss", color=colour, lw=1.0, alpha=0.55, dashes=(3, 2))
            _learning_line(ax, values, "valid_loss", color=colour, lw=1.5)
        ax.locator_params(axis="x", integer=True, nbins=6)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.grid(True, axis="y")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
    return figure


def _learning_line(ax: Any, spec: list[Mapping[str, Any]], key: str, **style: Any) -> None:
    points = [(r["epoch"] + 1, r[key]) for r in spec if isinstance(r.get(key), (int, float)) and math.isfinite(r[key])]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker="o" if len(points) == 1 else None, ms=4, **style)
