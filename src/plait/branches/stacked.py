"""One branch of several members as one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.machine import fast_dtype
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
