"""The answer of advice in at most ten lines, each with its evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from plait.data.modality import Schema
from plait.study.candidates import DEFAULT, Candidate, noises

if TYPE_CHECKING:
    from plait.study.results import Results

_QUESTIONS = {
    "encoder": "encoders",
    "regime": "pretrain or not",
    "fusion": "depth and operator",
    "branches": "what is trained",
    "regularisation": "dropout",
    "alignment": "alignment",
}


@dataclasses.dataclass(frozen=True)
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        tables = {name: getattr(self, name) for name in ("race", "modalities", "conditions", "present")}
        options = {
            name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()
        }
        return {
            "variant": self.variant,
            "settings": dict(self.settings),
            "lines": list(self.lines),
            **options,
            "command": self.command,
            "folder": str(self.folder),
        }


def answer(
    advice: Advice, schema: Schema, tried: Mapping[str, Candidate], raced: Results, metric: str, minutes: float
) -> list[str]:
    """What was tried, what to take, and why."""
    status = raced.status()
    early = raced.runs.loc[raced.runs["status"] == "stopped", "variant"].nunique()
    splits = int(raced.runs.loc[raced.runs["status"] == "done"].groupby("variant")["seed"].nunique().max())
    counts = [f"{status['done']} of {status['runs']} fits done within {minutes:g} minutes"]
    counts += [f"{early} {'design' if early == 1 else 'designs'} left the race early"] * bool(early)
    counts += [f"{status['failed']} fits failed"] * bool(status["failed"])
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
