"""The rows of a training: where the weights are, in the number type of the products, gathered without a new array per batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from plait.branches import Branches, moved
from plait.inputs import Inputs
from plait.networks._base import Network
from plait.networks._linear import Linear
from plait.precision import fast_dtype
from plait.tokens import Tokens


class TrainingRows:
    """Rows where the model's weights are: features at once, cells of encoders that learn batch by batch.

    Features that enter nothing but products in bf16 are rounded to it once and not with every batch; the arrays into which
    a batch is gathered are used again by the next one.

    Attributes:
        held: inputs, targets and weights of the held-out rows, where the rows were.
    """

    def __init__(self, inputs: Inputs, target: Tensor, weight: Tensor, valid: Tensor, model: Branches) -> None:
        """``valid`` are the held-out rows."""
        self.device, self.streams = model.device, len(inputs.prepared) > 0
        ready = inputs if self.streams else narrowed(inputs, model)
        self.held = (ready.take(valid), target[valid], weight[valid])
        self.inputs = ready if self.streams else ready.to(self.device)
        self.target, self.weight = target.to(self.device), weight.to(self.device)
        self._arrays: dict[str, Tensor] = {}

    def take(self, rows: Tensor) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and weights of the rows; the inputs hold until the next call."""
        there = rows.to(self.device)
        batch = moved(self.inputs.take(rows), self.device) if self.streams else self._gathered(there)
        return batch, self.target.index_select(0, there), self.weight.index_select(0, there)

    def _gathered(self, rows: Tensor) -> Inputs:
        tokens = {
            name: Tokens(self._of(name, t.x, rows), t.mask.index_select(0, rows))
            for name, t in self.inputs.tokens.items()
        }
        return Inputs(tokens, {}, {name: there.index_select(0, rows) for name, there in self.inputs.present.items()})

    def _of(self, name: str, x: Tensor, rows: Tensor) -> Tensor:
        array = self._arrays.get(name)
        if array is None or len(array) < len(rows):
            array = self._arrays[name] = x.new_empty(len(rows), *x.shape[1:])
        return torch.index_select(x, 0, rows, out=array[: len(rows)])


def narrowed(inputs: Inputs, model: Branches) -> Inputs:
    """The features in bf16, if all that they enter are linear maps, and those of a network over all of them multiply in bf16."""
    entries: dict[str, Sequence[Linear] | None] = {
        name: network.entries() if isinstance(network, Network) else None for name, network in model.networks.items()
    }
    over_all = [entries[name] for name in entries if set(model.sources[name]) >= set(inputs.tokens)]
    if (
        fast_dtype(model.device) != torch.bfloat16
        or any(maps is None for maps in entries.values())
        or not any(maps and all(one.narrow for one in maps) for maps in over_all)
        or any(tokens.x.shape[1] != 1 for tokens in inputs.tokens.values())
    ):
        return inputs
    return dataclasses.replace(inputs, tokens={name: tokens.narrowed for name, tokens in inputs.tokens.items()})
