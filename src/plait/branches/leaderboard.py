"""What each branch of a model is worth by itself and in the mixture, on held-out rows, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from plait.base.branch import FittedBranch
from plait.branches.branches import Branches, trained_weights
from plait.branches.mixing import HeldOut
from plait.branches.mixture import Mixture, comparable
from plait.metrics.base import inputs, metrics
from plait.networks.tasks import Classification, Regression

#: Bytes of a weight of a network.
WEIGHT_BYTES = 4


def leaderboard(
    held_out: HeldOut, mixture: Mixture, members: Sequence[Branches], costs: Mapping[str, Mapping[str, object]]
) -> list[dict[str, Any]]:
    """One record for the mixture and each branch, best first; to be called before members leave out what was dropped.

    Args:
        held_out: outputs of all members for rows that they had not learned from.
        mixture: learned; it knows the branches that stay.
        members: as they were trained.
        costs: output -> ``seconds``, all members together.

    Returns:
        ``branch``, held-out ``loss`` and the task's main metric where everything is present, ``weight`` in the mixture there,
        ``weights`` (numbers learned), ``seconds``, ``megabytes``, and ``kept``.
    """
    names = tuple(held_out.names)
    rows = held_out.whole(names)
    rows = rows if len(rows) else held_out.rows
    weights = mixture.weights_for(names)
    outputs = {name: comparable(out[rows], held_out.task) for name, out in held_out.outputs.get(names, {}).items()}
    present = {name: there[rows] for name, there in held_out.inputs.present.items()}
    result: list[dict[str, Any]] = []
    if len(rows):
        mixed = mixture.combine({name: outputs[name] for name in mixture.sources}, present, held_out.task)
        result.append({"branch": "mixture", **_judged(mixed, held_out, rows), "weight": 1.0, "kept": True})
    for name in members[0].sources:
        said = _judged(outputs[name], held_out, rows) if len(rows) else {}
        numbers, size = _size(name, members)
        facts = {"weights": numbers, "seconds": costs.get(name, {}).get("seconds"), "megabytes": size}
        result.append(
            {"branch": name, **said, "weight": weights.get(name, 0.0), **facts, "kept": name in mixture.sources}
        )
    left_out = [{"branch": n, "kept": False, "left_out": c["left_out"]} for n, c in costs.items() if "left_out" in c]
    return [*sorted(result, key=lambda record: record.get("loss", 0.0)), *left_out]


def _judged(raw: Tensor, held_out: HeldOut, rows: Tensor) -> dict[str, float]:
    """Loss and main metric of raw outputs for these rows."""
    task, target, weight = held_out.task, held_out.target[rows], held_out.weight[rows]
    loss = float((task.answer_loss(raw, target) * weight).sum() / weight.sum().clamp_min(1e-12))
    truth = task.undone(target).numpy() if isinstance(task, Regression) else target.numpy()
    metric = metrics(task.name)[task.lead or task.main_metric]
    costs = task.decides if isinstance(task, Classification) else None
    output = inputs(task.name, task.decode(raw).numpy(), costs=costs)[metric.input]
    return {"loss": loss, metric.name: metric.score(truth, output).value}


def _size(name: str, members: Sequence[Branches]) -> tuple[int, float]:
    """Numbers that were learned, and megabytes, all members together."""
    fitted: Collection[FittedBranch] = [model.fitted[name] for model in members if name in model.fitted]
    arrays = [array for branch in fitted for array in branch.state()[0].values()]
    count = sum(trained_weights(model.networks[name]) for model in members if name in model.networks)
    count_fitted = sum(branch.weights() for branch in fitted)
    return count + count_fitted, (count * WEIGHT_BYTES + sum(array.nbytes for array in arrays)) / 1e6
