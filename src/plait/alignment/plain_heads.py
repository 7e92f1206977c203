"""Projection heads alone: what is left of context-based fusion without context and shared encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor, nn

from plait.alignment.learned import Shared
from plait.alignment.network import AlignmentNetwork, FrozenNetwork, Temperature, head
from plait.alignment.pairs import Batch


@dataclasses.dataclass(eq=False, kw_only=True)
class PlainHeads(Shared):
    """A small network of its own for each frozen encoder, with the same loss; no context, nothing shared.

    Formula: z = W2 relu(W1 dropout(x)).
    Shape: (B, D) in, (B, width) out.
    Source: the projection heads of ConVIRT (Zhang et al. 2022) over frozen encoders.
    Use when: you want the simplest learned shared space, or the baseline of ``context``.
    Not when: pairs are so few (a few hundred) that a linear map (``ridge``) does as well.

    Example:
        >>> PlainHeads(width=32).network({"text": 384, "image": 1280}).out_dim
        32
    """

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        return _Heads(dims, self)


class _Heads(FrozenNetwork):
    def __init__(self, dims: Mapping[str, int], stage: PlainHeads) -> None:
        super().__init__(dims, stage.width, **stage.inputs_as())
        self.temperature = Temperature(stage.temperature, learned=True)
        self.heads = nn.ModuleDict({self.key[n]: head(d, stage.width, stage.width) for n, d in dims.items()})

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        out: Tensor = self.heads[self.key[name]](self.noisy(name, batch))
        return self.from_start(name, batch, out)
