"""The pieces of a fit that could run elsewhere: members trained together, and the branches of one that fit themselves."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from plait.base.branch import FittedBranch, FoldRows, NotWorthwhile
from plait.base.inputs import Inputs
from plait.base.machine import libraries_on, seeded
from plait.base.tokens import concatenate
from plait.branches.branches import Branches, moved
from plait.branches.mixing import HeldOut, gains, prior
from plait.networks.tasks import Regression
from plait.training.callbacks import FitCallbacks
from plait.training.loop import Learner, train
from plait.training.member import MemberLearner
from plait.training.rows import Examples, Fold, spread
from plait.training.settings import Training
from plait.training.stacked import StackedLearner

#: Rows from which the branches that fit themselves (trees) learn at most, spread over a member's training rows.
GROWN_ROWS = 200_000


@dataclasses.dataclass(frozen=True)
class Piece:
    """What all pieces of a fit have in common.

    Attributes:
        names: modalities in schema order.
        examples: all rows.
        folds: (training rows, held-out rows) of each member.
        training: of the networks.
        seed: of the first member; the others count up from it.
        follow: where training runs, what judges it, and where it is kept.
        threads: of a worker on a cluster.
    """

    names: Sequence[str]
    examples: Examples
    folds: Sequence[Fold]
    training: Training
    seed: int
    follow: FitCallbacks = dataclasses.field(default_factory=FitCallbacks)
    threads: int = 1

    def elsewhere(self) -> Piece:
        """The same for a worker on a cluster, which writes no events."""
        threads = torch.get_num_threads() if self.examples.inputs.prepared else 1  # as they would have here
        return dataclasses.replace(self, follow=dataclasses.replace(self.follow, events=None), threads=threads)


@torch.no_grad()
def encoded_once(member: Branches, inputs: Inputs) -> Inputs:
    """The inputs with the tokens of all encoders that learn no more, computed once instead of once per epoch."""
    if not member.resolved:
        return inputs
    tokens = dict(inputs.tokens)
    for name in sorted(member.resolved):
        encoder = member.encoders[name].eval()
        only = Inputs({}, {name: inputs.prepared[name]}, {name: inputs.present[name]})
        parts = []
        for rows in torch.split(torch.arange(len(inputs)), 512):
            batch = moved(only.take(rows), member.device)
            parts.append(encoder(batch.prepared[name]).absent_where(~batch.present[name]).to("cpu"))
        tokens[name] = concatenate(parts)
    left = {name: cells for name, cells in inputs.prepared.items() if name not in member.resolved}
    return dataclasses.replace(inputs, tokens=tokens, prepared=left)


def train_members(
    piece: Piece, unit: int, first: int, models: Sequence[Branches], stopped: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Train the networks of members that learn together, the first of which is ``first``; a record per epoch and member."""
    examples, follow, folds = piece.examples, piece.follow, piece.folds
    generator = torch.Generator().manual_seed(piece.seed + first)
    learner: Learner[Tensor]
    if len(models) > 1:
        rows = folds[first : first + len(models)]
        learner = StackedLearner(list(models), examples, rows, piece.training, generator)
    else:
        prepared = dataclasses.replace(examples, inputs=encoded_once(models[0], examples.inputs))
        learner = MemberLearner(models[0], prepared, folds[first], piece.training, generator)
    callbacks = follow.callbacks(unit, first, folds, stopped)
    # Another package's encoder may draw from torch's own generator; members without one may stand side by side in threads.
    with seeded(piece.seed + first) if models[0].encoders else nullcontext():
        records = train(learner, piece.training.epochs, piece.training.patience, callbacks).history
    return [{**record, "member": first + record.get("member", 0)} for record in records]


def fit_branches(
    piece: Piece,
    number: int,
    model: Branches,
    declined: Collection[str],
    over: Callable[[str], bool] = lambda name: False,
    late: Callable[[str], bool] = lambda name: False,
) -> list[dict[str, Any]]:
    """Let the branches of one member that fit themselves do so; what each cost, or that it is not worth its time.

    ``declined``: branches that do not take these rows; ``over``: asked by name whether one must end; ``late``: not begin.
    The first member alone tells whether a branch brings the networks anything.
    """
    rows = rows_of(piece, number)
    asks = bool(model.networks) and not number and len(rows.valid) > 0
    alone = not model.networks and not number
    costs: list[dict[str, Any]] = []
    for branch in model.waiting:
        name = branch.name()
        if name in declined or (late(name) and not (alone and not model.fitted)):  # something must be there to answer
            continue
        clock = time.perf_counter()
        promising = partial(_promising, piece, branch, model, rows) if asks else None
        try:
            with libraries_on(1, "openmp"):  # members stand side by side, one core each
                branch.fit(dataclasses.replace(rows, stop=partial(over, name), promising=promising))
        except NotWorthwhile:
            costs.append({"name": name, "left_out": "its first rounds brought the mixture nothing"})
            continue
        model.add(branch, piece.names)
        costs.append({"name": name, "seconds": time.perf_counter() - clock})
    model.waiting = []
    return costs


def rows_of(piece: Piece, number: int) -> FoldRows:
    """The rows of one member as its branches take them."""
    examples, fold = piece.examples, piece.folds[number]
    task, seen = examples.task, spread(fold[0], GROWN_ROWS)
    loss = task.loss if isinstance(task, Regression) else "smooth"
    rows = (examples.inputs, examples.target, examples.weight, seen, fold[1])
    return FoldRows(*rows, task.name, task.out_dim, piece.seed + number, loss=loss, member=number)


def _promising(piece: Piece, branch: FittedBranch, member: Branches, rows: FoldRows, out: Tensor) -> bool:
    """Whether the member's networks gain by what a branch answers (valid, out_dim) after a part of its fit."""
    held, pattern = rows.inputs.take(rows.valid), tuple(piece.names)
    outputs = {**member.outputs(held, names=list(member.networks)), branch.name(): out}
    target, weight = rows.target[rows.valid], rows.weight[rows.valid]
    task, known = piece.examples.task, prior(piece.examples.task, rows.target[rows.fold], rows.weight[rows.fold])
    held_out = HeldOut(pattern, task, held, target, weight, torch.arange(len(held)), {pattern: outputs})
    sources = {name: member.sources[name] for name in member.networks}
    return gains(held_out, {**sources, **branch.sources(pattern)}, known, branch.name())


class Elsewhere:
    """A worker on a cluster: it does pieces of one fit, and hands back the members that it was given, changed."""

    def __init__(self, piece: Piece) -> None:
        """``piece``: as ``Piece.elsewhere`` gives it."""
        torch.set_num_threads(piece.threads)
        self._piece = piece

    def __call__(self, kind: str, number: int, first: int, models: list[Branches], declined: Sequence[str]) -> Any:
        """``train`` or ``branches`` of these members: (the members, records or costs)."""
        piece = self._piece
        with seeded(piece.seed):
            for model in models:
                model.to(piece.follow.device)
            if kind == "train":
                records = train_members(piece, number, first, models)
            else:
                records = fit_branches(piece, number, models[0], declined)
        return [model.cpu() for model in models], records
