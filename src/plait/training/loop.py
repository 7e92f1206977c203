"""One training loop, seeded: mini-batches in memory, AdamW, a cosine schedule, early stopping, the best state kept.

It may be watched (``Watch``): judged after every epoch, told on, and kept so that a killed one goes on to the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plait.base.errors import PlaitError
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import ROWS, Branches, moved
from plait.networks.layers import Dropout, Masks, drop_features
from plait.networks.tasks import Task
from plait.training import checkpoint
from plait.training.best_state import Best, TrainingRows, Weights, mean_loss
from plait.training.hiding import Hiding
from plait.training.optimiser import AdamW
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


@dataclass(frozen=True)
class Watch:
    """What follows a training without changing it.

    Attributes:
        score: judges a model (its position among those trained together, itself) after an epoch; ``records.Scorer``.
        callback: hears each epoch's record when it is complete; ``records.tensorboard``.
        checkpoint: the file by which a killed training is resumed.
    """

    score: Callable[[int, Branches], dict[str, Any]] | None = None
    callback: Callable[[Mapping[str, Any]], None] | None = None
    checkpoint: checkpoint.Checkpoint | None = None


class Diverged(PlaitError):  # noqa: N818 - what happened
    """Training whose loss was no number any more; the model has its best state so far, if there was one."""

    def __init__(
        self, epoch: int, loss: float, history: list[dict[str, Any]], best: int | None, lost: Sequence[str] = ()
    ) -> None:
        """``best``: the epoch whose state is kept; None: there was none. ``lost``: the branches that diverged."""
        of = ", ".join(f"'{name}'" for name in lost)
        super().__init__(
            f"training diverged in epoch {epoch} (loss {loss}{' of ' + of if of else ''}); lower learning_rate"
        )
        self.epoch, self.loss, self.history, self.best = epoch, loss, history, best


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
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """Train every branch on the rows ``fold``; keep each branch's best state by its loss on the rows ``valid``.

    Without validation rows the last state stays. Branches share no weights, so each keeps its own best epoch; where
    encoders learn with them, one best epoch is taken for all. It runs where the model's weights are: features of frozen
    modalities are moved there once, cells of learning encoders batch by batch.

    Returns:
        One record per epoch: ``epoch``, ``train_loss``, ``valid_loss`` (means over the branches), ``train``, ``valid``
        (per branch), ``seconds`` and ``batches`` of both, and ``metrics`` where ``watch`` scores them.

    Raises:
        Diverged: the loss was no number any more; the model is as it was at its best, if it ever was good.
    """
    watch = watch or Watch()
    steps = (len(batch_edges(len(fold), settings.batch_size)) - 1) * settings.epochs
    optimiser = optimiser_of(model, settings, steps)
    masks = Masks(generator)
    _draw_from(model, masks)
    best = Best(model, settings.patience, judged=len(valid) > 0)
    thaw = Thaw(model, settings.thaw, moved(inputs.take(fold[:2]), model.device))
    rows = TrainingRows(inputs, target, weight, valid, model)
    history: list[dict[str, Any]] = []
    parts: dict[str, checkpoint.Kept] = {"model": Weights(model), "best": best}
    kept = checkpoint.Training(parts, optimiser, generator, masks, history, watch.checkpoint)
    ended, halted = kept.resume(), False
    while len(history) < settings.epochs and not ended and not halted:
        thaw.begin(len(history))
        record = _record(model, task, rows, fold, settings, generator, masks, optimiser)
        history.append({"epoch": len(history), **record})
        if lost := _lost(record):
            history[-1]["diverged"] = lost
            best.restore()
            thaw.end()
            _draw_from(model, None)
            raise Diverged(len(history) - 1, record["train_loss"], history, best.latest(), lost)
        best.offer(record.get("valid", record["train"]), len(history) - 1)
        if watch.score is not None:
            history[-1]["metrics"] = watch.score(0, model)
        if watch.callback is not None:
            watch.callback(history[-1])
        ended, halted = best.done(len(history) - 1), stopped()
        if not ended:
            kept.keep()
    best.restore()
    thaw.end()
    _draw_from(model, None)
    if not halted:
        kept.keep(ended=True)
    return history


def _lost(record: Mapping[str, Any]) -> list[str]:
    """The branches whose loss is no number any more."""
    parts = (record["train"], record.get("valid", {}))
    return sorted({name for part in parts for name, loss in part.items() if not math.isfinite(loss)})


def _record(
    model: Branches,
    task: Task,
    rows: TrainingRows,
    fold: Tensor,
    settings: Training,
    generator: torch.Generator,
    masks: Masks,
    optimiser: AdamW,
) -> dict[str, Any]:
    """One epoch: losses of both parts, seconds, batches."""
    clock = time.perf_counter()
    losses, count = _epoch(model, task, rows, fold, settings, generator, masks, optimiser)
    record: dict[str, Any] = {"train_loss": mean_loss(losses), "train": losses}
    record |= {"seconds": {"train": time.perf_counter() - clock}, "batches": {"train": count}}
    if len(rows.held[1]):
        clock = time.perf_counter()
        judged = _valid_losses(model, task, *rows.held)
        record |= {"valid_loss": mean_loss(judged), "valid": judged}
        record["seconds"]["valid"] = time.perf_counter() - clock
        record["batches"]["valid"] = -(-len(rows.held[1]) // ROWS)
    return record


def _draw_from(model: nn.Module, masks: Masks | None) -> None:
    for part in model.modules():
        if isinstance(part, Dropout):
            part.masks = masks


def _epoch(
    model: Branches,
    task: Task,
    rows: TrainingRows,
    fold: Tensor,
    settings: Training,
    generator: torch.Generator,
    masks: Masks,
    optimiser: AdamW,
) -> tuple[dict[str, float], int]:
    """One pass: mean loss of every branch, and how many batches there were."""
    model.train()
    totals: dict[str, float] = {}
    batches = 0
    for chosen in _batches(fold, settings.batch_size, generator):
        batch, target, weight = rows.take(chosen)
        tokens = model.encode(batch)
        if settings.input_dropout > 0:
            tokens = {name: drop_features(result, settings.input_dropout, masks) for name, result in tokens.items()}
        hidden = _hide(tokens, settings.modality_dropout, generator)
        loss = _own_losses(model)
        for name in model.networks:
            several = len(model.sources[name]) > 1
            result = _branch_loss(model, name, task, hidden if several else tokens, target, weight, settings)
            if result is not None:
                loss = loss + result
                totals[name] = totals.get(name, 0.0) + float(result.detach())
        optimiser.clear()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        batches += 1
    return {name: total / batches for name, total in totals.items()}, batches


def _own_losses(model: Branches) -> Tensor:
    """What encoders that learn ask for themselves (a contrast, say), of the batch that was just encoded."""
    result = [getattr(encoder, "own_loss", None) for encoder in model.encoders.values()]
    return sum((loss for loss in result if loss is not None), torch.zeros(()))


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


def _hide(tokens: Mapping[str, Tokens], hiding: Hiding, generator: torch.Generator) -> dict[str, Tokens]:
    """Modalities hidden from single rows."""
    names = sorted(tokens)
    if not hiding.hides(names):
        return dict(tokens)
    shown = hiding.shown(names, (len(tokens[names[0]]),), generator)
    hidden = shown.logical_not().to(tokens[names[0]].x.device)
    return {name: tokens[name].absent_where(hidden[:, i]) for i, name in enumerate(names)}


def batch_edges(rows: int, size: int) -> list[int]:
    """Where batches begin and the last one ends; a last batch of one row joins the one before (batch normalisation needs two).

    Example:
        >>> batch_edges(9, 4), batch_edges(10, 4)
        ([0, 4, 9], [0, 4, 8, 10])
    """
    starts = list(range(0, rows, size))
    return [*(starts[:-1] if len(starts) > 1 and rows - starts[-1] < 2 else starts), rows]


def _batches(fold: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = fold[torch.randperm(len(fold), generator=generator)]
    for start, end in pairwise(batch_edges(len(fold), size)):
        yield order[start:end]


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
