"""One member trained: its branches, and the encoders that learn with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from plait.base.tokens import Tokens
from plait.branches.branches import ROWS, Branches, moved
from plait.networks.layers import Dropout, Masks, drop_features
from plait.training.hiding import Hiding
from plait.training.loop import Learner, Part
from plait.training.optimiser import AdamW
from plait.training.rows import Examples, Fold, TrainingRows, batch_edges
from plait.training.schedule import Thaw, Thawing


@dataclass(frozen=True)
class Training:
    """How long and how fast to learn.

    Attributes:
        epochs: at most so many passes; the learning rate falls to zero over them.
        batch_size: rows per step.
        learning_rate: peak, after the warm-up.
        weight_decay: decoupled (AdamW).
        patience: epochs without a better validation loss before a branch is done.
        smoothing: label smoothing.
        input_dropout: chance that a single feature is dropped as it enters, for all branches alike.
        modality_dropout: what is hidden from a row in a step.
        warmup: share of all steps over which the learning rate rises.
        encoder_rates: modality -> peak of its encoder's learning rate, where it is another one.
        thaw: modality -> when its encoder begins to learn, where that is not at once.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    smoothing: float
    input_dropout: float
    modality_dropout: Hiding
    warmup: float = 0.1
    encoder_rates: Mapping[str, float] = field(default_factory=dict)
    thaw: Mapping[str, Thawing] = field(default_factory=dict)


class OwnLoss(nn.Module):
    """An encoder's network that asks for a loss of its own beside that of the branches.

    Attributes:
        own_loss: of the batch that was just encoded; None where there is none.
    """

    own_loss: Tensor | None = None


class MemberLearner(Learner[Tensor]):
    """Trains the branches of one member on the rows of a fold, and its encoders that learn.

    Branches share no weights, so each keeps its own best epoch; where encoders learn with them, one best epoch is taken for
    all. It runs where the model's weights are: features of frozen modalities are moved there once, cells of learning
    encoders batch by batch.
    """

    def __init__(
        self, model: Branches, examples: Examples, fold: Fold, settings: Training, generator: torch.Generator
    ) -> None:
        """``fold``: rows to learn from, and rows that choose the best state; there may be none of these."""
        self.model, self.task, self.settings, self.generator = model, examples.task, settings, generator
        self.fold, valid = fold
        self.masks = Masks(generator)
        _draw_from(model, self.masks)
        self.edges = batch_edges(len(self.fold), settings.batch_size)
        self.optimiser = optimiser_of(model, settings, (len(self.edges) - 1) * settings.epochs)
        self.thaw = Thaw(model, settings.thaw, moved(examples.inputs.take(self.fold[:2]), model.device))
        self.rows = TrainingRows(examples, valid, model)
        self.held_batches = -(-len(valid) // ROWS)

    def parts(self) -> Sequence[Part]:
        """A branch each, or the whole model where encoders learn."""
        model = self.model
        if any(name not in model.settled for name in model.encoders):
            return [Part.of(model, list(model.networks))]
        return [Part.of(network, [name]) for name, network in model.networks.items()]

    def batches(self) -> Iterator[Tensor]:
        """Rows of the fold in random order."""
        order = self.fold[torch.randperm(len(self.fold), generator=self.generator)]
        return (order[start:end] for start, end in pairwise(self.edges))

    def begin(self, epoch: int) -> None:
        """Let the layers learn whose epoch has come."""
        self.thaw.begin(epoch)
        self.model.train()

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of all branches together; the loss of each."""
        inputs, target, weight = self.rows.take(batch)
        tokens, chance = self.model.encode(inputs), self.settings.input_dropout
        if chance > 0:
            tokens = {name: drop_features(result, chance, self.masks) for name, result in tokens.items()}
        hidden = _hide(tokens, self.settings.modality_dropout, self.generator)
        total, losses = self._own_losses(), {}
        for name in self.model.networks:
            several = len(self.model.sources[name]) > 1
            loss = self._loss(name, hidden if several else tokens, target, weight)
            if loss is not None:
                total, losses[name] = total + loss, loss.detach()
        self.optimiser.clear()
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return losses

    def _own_losses(self) -> Tensor:
        parts = [part.own_loss for part in self.model.encoders.values() if isinstance(part, OwnLoss)]
        return sum((loss for loss in parts if loss is not None), torch.zeros(()))

    def _loss(self, name: str, tokens: Mapping[str, Tokens], target: Tensor, weight: Tensor) -> Tensor | None:
        """Weighted mean loss; a branch over one modality learns from the rows that have it."""
        sources = self.model.sources[name]
        if len(sources) == 1:
            rows = tokens[sources[0]].present
            if int(rows.sum()) < 2:  # batch normalisation needs two rows
                return None
            if not bool(rows.all()):
                tokens = {sources[0]: tokens[sources[0]].take(rows)}
                target, weight = target[rows], weight[rows]
        losses = self.task.row_loss(self.model.branch(name, tokens), target, self.settings.smoothing)
        return (losses * weight).sum() / weight.sum().clamp_min(1e-12)

    def judge(self) -> dict[str, Tensor]:
        """The loss of each branch on the held-out rows that it can say something about."""
        held, target, weight = self.rows.held
        losses = {}
        for name, out in self.model.outputs(held, exact=False).items():
            kept = weight * self.model.sees(name, held.present)
            losses[name] = (self.task.row_loss(out, target) * kept).sum() / kept.sum().clamp_min(1e-12)
        return losses

    def end(self) -> None:
        """Nothing is dropped any more, and everything may learn again."""
        self.thaw.end()
        _draw_from(self.model, None)

    def models(self) -> Sequence[Branches]:
        """The only one."""
        return (self.model,)


def _draw_from(model: nn.Module, masks: Masks | None) -> None:
    for part in model.modules():
        if isinstance(part, Dropout):
            part.masks = masks


def _hide(tokens: Mapping[str, Tokens], hiding: Hiding, generator: torch.Generator) -> dict[str, Tokens]:
    """Modalities hidden from single rows."""
    names = sorted(tokens)
    if not hiding.hides(names):
        return dict(tokens)
    shown = hiding.shown(names, (len(tokens[names[0]]),), generator)
    hidden = shown.logical_not().to(tokens[names[0]].x.device)
    return {name: tokens[name].absent_where(hidden[:, i]) for i, name in enumerate(names)}


def optimiser_of(model: Branches, settings: Training, steps: int) -> AdamW:
    """One optimiser, in which encoders have the learning rates of their own."""
    shares = {
        parameter: rate / settings.learning_rate
        for name, rate in settings.encoder_rates.items()
        if name in model.encoders
        for parameter in model.encoders[name].parameters()
    }
    return AdamW(
        model.parameters(), settings.learning_rate, settings.weight_decay, steps, warmup=settings.warmup, shares=shares
    )
