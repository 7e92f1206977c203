"""What the page says in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation, Game
from plait.metrics.base import SECOND, metrics

MAJORITY = {
    "classification": "always answering the most frequent class",
    "multilabel": "always answering the most frequent labels",
    "regression": "always answering the mean",
}


def number(value: float | int | None, *, significant: bool = False) -> str:
    """A number as a reader wants it; nothing there is a dash.

    Args:
        value: what to tell.
        significant: keep the digits of a number near 0 (one with a unit) instead of rounding it to 0.000.

    Example:
        >>> number(0.12345), number(12345.678), number(float("nan")), number(1234), number(-1e-6)
        ('0.123', '12,346', '–', '1,234', '0.000')
        >>> number(-1e-6, significant=True)
        '−1e−06'
    """
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        message = f"{value:,}"
    elif abs(value) >= 10:
        message = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    elif significant and 0 < abs(value) < 0.1:
        message = f"{value:.3g}"
    else:
        message = f"{value:.3f}"
    return message.replace("-0.000", "0.000").replace("-", "−")


def headline(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The score with its interval against what it must beat, in one sentence."""
    main, score = evaluation.main_metric, evaluation.score
    message = f"On {evaluation.rows:,} test rows, {metrics(evaluation.task)[main].label} is {number(score['value'])}"
    if math.isfinite(score["low"]):
        message += f" (95\N{NO-BREAK SPACE}% interval {number(score['low'])} to {number(score['high'])})"
    beside = []
    if main in baselines.get("majority", {}):
        beside.append(f"{MAJORITY[evaluation.task]} gives {number(baselines['majority'][main])}")
    if main in baselines.get("linear", {}):
        beside.append(f"a linear model on the same features gives {number(baselines['linear'][main])}")
    return message + (": " + ", ".join(beside) if beside else "") + "."


def verdict(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """What the comparison with the linear model proves, or does not, by both metrics; nothing without one."""
    linear, score = baselines.get("linear", {}), evaluation.score
    beside, second = linear.get(evaluation.main_metric, math.nan), SECOND[evaluation.task]
    if not math.isfinite(beside) or not math.isfinite(score["low"]):
        return ""
    result = evaluation.metrics.get(second)
    finer = (
        0 if result is None else _side(result["low"], result["high"], linear.get(second, math.nan), second, evaluation)
    )
    label = metrics(evaluation.task)[second].label
    more = f"{label}, which sees more than {metrics(evaluation.task)[evaluation.main_metric].label} does"
    if score["low"] > beside:
        message = "The whole interval lies above the linear model."
        return message + (f" By {more}, the linear model is certainly better." if finer < 0 else "")
    message = (
        "The linear model's score lies within the interval: the gap may be chance."
        if score["value"] > beside
        else "The linear model is at least as good here; it may be all that this table needs."
    )
    if finer:
        message += f" By {more}, {'this model' if finer > 0 else 'the linear model'} is certainly better."
    return message


def _side(low: float, high: float, other: float, metric: str, evaluation: Evaluation) -> int:
    """1: the interval is better than the other value, -1: worse, 0: the value lies within it, or is not known."""
    if not all(map(math.isfinite, (low, high, other))) or low <= other <= high:
        return 0
    above = 1 if low > other else -1
    return -above if metrics(evaluation.task)[metric].direction == "lower" else above


def worth(explanation: Explanation) -> str:
    """Which modalities carry the score, by the main metric and by the finer one beside it; or that none can be said to."""
    if explanation.note:
        return explanation.note
    game = explanation.games[0]
    if len(game["values"]) == 1 or not all(math.isfinite(w["value"]) for w in game["values"]):
        return ""
    message = (
        f"With no modality at all, {game['label']} is {number(game['base'])}; with all of them, {number(game['full'])}."
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
        message += f" By {finer['label']}, which sees more than {game['label']} does: {'; '.join(said)}."
    return message


def _divided(game: Game) -> tuple[list[str], list[str], list[str]]:
    """Modalities that certainly help and harm, with their values, and the others, by name."""
    ordered = sorted(game["values"], key=lambda w: -w["value"])
    helps = [f"{w['modality']} (+{number(w['value'])})" for w in ordered if w["low"] > 0]
    harms = [f"{w['modality']} ({number(w['value'])})" for w in ordered if w["high"] < 0]
    rest = [w["modality"] for w in ordered if not (w["low"] > 0 or w["high"] < 0)]
    return helps, harms, rest


def kept_epochs(history: Sequence[Mapping[str, Any]], most: int | None, together: bool = False) -> str:
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
    said = f"Of at most {most:,} epochs, {_span(run)} were run." if most else f"{_span(run)} epochs were run."
    if not kept:
        return f"{said} Kept was the last: there were no held-out rows."
    one = len(kept) == 1
    each = "; ".join(_span(epochs) if one else f"{branch} {_span(epochs)}" for branch, epochs in kept.items())
    return f"{said} Kept was the epoch with the least loss on held-out rows: {each}."


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
