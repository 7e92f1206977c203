"""Members of a small table trained together: each weight of all members is one array, each step one pass for all of them.

A step on 64 rows costs a CPU more in calls than in arithmetic, so five members cost five times the calls. Stacked they
cost them once: on Pokemon (five members of five networks) training takes a third of the processor's time. Each member has a
batch of its own rows, its own norm of gradients, its own best epoch per branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.machine import fast_dtype
from plait.branches.branches import Branches
from plait.fusion.concat import Concat
from plait.networks.base import Dropout, Masks
from plait.networks.fusion import FusionNetwork
from plait.networks.linear import LinearNetwork
from plait.training.loop import Learner, StatePart
from plait.training.optimiser import AdamW
from plait.training.rows import Examples, Fold, batch_edges
from plait.training.settings import Training

#: Largest batch of all members together that is stacked; beyond it a thread per member is faster.
LARGEST = 1024


def stackable(members: Sequence[Branches], folds: Sequence[Fold], settings: Training) -> bool:
    """Whether these members can be, and are worth being, trained together."""
    model = members[0]
    return (
        len(members) > 1
        and not model.encoders
        and settings.batch_size * len(members) <= LARGEST
        and min(len(fold) for fold, _ in folds) > 1
        and all(layers_of(network) is not None for network in model.networks.values())
    )


class _Rows:
    """All rows as one array of features, zero where absent, and where each modality lies in it."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        inputs = examples.inputs.unfolded().to(device)
        self.names = sorted(inputs.tokens)
        parts = [inputs.tokens[name].pooled() for name in self.names]
        ends = torch.tensor([p.shape[1] for p in parts]).cumsum(0).tolist()
        self.place = {n: (e - p.shape[1], e) for n, e, p in zip(self.names, ends, parts, strict=True)}
        self.x = torch.cat(parts, 1)  # (n, D)
        self.present = torch.stack([inputs.present[name] for name in self.names], 1)  # (n, modalities)
        self.device = self.x.device
        self.whole = dict(zip(self.names, self.present.all(0).tolist(), strict=True))
        self.target, self.weight = examples.target.to(device), examples.weight.to(device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (M, B, D), present (M, B, modalities), targets (M * B, ...), weights (M, B) of rows (M, B)."""
        rows = rows.to(self.device)
        flat = rows.flatten()
        x = self.x.index_select(0, flat).view(*rows.shape, -1)
        present = self.present.index_select(0, flat).view(*rows.shape, -1)
        return x, present, self.target.index_select(0, flat), self.weight.index_select(0, flat).view(rows.shape)


class _Batch(NamedTuple):
    """One batch of rows (M, B): what is present (M, B, modalities), targets (M * B, ...), weights (M, B)."""

    present: Tensor
    target: Tensor
    weight: Tensor


class StackedLearner(Learner[Tensor]):
    """Trains the branches of several members as one network; each member keeps its own best epoch per branch."""

    def __init__(
        self,
        models: Sequence[Branches],
        examples: Examples,
        folds: Sequence[Fold],
        settings: Training,
        generator: torch.Generator,
    ) -> None:
        """Take over the members' weights; ``folds``: each member's rows to learn from, and rows that choose its best state."""
        self.networks, self.task, self.settings, self.generator = models, examples.task, settings, generator
        self.members, self.sources, self.folds = len(models), models[0].sources, [fold for fold, _ in folds]
        self.branches = nn.ModuleDict({n: StackedBranch([m.networks[n] for m in models]) for n in models[0].networks})
        self.rows = _Rows(examples, models[0].device)
        self.hides = settings.modality_dropout.hides(self.rows.names)
        self.edges = batch_edges(min(map(len, self.folds)), settings.batch_size)
        steps, warmup = (len(self.edges) - 1) * settings.epochs, settings.warmup
        rates = settings.learning_rate, settings.weight_decay
        self.optimiser = AdamW(self.branches.parameters(), *rates, steps, warmup=warmup, rule=settings.rule)
        self.masks = Masks(generator)
        self.held = _padded([valid for _, valid in folds])
        self.held_batches = int(self.held is not None)

    def parts(self) -> Sequence[StatePart]:
        return [StatePart([name], branch.arrays) for name, branch in self._named()]

    def batches(self) -> Iterator[Tensor]:
        """Rows (M, B) of each member's fold in random order."""
        size = self.edges[-1]
        order = torch.stack([fold[torch.randperm(len(fold), generator=self.generator)[:size]] for fold in self.folds])
        return (order[:, a:b] for a, b in pairwise(self.edges))

    def end(self) -> None:
        for name, branch in self._named():
            branch.give_back([network.networks[name] for network in self.networks])

    def models(self) -> Sequence[Branches]:
        self.end()
        return self.networks

    def _named(self) -> list[tuple[str, StackedBranch]]:
        return [(n, b) for n, b in self.branches.items() if isinstance(b, StackedBranch)]

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of all members together; the loss (M,) of each branch."""
        self.branches.train()
        x, present, target, weight = self.rows.take(batch)
        if self.settings.input_dropout > 0:
            x = x * self.masks.take(x.shape, self.settings.input_dropout, x.device)
        hidden, rows = self._hidden(x), _Batch(present, target, weight)
        losses = {}
        for name, branch in self._named():
            losses[name] = self._losses(name, branch, x if len(self.sources[name]) == 1 else hidden, rows, self.masks)
        self.optimiser.clear()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimiser.step(False)
        return {name: loss.detach() for name, loss in losses.items()}

    def _hidden(self, x: Tensor) -> Tensor:
        """Features with whole modalities hidden from single rows."""
        if not self.hides:
            return x
        names, hiding = self.rows.names, self.settings.modality_dropout
        kept = hiding.shown(names, x.shape[:-1], self.generator, self.networks[0].pairs).to(x)
        places = [self.rows.place[name] for name in names]
        return torch.cat([x[..., a:b] * kept[..., i : i + 1] for i, (a, b) in enumerate(places)], 2)

    def _losses(self, name: str, branch: StackedBranch, x: Tensor, rows: _Batch, masks: Masks | None) -> Tensor:
        """Weighted mean loss of each member (M,); a branch over one modality learns from the rows that have it."""
        sources, weight, there = self.sources[name], rows.weight, None
        if len(sources) == 1:
            a, b = self.rows.place[sources[0]]
            x = x[..., a:b]
            if not self.rows.whole[sources[0]]:
                there = rows.present[..., self.rows.names.index(sources[0])]
                weight = weight * there
        out = branch(x, there, masks)  # (M, B, out_dim)
        smoothing = self.settings.smoothing if masks is not None else 0.0
        losses = self.task.row_loss(out.flatten(0, 1), rows.target, smoothing).view(weight.shape)
        return (losses * weight).sum(1) / weight.sum(1).clamp_min(1e-12)

    def _clip(self) -> None:
        """Hold the norm of each member's gradients below the limit."""
        limit = self.settings.rule.clip
        if not limit:
            return
        gradients = [p.grad for p in self.branches.parameters() if p.grad is not None]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()  # (M,)
        if bool((norms > limit).any()):
            factor = (limit / norms.clamp_min(1e-6)).clamp_max(1.0)
            for g in gradients:
                g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))

    @torch.inference_mode()
    def judge(self) -> dict[str, Tensor]:
        """Loss of each branch and member on its held-out rows (M,)."""
        assert self.held is not None
        self.branches.eval()
        x, present, target, weight = self.rows.take(self.held[0])
        weight = weight * self.held[1].to(weight.device)
        result = {}
        for name, branch in self._named():
            sees = torch.stack([present[..., self.rows.names.index(m)] for m in self.sources[name]]).any(0)
            result[name] = self._losses(name, branch, x, _Batch(present, target, weight * sees), None)
        return result


def _padded(held: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Held-out rows (M, longest) and which of them count; None where there are none."""
    longest = max(len(rows) for rows in held)
    if not longest:
        return None
    rows = torch.zeros(len(held), longest, dtype=torch.long)
    counts = torch.zeros(len(held), longest)
    for i, result in enumerate(held):
        rows[i, : len(result)], counts[i, : len(result)] = result, 1.0
    return rows, counts


@dataclass(frozen=True)
class Layers:
    """A network that is no more than blocks over a concatenation."""

    linears: Sequence[nn.Linear]
    norms: Sequence[nn.BatchNorm1d]
    dropout: float

    def tensors(self) -> list[list[Tensor]]:
        """Weights and biases of the maps; gains, shifts, running means and variances of the norms."""
        maps, norms = self.linears, self.norms
        of_maps: list[list[Tensor | None]] = [[m.weight for m in maps], [m.bias for m in maps]]
        of_norms: list[list[Tensor | None]] = [[n.weight for n in norms], [n.bias for n in norms]]
        seen = [[n.running_mean for n in norms], [n.running_var for n in norms]]
        return [[array.detach() for array in own if array is not None] for own in (*of_maps, *of_norms, *seen)]


def layers_of(network: nn.Module) -> Layers | None:
    """The blocks of a network; None where it is more than that."""
    if isinstance(network, LinearNetwork):
        return Layers([network.linear], [], 0.0)
    plain = (
        isinstance(network, FusionNetwork)
        and isinstance(network.fusion, Concat)
        and network.absence == "masked"
        and not any(len(own) for own in network.own.values())  # type: ignore[arg-type]  # Sequential has a length
        and isinstance(network.head, nn.Linear)
    )
    if not plain:
        return None
    assert isinstance(network, FusionNetwork)
    assert isinstance(network.head, nn.Linear)
    linears = [part for part in network.joint.modules() if isinstance(part, nn.Linear)]
    norms = [part for part in network.joint.modules() if isinstance(part, nn.BatchNorm1d)]
    chances = [part.chance for part in network.joint.modules() if isinstance(part, Dropout)]
    return Layers([*linears, network.head], norms, chances[0] if chances else 0.0)


class StackedBranch(nn.Module):
    """One branch of all members: weights (M, out, in), biases and norms (M, out).

    Shape: x (M, B, D), present (M, B) or None for all; out (M, B, out_dim).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Take over the weights of each member's network."""
        super().__init__()
        layers = [result for network in networks if (result := layers_of(network)) is not None]
        own = [
            [torch.stack(each) for each in zip(*parts, strict=True)]
            for parts in zip(*(m.tensors() for m in layers), strict=True)
        ]
        self.weights, self.biases, self.gains, self.shifts = map(nn.ParameterList, own[:4])
        self.means, self.variances = own[4:]
        self.dropout, self.eps = layers[0].dropout, (layers[0].norms[0].eps if layers[0].norms else 0.0)

    def forward(self, x: Tensor, present: Tensor | None, masks: Masks | None) -> Tensor:
        """Raw outputs of every member (M, B, out_dim); ``masks`` drop units in training."""
        h = x.transpose(1, 2)  # (M, D, B): the features of a row below each other, as a norm over B wants them
        for i in range(len(self.gains)):
            h = self._product(i, h)
            h = functional.relu(self._normed(i, h, present))
            if masks is not None and self.dropout > 0:
                h = h * masks.take(h.shape, self.dropout, h.device)
        return self._product(len(self.gains), h).transpose(1, 2)

    def _product(self, i: int, h: Tensor) -> Tensor:
        weight = self.weights[i]
        if self.training and weight[0].numel() >= 4096 and fast_dtype(h.device) == torch.bfloat16:
            out: Tensor = torch.bmm(weight.bfloat16(), h.bfloat16()).float()
        else:
            out = torch.bmm(weight, h)
        bias: Tensor = self.biases[i]
        return out + bias.unsqueeze(2)

    def _normed(self, i: int, h: Tensor, present: Tensor | None) -> Tensor:
        """Batch normalisation of each member over its own rows, the absent ones left out."""
        mean, variance = self.means[i], self.variances[i]
        if present is None or not self.training:
            gain, shift = self.gains[i].flatten(), self.shifts[i].flatten()
            flat = functional.batch_norm(  # (1, M * out, B): a channel per member and unit
                h.reshape(1, -1, h.shape[2]),
                mean.view(-1),
                variance.view(-1),
                gain,
                shift,
                self.training,
                0.1,
                self.eps,
            )
            return flat.view(h.shape)
        there = present.unsqueeze(1).to(h.dtype)  # (M, 1, B)
        count = there.sum(2)  # (M, 1)
        result = (h * there).sum(2) / count.clamp_min(1)
        centred = h - result.unsqueeze(2)
        spread = (centred.square() * there).sum(2) / count.clamp_min(1)
        enough = count > 1
        with torch.no_grad():
            mean.copy_(torch.where(enough, torch.lerp(mean, result, 0.1), mean))
            variance.copy_(
                torch.where(enough, torch.lerp(variance, spread * count / (count - 1).clamp_min(1), 0.1), variance)
            )
        scaled = centred * (spread.unsqueeze(2) + self.eps).rsqrt()
        out: Tensor = scaled * self.gains[i].unsqueeze(2) + self.shifts[i].unsqueeze(2)
        return out

    def arrays(self) -> list[Tensor]:
        """All that is a member's, first axis the member."""
        return [p.detach() for p in self.parameters()] + self.means + self.variances

    def give_back(self, networks: Sequence[nn.Module]) -> None:
        """Write each member's slice into its own network."""
        own: list[Iterable[Tensor]] = [self.weights, self.biases, self.gains, self.shifts, self.means, self.variances]
        for member, network in enumerate(networks):
            layers = layers_of(network)
            assert layers is not None
            for tensors, arrays in zip(layers.tensors(), own, strict=True):
                for tensor, array in zip(tensors, arrays, strict=True):
                    tensor.copy_(array[member].detach())
