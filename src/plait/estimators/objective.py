"""What the task is to be good at: what the fields ``metric``, ``costs``, ``threshold`` and ``target_transform`` make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.model_selection import GroupKFold, KFold

from plait.base.errors import ConfigError, nearest
from plait.base.inputs import Inputs
from plait.data.labels import label_text
from plait.metrics.base import metric_name
from plait.networks.tasks import LOSSES, Classification, Multilabel, Regression, Task

Array = NDArray[np.float64]
#: Metric of a number -> the loss that networks and the mixture keep low for it.
LOSS_OF = {"mae": "absolute", "median_ae": "absolute", "rmse": "squared", "r2": "squared"}
#: Skewness from which an amount counts as heavy-tailed, and transforms are tried.
SKEWED = 1.0
#: Rows from which there is something to choose by, and rows that are used at most.
FEWEST, MOST = 100, 3000
#: Penalties of the ridge regression that compares transforms, per row.
PENALTIES = (0.01, 0.1, 1.0)
#: Held-out loss, relative to that without a transform, below which one is taken.
GAIN = 0.98


def check(task: str, transform: str, metric: str | None, costs: Mapping[Any, Any] | None) -> None:
    """Refuse a metric, costs or a transform that a task cannot have, before anything is encoded.

    Raises:
        ConfigError: the message says what the task takes.
    """
    leading(task, metric, costs)
    if task != "regression" and transform not in ("auto", "none"):
        raise ConfigError(f"target_transform {transform}: is for a number; the task is {task}")


def with_threshold(task: Task, threshold: float | None) -> Task:
    """The task with the threshold that was given for several labels.

    Raises:
        ConfigError: the task has none.
    """
    if threshold is None:
        return task
    if not isinstance(task, Multilabel):
        raise ConfigError(f"threshold {threshold}: is for several labels; the task is {task.name}")
    return dataclasses.replace(task, thresholds=(float(threshold),) * task.out_dim)


def with_metric(task: Task, metric: str | None, costs: Mapping[Any, Mapping[Any, float]] | None) -> Task:
    """The task led by a metric: the loss of a number, and what the answer of a class costs, are as it asks.

    Raises:
        ConfigError: another task's metric, costs without it or it without costs, or costs of unknown classes.
    """
    lead = leading(task.name, metric, costs)
    if lead is None:
        return task
    if isinstance(task, Regression):
        return dataclasses.replace(task, lead=lead, loss=LOSS_OF.get(lead, "smooth"))
    if lead == "cost" and isinstance(task, Classification):
        return dataclasses.replace(task, lead=lead, costs=_matrix(costs or {}, [label_text(c) for c in task.classes]))
    return dataclasses.replace(task, lead=lead)


def leading(task: str, metric: str | None, costs: Mapping[Any, Any] | None) -> str | None:
    """The metric that leads, by its registered name; ``cost`` where only costs are given; None: the usual one.

    Raises:
        ConfigError: another task's metric, costs without it, or it without costs.
    """
    lead = "cost" if metric is None and costs else None if metric is None else metric_name(metric, task)
    if lead == "cost" and task != "classification":
        raise ConfigError(f"costs: are for one class of several; the task is {task}")
    if lead == "cost" and not costs:
        raise ConfigError(
            "metric cost: needs costs: {true class: {answer: cost}}; what is not named costs 1, a right answer 0"
        )
    if costs and lead != "cost":
        raise ConfigError(f"costs: are for metric cost; metric is '{metric}'")
    return lead


def _matrix(costs: Mapping[Any, Mapping[Any, float]], classes: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """What each answer costs for each true class (C, C), from the costs that were named."""
    result = 1.0 - np.eye(len(classes))
    for true, row in costs.items():
        for name in (true, *row):
            if label_text(name) not in classes:
                raise ConfigError(f"costs: unknown class '{name}' ({nearest(label_text(name), classes)})")
        for answer, cost in row.items():
            result[classes.index(label_text(true)), classes.index(label_text(answer))] = cost
    return tuple(tuple(map(float, row)) for row in result)


def with_transform(
    task: Task, name: str, inputs: Inputs, rows: tuple[Array, Array], groups: Array | None, seed: int
) -> Task:
    """The task with the transform that was asked for, or the one that held-out rows ask for.

    Args:
        task: as it was learned.
        name: one of ``plait.networks.transforms.TRANSFORMS``, or ``auto``.
        inputs: scaled features of the training rows.
        rows: their targets and weights (n,).
        groups: (n,); rows of one group are held out together.
        seed: of the folds.

    Raises:
        TableError: a logarithm of values below 0.
    """
    if not isinstance(task, Regression):
        return task
    y, weight = rows
    if name == "auto":
        name = choose(task, inputs, rows, groups, seed)
    return dataclasses.replace(Regression.learn(y, weight, name), loss=task.loss, lead=task.lead)


def choose(task: Regression, inputs: Inputs, rows: tuple[Array, Array], groups: Array | None, seed: int) -> str:
    """A logarithm (below 0 yeo-johnson), if a cross-validated ridge regression of it is nearer in the target's own unit.

    Returns:
        ``none`` unless the target is skewed and the other is better by 2 %, and where the squared error leads.
    """
    y, weight = rows
    if task.loss == "squared":  # means are asked for: those of a transform are not those of the target
        return "none"
    kept = np.flatnonzero(weight > 0)
    kept = np.random.default_rng(seed).permutation(kept)[:MOST]
    if len(kept) < FEWEST or not inputs.tokens or abs(stats.skew(y[kept])) < SKEWED:
        return "none"
    x = torch.cat([tokens.pooled() for tokens in inputs.tokens.values()], 1).numpy().astype(np.float64)[kept]
    y, weight = y[kept], weight[kept] / weight[kept].mean()
    together = None if groups is None else groups[kept]
    if together is not None and len(np.unique(together)) < 3:
        return "none"
    tried = ("none", "log" if y.min() >= 0 else "yeo-johnson")
    losses = dict.fromkeys(tried, 0.0)
    for fold, held in (KFold(3) if together is None else GroupKFold(3)).split(x, groups=together):
        tasks = {
            name: dataclasses.replace(Regression.learn(y[fold], weight[fold], name), loss=task.loss) for name in tried
        }
        encoded = torch.cat([each.encode(y[fold]) for each in tasks.values()], 1).numpy()
        said = _ridges(x[fold], encoded, weight[fold], x[held])
        for place, (name, each) in enumerate(tasks.items()):
            losses[name] += min(_loss(each, out[:, place], y[held], weight[held], float(y.std())) for out in said)
    best = min(losses, key=lambda name: losses[name])
    return best if losses[best] < GAIN * losses["none"] else "none"


def _ridges(x: Array, z: Array, weight: Array, held: Array) -> list[Array]:
    """Answers (m, transforms) of a ridge regression of each penalty, for all transforms at once."""
    centre = np.average(x, axis=0, weights=weight)
    x, held = x - centre, held - centre
    gram, moment = x.T @ (x * weight[:, None]), x.T @ (z * weight[:, None])
    eye = np.eye(len(gram))
    return [held @ np.linalg.solve(gram + penalty * len(x) * eye, moment) for penalty in PENALTIES]


def _loss(task: Regression, out: Array, y: Array, weight: Array, unit: float) -> float:
    """Weighted loss of raw outputs (m,) in the target's own unit."""
    said = task.decode(torch.from_numpy(out)[:, None])
    losses = LOSSES[task.loss](said / unit, torch.from_numpy(y) / unit, reduction="none").numpy()
    return float((losses * weight).sum())
