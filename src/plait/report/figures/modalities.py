"""What each modality is worth, and what each subset of them gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from plait.evaluation.evaluate import Evaluation, SubsetScore
from plait.evaluation.explain import Explanation
from plait.metrics.base import metrics
from plait.report.canvas import COLOURS, rows_axes, settings

#: Subsets up to which a figure shows all; the table beside it has them all anyway.
SHOWN = 15


def worth_figure(explanation: Explanation, game: int = 0) -> Any:
    """Shapley value of each modality with its interval, largest on top.

    Args:
        explanation: what ``explain`` gave.
        game: which of its scores.
    """
    value = explanation.games[game]
    worths = sorted(value["values"], key=lambda w: -w["value"])
    with settings():
        figure, ax, places = rows_axes([w["modality"] for w in worths])
        colours = [COLOURS["blue"] if w["value"] >= 0 else COLOURS["orange"] for w in worths]
        ax.barh(places, [w["value"] for w in worths], height=0.55, color=colours, alpha=0.75)
        for place, worth in zip(places, worths, strict=True):
            if math.isfinite(worth["low"]):
                ax.plot([worth["low"], worth["high"]], [place, place], color=COLOURS["ink"], lw=1.4)
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)
        ax.margins(x=0.08)
        ax.set_xlabel(f"worth in {value['label']}")
    return figure


def shown_subsets(scores: list[SubsetScore]) -> list[SubsetScore]:
    """All of them while they are few; else each alone, all but one, everything, and the best of the others."""
    if len(scores) <= SHOWN:
        return scores
    full = max(len(s["modalities"]) for s in scores)
    plain = [s for s in scores if len(s["modalities"]) in (1, full - 1, full)]
    others = sorted((s for s in scores if s not in plain), key=lambda s: -_sortable(s["value"]))
    chosen = plain + others[: max(SHOWN - len(plain), 0)]
    return [s for s in scores if s in chosen]


def whole_first(scores: Sequence[SubsetScore]) -> list[SubsetScore]:
    """Everything first, then the subsets, best first."""
    most = max(len(s["modalities"]) for s in scores)
    return sorted(scores, key=lambda s: (len(s["modalities"]) < most, -_sortable(s["value"])))


def subset_name(modalities: Sequence[str], every: Sequence[str]) -> str:
    """A subset as a reader sees it at a glance.

    Example:
        >>> subset_name(["a", "b", "d"], ["a", "b", "c", "d"])
        'all but c'
    """
    gone = [name for name in every if name not in modalities]
    if not gone:
        return "everything" if len(every) > 1 else every[0]
    return f"all but {gone[0]}" if len(gone) == 1 and len(every) > 3 else " + ".join(modalities)


def subsets_figure(evaluation: Evaluation) -> Any:
    """The main metric with everything on top, then with only some modalities present, best first; None with one."""
    if len(evaluation.subsets) < 2:
        return None
    every = max((s["modalities"] for s in evaluation.subsets), key=len)
    scores = whole_first(shown_subsets(evaluation.subsets))
    with settings():
        figure, ax, places = rows_axes([subset_name(s["modalities"], every) for s in scores], per_row=17.0, most=24)
        for place, value in zip(places, scores, strict=True):
            whole = len(value["modalities"]) == len(every)
            colour = COLOURS["blue"] if whole else COLOURS["muted"]
            if whole:
                ax.axvline(value["value"], color=colour, lw=0.9, alpha=0.5, dashes=(4, 3), zorder=0)
            if math.isfinite(value["low"]):
                ax.plot([value["low"], value["high"]], [place, place], color=colour, lw=1.6, alpha=0.6)
            ax.plot([value["value"]], [place], "o", ms=5.5, color=colour)
        ax.margins(x=0.06)
        ax.set_xlabel(metrics(evaluation.task)[evaluation.main_metric].label)
    return figure


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
