"""The front page of several targets: a table of their scores, each linking to a page of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import Evaluation
from plait.metrics.base import metrics
from plait.report.blocks import Page, Section, Sheet, Table, Text
from plait.report.page import write_page
from plait.report.sections.scores import baseline_name, headline, verdict
from plait.report.words import counted, number


@dataclass(frozen=True)
class TargetScore:
    """One target of several.

    Attributes:
        evaluation: of its model on held-out rows.
        baselines: on the same rows.
        folder: the sub-folder that holds its model and page.
    """

    target: str
    evaluation: Evaluation
    baselines: Baselines
    folder: str

    @property
    def best(self) -> str | None:
        """The strongest baseline."""
        return self.baselines.best(self.evaluation.task, self.evaluation.main_metric)


def write_front_page(folder: Path, scores: Sequence[TargetScore], command: str = "") -> Path:
    """Write ``report.html`` and ``tables/targets.csv`` (extra ``report``); the path of the page."""
    result = Section("targets", "Targets", "")
    result.add(_sheet(scores))
    for score in scores:
        result.add(
            Text(
                f"{score.target}: {verdict(score.evaluation, score.baselines) or headline(score.evaluation, score.baselines)}"
            )
        )
    if command:
        result.add(Text(command, code=True))
    page = Page(
        name=f"Predicting {counted(len(scores), 'target')}",
        lead="One model per target, over encodings that were made once; no target is an input of another's model.",
        facts=[("targets", f"{len(scores):,}")],
        sections=[result],
        kind="plait report · several targets",
    )
    return write_page(folder, page)


def _sheet(scores: Sequence[TargetScore]) -> Sheet:
    full, shown = [], []
    for score in scores:
        evaluation, value = score.evaluation, score.evaluation.score
        label = metrics(evaluation.task)[evaluation.main_metric].label
        beside = score.baselines[score.best].get(evaluation.main_metric, math.nan) if score.best else math.nan
        strongest = baseline_name(evaluation.task, score.best) if score.best else ""
        numbers = [value["value"], value["low"], value["high"]]
        full.append([score.target, evaluation.task, evaluation.rows, label, *numbers, strongest, beside, score.folder])
        interval = f"{number(value['low'])} to {number(value['high'])}" if math.isfinite(value["low"]) else "–"
        against = f"{number(beside)} ({strongest})" if strongest else "–"
        shown.append(
            [score.target, evaluation.task, f"{evaluation.rows:,}", label, number(value["value"]), interval, against]
        )
    heads = ["target", "task", "rows", "metric", "value", "low", "high", "strongest baseline", "its value", "folder"]
    seen = [*heads[:5], "95\N{NO-BREAK SPACE}% interval", "strongest baseline"]
    links = [f"{score.folder}/report.html" for score in scores]
    return Sheet(Table("targets", heads, full), "", seen, shown, (2, 4), links=links)
