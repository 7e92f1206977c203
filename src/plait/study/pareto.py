"""Designs that no other beats in score, time and single modalities at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from plait.study.spec import CLEAN

#: Designs of the front that are named.
_NAMED = 4


def pareto(
    lines: Iterable[Mapping[str, Any]], metric: str, scores: Mapping[str, Mapping[tuple[Any, ...], float]], sign: float
) -> pd.DataFrame:
    """Every design by mean score, seconds of a fit and score with its worst single modality; ``front``: which no other beats.

    Args:
        lines: of the race.
        metric: name.
        scores: design -> split -> score, higher is better, as ``Racing.scores`` gives them.
        sign: -1 where the metric itself is better low.

    Returns:
        label, score, seconds (pretraining counted), alone (missing where there is one modality) and front, best score first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in scores}
    alone: dict[str, dict[str, list[float]]] = {name: {} for name in scores}
    for line in lines:
        if line["status"] == "done" and line["variant"] in scores:
            name, given = str(line["variant"]), line.get("seconds", {})
            seconds[name].append(float(given.get("fit", 0.0)) + float(given.get("pretrain", 0.0)))
            for modality, value in _single(line, metric):
                alone[name].setdefault(modality, []).append(sign * value)
    rows = [
        {
            "label": name,
            "score": float(np.mean(list(result.values()))),
            "seconds": float(np.mean(seconds[name])),
            "alone": min((float(np.mean(values)) for values in alone[name].values()), default=float("nan")),
        }
        for name, result in scores.items()
    ]
    frame = pd.DataFrame(rows, columns=["label", "score", "seconds", "alone"])
    frame["front"] = [not any(_beats(other, row) for other in rows) for row in rows]
    frame = frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    return frame.assign(score=sign * frame["score"], alone=sign * frame["alone"])


def _single(line: Mapping[str, Any], metric: str) -> Iterable[tuple[str, float]]:
    """Modality -> score of a run with that one alone, on clean rows."""
    for one in line["evaluations"]:
        value = one["metrics"].get(metric)
        if one["condition"] == CLEAN and len(one["present"]) == 1 < len(line["subset"]) and value is not None:
            yield str(one["present"][0]), float(value)


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """As good in all that both know, better in one; scores and single modalities higher, seconds lower."""
    pairs = [(sign * one[key], sign * other[key]) for key, sign in (("score", 1), ("seconds", -1), ("alone", 1))]
    known = [(a, b) for a, b in pairs if not (np.isnan(a) or np.isnan(b))]
    return all(a >= b for a, b in known) and any(a > b for a, b in known)


def on_the_front(table: pd.DataFrame) -> str:
    """The designs that no other beats, in words, the best score first."""
    said = []
    front = table[table["front"]]
    for row in front.head(_NAMED).to_dict("records"):
        alone = "" if np.isnan(row["alone"]) else f", worst modality alone {row['alone']:.3f}"
        said.append(f"{row['label']} {row['score']:.3f} in {row['seconds']:.3g} s{alone}")
    more = f"; {len(front) - _NAMED} more" if len(front) > _NAMED else ""
    return f"not beaten in score, time and single modalities at once: {'; '.join(said)}{more}"
