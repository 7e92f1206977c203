"""Which of a study's numbers are compared: one row per run and evaluation, one metric per data set."""

from __future__ import annotations

from typing import Any

from pandas import DataFrame

from plait.base.errors import ConfigError, nearest
from plait.metrics.base import MAIN, Metric, metrics
from plait.study.results import Results
from plait.study.spec import CLEAN

#: What tells one number of a run from another.
PLACE = ("dataset", "label", "variant", "subset", "train_condition", "condition", "present")


def metric_of(results: Results, dataset: str, metric: str | None = None) -> Metric:
    """The metric by which a data set's variants are compared; None: the task's main one, or the first one measured."""
    frame = results.frame
    part = frame[frame["dataset"] == dataset]
    task = str(part["task"].iloc[0])
    there = list(dict.fromkeys(part["metric"]))
    name = metric or (MAIN[task] if MAIN[task] in there else there[0])
    if name not in there:
        raise ConfigError(f"metric '{name}' was not measured on {dataset}: {nearest(name, there)}")
    known = metrics(task)[name]
    if known.direction == "nominal":
        raise ConfigError(
            f"metric '{name}' is best at its nominal level, not high or low: choose another to compare by"
        )
    return known


def datasets(results: Results, metric: str | None = None) -> list[str]:
    """Labels of the data sets where the metric was measured, in the order of the results."""
    frame = results.frame
    if frame.empty:  # nothing is done yet, or everything failed
        return []
    there = frame if metric is None else frame[frame["metric"] == metric]
    result = [str(name) for name in dict.fromkeys(there["dataset"])]
    if not result:
        raise ConfigError(f"metric '{metric}' was not measured: {nearest(str(metric), set(frame['metric']))}")
    return result


def scores(results: Results, dataset: str, metric: str) -> DataFrame:
    """Every value of a metric on a data set, one row per run and evaluation.

    Returns:
        Columns of ``PLACE``, run, evaluation (its place in the run's list), seed, split, value, train_rows, test_rows and
        those that begin with ``axis.``. ``label`` is the variant, with the training condition where a study has several.
    """
    frame = results.frame
    part = frame[frame["dataset"] == dataset].copy()
    part = part[(part["metric"] == metric) & part["value"].notna()].copy()
    part["label"] = part["variant"].astype(str)
    if part["train_condition"].nunique() > 1:
        other = part["train_condition"] != first(part["train_condition"])
        part.loc[other, "label"] += ", trained: " + part.loc[other, "train_condition"].astype(str)
    axes = [c for c in part if str(c).startswith("axis.")]
    kept = [*PLACE, "run", "evaluation", "seed", "split", "value", "train_rows", "test_rows", *axes]
    return part[kept].reset_index(drop=True)


def first(conditions: Any) -> str:
    """The plain condition: ``clean`` where there is one, else the first."""
    values = [str(c) for c in dict.fromkeys(conditions)]
    return CLEAN if CLEAN in values or not values else values[0]


def size(subset: str) -> int:
    """How many modalities a label such as ``image+text`` names."""
    return len(str(subset).split("+"))


def whole(subsets: Any) -> str:
    """The subset with most modalities."""
    return max((str(s) for s in dict.fromkeys(subsets)), key=size)


def plain(table: DataFrame) -> DataFrame:
    """Only what is judged as it is: under the plain condition, with all that the model was trained on present."""
    return table[(table["condition"] == first(table["condition"])) & (table["present"] == table["subset"])]


def headline(table: DataFrame) -> DataFrame:
    """What variants are compared by: ``plain``, and trained on the most modalities."""
    part = plain(table)
    return part[part["subset"] == whole(part["subset"])] if len(part) else part


def means(rows: DataFrame) -> dict[str, Any]:
    """Summarise rows with ``run``, ``metric`` and ``value``: number of runs, mean and ``METRIC sd`` of every metric."""
    result: dict[str, Any] = {"runs": rows["run"].nunique()}
    for metric, values in rows.groupby("metric", sort=False)["value"]:
        result[str(metric)] = float(values.mean())
        result[f"{metric} sd"] = float(values.std()) if len(values) > 1 else None
    return result
