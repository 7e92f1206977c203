"""The training loop: epochs, early stopping, the best state, divergence, checkpoints and records, of whatever learns.

What differs from one training to another (a step over one batch, how it is judged, which arrays are its state) is a
``Learner``: one member (``training.member``), several at once (``training.stacked``), LoRA, an alignment stage.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from plait.base.errors import PlaitError
from plait.branches.branches import Branches
from plait.networks.base import Masks
from plait.store.model_files import under
from plait.training.checkpoint import Checkpoint
from plait.training.optimiser import AdamW

Batch = TypeVar("Batch")
#: A loss is better than another by more than rounding.
_BETTER = 1e-6


@dataclass(frozen=True)
class StatePart:
    """Arrays that have one best epoch together.

    Attributes:
        losses: whose mean says how good they are.
        arrays: gives them as they are, not copied; their first axis are the members.
    """

    losses: Sequence[str]
    arrays: Callable[[], Sequence[Tensor]]

    @classmethod
    def of(cls, module: nn.Module, losses: Sequence[str]) -> StatePart:
        """All that one module has learned."""
        return cls(losses, lambda: [array.unsqueeze(0) for array in module.state_dict().values()])


class Learner(ABC, Generic[Batch]):
    """What learns: the loop asks for batches, gives them to ``step``, and keeps the ``parts`` that ``judge`` likes best.

    Attributes:
        optimiser: of all that learns.
        generator: of all that is random.
        masks: of dropout, drawn from the generator.
        members: networks that learn at once, each with losses and a best state of its own.
        held_batches: batches in which held-out rows are judged; 0: there are none, and the last state is the best.
    """

    optimiser: AdamW
    generator: torch.Generator
    masks: Masks
    members: int = 1
    held_batches: int = 0

    @abstractmethod
    def parts(self) -> Sequence[StatePart]:
        """The parts that are kept at their best."""

    @abstractmethod
    def batches(self) -> Iterable[Batch]:
        """The batches of one epoch, drawn anew."""

    @abstractmethod
    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Learn from one batch; its losses by name, (members,) each."""

    def judge(self) -> Mapping[str, Tensor]:
        """Losses on held-out rows by name, (members,) each."""
        raise NotImplementedError

    def begin(self, epoch: int) -> None:
        """Called before each epoch."""

    def end(self) -> None:
        """Called after training, with the best state in place, or after an error."""

    def models(self) -> Sequence[Branches]:
        """The members as networks of their own, as they are now; for scores."""
        return ()


@dataclass(frozen=True)
class Callbacks:
    """What follows a training without changing it.

    Attributes:
        score: judges a model (its position among those trained together, itself) after an epoch; ``history.Scorer``.
        on_epoch: hears each epoch's record when it is complete; ``history.Events``.
        stopped: asked after each epoch; true ends the training, to be resumed.
        checkpoint: the file by which a killed training is resumed.
    """

    score: Callable[[int, Branches], dict[str, Any]] | None = None
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None
    stopped: Callable[[], bool] = lambda: False
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Outcome:
    """What a training gives beside the weights: its history, and which epochs are kept.

    Attributes:
        history: a record per epoch and member: ``epoch``, ``member`` where there are several, ``train_loss`` and
            ``valid_loss`` (means), ``train`` and ``valid`` (by name), ``seconds`` (a member's share) and ``batches`` of both,
            ``metrics`` where they were scored, and ``diverged``: the losses that are no number.
        best: per member, the last epoch that any part is kept from.
    """

    history: list[dict[str, Any]]
    best: list[int]

    @property
    def diverged(self) -> dict[str, Any] | None:
        """The first record of a loss that is no number; the state from before it was kept."""
        return next((record for record in self.history if "diverged" in record), None)


class Diverged(PlaitError):  # noqa: N818 - what happened
    """Training whose loss was no number before there was a state to keep."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        """``record``: of the epoch."""
        self.epoch, self.loss = record["epoch"], record["train_loss"]
        of = ", ".join(f"'{name}'" for name in record["diverged"])
        super().__init__(f"training diverged in epoch {self.epoch} (loss {self.loss} of {of}); lower learning_rate")


def train(learner: Learner[Any], epochs: int, patience: int, callbacks: Callbacks | None = None) -> Outcome:
    """Train until nothing got better for ``patience`` epochs; each part of each member is left at its best.

    A member whose loss is no number keeps its best state, while others that learn with it go on.

    Args:
        learner: what learns.
        epochs: at most so many.
        patience: epochs without a better held-out loss of any part before it stops; without held-out rows it never does.
        callbacks: follow it without changing it.

    Raises:
        Diverged: one did before it had a state to keep.
    """
    callbacks = callbacks or Callbacks()
    best = BestState(learner.parts(), learner.members, judged=learner.held_batches > 0)
    history: list[dict[str, Any]] = []
    progress = Progress(best, learner, history, callbacks.checkpoint)
    try:
        ended, halted = progress.resume(), False
        while not ended and not halted and len(history) < epochs * learner.members:
            records, losses = _epoch(learner, len(history) // learner.members)
            history += records
            best.offer(losses, records[0]["epoch"])
            for member, record in enumerate(records):
                if "diverged" in record and not best.good(member):
                    best.restore()
                    raise Diverged(record)
            _follow(learner, records, callbacks)
            ended = best.done(records[0]["epoch"], patience) or all("diverged" in record for record in records)
            halted = callbacks.stopped()
            if not ended:
                progress.keep()
        best.restore()
    finally:
        learner.end()
    if not halted:
        progress.keep(ended=True)
    return Outcome(history, best.epoch.amax(0).tolist())


def _epoch(learner: Learner[Any], epoch: int) -> tuple[list[dict[str, Any]], Mapping[str, Tensor]]:
    """One epoch: a record per member, and the losses that choose the best state."""
    learner.begin(epoch)
    clock, count = time.perf_counter(), 0
    losses: dict[str, Tensor] = {}
    for batch in learner.batches():
        for name, loss in learner.step(batch).items():
            losses[name] = losses[name] + loss.double() if name in losses else loss.double()
        count += 1
    parts: dict[str, Mapping[str, Tensor]] = {"train": {name: (sum_ / count).cpu() for name, sum_ in losses.items()}}
    seconds, batches = {"train": time.perf_counter() - clock}, {"train": count}
    if learner.held_batches:
        clock = time.perf_counter()
        parts["valid"] = {name: loss.double().cpu() for name, loss in learner.judge().items()}
        seconds["valid"], batches["valid"] = time.perf_counter() - clock, learner.held_batches
    records = []
    for member in range(learner.members):
        record = {"epoch": epoch} | ({"member": member} if learner.members > 1 else {}) | _losses_of(member, parts)
        share = {part: value / learner.members for part, value in seconds.items()}
        records.append(record | {"seconds": share, "batches": dict(batches)})
    return records, parts.get("valid", parts["train"])


def _losses_of(member: int, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, object]:
    """A member's losses of both parts, and which of them are no number."""
    record: dict[str, Any] = {}
    lost: set[str] = set()
    for part, losses in parts.items():
        own = {name: float(values.reshape(-1)[member]) for name, values in losses.items()}
        record |= {f"{part}_loss": sum(own.values()) / max(1, len(own)), part: own}
        lost |= {name for name, loss in own.items() if not math.isfinite(loss)}
    return record | ({"diverged": sorted(lost)} if lost else {})


def _follow(learner: Learner[Any], records: Sequence[dict[str, Any]], callbacks: Callbacks) -> None:
    """Score each member as a network of its own, and tell of its epoch; not of one that diverged."""
    models = learner.models() if callbacks.score is not None else ()
    for member, record in enumerate(records):
        if "diverged" in record:
            continue
        if callbacks.score is not None:
            record["metrics"] = callbacks.score(member, models[member])
        if callbacks.on_epoch is not None:
            callbacks.on_epoch(record)


class BestState:
    """The best state so far of each part of each member."""

    def __init__(self, parts: Sequence[StatePart], members: int = 1, *, judged: bool = True) -> None:
        """Not ``judged``: there are no held-out rows, and the latest state that is a number is the best."""
        self.parts, self.judged = parts, judged
        self.loss = torch.full((len(parts), members), math.inf, dtype=torch.float64)
        self.epoch = torch.zeros(len(parts), members, dtype=torch.int64)
        self.states: list[list[Tensor]] = []

    @torch.no_grad()
    def offer(self, losses: Mapping[str, Tensor], epoch: int) -> None:
        """Keep the present state of each part and member whose losses (members,) are the best so far."""
        nothing = torch.zeros(self.loss.shape[1], dtype=torch.float64)
        values = [[losses.get(name, nothing).double().reshape(-1) for name in part.losses] for part in self.parts]
        loss = torch.stack([torch.stack(own).mean(0) for own in values])
        arrays = [part.arrays() for part in self.parts]
        better = loss < self.loss - _BETTER if self.judged else loss.isfinite() & _whole(arrays)
        if not self.states:
            self.states = [[array.clone() for array in own] for own in arrays]
        for kept, own, members in zip(self.states, arrays, better, strict=True):
            _copy(kept, own, members)
        self.loss, self.epoch = torch.where(better, loss, self.loss), self.epoch.masked_fill(better, epoch)

    def good(self, member: int) -> bool:
        """Whether every part of a member has a state to keep."""
        return bool(self.loss[:, member].isfinite().all())

    def done(self, epoch: int, patience: int) -> bool:
        """Whether every part of every member has waited long enough."""
        return self.judged and bool((epoch - self.epoch >= patience).all())

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best state back."""
        for part, kept in zip(self.parts, self.states, strict=False):
            for array, state in zip(part.arrays(), kept, strict=True):
                array.copy_(state)

    def state(self) -> dict[str, Tensor]:
        """All arrays as they are, the best ones, their losses and epochs."""
        now = {f"now.{i}.{j}": a for i, part in enumerate(self.parts) for j, a in enumerate(part.arrays())}
        kept = {f"best.{i}.{j}": a for i, own in enumerate(self.states) for j, a in enumerate(own)}
        return {**now, **kept, "loss": self.loss, "epoch": self.epoch}

    @torch.no_grad()
    def load_state(self, arrays: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.loss, self.epoch = arrays["loss"], arrays["epoch"]
        for i, part in enumerate(self.parts):
            for j, array in enumerate(part.arrays()):
                array.copy_(arrays[f"now.{i}.{j}"])
        if not any(name.startswith("best.") for name in arrays):  # written before there was a best one
            self.states = []
            return
        own = [(f"best.{i}.", part.arrays()) for i, part in enumerate(self.parts)]
        self.states = [[arrays[f"{i}{j}"].to(a.device) for j, a in enumerate(now)] for i, now in own]


def _copy(states: Sequence[Tensor], arrays: Sequence[Tensor], members: Tensor) -> None:
    """Keep the arrays of these members (bool)."""
    chosen = slice(None) if bool(members.all()) else members.nonzero()[:, 0]
    for state, array in zip(states, arrays, strict=True):
        there = chosen if isinstance(chosen, slice) else chosen.to(state.device)
        state[there] = array[there]


def _whole(parts: Sequence[Sequence[Tensor]]) -> Tensor:
    """Bool (parts, members): all numbers are finite."""
    return torch.stack(
        [torch.stack([a.reshape(len(a), -1).isfinite().all(1).cpu() for a in arrays]).all(0) for arrays in parts]
    )


@dataclass
class Progress:
    """One unit while it learns: everything that must be the same for the next epoch to be the same."""

    arrays: BestState
    learner: Learner[Any]
    history: list[dict[str, Any]]
    checkpoint: Checkpoint | None = None

    def resume(self) -> bool:
        """Take back what was written; True where the unit had ended. What does not fit leaves all as it was."""
        if self.checkpoint is None or (result := self.checkpoint.read()) is None:
            return False
        arrays, facts = self._state(ended=False)
        before = {name: array.clone() for name, array in arrays.items()}, {**facts, "history": list(self.history)}
        try:
            return self._take(*result)
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            self._take(*before)
            self.checkpoint.refuse(error)
            return False

    def _take(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bool:
        self.arrays.load_state(under(arrays, "arrays."))
        for name, tensor in self.learner.optimiser.state().items():
            tensor.copy_(arrays[f"optimiser.{name}"])
        self.learner.optimiser.done = facts["done"]
        self.learner.generator.set_state(arrays["generator"])
        torch.set_rng_state(arrays["generator.torch"])
        self.learner.masks.load_state(
            [(c, n, left, arrays[f"masks.{i}"]) for i, (c, n, left) in enumerate(facts["masks"])]
        )
        self.history[:] = facts["history"]
        return bool(facts["ended"])

    def keep(self, *, ended: bool = False) -> None:
        """Write it down, if that is asked for, and due or the end."""
        if self.checkpoint is not None and self.checkpoint.due(ended=ended):
            self.checkpoint.write(*self._state(ended=ended))

    def _state(self, *, ended: bool) -> tuple[dict[str, Tensor], dict[str, object]]:
        drawn, optimiser = self.learner.masks.state(), self.learner.optimiser
        arrays = {"generator": self.learner.generator.get_state(), "generator.torch": torch.get_rng_state()}
        arrays |= {f"arrays.{name}": array for name, array in self.arrays.state().items()}
        arrays |= {f"optimiser.{name}": array for name, array in optimiser.state().items()}
        arrays |= {f"masks.{i}": before for i, (*_, before) in enumerate(drawn)}
        facts = {"ended": ended, "history": self.history, "done": optimiser.done}
        return arrays, {**facts, "masks": [own[:3] for own in drawn]}
