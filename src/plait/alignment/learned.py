"""Stages that learn by gradient: batches of pairs, AdamW, a plateau schedule, early stopping, the best state kept."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from plait.alignment.base import Alignment
from plait.alignment.gradients import PairNames, backward, loss_of
from plait.alignment.losses import LOSSES, Contrast
from plait.alignment.network import COLDEST, HOTTEST, AlignmentNetwork
from plait.alignment.pairs import Pairs
from plait.base.checks import MOST, Count, NonNegative, Part, Positive, Width, Within
from plait.base.errors import PlaitError
from plait.base.progress import track
from plait.training.optimiser import AdamW


@dataclasses.dataclass(eq=False, kw_only=True)
class Learned(Alignment):
    """A stage that learns by gradient.

    Attributes:
        epochs: at most so many.
        batch_size: rows per step, each compared with all others of its batch; None: an eighth of the rows, 16 to 256.
        learning_rate: to begin with; halved when the validation loss has not fallen for a third of ``patience``.
        weight_decay: of AdamW.
        patience: epochs without a better validation loss before training stops.
        held_out: share of things (not rows) whose loss decides when to stop; none where there are fewer than 50 rows.
        rows_at_once: larger batches are computed in pieces of so many rows, with the same gradients.
        temperature: to begin with, or throughout where it is not learned.
    """

    epochs: Count = 100
    batch_size: Annotated[int, Within(2, MOST)] | None = None
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.01
    patience: Count = 9
    held_out: Part = 0.1
    rows_at_once: Count = 1024
    temperature: Annotated[float, Within(COLDEST, HOTTEST)] = 0.07

    @abstractmethod
    def contrast(self) -> Contrast:
        """The loss between two modalities."""

    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None
    ) -> list[dict[str, Any]]:
        """Train in place; the state with the best validation loss stays."""
        value = self.pairs_of(network.names)
        pairs.check(value)
        usable = torch.stack([pairs.both(a, b) for a, b in value]).any(0)
        pairs = pairs if bool(usable.all()) else pairs.take(usable)
        generator = torch.Generator().manual_seed(seed)
        fold, valid = pairs.split(self.held_out, value, generator)
        network.learn_inputs(fold)
        network.train()
        history = _train(self, network, value, fold, valid, generator, progress)
        network.draw_from(None)
        network.eval()
        return history


def _train(
    stage: Learned,
    network: AlignmentNetwork,
    spec: PairNames,
    fold: Pairs,
    valid: Pairs | None,
    generator: torch.Generator,
    progress: bool | None,
) -> list[dict[str, Any]]:
    optimiser = PlateauAdamW(
        network.parameters(), stage.learning_rate, stage.weight_decay, patience=max(1, stage.patience // 3)
    )
    contrast = stage.contrast()
    best, waited, state = math.inf, 0, None
    history: list[dict[str, Any]] = []
    with track(stage.epochs, "aligning", "epochs", progress) as bar:
        for epoch in range(stage.epochs):
            record = {"epoch": epoch, "train_loss": _epoch(stage, network, contrast, spec, fold, optimiser, generator)}
            if not math.isfinite(record["train_loss"]):
                raise PlaitError(f"alignment diverged in epoch {epoch}; lower learning_rate")
            bar.advance()
            history.append(record)
            if valid is None:
                continue
            network.eval()
            record["valid_loss"] = loss = loss_of(network, contrast, spec, valid, stage.rows_at_once)
            network.train()
            optimiser.observe(loss)
            waited = 0 if loss < best - 1e-6 else waited + 1
            if waited == 0:
                best, state = loss, copy.deepcopy(network.state_dict())
            if waited >= stage.patience:
                break
    if state is not None:
        network.load_state_dict(state)
    return history


def _epoch(
    stage: Learned,
    network: AlignmentNetwork,
    contrast: Contrast,
    spec: PairNames,
    fold: Pairs,
    optimiser: PlateauAdamW,
    generator: torch.Generator,
) -> float:
    losses = []
    size = stage.batch_size or min(256, max(16, len(fold) // 8))
    for rows in _batches(len(fold), size, generator):
        optimiser.clear()
        seed = int(torch.randint(2**31, (), generator=generator))
        losses.append(backward(network, contrast, spec, fold.take(rows), stage.rows_at_once, seed))
        optimiser.step()
        if network.temperature is not None:
            network.temperature.hold()
    return sum(losses) / len(losses)


def _batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows in random order; a last batch of one row joins the one before it: alone it has nothing to differ from."""
    order = torch.randperm(n, generator=generator)
    starts = list(range(0, n, size))
    if len(starts) > 1 and n - starts[-1] < 2:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        yield order[start:end]


@dataclasses.dataclass(eq=False, kw_only=True)
class Shared(Learned):
    """A stage with a shared space.

    Attributes:
        width: of the space.
        loss: ``soft_targets`` (Faye et al., equations 3 to 6) or ``infonce``.
        input_dropout: chance that a feature is dropped as it enters; pairs are few, and without it a head learns them by
            heart within three epochs (measured in ``docs/alignment.md``).
    """

    width: Width = 256
    loss: Literal["soft_targets", "fixed_targets", "infonce"] = "soft_targets"
    input_dropout: Part = 0.5

    def contrast(self) -> Contrast:
        """The loss between two modalities."""
        return LOSSES[self.loss]()


class PlateauAdamW(AdamW):
    """Decoupled weight decay; after ``patience`` epochs without a better loss the learning rate is multiplied by ``factor``.

    Source: Faye et al. say early stopping on the validation loss; the plateau schedule is that of torch's ReduceLROnPlateau.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        weight_decay: float,
        patience: int,
        factor: float = 0.5,
    ) -> None:
        """Train ``parameters``, at the full rate to begin with."""
        super().__init__(parameters, learning_rate, weight_decay, steps=1)
        self.patience, self.fall = patience, factor
        self.level, self.best, self.waited = 1.0, math.inf, 0

    def factor(self) -> float:
        """Share of the learning rate at this step."""
        return self.level

    def observe(self, loss: float) -> None:
        """Tell the loss of an epoch."""
        if loss < self.best - 1e-6:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.level, self.waited = self.level * self.fall, 0
