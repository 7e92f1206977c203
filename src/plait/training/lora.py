"""Low-rank updates of an encoder's last layers learned on the task, from what the layers below make of each cell."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Cut, Encoder, WrappedEncoder
from plait.base.errors import PlaitWarning
from plait.base.machine import seeded
from plait.base.tokens import Tokens
from plait.encoders.batches import Forward
from plait.encoders.embed import Column
from plait.networks.base import Masks
from plait.networks.tasks import Task
from plait.store import Keep
from plait.training.loop import Callbacks, Diverged, Learner, StatePart, train
from plait.training.optimiser import AdamW, StepRule
from plait.training.settings import Tuning
from plait.training.tuned import weights_of, with_lora

#: What is kept of an epoch's record.
_KEPT = ("epoch", "train_loss", "valid_loss")
#: Cells that are read from the store at a time.
_CHUNK = 512


@dataclass(frozen=True)
class Rows:
    """Rows to finetune on: the cell, the target and the weight of each.

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
    """Cells and rows that one finetuning learns from.

    Attributes:
        task: of the model.
        cells: the distinct cells.
        rows: to learn from.
        valid: rows that choose the best state.
    """

    task: Task
    cells: States
    rows: Rows
    valid: Rows


def learn(
    cut: Cut,
    dim: int,
    examples: CellExamples,
    tuning: Tuning,
    seed: int,
    name: str,
    stopped: Callable[[], bool] = lambda: False,
) -> Learned:
    """Tune the upper layers of an encoder of width ``dim``; the epoch with the least loss on the validation rows is kept.

    A loss that is no number ends it: what was best before is kept (before the first epoch: the encoder as it was), and a
    warning says so.
    """
    with seeded(seed):
        learner = LoraLearner(cut, dim, examples, tuning, torch.Generator().manual_seed(seed))
        initial = weights_of(learner.network)
        try:
            outcome = train(learner, tuning.epochs, tuning.patience, Callbacks(stopped=stopped))
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
        self.optimiser = AdamW(
            learning, tuning.learning_rate, tuning.weight_decay, steps, shares=shares, rule=StepRule(clip=1.0)
        )
        self.held_batches = len(list(self._held()))

    def parts(self) -> list[StatePart]:
        """The updates; the head is not kept."""
        return [StatePart(["loss"], lambda: [update.detach().unsqueeze(0) for update in self.updates])]

    def begin(self, epoch: int) -> None:
        self.network.train()
        self.head.train()

    def batches(self) -> Iterator[np.ndarray]:
        """Rows in batches of like length."""
        return batches(self.examples.cells.lengths[self.examples.rows.cell], self.size, self.generator)

    def _held(self) -> Iterator[np.ndarray]:
        return batches(self.examples.cells.lengths[self.examples.valid.cell], 2 * self.size)

    def step(self, batch: np.ndarray) -> dict[str, Tensor]:
        total, weight = self.loss(self.examples.rows.take(batch))
        loss = total / max(weight, 1e-12)
        self.optimiser.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {"loss": loss.detach()}

    @torch.no_grad()
    def judge(self) -> dict[str, Tensor]:
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


class Lower(WrappedEncoder):
    """The layers of an encoder that stay as they are."""

    def __init__(self, base: Encoder, layers: int) -> None:
        """All but the last ``layers`` of ``base``."""
        self.base, self.layers = base, layers
        self.kinds, self.batch_size, self.arithmetic = base.kinds, base.batch_size, base.arithmetic  # type: ignore[misc]  # of the class there

    def options(self) -> dict[str, Any]:
        return {"encoder": self.base.fingerprint(), "layers": self.layers}

    @property
    def inner(self) -> Encoder:
        return self.base

    def module(self) -> nn.Module:
        return self.base.cut(self.layers).lower


@dataclass(frozen=True)
class States:
    """What the lower layers made of the distinct cells: arrays (T, D) in half precision, each with a length of its own."""

    arrays: Sequence[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each cell (m,)."""
        return np.array([len(array) for array in self.arrays], dtype=np.int64)

    def batch(self, cells: np.ndarray) -> Tokens:
        """The given cells (B,), padded to the longest of them, in float32."""
        result = [torch.from_numpy(self.arrays[cell]) for cell in cells]
        length = torch.tensor([len(part) for part in result])
        x = nn.utils.rnn.pad_sequence(result, batch_first=True).float()  # (B, T, D)
        return Tokens(x, torch.arange(x.shape[1]) < length[:, None])


def states(base: Encoder, layers: int, column: Column, keep: Keep) -> dict[bytes, np.ndarray]:
    """What the lower layers make of every readable cell of the column, by its key; only what is missing is computed."""
    lower, result = Lower(base, layers), {}
    column.encode(lower, keep, Forward(lower), f"{base.name()}, below its last {layers} layers")
    for _, chunk in column.chunks(_CHUNK):
        for key, array in zip(chunk, column.read(chunk), strict=True):
            result[key] = np.array(array)  # a copy: what the store gives cannot be written to, which torch warns of
    return result


def batches(lengths: np.ndarray, size: int, generator: torch.Generator | None = None) -> Iterator[np.ndarray]:
    """Places (B,) of ``lengths`` in batches: of like length and drawn anew with a generator, else of one length each.

    Without padding what comes out of a cell does not depend on the cells beside it.

    Example:
        >>> [b.tolist() for b in batches(np.array([1, 9, 1, 1]), 2)]
        [[1], [0, 2], [3]]
    """
    if generator is None:
        for length in sorted(set(lengths.tolist()), reverse=True):
            same = np.flatnonzero(lengths == length)
            yield from (same[start : start + size] for start in range(0, len(same), size))
        return
    order = torch.randperm(len(lengths), generator=generator).numpy()
    pool = 8 * size  # sorted within, so that little is padded and yet no two epochs have the same batches
    result = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(-lengths[part], kind="stable")]
        result += [part[i : i + size] for i in range(0, len(part), size)]
    for number in torch.randperm(len(result), generator=generator).tolist():
        yield result[number]


@torch.inference_mode()
def embedded(uppers: Sequence[nn.Module], cells: States, chosen: np.ndarray, size: int = 64) -> np.ndarray:
    """The mean over the upper networks of what they make of the chosen cells: (m, T, D) float32."""
    lengths = cells.lengths[chosen]
    result: dict[int, np.ndarray] = {}
    for places in batches(lengths, size):
        tokens = cells.batch(chosen[places])
        parts: list[Tensor] = [upper(tokens).x for upper in uppers]
        mean = torch.stack(parts).mean(0).numpy()
        result |= dict(zip(places.tolist(), mean, strict=True))
    return np.stack([result[i] for i in range(len(chosen))]) if result else np.zeros((0, 1, 0), np.float32)
