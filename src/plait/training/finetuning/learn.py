"""One tuning: the updates of the last layers and a temporary head, stopped by rows that they do not learn from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Cut
from plait.base.errors import PlaitWarning
from plait.base.precision import seeded
from plait.networks.tasks import Task
from plait.training.finetuning.lora import load_weights, weights_of, with_lora
from plait.training.finetuning.settings import Tuning
from plait.training.finetuning.states import Sequences, batches
from plait.training.optimiser import AdamW


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


class _Head(nn.Module):
    """What turns an embedding into the task's outputs, and is thrown away."""

    def __init__(self, dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.drop, self.out = nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) -> (B, out_dim)."""
        result: Tensor = self.out(self.drop(self.norm(x)))
        return result


def learn(
    cut: Cut, dim: int, cells: Sequences, rows: Rows, valid: Rows, task: Task, tuning: Tuning, seed: int, name: str
) -> Learned:
    """Tune on ``rows``, keep the epoch with the smallest loss on ``valid``.

    A loss that is no number ends it: what was best before is kept (before the first epoch: the encoder as it was), and a
    warning says so.
    """
    with seeded(seed):
        network = with_lora(cut, tuning)
        head = _Head(dim, task.out_dim, tuning.dropout)
        return _epochs(network, head, cells, rows, valid, task, tuning, torch.Generator().manual_seed(seed), name)


def _epochs(
    network: nn.Module,
    head: nn.Module,
    cells: Sequences,
    rows: Rows,
    valid: Rows,
    task: Task,
    tuning: Tuning,
    generator: torch.Generator,
    name: str,
) -> Learned:
    learning = [p for p in network.parameters() if p.requires_grad]
    steps = tuning.epochs * -(-len(rows.cell) // tuning.batch_size)
    shares = dict.fromkeys(head.parameters(), tuning.head_rate / tuning.learning_rate)
    optimiser = AdamW([*learning, *head.parameters()], tuning.learning_rate, tuning.weight_decay, steps, shares=shares)
    result, least = Learned(weights_of(network)), math.inf
    for epoch in range(tuning.epochs):
        loss = _epoch(network, head, cells, rows, task, tuning, optimiser, generator)
        judged = _judge(network, head, cells, valid, task, tuning.batch_size) if math.isfinite(loss) else math.nan
        if not math.isfinite(judged):
            result.diverged = True
            kept = f"what epoch {result.best} gave" if result.best >= 0 else "the encoder as it was"
            warnings.warn(
                f"tuning '{name}' diverged in epoch {epoch} (loss {loss}); {kept} is kept; lower tune.learning_rate",
                PlaitWarning,
                stacklevel=2,
            )
            break
        result.history.append({"epoch": epoch, "train_loss": loss, "valid_loss": judged})
        if judged < least - 1e-6:
            least, result.best, result.weights = judged, epoch, weights_of(network)
        if epoch - result.best >= tuning.patience:
            break
    load_weights(network, result.weights)
    return result


def _epoch(
    network: nn.Module,
    head: nn.Module,
    cells: Sequences,
    rows: Rows,
    task: Task,
    tuning: Tuning,
    optimiser: AdamW,
    generator: torch.Generator,
) -> float:
    network.train()
    head.train()
    total = mass = 0.0
    for places in batches(cells.lengths[rows.cell], tuning.batch_size, generator):
        loss, weight = _loss(network, head, cells, rows.take(places), task)
        optimiser.clear()
        (loss / max(weight, 1e-12)).backward()  # type: ignore[no-untyped-call]
        optimiser.step(limit=1.0)
        total, mass = total + float(loss.detach()), mass + weight
    return total / max(mass, 1e-12)


@torch.no_grad()
def _judge(network: nn.Module, head: nn.Module, cells: Sequences, rows: Rows, task: Task, size: int) -> float:
    network.eval()
    head.eval()
    total = mass = 0.0
    for places in batches(cells.lengths[rows.cell], 2 * size):
        loss, weight = _loss(network, head, cells, rows.take(places), task)
        total, mass = total + float(loss), mass + weight
    return total / max(mass, 1e-12)


def _loss(network: nn.Module, head: nn.Module, cells: Sequences, rows: Rows, task: Task) -> tuple[Tensor, float]:
    """Weighted sum of the rows' losses, and the sum of their weights; equal cells are computed once."""
    distinct, place = np.unique(rows.cell, return_inverse=True)
    tokens = network(cells.batch(distinct))
    out = head(tokens.pooled().index_select(0, torch.from_numpy(place)))
    return (task.row_loss(out, rows.target) * rows.weight).sum(), float(rows.weight.sum())
