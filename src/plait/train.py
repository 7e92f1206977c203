"""One training loop, seeded: mini-batches in memory, AdamW, a cosine schedule, early stopping, the best state kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plait.errors import PlaitError
from plait.inputs import Inputs
from plait.networks._dropout import Dropout, Masks, drop_features
from plait.networks._linear import Linear
from plait.optimiser import AdamW
from plait.tasks import Task
from plait.tokens import Tokens


@dataclass(frozen=True)
class Training:
    """How long and how fast to learn.

    Attributes:
        epochs: at most so many passes; the learning rate falls to zero over them.
        batch_size: rows per step.
        learning_rate: peak, after a warm-up of a tenth of all steps.
        weight_decay: decoupled (AdamW).
        patience: epochs without a better validation loss before a branch is done.
        smoothing: label smoothing.
        input_dropout: chance that a single feature is dropped as it enters, for all branches alike.
        modality_dropout: modality -> chance that it is hidden from a row in a step; those not named never are.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    smoothing: float
    input_dropout: float
    modality_dropout: Mapping[str, float]


class Branches(nn.Module):
    """Several networks over the same rows, each over its own modalities, and the encoders that learn with them."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        sources: Mapping[str, tuple[str, ...]],
        encoders: Mapping[str, nn.Module],
    ) -> None:
        """``sources`` names each network's modalities."""
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.encoders = nn.ModuleDict(encoders)
        self.sources = dict(sources)

    def encode(self, inputs: Inputs) -> dict[str, Tokens]:
        """Tokens of every modality, those of learning encoders computed now."""
        tokens = dict(inputs.tokens)
        for name, encoder in self.encoders.items():
            tokens[name] = encoder(inputs.prepared[name]).absent_where(~inputs.present[name])
        return tokens

    def branch(self, name: str, tokens: Mapping[str, Tokens]) -> Tensor:
        """Raw outputs (B, out_dim) of one branch."""
        out: Tensor = self.networks[name]({m: tokens[m] for m in self.sources[name]})
        return out

    @torch.inference_mode()
    def outputs(self, inputs: Inputs, rows: int = 4096, *, exact: bool = True) -> dict[str, Tensor]:
        """Raw outputs of every branch for all rows, in evaluation mode; not ``exact``: products in bf16, as in training."""
        self.eval()
        if not exact:
            for part in self.modules():
                if isinstance(part, Linear):
                    part.train()
        parts: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        for start in range(0, len(inputs), rows):
            tokens = self.encode(inputs.take(torch.arange(start, min(start + rows, len(inputs)))))
            for name in self.networks:
                parts[name].append(self.branch(name, tokens))
        return {name: torch.cat(found) for name, found in parts.items()}

    def sees(self, name: str, present: Mapping[str, Tensor]) -> Tensor:
        """(B,) bool: rows that a branch can say something about."""
        return torch.stack([present[m] for m in self.sources[name]]).any(0)


def trained_weights(model: nn.Module) -> int:
    """Parameters that learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def train(
    model: Branches,
    task: Task,
    inputs: Inputs,
    target: Tensor,
    weight: Tensor,
    fold: Tensor,
    valid: Tensor,
    settings: Training,
    generator: torch.Generator,
    stopped: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Train every branch on the rows ``fold``; keep each branch's best state by its loss on the rows ``valid``.

    Without validation rows the last state stays. Branches share no weights, so each keeps its own best epoch; where
    encoders learn with them, one best epoch is taken for all.

    Returns:
        One record per epoch: ``epoch``, ``train_loss``, ``valid_loss`` (means over the branches, and per branch).
    """
    steps = max(1, len(batch_starts(len(fold), settings.batch_size))) * settings.epochs
    optimiser = AdamW(model.parameters(), settings.learning_rate, settings.weight_decay, steps)
    masks = Masks(generator)
    _draw_from(model, masks)
    best = _Best(model, settings.patience)
    held = inputs.take(valid) if len(valid) else None
    history = []
    for epoch in range(settings.epochs):
        losses = _epoch(model, task, inputs, target, weight, fold, settings, generator, masks, optimiser)
        record: dict[str, Any] = {"epoch": epoch, "train_loss": _mean(losses), "train": losses}
        if held is not None:
            judged = _valid_losses(model, task, held, target[valid], weight[valid])
            record |= {"valid_loss": _mean(judged), "valid": judged}
            best.offer(judged, epoch)
        history.append(record)
        if not math.isfinite(record["train_loss"]):
            raise PlaitError(f"training diverged in epoch {epoch} (loss {record['train_loss']}); lower learning_rate")
        if best.done(epoch) or stopped():
            break
    best.restore()
    _draw_from(model, None)
    return history


def _draw_from(model: nn.Module, masks: Masks | None) -> None:
    for part in model.modules():
        if isinstance(part, Dropout):
            part.masks = masks


def _epoch(
    model: Branches,
    task: Task,
    inputs: Inputs,
    target: Tensor,
    weight: Tensor,
    fold: Tensor,
    settings: Training,
    generator: torch.Generator,
    masks: Masks,
    optimiser: AdamW,
) -> dict[str, float]:
    model.train()
    totals: dict[str, float] = {}
    batches = 0
    for rows in _batches(fold, settings.batch_size, generator):
        batch = inputs.take(rows)
        tokens = model.encode(batch)
        if settings.input_dropout > 0:
            tokens = {name: drop_features(found, settings.input_dropout, masks) for name, found in tokens.items()}
        hidden = _hide(tokens, settings.modality_dropout, generator)
        loss = _own_losses(model)
        for name in model.networks:
            several = len(model.sources[name]) > 1
            found = _branch_loss(model, name, task, hidden if several else tokens, target[rows], weight[rows], settings)
            if found is not None:
                loss = loss + found
                totals[name] = totals.get(name, 0.0) + float(found.detach())
        optimiser.clear()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        batches += 1
    return {name: total / batches for name, total in totals.items()}


def _own_losses(model: Branches) -> Tensor:
    """What encoders that learn ask for themselves (a contrast, say), of the batch that was just encoded."""
    found = [getattr(encoder, "own_loss", None) for encoder in model.encoders.values()]
    return sum((loss for loss in found if loss is not None), torch.zeros(()))


def _branch_loss(
    model: Branches,
    name: str,
    task: Task,
    tokens: Mapping[str, Tokens],
    target: Tensor,
    weight: Tensor,
    settings: Training,
) -> Tensor | None:
    """Weighted mean loss; a branch over one modality learns from the rows that have it."""
    sources = model.sources[name]
    if len(sources) == 1:
        rows = tokens[sources[0]].present
        if int(rows.sum()) < 2:  # batch normalisation needs two rows
            return None
        if not bool(rows.all()):
            tokens = {sources[0]: tokens[sources[0]].take(rows)}
            target, weight = target[rows], weight[rows]
    losses = task.row_loss(model.branch(name, tokens), target, settings.smoothing)
    return (losses * weight).sum() / weight.sum().clamp_min(1e-12)


def _valid_losses(model: Branches, task: Task, held: Inputs, target: Tensor, weight: Tensor) -> dict[str, float]:
    losses = {}
    for name, out in model.outputs(held, exact=False).items():
        kept = weight * model.sees(name, held.present)
        losses[name] = float((task.row_loss(out, target) * kept).sum() / kept.sum().clamp_min(1e-12))
    return losses


class _Best:
    """Each branch's best state so far, or one for all where encoders learn."""

    def __init__(self, model: Branches, patience: int) -> None:
        self.model, self.patience = model, patience
        shared = len(model.encoders) > 0
        self.groups = {"all": list(model.networks)} if shared else {name: [name] for name in model.networks}
        self.loss = dict.fromkeys(self.groups, math.inf)
        self.epoch = dict.fromkeys(self.groups, 0)
        self.states: dict[str, dict[str, Any]] = {}

    def _part(self, group: str) -> nn.Module:
        return self.model if len(self.model.encoders) else self.model.networks[group]

    def offer(self, losses: Mapping[str, float], epoch: int) -> None:
        for group, members in self.groups.items():
            loss = _mean({name: losses[name] for name in members})
            if loss < self.loss[group] - 1e-6:
                self.loss[group], self.epoch[group] = loss, epoch
                self.states[group] = copy.deepcopy(self._part(group).state_dict())

    def done(self, epoch: int) -> bool:
        return bool(self.states) and all(epoch - last >= self.patience for last in self.epoch.values())

    def restore(self) -> None:
        for group, state in self.states.items():
            self._part(group).load_state_dict(state)


def _hide(tokens: Mapping[str, Tokens], chances: Mapping[str, float], generator: torch.Generator) -> dict[str, Tokens]:
    """Each modality hidden from each row with its chance."""
    names = sorted(tokens)
    chance = torch.tensor([chances.get(name, 0.0) for name in names])
    if len(names) < 2 or not bool(chance.any()):
        return dict(tokens)
    hidden = torch.rand(len(names), len(tokens[names[0]]), generator=generator) < chance[:, None]
    return {name: tokens[name].absent_where(hidden[i]) for i, name in enumerate(names)}


def batch_starts(rows: int, size: int) -> list[int]:
    """Starts of the batches; a last batch of one row joins the one before it (batch normalisation needs two)."""
    starts = list(range(0, rows, size))
    return starts[:-1] if len(starts) > 1 and rows - starts[-1] < 2 else starts


def _batches(fold: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = fold[torch.randperm(len(fold), generator=generator)]
    starts = batch_starts(len(fold), size)
    for start, end in zip(starts, [*starts[1:], len(fold)], strict=True):
        yield order[start:end]


def _mean(losses: Mapping[str, float]) -> float:
    return sum(losses.values()) / max(1, len(losses))
