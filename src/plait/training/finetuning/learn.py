"""One tuning: the updates of the last layers and a temporary head, stopped by rows that they do not learn from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Cut
from plait.base.errors import PlaitWarning
from plait.base.precision import seeded
from plait.networks.layers import Masks
from plait.networks.tasks import Task
from plait.training.finetuning.lora import weights_of, with_lora
from plait.training.finetuning.settings import Tuning
from plait.training.finetuning.states import Sequences, batches
from plait.training.loop import Diverged, Learner, StatePart, train
from plait.training.optimiser import AdamW

#: What is kept of an epoch's record.
_KEPT = ("epoch", "train_loss", "valid_loss")


@dataclass(frozen=True)
class Rows:
    """Rows that have a cell.

    Shape: cell (n,) the number of its distinct cell; target (n, ...) as the loss takes it; weight (n,).
    """

    cell: np.ndarray
    target: Tensor
    weight: Tensor

    def take(self, rows: np.ndarray) -> Rows:
        """The given rows."""
        place = torch.from_numpy(rows)
        return Rows(self.cell[rows], self.target[place], self.weight[place])


@dataclass
class Learned:
    """What one tuning gives: the updates of its best epoch, and how it went."""

    weights: dict[str, Tensor]
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    diverged: bool = False


class Head(nn.Module):
    """What turns an embedding into the task's outputs, and is thrown away."""

    def __init__(self, dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.drop, self.out = nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) -> (B, out_dim)."""
        result: Tensor = self.out(self.drop(self.norm(x)))
        return result


@dataclass(frozen=True)
class CellExamples:
    """What one tuning learns from.

    Attributes:
        task: of the model.
        cells: the distinct cells.
        rows: to learn from.
        valid: rows that choose the best state.
    """

    task: Task
    cells: Sequences
    rows: Rows
    valid: Rows


def learn(cut: Cut, dim: int, examples: CellExamples, tuning: Tuning, seed: int, name: str) -> Learned:
    """Tune the upper layers of an encoder of width ``dim``; the epoch with the least loss on the validation rows is kept.

    A loss that is no number ends it: what was best before is kept (before the first epoch: the encoder as it was), and a
    warning says so.
    """
    with seeded(seed):
        learner = LoraLearner(cut, dim, examples, tuning, torch.Generator().manual_seed(seed))
        initial = weights_of(learner.network)
        try:
            outcome = train(learner, tuning.epochs, tuning.patience)
        except Diverged as error:
            _warn(name, error.epoch, error.loss, "the encoder as it was")
            return Learned(initial, diverged=True)
    if lost := outcome.diverged:
        _warn(name, lost["epoch"], lost["train_loss"], f"what epoch {outcome.best[0]} gave")
    history = [{k: r[k] for k in _KEPT} for r in outcome.history if "diverged" not in r]
    return Learned(weights_of(learner.network), history, outcome.best[0], lost is not None)


def _warn(name: str, epoch: int, loss: float, kept: str) -> None:
    warnings.warn(
        f"tuning '{name}' diverged in epoch {epoch} (loss {loss}); {kept} is kept; lower tune.learning_rate",
        PlaitWarning,
        stacklevel=4,
    )


class LoraLearner(Learner[np.ndarray]):
    """Trains the low-rank updates of an encoder's upper layers, and a head that is thrown away."""

    def __init__(self, cut: Cut, dim: int, examples: CellExamples, tuning: Tuning, generator: torch.Generator) -> None:
        """``dim``: width of the encoder; the updates are zero at first."""
        self.examples, self.generator, self.masks = examples, generator, Masks(generator)
        self.network, self.size = with_lora(cut, tuning), tuning.batch_size
        self.head = Head(dim, examples.task.out_dim, tuning.dropout)
        self.updates = [p for p in self.network.parameters() if p.requires_grad]
        steps = tuning.epochs * -(-len(examples.rows.cell) // self.size)
        shares = dict.fromkeys(self.head.parameters(), tuning.head_rate / tuning.learning_rate)
        learning = [*self.updates, *self.head.parameters()]
        self.optimiser = AdamW(learning, tuning.learning_rate, tuning.weight_decay, steps, shares=shares)
        self.held_batches = len(list(self._held()))

    def parts(self) -> list[StatePart]:
        """The updates; the head is not kept."""
        return [StatePart(["loss"], lambda: [update.detach().unsqueeze(0) for update in self.updates])]

    def begin(self, epoch: int) -> None:
        """Into training mode."""
        self.network.train()
        self.head.train()

    def batches(self) -> Iterator[np.ndarray]:
        """Rows of like length."""
        return batches(self.examples.cells.lengths[self.examples.rows.cell], self.size, self.generator)

    def _held(self) -> Iterator[np.ndarray]:
        return batches(self.examples.cells.lengths[self.examples.valid.cell], 2 * self.size)

    def step(self, batch: np.ndarray) -> dict[str, Tensor]:
        """One step; the weighted mean loss of the rows."""
        total, weight = self.loss(self.examples.rows.take(batch))
        loss = total / max(weight, 1e-12)
        self.optimiser.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(limit=1.0)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def judge(self) -> dict[str, Tensor]:
        """The weighted mean loss of the validation rows."""
        self.network.eval()
        self.head.eval()
        parts = [self.loss(self.examples.valid.take(places)) for places in self._held()]
        total = torch.stack([total.double() for total, _ in parts]).sum()
        return {"loss": total / max(sum(weight for _, weight in parts), 1e-12)}

    def loss(self, rows: Rows) -> tuple[Tensor, float]:
        """Weighted sum of the rows' losses, and the sum of their weights; equal cells are computed once."""
        distinct, place = np.unique(rows.cell, return_inverse=True)
        tokens = self.network(self.examples.cells.batch(distinct))
        out = self.head(tokens.pooled().index_select(0, torch.from_numpy(place)))
        return (self.examples.task.row_loss(out, rows.target) * rows.weight).sum(), float(rows.weight.sum())
