"""What the page says in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from plait.evaluation import Evaluation
from plait.explanation import Explanation
from plait.metrics import metrics

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
        told = f"{value:,}"
    elif abs(value) >= 10:
        told = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    elif significant and 0 < abs(value) < 0.1:
        told = f"{value:.3g}"
    else:
        told = f"{value:.3f}"
    return told.replace("-0.000", "0.000").replace("-", "−")


def headline(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The score with its interval against what it must beat, in one sentence."""
    main, score = evaluation.main_metric, evaluation.score
    told = f"On {evaluation.rows:,} test rows, {metrics(evaluation.task)[main].label} is {number(score['value'])}"
    if math.isfinite(score["low"]):
        told += f" (95\N{NO-BREAK SPACE}% interval {number(score['low'])} to {number(score['high'])})"
    beside = []
    if main in baselines.get("majority", {}):
        beside.append(f"{MAJORITY[evaluation.task]} gives {number(baselines['majority'][main])}")
    if main in baselines.get("linear", {}):
        beside.append(f"a linear model on the same features gives {number(baselines['linear'][main])}")
    return told + (": " + ", ".join(beside) if beside else "") + "."


def verdict(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """What the comparison with the linear model proves, or does not; nothing without one."""
    linear = baselines.get("linear", {}).get(evaluation.main_metric, math.nan)
    score = evaluation.score
    if not math.isfinite(linear) or not math.isfinite(score["low"]):
        return ""
    if score["low"] > linear:
        return "The whole interval lies above the linear model."
    if score["value"] > linear:
        return "The linear model's score lies within the interval: the gap may be chance."
    return "The linear model is at least as good here; it may be all that this table needs."


def worth(explanation: Explanation) -> str:
    """Which modalities carry the score, or that none can be said to."""
    if explanation.note:
        return explanation.note
    game = explanation.games[0]
    ordered = sorted(game["values"], key=lambda w: -w["value"])
    if len(ordered) == 1 or not all(math.isfinite(w["value"]) for w in ordered):
        return ""
    sure = [f"{w['modality']} ({number(w['value'])})" for w in ordered if w["low"] > 0]
    harm = [f"{w['modality']} ({number(w['value'])})" for w in ordered if w["high"] < 0]
    open_ = [w["modality"] for w in ordered if not (w["low"] > 0 or w["high"] < 0)]
    told = f"From {number(game['base'])} with nothing to {number(game['full'])} with everything"
    told += f" in {game['label']}, shared out among the modalities: "
    parts = ([", ".join(sure)] if sure else []) + ([f"nothing certain from {', '.join(open_)}"] if open_ else [])
    parts += [f"harm from {', '.join(harm)}"] if harm else []
    return told + "; ".join(parts) + "."
