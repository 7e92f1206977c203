"""The report's tables: the same rows for the page and for the CSV files beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation, Worth
from plait.metrics.base import metrics
from plait.report.figures.modalities import whole_first

Scores = Mapping[str, Mapping[str, float]]
BETTER = {"higher": "↑", "lower": "↓", "nominal": ""}


@dataclass(frozen=True)
class Table:
    """Rows under a heading; cells are text, int or float (NaN: nothing there).

    Attributes:
        name: of its CSV file.
        columns: headings.
        rows: as many cells each.
    """

    name: str
    columns: list[str]
    rows: list[list[Any]]


def scores(evaluation: Evaluation, baselines: Scores) -> Table:
    """Every metric with its interval, beside the baselines."""
    known = metrics(evaluation.task)
    names = [name for name in ("linear", "majority") if name in baselines]
    names += [name for name in baselines if name not in names]
    rows = []
    for name, value in evaluation.metrics.items():
        beside = [baselines[b].get(name, math.nan) for b in names]
        label = f"{known[name].label}\N{NO-BREAK SPACE}{BETTER[known[name].direction]}".strip()
        rows.append([label, value["value"], value["low"], value["high"], *beside, value["note"]])
    columns = ["metric", "value", "low", "high", *[baseline_name(evaluation.task, b) for b in names], "note"]
    return Table("scores", columns, rows)


def baseline_name(task: str, name: str) -> str:
    """A baseline as a reader knows it.

    Example:
        >>> baseline_name("regression", "majority"), baseline_name("classification", "majority")
        ('mean', 'majority')
    """
    return {"majority": "mean" if task == "regression" else "majority"}.get(name, name)


def per_class(evaluation: Evaluation) -> Table:
    """One row per class."""
    keys = ["label", "support", "predicted", "precision", "recall", "f1", "auc"]
    columns = ["class", "rows", "predicted", "precision", "recall", "F1", "AUC"]
    return Table("per_class", columns, [[record[k] for k in keys] for record in evaluation.per_class])


def confusion(evaluation: Evaluation) -> Table | None:
    """True classes down, predicted across."""
    value = evaluation.confusion
    if value is None:
        return None
    rows: list[list[Any]] = [[name, *counts] for name, counts in zip(value["labels"], value["counts"], strict=True)]
    return Table("confusion", ["true \\ predicted", *value["labels"]], rows)


def reliability(evaluation: Evaluation) -> Table | None:
    """The bins of the calibration error."""
    if not evaluation.reliability:
        return None
    keys = ["low", "high", "rows", "confidence", "hit_rate"]
    columns = ["from", "to", "rows", "mean probability", "share right"]
    return Table("reliability", columns, [[record[k] for k in keys] for record in evaluation.reliability])


def distribution(evaluation: Evaluation) -> Table:
    """Rows per class or range of the target."""
    return Table("target", ["target", "rows"], [[r["label"], r["rows"]] for r in evaluation.distribution])


def subsets(evaluation: Evaluation) -> Table | None:
    """The main metric with everything, then of every subset, best first, and its difference to everything."""
    if len(evaluation.subsets) < 2:
        return None
    ordered = whole_first(evaluation.subsets)
    keys = ["value", "low", "high", "difference", "difference_low", "difference_high"]
    label = metrics(evaluation.task)[evaluation.main_metric].label
    columns = ["only these present", label, "low", "high", "difference to all", "low ", "high "]
    names = [" + ".join(s["modalities"]) or "(nothing)" for s in ordered]
    names[0] = f"everything: {names[0]}"
    rows = [[name, *[s[k] for k in keys]] for name, s in zip(names, ordered, strict=True)]  # type: ignore[literal-required]
    return Table("subsets", columns, rows)


def worths(explanation: Explanation) -> Table:
    """Shapley value of each modality in every score."""
    return _shared(explanation, "modality_values", "modality", "values")


def interactions(explanation: Explanation) -> Table | None:
    """Shapley interaction of each pair in every score."""
    if len(explanation.modalities) < 2:
        return None
    return _shared(explanation, "interactions", "pair", "interactions")


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


def explained_rows(explanation: Explanation) -> Table:
    """The values of every row, its place in the table first."""
    frame = explanation.rows
    rows = [[place, *cells] for place, cells in zip(frame.index.tolist(), frame.to_numpy(object).tolist(), strict=True)]
    return Table("explained_rows", ["row", *map(str, frame.columns)], rows)


def learning(history: Sequence[Mapping[str, Any]]) -> Table | None:
    """The losses of every epoch of every member."""
    if not history:
        return None
    beside = ("metrics", "seconds", "batches")  # in epoch_metrics.csv
    columns = [key for key in dict.fromkeys(key for record in history for key in record) if key not in beside]
    return Table("learning", columns, [[record.get(c, "") for c in columns] for record in history])
