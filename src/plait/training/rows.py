"""Encoded rows as training takes them: in batches, where the model's weights are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from plait.base.inputs import Inputs
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.branches.branches import Branches, moved
from plait.networks.base import Network
from plait.networks.layers import Linear
from plait.networks.tasks import Task

#: Rows to learn from, and rows held out from them.
Fold = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Encoded rows, and what is to be learned of them.

    Attributes:
        task: what the targets are.
        inputs: features, or cells of encoders that learn, of all rows.
        target: (n, ...) encoded.
        weight: (n,).
    """

    task: Task
    inputs: Inputs
    target: Tensor
    weight: Tensor


class TrainingRows:
    """Rows where the model's weights are: features at once, cells of encoders that learn batch by batch.

    Features that enter nothing but products in bf16 are rounded to it once and not with every batch; the arrays into which
    a batch is gathered are used again by the next one.

    Attributes:
        held: inputs, targets and weights of the held-out rows, where the rows were.
    """

    def __init__(self, examples: Examples, valid: Tensor, model: Branches) -> None:
        """``valid`` are the held-out rows."""
        inputs, target, weight = examples.inputs.unfolded(), examples.target, examples.weight
        self.device, self.streams = model.device, len(inputs.prepared) > 0
        prepared = inputs if self.streams else narrowed(inputs, model)
        self.held = (prepared.take(valid), target[valid], weight[valid])
        self.inputs = prepared if self.streams else prepared.to(self.device)
        self.target, self.weight = target.to(self.device), weight.to(self.device)
        self._arrays: dict[str, Tensor] = {}

    def take(self, rows: Tensor, generator: torch.Generator) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and weights of the rows; the inputs hold until the next call.

        Cells whose change is to be drawn anew (``redraw``) take it from the generator.
        """
        there = rows.to(self.device)
        batch = moved(self.inputs.take(rows).redrawn(generator), self.device) if self.streams else self._gathered(there)
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
    over_all = [entries[name] for name in entries if set(model.reads(name)) >= set(inputs.tokens)]
    if (
        fast_dtype(model.device) != torch.bfloat16
        or any(maps is None for maps in entries.values())
        or not any(maps and all(one.narrow for one in maps) for maps in over_all)
        or any(tokens.x.shape[1] != 1 for tokens in inputs.tokens.values())
    ):
        return inputs
    return dataclasses.replace(inputs, tokens={name: tokens.narrowed for name, tokens in inputs.tokens.items()})


def batch_edges(rows: int, size: int) -> list[int]:
    """Where batches begin and the last one ends; a last batch of one row joins the one before (batch normalisation needs two).

    Example:
        >>> batch_edges(9, 4), batch_edges(10, 4)
        ([0, 4, 9], [0, 4, 8, 10])
    """
    starts = list(range(0, rows, size))
    return [*(starts[:-1] if len(starts) > 1 and rows - starts[-1] < 2 else starts), rows]
