"""Every metric with its interval, beside what the model must beat."""

from __future__ import annotations

import math
from typing import Any

from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import Evaluation
from plait.metrics.base import SECOND, metrics
from plait.report.blocks import Facts, Section, Sheet, Table, Text, picture
from plait.report.canvas import COLOURS, rows_axes, settings
from plait.report.fit import FitReport
from plait.report.words import number

PLACE = 10
BETTER = {"higher": "↑", "lower": "↓", "nominal": ""}
MAJORITY = {
    "classification": "always answering the most frequent class",
    "multilabel": "always answering the most frequent labels",
    "regression": "always answering the mean",
}
#: Baselines in a sentence.
WORDS = {
    "linear": "a linear model on the same features",
    "trees": "boosted trees on the table and the embeddings",
    "single": "the best single modality",
}


def section(report: FitReport) -> Section:
    """What was reached, and what it must be compared with."""
    evaluation, baselines = report.evaluation, report.baselines
    result = Section("scores", "Scores", verdict(evaluation, baselines))
    caption = "Score with its 95\N{NO-BREAK SPACE}% interval, beside what it must beat"
    result.add_row(picture("headline", caption, headline_figure(evaluation, baselines)))
    names = [baseline_name(evaluation.task, name) for name in baselines]
    if baselines.about:
        result.add(Facts(list(zip(names, baselines.about.values(), strict=True)), brief=False))
    result.add(_sheet(evaluation, baselines))
    resamples = f", {evaluation.score['resamples']:,} resamples" if evaluation.score["resamples"] else ""
    result.add(
        Text(
            "↑ higher is better, ↓ lower is better. Intervals: 95\N{NO-BREAK SPACE}% percentile bootstrap over the test rows"
            f"{resamples}; comparisons with a baseline are paired, row by row."
        )
    )
    known = metrics(evaluation.task)
    result.add(
        Facts([(known[n].label, known[n].summary) for n in evaluation.metrics], "What the metrics mean", brief=False)
    )
    return result


def _sheet(evaluation: Evaluation, baselines: Baselines) -> Sheet:
    known = metrics(evaluation.task)
    full, shown = [], []
    notes: list[str] = []
    for name, value in evaluation.metrics.items():
        beside = [baselines[b].get(name, math.nan) for b in baselines]
        label = f"{known[name].label}\N{NO-BREAK SPACE}{BETTER[known[name].direction]}".strip()
        full.append([label, value["value"], value["low"], value["high"], *beside, value["note"]])
        unit = known[name].range[1] > 2
        texts = [number(v, significant=unit) for v in (value["value"], value["low"], value["high"], *beside)]
        interval = f"{texts[1]} to {texts[2]}" if math.isfinite(value["low"]) else "–"
        notes += [f"{known[name].label}: {value['note']}."] if value["note"] else []
        shown.append([label, texts[0], interval, *texts[3:]])
    names = [baseline_name(evaluation.task, b) for b in baselines]
    table = Table("scores", ["metric", "value", "low", "high", *names, "note"], full)
    columns = ["metric", "this model", "95\N{NO-BREAK SPACE}% interval", *names]
    marks = ["reference", *[""] * (len(full) - 1)]
    return Sheet(table, "", columns, shown, range(1, len(columns)), marks, " ".join(notes))


def baseline_name(task: str, name: str) -> str:
    """A baseline as a reader knows it.

    Example:
        >>> baseline_name("regression", "majority"), baseline_name("classification", "single")
        ('mean', 'best modality')
    """
    words = {"majority": "mean" if task == "regression" else "majority", "single": "best modality"}
    return words.get(name, name)


def headline(evaluation: Evaluation, baselines: Baselines) -> str:
    """The score with its interval against what it must beat, in one sentence."""
    main, score = evaluation.main_metric, evaluation.score
    message = f"On {evaluation.rows:,} test rows, {metrics(evaluation.task)[main].label} is {number(score['value'])}"
    if math.isfinite(score["low"]):
        message += f" (95\N{NO-BREAK SPACE}% interval {number(score['low'])} to {number(score['high'])})"
    beside = [
        f"{MAJORITY[evaluation.task] if name == 'majority' else WORDS[name]} gives {number(baselines[name][main])}"
        for name in dict.fromkeys([baselines.best(evaluation.task, main), "majority"])
        if name in baselines and (name == "majority" or name in WORDS) and main in baselines[str(name)]
    ]
    return message + (": " + ", ".join(beside) if beside else "") + "."


def verdict(evaluation: Evaluation, baselines: Baselines) -> str:
    """Whether the model beats the strongest baseline by more than noise, by both metrics; nothing without a comparison."""
    main, second = evaluation.main_metric, SECOND[evaluation.task]
    best = baselines.best(evaluation.task, main)
    beside = baselines.beside(best, main)
    if best is None or beside is None or not math.isfinite(beside["low"]):
        return ""
    name = WORDS.get(best, MAJORITY[evaluation.task])
    label, finer = metrics(evaluation.task)[main].label, metrics(evaluation.task)[second].label
    gap = (
        f"{label} differs by {number(beside['difference'])}, 95\N{NO-BREAK SPACE}% paired interval {number(beside['low'])} "
        f"to {number(beside['high'])}"
    )
    if beside["low"] > 0:
        message = f"The model certainly beats every baseline; the strongest is {name} ({gap})."
    elif beside["high"] < 0:
        message = f"The model is certainly worse than {name} ({gap}): this table does not need it."
    else:
        message = f"The model does not beat {name} by more than noise ({gap})."
    if second == main:
        return message
    nearest = baselines.best(evaluation.task, second)
    also = baselines.beside(nearest, second)
    if also is None or not math.isfinite(also["low"]) or also["low"] <= 0 <= also["high"]:
        return message
    other = (
        "it certainly beats every baseline"
        if also["low"] > 0
        else f"the model is certainly worse than {WORDS.get(str(nearest), MAJORITY[evaluation.task])}"
    )
    return (
        message
        if also["low"] > 0 and beside["low"] > 0
        else (f"{message} By {finer}, which shows smaller differences than {label}, {other}.")
    )


def headline_figure(evaluation: Evaluation, baselines: Baselines) -> Any:
    """The main metric of this model with its interval, and of every baseline."""
    rows = [("this model", evaluation.score["value"])]
    rows += [(baseline_name(evaluation.task, k), v.get(evaluation.main_metric, math.nan)) for k, v in baselines.items()]
    with settings():
        figure, ax, places = rows_axes([name for name, _ in rows])
        for place, (_, value) in zip(places[1:], rows[1:], strict=True):
            ax.plot([value], [place], "o", ms=6, mfc="none", mec=COLOURS["muted"], mew=1.4)
        score = evaluation.score
        if math.isfinite(score["low"]):
            ax.plot(
                [score["low"], score["high"]],
                [places[0]] * 2,
                color=COLOURS["blue"],
                lw=3,
                solid_capstyle="butt",
                alpha=0.45,
            )
        ax.plot([score["value"]], [places[0]], "o", ms=8, color=COLOURS["blue"])
        ax.set_xlabel(metrics(evaluation.task)[evaluation.main_metric].label)
        _limits(ax, [*(v for _, v in rows), score["low"], score["high"]])
    return figure


def _limits(ax: Any, values: list[float]) -> None:
    """From 0 to 1 at least, so that no difference looks larger than it is; wider where a value or an interval is."""
    known = [v for v in values if math.isfinite(v)]
    low, high = min([*known, 0.0]), max([*known, 1.0])
    room = 0.02 * (high - low)
    ax.set_xlim(low - room, high + room)
