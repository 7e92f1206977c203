"""What follows a fit: where it runs, what scores it after each epoch, and where it is kept to be resumed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from plait.base.errors import PlaitWarning
from plait.base.inputs import Inputs, SharedCells
from plait.base.version import __version__
from plait.branches.branches import Branches
from plait.training.checkpoint import Checkpoints, digest_of
from plait.training.history.files import Events
from plait.training.loop import Callbacks
from plait.training.rows import Examples, Fold
from plait.training.settings import Training


@dataclasses.dataclass
class FitCallbacks:
    """The device of a fit, its scorer and callback for each epoch, and the folder of its checkpoint.

    Attributes:
        device: where members are trained.
        score: judges a member, given its training and held-out rows; ``history.scorer.Scorer``.
        events: writes the record of every epoch of every member.
        checkpoint: folder, or None.
        identity: settings that tell one fit from another although rows, weights and schedule are the same.
        checkpoints: the opened folder, once ``open`` was called.
    """

    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    score: Callable[[Branches, Tensor, Tensor], dict[str, Any]] | None = None
    events: Events | None = None
    checkpoint: str | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoints: Checkpoints | None = None

    def open(self, members: Sequence[Branches], folds: Sequence[Fold], examples: Examples, settings: Training) -> None:
        """Find the checkpoint of this very fit: the same first weights, rows, folds, settings and versions."""
        if self.checkpoint is None:
            return
        words: list[Any] = [__version__, torch.__version__, self.device.type, dataclasses.asdict(settings)]
        words += [examples.task.name, examples.task.state(), self.identity, self.score is not None]
        states = [t for member in members for t in member.state_dict().values()]
        given = [*_tensors(examples.inputs), examples.target, examples.weight]
        tensors = [*states, *given, *(rows for fold in folds for rows in fold)]
        self.checkpoints = Checkpoints(self.checkpoint, digest_of(words, tensors))

    def close(self) -> None:
        """Training is over: the event files may be finished."""
        if self.events is not None:
            self.events.close()

    def callbacks(
        self, unit: int, first: int, folds: Sequence[Fold], stopped: Callable[[], bool] = lambda: False
    ) -> Callbacks:
        """For the training of one unit, whose first member is ``first``."""
        score, events = self.score, self.events
        return Callbacks(
            None if score is None else lambda place, model: score(model, *folds[first + place]),
            None if events is None else lambda record: events({**record, "member": first + record.get("member", 0)}),
            stopped,
            None if self.checkpoints is None else self.checkpoints.unit(unit),
        )


def _tensors(inputs: Inputs) -> list[Tensor]:
    result = [t for tokens in inputs.tokens.values() for t in (tokens.x, tokens.mask)]
    for cells in inputs.prepared.values():
        result += [*cells.arrays.values(), cells.place] if isinstance(cells, SharedCells) else list(cells.values())
    return [*result, *inputs.present.values()]


def warn_diverged(history: Sequence[Mapping[str, Any]], settings: Training) -> None:
    """One warning for all members whose training diverged and that kept an earlier state."""
    lost: dict[int, Mapping[str, Any]] = {}
    for record in history:
        if "diverged" in record:
            lost.setdefault(record["member"], record)
    if lost:
        first = next(iter(lost.values()))
        of = ", ".join(f"'{name}'" for name in first["diverged"])
        also = f" (as did {len(lost) - 1} more)" if len(lost) > 1 else ""
        warnings.warn(
            f"training of member {first['member']}{also} diverged in epoch {first['epoch']}: the loss of {of} is no "
            f"number; its best state before is kept; lower learning_rate (it was {settings.learning_rate:.3g})",
            PlaitWarning,
            stacklevel=3,
        )
