"""One branch of several members as one network, and the best it has been."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.precision import fast_dtype
from plait.fusion.concat import Concat
from plait.networks.fusion import FusionNetwork
from plait.networks.layers import Dropout, Masks
from plait.networks.linear import LinearNetwork


@dataclass(frozen=True)
class Layers:
    """A network that is no more than blocks over a concatenation."""

    linears: Sequence[nn.Linear]
    norms: Sequence[nn.BatchNorm1d]
    dropout: float


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
        depth = range(len(layers[0].linears))
        self.weights = nn.ParameterList([torch.stack([m.linears[i].weight.detach() for m in layers]) for i in depth])
        self.biases = nn.ParameterList([torch.stack([m.linears[i].bias.detach() for m in layers]) for i in depth])
        norms = range(len(layers[0].norms))
        self.gains = nn.ParameterList([torch.stack([m.norms[i].weight.detach() for m in layers]) for i in norms])
        self.shifts = nn.ParameterList([torch.stack([m.norms[i].bias.detach() for m in layers]) for i in norms])
        self.means = [torch.stack([_held(m.norms[i].running_mean) for m in layers]) for i in norms]
        self.variances = [torch.stack([_held(m.norms[i].running_var) for m in layers]) for i in norms]
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
        for member, network in enumerate(networks):
            layers = layers_of(network)
            assert layers is not None
            with torch.no_grad():
                for i, linear in enumerate(layers.linears):
                    linear.weight.copy_(self.weights[i][member])
                    linear.bias.copy_(self.biases[i][member])
                for i, norm in enumerate(layers.norms):
                    norm.weight.copy_(self.gains[i][member])
                    norm.bias.copy_(self.shifts[i][member])
                    _held(norm.running_mean).copy_(self.means[i][member])
                    _held(norm.running_var).copy_(self.variances[i][member])


def _held(buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return buffer.detach()


class Weights:
    """All that the members have learned, for a checkpoint."""

    def __init__(self, parts: Sequence[StackedBranch]) -> None:
        """Of these branches."""
        self.parts = parts

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All arrays, by branch and place."""
        return {f"{i}.{j}": a for i, part in enumerate(self.parts) for j, a in enumerate(part.arrays())}, {}

    def load_state(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take them back."""
        for i, part in enumerate(self.parts):
            for j, array in enumerate(part.arrays()):
                array.copy_(arrays[f"{i}.{j}"])


class Best:
    """The best state so far of each branch of each member."""

    def __init__(self, branches: nn.ModuleDict, members: int, patience: int, *, judged: bool = True) -> None:
        """Not ``judged``: there are no held-out rows."""
        self.parts = [b for b in branches.values() if isinstance(b, StackedBranch)]
        self.patience, self.judged = patience, judged
        self.loss = torch.full((len(self.parts), members), math.inf)
        self.epoch = torch.zeros(len(self.parts), members)
        self.states: list[list[Tensor]] | None = None

    def offer(self, losses: Mapping[str, Tensor], epoch: int) -> None:
        """An epoch's held-out losses; without held-out rows the latest state that is a number is the best."""
        result = torch.stack(list(losses.values())).cpu()
        better = result < self.loss - 1e-6 if self.judged else result.isfinite() & self._whole()
        if self.states is None:
            self.states = [[a.clone() for a in part.arrays()] for part in self.parts]
        for part, kept, members in zip(self.parts, self.states, better, strict=True):
            chosen = members.nonzero()[:, 0]
            if len(chosen):
                for state, array in zip(kept, part.arrays(), strict=True):
                    there = chosen.to(state.device)
                    state[there] = array[there]
        self.loss, self.epoch = torch.where(better, result, self.loss), torch.where(better, float(epoch), self.epoch)

    def _whole(self) -> Tensor:
        """Bool (branches, M): all weights are numbers."""
        sums = [torch.stack([a.flatten(1).sum(1) for a in part.arrays()]).sum(0) for part in self.parts]
        return torch.stack(sums).isfinite().cpu()

    def good(self, member: int) -> bool:
        """Whether every branch of a member has a state to keep."""
        return bool(self.loss[:, member].isfinite().all())

    def done(self, epoch: int) -> bool:
        """Whether every branch of every member has waited long enough."""
        return self.judged and self.states is not None and bool((epoch - self.epoch >= self.patience).all())

    def restore(self) -> None:
        """Back to the best."""
        for part, kept in zip(self.parts, self.states or [], strict=False):
            for state, array in zip(kept, part.arrays(), strict=True):
                array.copy_(state)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best arrays so far, their losses and epochs."""
        held = {f"{i}.{j}": a for i, kept in enumerate(self.states or []) for j, a in enumerate(kept)}
        return {**held, "loss": self.loss, "epoch": self.epoch}, {}

    def load_state(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take them back."""
        self.loss, self.epoch = arrays["loss"], arrays["epoch"]
        if set(arrays) == {"loss", "epoch"}:  # written before there was a best one
            self.states = None
            return
        parts = enumerate(self.parts)
        self.states = [[arrays[f"{i}.{j}"].to(a.device) for j, a in enumerate(p.arrays())] for i, p in parts]
