"""One member trained: its branches, and the encoders that learn with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.fusion import Fusion
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import ROWS, Branches, moved
from plait.branches.intervals import Intervals
from plait.branches.mixture import Mixture
from plait.networks.base import Dropout, Masks, drop_features
from plait.networks.tasks import Multilabel, Task
from plait.training.loop import Learner, StatePart
from plait.training.optimiser import AdamW
from plait.training.rows import Examples, Fold, Hiding, TrainingRows, batch_edges
from plait.training.settings import Thawing, Training


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
        parts = [*model.encoders.values(), *model.networks.modules()]
        self.with_loss = [part for part in parts if isinstance(part, OwnLoss | Fusion)]
        self.edges = batch_edges(len(self.fold), settings.batch_size)
        self.optimiser = optimiser_of(model, settings, (len(self.edges) - 1) * settings.epochs)
        self.thaw = Thaw(model, settings.thaw, moved(examples.inputs.take(self.fold[:2]), model.device))
        self.rows = TrainingRows(examples, valid, model)
        self.held_batches = -(-len(valid) // ROWS)

    def parts(self) -> Sequence[StatePart]:
        """A branch each, or the whole model where encoders learn."""
        model = self.model
        if any(name not in model.resolved for name in model.encoders):
            return [StatePart.of(model, list(model.networks))]
        return [StatePart.of(network, [name]) for name, network in model.networks.items()]

    def batches(self) -> Iterator[Tensor]:
        order = self.fold[torch.randperm(len(self.fold), generator=self.generator)]
        return (order[start:end] for start, end in pairwise(self.edges))

    def begin(self, epoch: int) -> None:
        """Let the layers learn whose epoch has come."""
        self.thaw.begin(epoch)
        self.model.train()

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        inputs, target, weight = self.rows.take(batch, self.generator)
        tokens, chance = self.model.encode(inputs), self.settings.input_dropout
        if chance > 0:
            tokens = {name: drop_features(result, chance, self.masks) for name, result in tokens.items()}
        hidden = _hide(tokens, self.settings.modality_dropout, self.generator, self.model.pairs)
        total, losses = torch.zeros(()), {}
        for name in self.model.networks:
            several = len(self.model.sources[name]) > 1
            loss = self._loss(name, hidden if several else tokens, target, weight)
            if loss is not None:
                total, losses[name] = total + loss, loss.detach()
        total = sum((part.own_loss for part in self.with_loss if part.own_loss is not None), total)
        self.optimiser.clear()
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return losses

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
        self.thaw.end()
        _draw_from(self.model, None)

    def models(self) -> Sequence[Branches]:
        return (self.model,)


def _draw_from(model: nn.Module, masks: Masks | None) -> None:
    for part in model.modules():
        if isinstance(part, Dropout):
            part.masks = masks


def _hide(
    tokens: Mapping[str, Tokens], hiding: Hiding, generator: torch.Generator, pairs: Mapping[str, tuple[str, str]]
) -> dict[str, Tokens]:
    """Modalities hidden from single rows."""
    names = sorted(tokens)
    if not hiding.hides(names):
        return dict(tokens)
    shown = hiding.shown(names, (len(tokens[names[0]]),), generator, pairs)
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
        model.parameters(),
        settings.learning_rate,
        settings.weight_decay,
        steps,
        warmup=settings.warmup,
        shares=shares,
        rule=settings.rule,
    )


class Thaw:
    """Keeps layers of encoders from learning until their epoch comes."""

    def __init__(self, model: Branches, spec: Mapping[str, Thawing], sample: Inputs) -> None:
        """Look at the layers in the order in which a few rows pass them."""
        self.model = model
        self.thawings = {name: thawing for name, thawing in spec.items() if name in model.encoders}
        self.layers = {name: layers_of(model.encoders[name], sample.prepared[name]) for name in self.thawings}
        self._always = list(model.resting)

    def begin(self, epoch: int) -> None:
        """Let learn what learns in this epoch."""
        self.model.resting = list(self._always)
        for name, thawing in self.thawings.items():
            layers = self.layers[name]
            count = thawing.layers(epoch, len(layers))
            for place, layer in enumerate(layers):
                learns = place >= len(layers) - count
                for module in layer:
                    for parameter in module.parameters(recurse=False):
                        parameter.requires_grad_(learns)
                if not learns:
                    self.model.resting += layer
            if not count:
                self.model.resting.append(self.model.encoders[name])

    def end(self) -> None:
        """Everything may learn again, whenever training ended."""
        self.model.resting = list(self._always)
        for name in self.thawings:
            self.model.encoders[name].requires_grad_(True)


def layers_of(encoder: nn.Module, batch: Mapping[str, torch.Tensor]) -> list[list[nn.Module]]:
    """Modules with weights, in the order in which a batch passes them; a norm belongs to the layer before it."""
    weighted = [m for m in encoder.modules() if any(True for _ in m.parameters(recurse=False))]
    passed: list[nn.Module] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: passed.append(m)) for m in weighted]
    was = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(batch)
    finally:
        encoder.train(was)
        for hook in hooks:
            hook.remove()
    order = list(dict.fromkeys(passed))
    layers: list[list[nn.Module]] = []
    for module in [m for m in weighted if m not in order] + order:
        matrix = any(p.ndim > 1 for p in module.parameters(recurse=False))
        if matrix or not layers:
            layers.append([module])
        else:
            layers[-1].append(module)
    return layers


@dataclasses.dataclass
class Members:
    """Trained members and how their branches are mixed.

    Attributes:
        leaderboard: what each branch is worth and costs (``plait.branches.mixing``).
        intervals: of a number, how far held-out answers were off; None where no row was held out.
        alone: modality -> held-out loss of what is answered from it alone, where each has a network of its own.
        samples: what was done with some rows only -> how many, and of how many, of one member.
    """

    task: Task
    members: list[Branches]
    mixture: Mixture
    history: list[dict[str, Any]]
    leaderboard: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    intervals: Intervals | None = None
    alone: Mapping[str, float] = dataclasses.field(default_factory=dict)
    samples: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def raw(self, inputs: Inputs) -> Tensor:
        """Mixed raw outputs (n, out_dim), the mean over the members."""
        return next(self.raw_under(inputs, [tuple(inputs.present)]))

    def raw_under(self, inputs: Inputs, patterns: Sequence[Sequence[str]]) -> Iterator[Tensor]:
        """The same with only the modalities of each pattern present, one pattern after the other."""
        if not len(inputs):
            yield from [torch.zeros(0, self.task.out_dim)] * len(patterns)
            return
        there = [{k: v if k in p else torch.zeros_like(v) for k, v in inputs.present.items()} for p in patterns]
        wanted = [self.mixture.weighing(present) for p, present in zip(patterns, there, strict=True) if p]
        answers = [member.outputs_under(inputs, [p for p in patterns if p], wanted) for member in self.members]
        for pattern, present in zip(patterns, there, strict=True):
            mean = _mean([next(answer) for answer in answers]) if pattern else {}  # of nothing the prior says all
            yield self.mixture.combine(mean, present, self.task)

    def outputs(self, inputs: Inputs, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Raw outputs (n, out_dim) of every branch, or of those named: the mean over the members."""
        return _mean([member.outputs(inputs, names=names) for member in self.members])

    def answer(self, decoded: np.ndarray, present: np.ndarray) -> np.ndarray:
        """What ``predict`` gives for probabilities or values, with what is present in each row (n, M)."""
        if isinstance(self.task, Multilabel):
            return (decoded >= self.thresholds(present)).astype(np.int64)
        return self.task.answer(decoded)

    def thresholds(self, present: np.ndarray) -> np.ndarray:
        """The threshold of each label (n, C) for rows with these modalities present (n, M)."""
        usual = self.task.thresholds if isinstance(self.task, Multilabel) else ()
        usual = usual or (0.5,) * self.task.out_dim
        return self.mixture.thresholds_at(present, np.asarray(usual))


def _mean(answers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of what members give, by branch."""
    total: dict[str, Tensor] = {}
    for answer in answers:
        for name, out in answer.items():
            total[name] = total[name] + out if name in total else out
    return {name: out / len(answers) for name, out in total.items()}
