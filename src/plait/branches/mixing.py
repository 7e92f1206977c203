"""What branches are worth on held-out rows: mixture weights, thresholds, and the leaderboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from plait.base.branch import FittedBranch
from plait.base.inputs import Inputs
from plait.branches.branches import Branches, trained_weights
from plait.branches.mixture import Mixture, Pattern, comparable, patterns
from plait.metrics.base import answered, inputs, metrics
from plait.networks.tasks import Classification, Multilabel, Regression, Task

#: Rows, drawn once, on which the weights of a pattern are learned: more would not move six numbers.
MIXTURE_ROWS = 3000
#: A branch goes if no pattern loses more without it than this many standard errors of the rows' differences, and this share
#: of the loss.
NOISE, SHARE = 0.25, 0.001
#: Standard errors that a branch must gain after a part of its fit: the rows that judge it weigh it, too.
GAIN_NOISE = 1.0
#: Powers of a class's share by which its weight in the answer is tried.
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Held-out rows that a pattern needs for weights, and for a threshold, of its own.
WEIGHT_ROWS, THRESHOLD_ROWS = 10, 20


@dataclasses.dataclass
class HeldOut:
    """Outputs of every branch for rows that its member had not learned from.

    Attributes:
        names: modalities in schema order.
        inputs: all rows.
        target: of these, encoded.
        weight: (n,).
        rows: places of those that some member held out.
        outputs: pattern -> branch -> raw outputs (n, out_dim), zeros where no member held the row out.
        holders: members that held each of the rows out: their mean is taken.
    """

    names: Sequence[str]
    task: Task
    inputs: Inputs
    target: Tensor
    weight: Tensor
    rows: Tensor
    outputs: dict[Pattern, dict[str, Tensor]] = dataclasses.field(default_factory=dict)
    holders: int = 1

    def answers(self, model: Branches, valid: Tensor) -> list[dict[str, Tensor]]:
        """A member's outputs for its held-out rows, under every pattern."""
        return list(model.outputs_under(self.inputs.take(valid), patterns(self.names))) if len(valid) else []

    def collect(self, valid: Tensor, answers: Sequence[Mapping[str, Tensor]]) -> None:
        """Write what ``answers`` gave into the places of these rows."""
        for pattern, outputs in zip(patterns(self.names), answers, strict=False):  # no rows, no answers
            place = self.outputs.setdefault(pattern, {})
            for name, out in outputs.items():
                if name not in place:
                    place[name] = torch.zeros(len(self.inputs), self.task.out_dim)
                place[name][valid] += out / self.holders

    def whole(self, pattern: Pattern) -> Tensor:
        """Places of the held-out rows that have all of a pattern."""
        there = torch.stack([self.inputs.present[name][self.rows] for name in pattern]).all(0)
        return self.rows[there]


def prior(task: Task, target: Tensor, weight: Tensor) -> list[float]:
    """Raw outputs that say what is known of a row of which nothing is present: class shares, or the mean."""
    share = weight / weight.sum().clamp_min(1e-12)
    if task.name == "classification":
        counts = torch.zeros(task.out_dim).index_add_(0, target, share)
        return [float(v) for v in counts.clamp_min(1e-6).log()]
    mean = (target * share[:, None]).sum(0)
    if task.name == "multilabel":
        return [float(v) for v in torch.logit(mean, eps=1e-6)]
    return [float(v) for v in mean]


def mix(
    held_out: HeldOut,
    sources: Mapping[str, tuple[str, ...]],
    prior: Sequence[float],
    seed: int,
    *,
    equal: bool = False,
) -> tuple[Mixture, Task]:
    """The mixture that held-out rows ask for, and the task with the thresholds that they ask for.

    Args:
        held_out: of all members; without rows all branches count alike.
        sources: each branch's modalities.
        prior: raw outputs where nothing is present.
        seed: of the rows that are drawn.
        equal: all branches count alike, whatever held-out rows say; thresholds of several labels are still chosen by them.
    """
    mixture = Mixture(held_out.names, sources, prior)
    if not len(held_out.rows):
        mixture.set_equal()
        return mixture, held_out.task
    if equal:
        mixture.set_equal()
        return mixture, with_thresholds(mixture, held_out)
    generator = torch.Generator().manual_seed(seed)
    pools = {}
    for pattern, outputs in held_out.outputs.items():
        rows = held_out.whole(pattern)
        rows = rows[torch.randperm(len(rows), generator=generator)[:MIXTURE_ROWS]]
        if len(rows) >= WEIGHT_ROWS:
            known = {name: outputs[name][rows] for name in mixture.available(pattern)}
            pools[pattern] = _Pool(known, held_out.target[rows], held_out.weight[rows])
    _weigh(mixture, pools, held_out.task)
    _drop(mixture, pools, held_out.task)
    return mixture, with_thresholds(mixture, held_out)


@dataclasses.dataclass(frozen=True)
class _Pool:
    """Held-out outputs of a pattern's branches (n, out_dim), targets and weights of its rows."""

    outputs: Mapping[str, Tensor]
    target: Tensor
    weight: Tensor

    def losses(self, mixture: Mixture, pattern: Pattern, task: Task) -> Tensor:
        """(n,) of the branches mixed by the weights of this pattern."""
        mixed = mixture.mixed(self.outputs, mixture.weights[pattern], task)
        return task.answer_loss(mixed, self.target) * self.weight


def _weigh(mixture: Mixture, pools: Mapping[Pattern, _Pool], task: Task) -> None:
    """Weights of every pattern: learned from its pool; equal ones where it has none."""
    for pattern in patterns(mixture.names):
        branches = mixture.available(pattern)
        if (pool := pools.get(pattern)) is None:
            mixture.weights[pattern] = dict.fromkeys(branches, 1.0 / len(branches))
        else:
            mixture.fit_pattern(pattern, pool.outputs, task, pool.target, pool.weight)


def _drop(mixture: Mixture, pools: Mapping[Pattern, _Pool], task: Task) -> None:
    """Leave out, one after another, the branches that no pattern misses by more than noise; those of least weight first."""
    full = {pattern: pool.losses(mixture, pattern, task) for pattern, pool in pools.items()}
    for name in sorted(mixture.sources, key=lambda n: max(w.get(n, 0.0) for w in mixture.weights.values())):
        others = {n: sees for n, sees in mixture.sources.items() if n != name}
        without = Mixture(mixture.names, others, mixture.prior)
        if not pools or any(not without.available(pattern) for pattern in mixture.weights):
            continue
        for pattern, weights in mixture.weights.items():
            rest = {n: w for n, w in weights.items() if n != name}
            pool = pools.get(pattern)
            if pool is None:
                without.weights[pattern] = dict.fromkeys(rest, 1.0 / len(rest))
            elif weights.get(name, 0.0) == 0.0:
                without.weights[pattern] = rest
            else:
                without.fit_pattern(pattern, pool.outputs, task, pool.target, pool.weight)
                if _worse(pool.losses(without, pattern, task), full[pattern]):
                    break
        else:
            mixture.sources, mixture.weights = without.sources, without.weights


def gains(held_out: HeldOut, sources: Mapping[str, tuple[str, ...]], prior: Sequence[float], name: str) -> bool:
    """Whether the rows that have everything gain by a branch, beside the others, more than noise."""
    pattern = tuple(held_out.names)
    rows = held_out.whole(pattern)
    if len(rows) < WEIGHT_ROWS:
        return True
    outputs = {key: out[rows] for key, out in held_out.outputs[pattern].items()}
    pool = _Pool(outputs, held_out.target[rows], held_out.weight[rows])
    losses = []
    for kept in (sources, {key: sees for key, sees in sources.items() if key != name}):
        mixture = Mixture(pattern, kept, prior)
        mixture.fit_pattern(pattern, outputs, held_out.task, pool.target, pool.weight)
        losses.append(pool.losses(mixture, pattern, held_out.task))
    return _worse(losses[1], losses[0], GAIN_NOISE)


def _worse(losses: Tensor, full: Tensor, errors: float = NOISE) -> bool:
    """Whether rows lose (n,) more than they did with all branches, by more than noise."""
    more = (losses - full).double()
    noise: float = errors * float(more.std()) / len(more) ** 0.5
    return float(more.mean()) > max(noise, SHARE * float(full.mean()))


def with_offset(mixture: Mixture, held_out: HeldOut, task: Regression) -> Task:
    """The task with the offset before a transform is undone that held-out rows ask for in the target's own unit."""
    if task.transform == "none":
        return task
    out = mixed(mixture, held_out, held_out.rows, held_out.names, hidden=False)
    target, weight = held_out.target[held_out.rows], held_out.weight[held_out.rows]
    result = minimize_scalar(
        lambda offset: float((dataclasses.replace(task, offset=offset).answer_loss(out, target) * weight).sum()),
        bounds=(-2.0, 2.0),
        method="bounded",
    )
    return dataclasses.replace(task, offset=float(result.x))


def with_class_weights(mixture: Mixture, held_out: HeldOut, task: Classification) -> Task:
    """The task with the weights of the classes that answer best on held-out rows by the metric that leads.

    Formula: weight of class c = share_c ** -a, a from 0 (the most probable class) to 1 (rare classes count as much).
    """
    metric = metrics(task.name).get(task.lead)
    if metric is None or metric.input != "labels" or metric.name == "accuracy":
        return task
    target = held_out.target[held_out.rows].numpy()
    p = task.decode(mixed(mixture, held_out, held_out.rows, held_out.names, hidden=False)).numpy()
    share = np.bincount(target, minlength=task.out_dim).clip(1) / len(target)
    tried = {a: metric.score(target, answered(p, share**-a)).value for a in POWERS}
    best = max(tried, key=lambda a: (round(tried[a], 6), -a))
    weights = share**-best
    return dataclasses.replace(task, class_weights=tuple(map(float, weights / weights.max()))) if best else task


def with_thresholds(mixture: Mixture, held_out: HeldOut) -> Task:
    """The task with what its answers are read by, chosen on held-out rows.

    For several labels the thresholds with the best sample-wise F1 (or the metric that leads, where it judges labels), one for
    each pattern of presence; for one class of several the weights of the classes, where a metric that judges labels leads.
    """
    task = held_out.task
    if isinstance(task, Classification):
        return with_class_weights(mixture, held_out, task)
    if isinstance(task, Regression):
        return with_offset(mixture, held_out, task)
    if not isinstance(task, Multilabel) or task.thresholds:  # those that are there were given
        return task
    usual = _best_threshold(mixture, held_out, held_out.rows, held_out.names, hidden=False)
    for pattern in (*held_out.outputs, ()):
        rows = held_out.whole(pattern) if pattern else held_out.rows
        if len(rows) >= THRESHOLD_ROWS:
            mixture.thresholds[pattern] = _best_threshold(mixture, held_out, rows, pattern)
    return dataclasses.replace(task, thresholds=(usual,) * task.out_dim)


def mixed(mixture: Mixture, held_out: HeldOut, rows: Tensor, pattern: Sequence[str], *, hidden: bool = True) -> Tensor:
    """Mixed raw outputs (n, out_dim) of held-out rows, everything outside the pattern ``hidden`` from them."""
    outputs = held_out.outputs[tuple(pattern) or tuple(held_out.names)]
    present = {name: there[rows] & (not hidden or name in pattern) for name, there in held_out.inputs.present.items()}
    return mixture.combine({name: out[rows] for name, out in outputs.items()}, present, held_out.task)


def alone(mixture: Mixture, held_out: HeldOut) -> dict[str, float]:
    """Modality -> loss on all held-out rows when nothing else is present; nothing where there is one, or no such row."""
    if len(held_out.names) < 2 or not len(held_out.rows):
        return {}
    target, weight = held_out.target[held_out.rows], held_out.weight[held_out.rows]
    answers = {name: mixed(mixture, held_out, held_out.rows, (name,)) for name in held_out.names}
    losses = {name: held_out.task.answer_loss(out, target) * weight for name, out in answers.items()}
    return {name: float(loss.sum() / weight.sum().clamp_min(1e-12)) for name, loss in losses.items()}


def _best_threshold(
    mixture: Mixture, held_out: HeldOut, rows: Tensor, pattern: Sequence[str], *, hidden: bool = True
) -> float:
    """For the given rows, everything outside the pattern ``hidden`` from them."""
    target = held_out.target[rows]
    probabilities = held_out.task.decode(mixed(mixture, held_out, rows, pattern, hidden=hidden))
    metric = metrics(held_out.task.name).get(held_out.task.lead)
    best, chosen = -1.0, 0.5
    for threshold in np.linspace(0.1, 0.6, 26):
        result = (probabilities >= threshold).float()
        if metric is not None and metric.input == "labels":
            score = metric.score(target.numpy().astype(np.int64), result.numpy().astype(np.int64)).value
        else:
            both = (result * target).sum(1)
            score = float((2 * both / (result.sum(1) + target.sum(1)).clamp_min(1)).mean())
        if score > best + 1e-6:
            best, chosen = score, float(threshold)
    return chosen


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
