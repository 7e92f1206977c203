"""What advice says: the designs that no other beats in score, time and single modalities at once, and ten lines at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import notebook
from plait.data.modality import Schema
from plait.study.designs import DEFAULT, Candidate, noises
from plait.study.results import Results
from plait.study.state import score_of

#: Designs of the front that are named.
_NAMED = 4


def pareto(
    lines: Iterable[Mapping[str, Any]], metric: str, scores: Mapping[str, Mapping[tuple[Any, ...], float]], sign: float
) -> pd.DataFrame:
    """Every design by mean score, seconds of a fit and score with its worst single modality; ``front``: which no other beats.

    ``scores``: design -> split -> score, higher is better (``Racing.scores``); ``sign``: -1 where the metric is better low.

    Returns:
        label, score, seconds (pretraining counted), alone (missing where there is one modality) and front, best score first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in scores}
    alone: dict[str, dict[str, list[float]]] = {name: {} for name in scores}
    for line in lines:
        if line["status"] == "done" and line["variant"] in scores:
            name, given = str(line["variant"]), line.get("seconds", {})
            seconds[name].append(float(given.get("fit", 0.0)) + float(given.get("pretrain", 0.0)))
            for modality in line["subset"] if len(line["subset"]) > 1 else ():
                if (value := score_of(line, metric, [modality])) is not None:
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
        alone = "" if np.isnan(row["alone"]) else f", with its weakest modality alone {row['alone']:.3f}"
        said.append(f"{row['label']} {row['score']:.3f} in {row['seconds']:.3g} s{alone}")
    more = f"; {len(front) - _NAMED} more" if len(front) > _NAMED else ""
    return f"no other is as good in score, time and its weakest modality at once: {'; '.join(said)}{more}"


_QUESTIONS = {
    "encoder": "encoders",
    "regime": "pretrain or not",
    "fusion": "depth and operator",
    "branches": "what is trained",
    "regularisation": "dropout",
    "alignment": "alignment",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Advice:
    """What a study of designs says about a table.

    Attributes:
        settings: of the estimator, as they differ from the default; empty: take the default.
        variant: name of the advised design.
        lines: the answer in at most ten lines.
        race: every design against the default, with words (``statistics.compare``).
        modalities: training without each modality against training with all.
        conditions: noise at test against clean rows, for the advised design; this and the tables beside it are empty where
            the time was too short for a single run of it.
        present: only some modalities present at test against all.
        pareto: every design by score, seconds of a fit and score with its worst single modality (``alone``); ``front``: no
            other is as good in all three and better in one.
        command: the ``plait fit`` line to use.
    """

    settings: Mapping[str, Any]
    variant: str
    lines: Sequence[str]
    race: pd.DataFrame
    modalities: pd.DataFrame
    conditions: pd.DataFrame
    present: pd.DataFrame
    command: str
    folder: Path
    pareto: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return "\n".join([*self.lines, self.command])

    def _repr_html_(self) -> str:
        """The same in a notebook, with the race."""
        race = [notebook.heading("the race"), notebook.table(notebook.records_of(self.race))]
        return notebook.box("", notebook.paragraphs([*self.lines, self.command]), *race * (not self.race.empty))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        tables = {name: getattr(self, name) for name in ("race", "modalities", "conditions", "present", "pareto")}
        plain = {n: table.astype(object).where(table.notna(), None).to_dict("records") for n, table in tables.items()}
        said = {"variant": self.variant, "settings": dict(self.settings), "lines": list(self.lines)}
        return {**said, **plain, "command": self.command, "folder": str(self.folder)}


def answer(
    advice: Advice, schema: Schema, tried: Mapping[str, Candidate], raced: Results, metric: str, minutes: float
) -> list[str]:
    """What was tried, what to take, and why."""
    status = raced.status()
    early = raced.runs.loc[raced.runs["status"] == "stopped", "variant"].nunique()
    splits = int(raced.runs.loc[raced.runs["status"] == "done"].groupby("variant")["seed"].nunique().max())
    counts = [f"{status['done']} of {status['runs']} fits done within {minutes:g} minute{'s' * (minutes != 1)}"]
    counts += [f"{early} {'design' if early == 1 else 'designs'} left the race early"] * bool(early)
    counts += [f"{status['failed']} fit{'s' * (status['failed'] != 1)} failed"] * bool(status["failed"])
    counts += [f"no time for the other {status['waiting']}: give more --minutes"] * bool(status["waiting"])
    lines = [
        f"{len(tried)} designs for '{schema.target}' ({schema.task}, by {metric}), up to {splits} "
        f"{'split' if splits == 1 else 'splits'} of the rows each: {'; '.join(counts)}",
        _verdict(advice),
    ]
    if not advice.modalities.empty:
        lines.append("modalities: " + "; ".join(_without(advice.modalities, schema)))
    for question, label in _QUESTIONS.items():
        names = [c.name for c in tried.values() if c.question == question]
        values = [_against(advice.race, name) for name in names if (advice.race["label"] == name).any()]
        if values:
            lines.append(f"{label}: " + "; ".join(values))
    if not advice.pareto.empty:
        lines.append(on_the_front(advice.pareto))
    if not advice.present.empty:
        lines.append("at prediction, " + "; ".join(_present(advice.present, schema)))
    if advice.conditions.empty:
        lines.append("no time was left to measure what modalities, their absence and noise cost: give more --minutes")
    else:
        noisy = [_noise(advice.conditions, name, values) for name, values in noises(schema).items()]
        if any(noisy):
            lines.append("noise at prediction: " + "; ".join(line for line in noisy if line))
    return [*_joined(lines, 9), f"use: {advice.command}"]


def _joined(lines: list[str], most: int) -> list[str]:
    """At most so many lines; the shortest of the middle share one."""
    while len(lines) > most:
        middle = range(3, len(lines) - 1)
        at = min(middle, key=lambda i: len(lines[i]) + len(lines[i + 1]))
        lines = [*lines[:at], f"{lines[at]}. {lines[at + 1]}", *lines[at + 2 :]]
    return lines


def _row(table: pd.DataFrame, column: str, value: str) -> pd.Series | None:
    rows = table[table[column] == value]
    return None if rows.empty else rows.iloc[0]


def _verdict(advice: Advice) -> str:
    usual, row = _row(advice.race, "label", DEFAULT), _row(advice.race, "label", advice.variant)
    mean = "" if usual is None else f" ({usual['mean']:.3f})"
    if advice.variant == DEFAULT or row is None:
        return f"take the default{mean}: no other design was better by more than one standard error"
    return f"take '{advice.variant}' ({row['mean']:.3f}) instead of the default{mean}: {row['words']}"


def _against(table: pd.DataFrame, name: str) -> str:
    row = _row(table, "label", name)
    assert row is not None
    return f"{name} {row['difference']:+.3f} ({_short(row)})"


def _short(row: pd.Series) -> str:
    """The verdict without its numbers, but for p where it is decided."""
    return f"{row['verdict']}, p {row['p_holm']:.2g}" if row["verdict"] in ("better", "worse") else str(row["verdict"])


def _without(table: pd.DataFrame, schema: Schema) -> list[str]:
    names = [m.name for m in schema.modalities]
    said = []
    for gone in names:
        row = _row(table, "subset", "+".join(n for n in names if n != gone))
        if row is not None:
            earns = {"worse": "earns its keep", "equivalent": "adds nothing", "better": "does harm"}
            said.append(f"{gone} {earns.get(str(row['verdict']), 'not decided')} (without it {row['difference']:+.3f})")
    return said


def _present(table: pd.DataFrame, schema: Schema) -> list[str]:
    said = []
    for m in schema.modalities:
        row = _row(table, "present", m.name)
        if row is not None:
            said.append(f"{m.name} alone gives {row['mean']:.3f} ({row['difference']:+.3f})")
    return said


def _noise(table: pd.DataFrame, name: str, text: str) -> str:
    kind = text.partition(":")[0]
    rows = table[table["condition"].str.startswith(kind) & table["condition"].str.contains(name, regex=False)]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return f"{row['condition']} {row['difference']:+.3f} ({_short(row)})"
