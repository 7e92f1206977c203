"""Stages that learn by gradient from batches of pairs of any size."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from plait.alignment.base import Alignment
from plait.alignment.losses import LOSSES, Contrast, Couples
from plait.alignment.network import COLDEST, HOTTEST, AlignmentNetwork, Side, unit
from plait.alignment.pairs import Pairs
from plait.base.checks import MOST, Count, NonNegative, Part, Positive, Width, Within
from plait.base.errors import PlaitError
from plait.base.progress import track
from plait.networks.layers import Masks
from plait.training.loop import Callbacks, Diverged, Learner, StatePart, train
from plait.training.optimiser import AdamW
from plait.training.rows import batch_edges

#: What is kept of an epoch's record.
_KEPT = ("epoch", "train_loss", "valid_loss")


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
        names = self.pairs_of(network.names)
        pairs.check(names)
        usable = torch.stack([pairs.both(a, b) for a, b in names]).any(0)
        pairs = pairs if bool(usable.all()) else pairs.take(usable)
        generator = torch.Generator().manual_seed(seed)
        fold, valid = pairs.split(self.held_out, names, generator)
        network.learn_inputs(fold)
        learner = StageLearner(self, network, fold, valid, generator)
        with track(self.epochs, "aligning", "epochs", progress) as bar:
            try:
                outcome = train(learner, self.epochs, self.patience, Callbacks(on_epoch=lambda record: bar.advance()))
            except Diverged as error:
                raise PlaitError(f"alignment diverged in epoch {error.epoch}; lower learning_rate") from error
        if lost := outcome.diverged:
            raise PlaitError(f"alignment diverged in epoch {lost['epoch']}; lower learning_rate")
        return [{k: record[k] for k in _KEPT if k in record} for record in outcome.history]


class StageLearner(Learner[Tensor]):
    """Trains the network of a stage on pairs; the learning rate falls where the held-out loss does not."""

    def __init__(
        self, stage: Learned, network: AlignmentNetwork, fold: Pairs, valid: Pairs | None, generator: torch.Generator
    ) -> None:
        """``valid``: pairs that choose the best state, or None."""
        self.network, self.fold, self.valid, self.generator = network, fold, valid, generator
        self.masks, self.contrast, self.spec = Masks(generator), stage.contrast(), stage.pairs_of(network.names)
        self.size = stage.batch_size or min(256, max(16, len(fold) // 8))
        self.rows_at_once, patience = stage.rows_at_once, max(1, stage.patience // 3)
        rates = stage.learning_rate, stage.weight_decay
        self.optimiser = self.plateau = PlateauAdamW(network.parameters(), *rates, patience=patience)
        self.held_batches = int(valid is not None)

    def parts(self) -> list[StatePart]:
        """All of the network."""
        return [StatePart.of(self.network, ["loss"])]

    def begin(self, epoch: int) -> None:
        """Switch the network to training."""
        self.network.train()

    def batches(self) -> Iterator[Tensor]:
        """Rows in random order; one row alone would have nothing to differ from."""
        order = torch.randperm(len(self.fold), generator=self.generator)
        return (order[start:end] for start, end in pairwise(batch_edges(len(self.fold), self.size)))

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step; the contrast of the batch."""
        self.optimiser.clear()
        seed = int(torch.randint(2**31, (), generator=self.generator))
        loss = backward(self.network, self.contrast, self.spec, self.fold.take(batch), self.rows_at_once, seed)
        self.optimiser.step()
        if self.network.temperature is not None:
            self.network.temperature.hold()
        return {"loss": torch.tensor(loss, dtype=torch.float64)}

    def judge(self) -> dict[str, Tensor]:
        """The contrast of the held-out pairs."""
        assert self.valid is not None
        self.network.eval()
        loss = loss_of(self.network, self.contrast, self.spec, self.valid, self.rows_at_once)
        self.plateau.observe(loss)
        return {"loss": torch.tensor(loss, dtype=torch.float64)}

    def end(self) -> None:
        """Nothing is dropped any more."""
        self.network.draw_from(None)
        self.network.eval()


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
        """Take the loss of an epoch into account."""
        if loss < self.best - 1e-6:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.level, self.waited = self.level * self.fall, 0


PairNames = Sequence[tuple[str, str]]

#: Similarities that are in memory at a time: 4 MB of float32 took half the memory of 16 MB, and less time (4,096 rows, one core).
SIMILARITIES = 1 << 20


def backward(
    network: AlignmentNetwork, contrast: Contrast, spec: PairNames, batch: Pairs, rows: int, seed: int | None = None
) -> float:
    """Add the gradients of the batch's loss to the parameters; the loss.

    A batch of more than ``rows`` rows is embedded in pieces, twice: once without a graph, to get the gradient of every
    embedding from blocks of the similarity matrix, and once with one, a piece at a time, to pass it on. Memory is that of
    one piece and one block; dropout draws the same masks both times.

    Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (gradient cache),
        arXiv 2101.06983; the blocks of the similarity matrix are ours.
    """
    sides = sides_of(network, spec)
    if len(batch) <= rows:
        network.draw_from(seed)
        vectors = {side: embed(network, side, batch) for side in sides}
        loss = torch.zeros(())
        for couples, _ in couples_of(network, contrast, spec, batch, vectors, heat(network)):
            for term in contrast.blocks(couples, rows):
                loss = loss + term
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    with torch.no_grad():
        vectors = {side: torch.cat(list(_pieces(network, side, batch, rows, seed))) for side in sides}
    total, gradients = _in_blocks(network, contrast, spec, batch, vectors, rows)
    for side, gradient in gradients.items():
        starts = range(0, len(batch), rows)
        for start, piece in zip(starts, _pieces(network, side, batch, rows, seed), strict=True):
            if piece.requires_grad:
                piece.backward(gradient[start : start + rows])  # type: ignore[no-untyped-call]
    return total


def _in_blocks(
    network: AlignmentNetwork,
    contrast: Contrast,
    spec: PairNames,
    batch: Pairs,
    vectors: Mapping[Side, Tensor],
    rows: int,
) -> tuple[float, dict[Side, Tensor]]:
    """The loss and its gradient with respect to every vector; that of the temperature is passed on."""
    total, gradients = 0.0, {side: torch.zeros_like(result) for side, result in vectors.items()}
    temperature = heat(network)
    own = temperature.detach().clone().requires_grad_()
    for couples, (first, second, chosen) in couples_of(network, contrast, spec, batch, vectors, own):
        leaves = couples.a.requires_grad_(), couples.b.requires_grad_()
        for term in contrast.blocks(couples, _block(rows, len(couples))):
            total += float(term.detach())
            term.backward()  # type: ignore[no-untyped-call]
        for side, leaf in zip((first, second), leaves, strict=True):
            if leaf.grad is not None:
                gradients[side].index_add_(0, chosen, leaf.grad)
    if temperature.requires_grad and own.grad is not None:
        temperature.backward(own.grad)  # type: ignore[no-untyped-call]
    return total, gradients


def loss_of(network: AlignmentNetwork, contrast: Contrast, spec: PairNames, batch: Pairs, rows: int) -> float:
    """The loss without gradients, nothing dropped."""
    with torch.no_grad():
        vectors = {side: torch.cat(list(_pieces(network, side, batch, rows, None))) for side in sides_of(network, spec)}
        result = couples_of(network, contrast, spec, batch, vectors, heat(network))
        return sum(
            float(term) for couples, _ in result for term in contrast.blocks(couples, _block(rows, len(couples)))
        )


def _block(rows: int, n: int) -> int:
    """Rows of similarities at a time: matrices small enough to stay in the processor's cache."""
    return min(rows, max(64, SIMILARITIES // max(1, n)))


def sides_of(network: AlignmentNetwork, spec: PairNames) -> list[Side]:
    """Every kind of vector that is needed, once."""
    return list(dict.fromkeys(side for a, b in spec for side in (network.side(a, b), network.side(b, a))))


def embed(network: AlignmentNetwork, side: Side, batch: Pairs) -> Tensor:
    """Vectors (B, D) of length one."""
    return unit(network(side.name, batch.x[side.name], side.towards))


def heat(network: AlignmentNetwork) -> Tensor:
    """The network's temperature."""
    assert network.temperature is not None, "a stage that learns by contrast has a temperature"
    result: Tensor = network.temperature()
    return result


def couples_of(
    network: AlignmentNetwork,
    contrast: Contrast,
    spec: PairNames,
    batch: Pairs,
    vectors: Mapping[Side, Tensor],
    temperature: Tensor,
) -> Iterator[tuple[Couples, tuple[Side, Side, Tensor]]]:
    """For each pair of modalities: its rows, and where they come from; the loss is the mean over the pairs.

    Rows without either modality are left out; so are pairs of modalities with fewer than two rows.
    """
    usable = [(a, b, batch.both(a, b).nonzero()[:, 0]) for a, b in spec]
    usable = [(a, b, chosen) for a, b, chosen in usable if len(chosen) > 1]
    for a, b, chosen in usable:
        first, second = network.side(a, b), network.side(b, a)
        fixed = (_fixed(network, a, batch)[chosen], _fixed(network, b, batch)[chosen]) if contrast.needs_fixed else None
        result = vectors[first][chosen], vectors[second][chosen]
        couples = Couples(*result, temperature, batch.labels(a, b, chosen), fixed, 1 / len(usable))
        yield couples, (first, second, chosen)


@torch.no_grad()
def _fixed(network: AlignmentNetwork, name: str, batch: Pairs) -> Tensor:
    return unit(network.inputs(name, batch.x[name]))


def _pieces(network: AlignmentNetwork, side: Side, batch: Pairs, rows: int, seed: int | None) -> Iterator[Tensor]:
    """Vectors of length one, so many rows at a time; each piece has masks of its own that can be drawn again."""
    for number, start in enumerate(range(0, len(batch), rows)):
        network.draw_from(None if seed is None else seed + number)
        piece = {k: t[start : start + rows] for k, t in batch.x[side.name].items()}
        yield unit(network(side.name, piece, side.towards))
