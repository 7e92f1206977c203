"""What each modality is worth, and what each subset of them gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from plait.evaluation.evaluate import Evaluation, SubsetScore
from plait.evaluation.explain import Explanation, Game, Worth
from plait.metrics.base import metrics
from plait.report.blocks import Picture, Section, Sheet, Table, Text, picture
from plait.report.canvas import COLOURS, bound, rows_axes, settings, signed_bars
from plait.report.fit import FitReport
from plait.report.words import number, subset_name

PLACE = 20
#: Subsets up to which a figure shows all; the table beside it has them all anyway.
SHOWN = 15


def section(report: FitReport) -> Section | None:
    """Shapley values, subsets and pairs."""
    evaluation, explanation = report.evaluation, report.explanation
    result = Section("modalities", "What each modality is worth", "" if explanation is None else worth(explanation))
    caption = "With only these modalities present; lines: 95\N{NO-BREAK SPACE}% intervals"
    subsets = picture("subsets", caption, subsets_figure(evaluation))
    pictures = [] if explanation is None else worth_pictures(explanation)
    if explanation is not None:
        result.add(
            Text(
                "Exact Shapley values: the score with every subset of the modalities present, shared out so that the parts "
                "add up to what the model has over the best constant answer."
            )
        )
    result.add_row(*pictures[:1], subsets)
    if len(evaluation.subsets) > 1:
        result.add(_subsets(evaluation))
    result.add_row(*pictures[1:])
    if explanation is not None:
        shared = tables(explanation)
        if len(explanation.modalities) > 1:
            result.add(_pairs(shared[1]))
        result.tables += [table for table in shared if table.name != "interactions"]
    return result if result.blocks else None


def _subsets(evaluation: Evaluation) -> Sheet:
    ordered = whole_first(evaluation.subsets)
    names = [" + ".join(s["modalities"]) or "(nothing)" for s in ordered]
    names[0] = f"everything: {names[0]}"
    keys = ["value", "low", "high", "difference", "difference_low", "difference_high"]
    label = metrics(evaluation.task)[evaluation.main_metric].label
    columns = ["only these present", label, "low", "high", "difference to all", "low ", "high "]
    full = [[name, *[s[k] for k in keys]] for name, s in zip(names, ordered, strict=True)]  # type: ignore[literal-required]
    shown = [
        [row[0], number(row[1]), _between(row[2], row[3]), number(row[4]), _between(row[5], row[6])] for row in full
    ]
    interval = "95\N{NO-BREAK SPACE}% interval"
    headings = ["only these present", label, interval, "difference to all", f"{interval}, paired"]
    marks = ["reference", *[""] * (len(full) - 1)]
    table = Table("subsets", columns, full)
    return Sheet(table, "Every subset", headings, shown, range(1, 5), marks, folded=len(full) > SHOWN)


def _pairs(table: Table) -> Sheet:
    shown = [[row[0], number(row[1]), _between(row[2], row[3])] for row in table.rows]
    headings = ["pair", table.columns[1], "95\N{NO-BREAK SPACE}% interval"]
    title = "Pairs: do they help each other (above 0) or say the same (below 0)?"
    return Sheet(table, title, headings, shown, (1, 2), folded=len(shown) > 10)


def _between(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else "–"


def tables(explanation: Explanation) -> list[Table]:
    """Values of modalities, of pairs and of rows, for files."""
    frame = explanation.rows
    rows = [[place, *cells] for place, cells in zip(frame.index.tolist(), frame.to_numpy(object).tolist(), strict=True)]
    return [
        _shared(explanation, "modality_values", "modality", "values"),
        *([_shared(explanation, "interactions", "pair", "interactions")] if len(explanation.modalities) > 1 else []),
        Table("explained_rows", ["row", *map(str, frame.columns)], rows),
    ]


def _shared(explanation: Explanation, name: str, first: str, part: str) -> Table:
    columns, parts = [first], []
    for game in explanation.games:
        columns += [game["label"], f"{game['label']}: low", f"{game['label']}: high"]
        worths: list[Worth] = game[part]  # type: ignore[literal-required]
        parts.append(worths)
    rows = [
        [same[0]["modality"], *[worth[k] for worth in same for k in ("value", "low", "high")]]
        for same in zip(*parts, strict=True)
    ]
    return Table(name, columns, rows)


def worth_pictures(explanation: Explanation) -> list[Picture]:
    """The modalities' values in the first two scores."""
    result = []
    for place, game in enumerate(explanation.games[:2]):
        name = "modality-values" if place == 0 else f"modality-values-{place + 1}"
        caption = f"What each modality adds to {game['label']} (Shapley value; lines: 95\N{NO-BREAK SPACE}% intervals)"
        result.append(picture(name, caption, worth_figure(explanation, place)))
    return [drawn for drawn in result if drawn is not None]


def worth(explanation: Explanation) -> str:
    """Which modalities carry the score, by the main metric and by the finer one beside it; or that none can be said to."""
    if explanation.note:
        return explanation.note
    game = explanation.games[0]
    if len(game["values"]) == 1 or not all(math.isfinite(w["value"]) for w in game["values"]):
        return ""
    message = (
        f"The best constant answer has {game['label']} {number(game['base'])}; "
        f"the model with all modalities, {number(game['full'])}."
    )
    helps, harms, rest = _divided(game)
    message += (
        f" Certain to help: {', '.join(helps)}." if helps else f" By {game['label']}, no modality is certain to help."
    )
    message += f" Certain to harm: {', '.join(harms)}." if harms else ""
    message += f" Not decided: {', '.join(rest)}." if rest and (helps or harms) else ""
    finer = explanation.games[1] if len(explanation.games) > 2 else None
    if finer is None or not rest:
        return message
    also = [[w for w in part if w.partition(" ")[0] in rest] for part in _divided(finer)[:2]]
    said = [f"{', '.join(part)} certain to {what}" for part, what in zip(also, ("help", "harm"), strict=True) if part]
    if said:
        message += f" By {finer['label']}, which shows smaller differences than {game['label']}: {'; '.join(said)}."
    return message


def _divided(game: Game) -> tuple[list[str], list[str], list[str]]:
    """Modalities that certainly help and harm, with their values, and the others, by name."""
    ordered = sorted(game["values"], key=lambda w: -w["value"])
    helps = [f"{w['modality']} (+{number(w['value'])})" for w in ordered if w["low"] > 0]
    harms = [f"{w['modality']} ({number(w['value'])})" for w in ordered if w["high"] < 0]
    rest = [w["modality"] for w in ordered if not (w["low"] > 0 or w["high"] < 0)]
    return helps, harms, rest


def worth_figure(explanation: Explanation, game: int = 0) -> Any:
    """Shapley value of each modality with its interval, largest on top."""
    value = explanation.games[game]
    worths = sorted(value["values"], key=lambda w: -w["value"])
    return signed_bars([{**w, "name": w["modality"]} for w in worths], f"worth in {value['label']}")


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
        metric = metrics(evaluation.task)[evaluation.main_metric]
        bound(ax.xaxis, metric.range)
        ax.set_xlabel(metric.label)
    return figure


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
