"""Members trained on all folds but one; their held-out predictions choose, weigh and calibrate, so the test never has to."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from plait.base.cluster import Handed, cluster, on_cluster
from plait.base.deadline import NETWORKS, READY, Deadline
from plait.base.errors import ConfigError, warn
from plait.base.machine import one_core_each, seeded
from plait.base.progress import track
from plait.branches.branches import Branches
from plait.branches.growth import rare_classes
from plait.branches.intervals import Intervals
from plait.branches.mixing import HeldOut, alone, leaderboard, mix, prior
from plait.networks.linear import LinearNetwork
from plait.training import units
from plait.training.callbacks import FitCallbacks, warn_diverged
from plait.training.member import Members
from plait.training.rows import Examples, Fold, folds_of, spread
from plait.training.settings import Training
from plait.training.stacked import stackable
from plait.training.units import Elsewhere, Piece, fit_branches, rows_of, train_members

Result = TypeVar("Result")
#: Jobs of a cluster -> what its workers answer: members, and records or costs.
Away = Callable[[Sequence[Sequence[Any]]], Iterator[tuple[list[Branches], Any]]]
#: Rows that a member is judged by at most, evenly spread over those held out from it.
HELD_ROWS = 50_000
#: Raw output of a rare class, or label, beyond which a linear map does not begin: its first held-out row would cost as much.
FARTHEST = 4.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """How members are cross-fitted.

    Attributes:
        names: modalities in schema order.
        training: of the networks.
        members: how many.
        seed: of the first member; the others count up from it.
        strata: integers (n,) by which folds are kept alike.
        groups: integers (n,); rows of one group are held out together. None: each row by itself.
        warns: say which branch is left out.
        folds: (training rows, held-out rows) of each member, where they are given; None: they are made here.
        mix: ``learned`` on held-out rows, or ``equal``: all branches count alike, and nothing is calibrated.
        engine: ``local``, or ``ray``: members are trained side by side on a cluster.
        workers: of the cluster; None: one per core.
        end: when training must end.
        progress: show the branches that fit themselves; None: only on a terminal.
    """

    names: Sequence[str]
    training: Training
    members: int
    seed: int
    strata: np.ndarray
    groups: np.ndarray | None = None
    warns: bool = True
    folds: Sequence[Fold] | None = None
    mix: str = "learned"
    engine: str = "local"
    workers: int | None = None
    end: Deadline = dataclasses.field(default_factory=Deadline)
    progress: bool | None = None


def crossfit(
    make: Callable[[], Branches],
    examples: Examples,
    plan: Plan,
    advance: Callable[[int], None] = lambda n: None,
    before: Callable[[Branches, int, Tensor, Tensor], None] = lambda model, number, fold, valid: None,
    follow: FitCallbacks | None = None,
) -> Members:
    """Train members by cross-fitting, then learn the mixture on what each had not seen.

    ``advance`` is called with the epochs of members that are done, of ``members`` times ``training.epochs`` in all;
    ``before`` is called with each untrained member, its number, and its training and held-out rows;
    ``follow`` says where training runs, what judges it after every epoch, and where it is kept so that it can go on.
    Of epochs, members and branches only those are trained that ``plan.end`` leaves time for.
    """
    plan.end.check_training()
    whole = plan.folds or folds_of(plan.strata, plan.members, plan.seed, plan.groups)
    folds = [(fold, spread(valid, HELD_ROWS)) for fold, valid in whole]
    members = []
    for number in range(len(folds)):
        with seeded(plan.seed + number):
            members.append(make())
        _at_prior(members[-1], examples, folds[number][0])
    for number, fold in enumerate(folds):
        before(members[number], number, *fold)
    clock = time.perf_counter()
    piece = Piece(plan.names, examples, folds, plan.training, plan.seed, follow or FitCallbacks())
    with cluster(plan.workers) if plan.engine == "ray" else nullcontext() as ray:  # one for networks and branches
        away = None if ray is None else _away(ray, piece, plan)
        history = _trained(members, piece, plan, advance, away)
        del folds[len(members) :]  # of those that no time was left for
        each = (time.perf_counter() - clock) / max(1, len(members[0].networks))  # they are trained together
        costs = {name: {"seconds": each} for name in members[0].networks} | _fit_branches(members, piece, plan, away)
        del folds[len(members) :]
    samples = _samples(whole[0], grown=bool(members[0].fitted))
    return dataclasses.replace(_mixed(members, folds, examples, plan, costs), history=history, samples=samples)


def _mixed(
    members: list[Branches],
    folds: Sequence[Fold],
    examples: Examples,
    plan: Plan,
    costs: Mapping[str, Mapping[str, Any]],
) -> Members:
    """Mix the members' branches by what each answers for rows that it was not trained on; what brings nothing goes.

    ``costs``: seconds of each branch and the like, for the leaderboard.
    """
    task, inputs, target, weight = examples.task, examples.inputs, examples.target, examples.weight
    learned = slice(None) if plan.folds is None else folds[0][0]
    rows = torch.cat([valid for _, valid in folds]) if plan.folds is None else folds[0][1]
    held_out = HeldOut(plan.names, task, inputs, target, weight, rows, holders=1 if plan.folds is None else len(folds))
    learning = bool(members[0].encoders)
    answers = side_by_side(
        lambda i: held_out.answers(members[i], folds[i][1]), len(members), threading.Event(), learning=learning
    )
    for (_, valid), answer in zip(folds, answers, strict=True):
        held_out.collect(valid, answer)
    known = prior(task, target[learned], weight[learned])
    mixture, task = mix(held_out, members[0].sources, known, plan.seed, equal=plan.mix == "equal")
    held_out = dataclasses.replace(held_out, task=task)  # with what its answers are read by
    standings = leaderboard(held_out, mixture, members, costs)
    singles = {sees for sees in members[0].sources.values() if len(sees) == 1}
    losses = alone(mixture, held_out) if len(singles) == len(plan.names) else {}
    for model in members:
        model.cpu().keep(mixture.sources)
    intervals = Intervals.of(held_out, mixture) if task.name == "regression" else None
    return Members(task, members, mixture, [], standings, intervals, losses)


def _at_prior(model: Branches, examples: Examples, fold: Tensor) -> None:
    """Let linear maps begin with what is known without any feature: of columns without a signal few steps are taken."""
    known = torch.tensor(prior(examples.task, examples.target[fold], examples.weight[fold]))
    if examples.task.name == "classification":
        known = known - known.mean()  # of equal shares nothing changes
    for network in model.networks.values():
        if isinstance(network, LinearNetwork):
            network.linear.bias.data.copy_(known.clamp(-FARTHEST, FARTHEST))


def _samples(fold: Fold, *, grown: bool) -> dict[str, tuple[int, int]]:
    """What is done with some of a member's rows only."""
    limits = {"choosing epochs and mixing branches": (HELD_ROWS, len(fold[1]))}
    limits |= {"growing trees": (units.GROWN_ROWS, len(fold[0]))} if grown else {}
    return {what: (most, rows) for what, (most, rows) in limits.items() if rows > most}


def _away(ray: Any, piece: Piece, plan: Plan) -> Away:
    """The workers of a cluster, to which the rows are handed once."""
    gpus = 1.0 if piece.follow.device.type == "cuda" else 0.0
    return partial(on_cluster, Elsewhere, Handed(ray, (piece.elsewhere(),)), workers=plan.workers, gpus=gpus)


def _trained(
    members: list[Branches], piece: Piece, plan: Plan, advance: Callable[[int], None], away: Away | None
) -> list[dict[str, Any]]:
    """Train the members' networks where ``follow`` says; the records of all their epochs. Members without time go."""
    if not members[0].networks:
        return []
    settings, follow = plan.training, piece.follow
    follow.open(members, piece.folds, piece.examples, settings)
    batches = _batches(members, piece.folds, settings)
    if away is not None:
        return _trained_elsewhere(members, piece, plan, advance, away)
    for model in members:
        model.to(follow.device)
    halt = threading.Event()
    over = plan.end.within(NETWORKS if members[0].waiting else 1.0)
    cut = [0]

    def run(number: int) -> list[dict[str, Any]]:
        batch, epochs, last = batches[number], 0, plan.end.spent
        if number and over():
            return []

        def stopped() -> bool:  # asked after every epoch
            nonlocal epochs, last
            epochs, begun, last = epochs + 1, last, plan.end.spent
            advance(len(batch))
            if epochs < settings.epochs and over(last - begun):  # the next one would end too late
                cut.append(epochs)
                return True
            return halt.is_set()

        records = train_members(piece, number, batch.start, members[batch.start : batch.stop], stopped)
        advance(len(batch) * (settings.epochs - epochs))  # what early stopping has saved
        return records

    with seeded(plan.seed):  # plait's own dropout has its generator; another package's encoder may draw from torch's
        results = side_by_side(run, len(batches), halt, learning=bool(members[0].encoders))
    begun = next((batch.start for batch, records in zip(batches, results, strict=True) if not records), len(members))
    if max(cut):
        plan.end.left_out.append(f"epochs after {max(cut)} of {settings.epochs}")
    _without_time(members, begun, plan.end)
    history = [record for records in results for record in records]
    warn_diverged(history, settings)
    return history


def _trained_elsewhere(
    members: list[Branches], piece: Piece, plan: Plan, advance: Callable[[int], None], away: Away
) -> list[dict[str, Any]]:
    """The same on a cluster: every batch of members is a job of one worker."""
    history: list[dict[str, Any]] = []
    batches = _batches(members, piece.folds, plan.training)
    jobs = [("train", n, batch.start, members[batch.start : batch.stop], ()) for n, batch in enumerate(batches)]
    for batch, (models, records) in zip(batches, away(jobs), strict=True):
        members[batch.start : batch.stop] = models
        history += records
        advance(len(batch) * plan.training.epochs)
    events = piece.follow.events
    for record in history:
        if events is not None and "diverged" not in record:
            events(record)
    warn_diverged(history, plan.training)
    return history


def _without_time(members: list[Branches], begun: int, end: Deadline) -> None:
    """Only the first members had time to be trained."""
    if begun < len(members):
        end.left_out.append(f"{len(members) - begun} of {len(members)} members")
        del members[begun:]


def _fit_branches(members: list[Branches], piece: Piece, plan: Plan, away: Away | None) -> dict[str, dict[str, Any]]:
    """Let the branches that fit themselves do so in every member; what they cost, or why they are left out."""
    over = plan.end.within(1.0)
    first = rows_of(piece, 0)
    declined = {branch.name(): branch.declines(first) for branch in members[0].waiting}
    costs: dict[str, dict[str, Any]] = {
        n: {"left_out": why} if why else {"seconds": 0.0} for n, why in declined.items()
    }
    if not members[0].networks and all(declined.values()):
        raise ConfigError("; ".join(_left_out(costs)))
    halt, ready = threading.Event(), plan.end.lasting(READY * len(piece.folds[0][0]))

    def ended(name: str, ready: float = 0.0) -> bool:
        return halt.is_set() or over(ready) or "left_out" in costs[name]

    def late(name: str) -> bool:
        return ended(name, ready)

    def run(number: int) -> None:
        for cost in fit_branches(piece, number, members[number], _refused(costs), ended, late):
            _add_cost(costs, cost)
        bar.advance()

    fitted = ", ".join(name for name in declined if name not in _refused(costs))
    with track(len(members), fitted, "members", plan.progress if fitted else False) as bar:
        if members[0].waiting and away is not None:
            jobs = [("branches", n, n, [model], _refused(costs)) for n, model in enumerate(members)]
            for number, (models, spent) in enumerate(away(jobs)):
                members[number] = models[0]
                for cost in spent:
                    _add_cost(costs, cost)
                bar.advance()
        elif members[0].waiting:
            with rare_classes():
                side_by_side(run, len(members), halt, learning=False)
    if plan.warns and (left_out := _left_out(costs)):
        warn("; ".join(left_out))
    _drop_unfinished(members, costs, plan.end)
    return costs


def _refused(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, cost in costs.items() if "left_out" in cost]


def _add_cost(costs: Mapping[str, dict[str, Any]], spent: Mapping[str, Any]) -> None:
    """One member's; what a branch that is left out took is not told."""
    cost = costs[spent["name"]]
    if "left_out" in spent:
        cost["left_out"] = spent["left_out"]
    elif "left_out" not in cost:
        cost["seconds"] += spent["seconds"]


def _left_out(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"branch '{name}' is left out: {cost['left_out']}" for name, cost in costs.items() if "left_out" in cost]


def _drop_unfinished(members: list[Branches], costs: dict[str, dict[str, Any]], end: Deadline) -> None:
    """Branches that not all members had time to fit go; where nothing else answers, the members that lack one."""
    if not members[0].networks:
        complete = sum(set(model.fitted) == set(members[0].fitted) for model in members)
        _without_time(members, complete, end)
    for name, cost in costs.items():
        if "left_out" not in cost and not all(name in model.fitted for model in members):
            cost["left_out"] = "no time was left"
            end.left_out.append(f"branch {name}")
        for model in (model for model in members if "left_out" in cost and name in model.fitted):
            model.keep([source for source in model.sources if source != name])


def _batches(trained: Sequence[Branches], folds: Sequence[tuple[Tensor, Tensor]], settings: Training) -> list[range]:
    """Members that are trained together: two batches of them, however many cores there are, so that numbers stay the same."""
    middle = (len(folds) + 1) // 2
    if stackable(trained[:middle], folds[:middle], settings):
        return [range(middle), range(middle, len(folds))]
    return [range(number, number + 1) for number in range(len(folds))]


def side_by_side(run: Callable[[int], Result], count: int, halt: threading.Event, *, learning: bool) -> list[Result]:
    """Batches of members on a thread each, one core per batch: matrices this small gain nothing from more (twice as fast).

    Where encoders learn too, the matrices are large: then one member after another, on all cores.
    """
    cores = torch.get_num_threads()
    if learning or cores == 1 or count == 1:
        return [run(number) for number in range(count)]
    with one_core_each(min(cores, count)) as pool:
        try:
            return list(pool.map(run, range(count)))
        except BaseException:  # Ctrl-C, or a member that diverged: the others stop after their epoch
            halt.set()
            raise
