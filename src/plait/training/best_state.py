"""What a model has learned, and the best of it so far, as training keeps them."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plait.base.inputs import Inputs
from plait.base.precision import fast_dtype
from plait.base.tokens import Tokens
from plait.branches.branches import Branches, moved
from plait.networks.base import Network
from plait.networks.layers import Linear


def mean_loss(losses: Mapping[str, float]) -> float:
    """The mean over branches; 0 of none."""
    return sum(losses.values()) / max(1, len(losses))


class Weights:
    """All that a model has learned, for a checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        """Of this model."""
        self.model = model

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All arrays by name."""
        return dict(self.model.state_dict()), {}

    def load_state(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take them back."""
        self.model.load_state_dict(dict(arrays))


def _whole(part: nn.Module) -> bool:
    """Whether all weights are numbers."""
    return all(bool(p.isfinite().all()) for p in part.parameters())


class Best:
    """Each branch's best state so far, or one for all where encoders learn."""

    def __init__(self, model: Branches, patience: int, *, judged: bool = True) -> None:
        """Not ``judged``: there are no held-out rows."""
        self.model, self.patience, self.judged = model, patience, judged
        self.shared = any(name not in model.settled for name in model.encoders)
        self.groups = {"all": list(model.networks)} if self.shared else {name: [name] for name in model.networks}
        self.loss = dict.fromkeys(self.groups, math.inf)
        self.epoch = dict.fromkeys(self.groups, 0)
        self.states: dict[str, dict[str, Any]] = {}

    def _part(self, group: str) -> nn.Module:
        return self.model if self.shared else self.model.networks[group]

    def offer(self, losses: Mapping[str, float], epoch: int) -> None:
        """An epoch's held-out losses; without held-out rows the latest state is the best."""
        for group, members in self.groups.items():
            loss = mean_loss({name: losses.get(name, 0.0) for name in members})
            if loss < self.loss[group] - 1e-6 or (not self.judged and _whole(self._part(group))):
                self.loss[group], self.epoch[group] = loss, epoch
                self.states[group] = copy.deepcopy(self._part(group).state_dict())

    def done(self, epoch: int) -> bool:
        """Whether every part has waited long enough."""
        waited = all(epoch - last >= self.patience for last in self.epoch.values())
        return self.judged and bool(self.states) and waited

    def latest(self) -> int | None:
        """The last epoch that any part is kept from; None where a part was never good."""
        return max(self.epoch.values()) if len(self.states) == len(self.groups) else None

    def restore(self) -> None:
        """Back to the best."""
        for group, state in self.states.items():
            self._part(group).load_state_dict(state)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best arrays so far, their losses and epochs."""
        arrays = {f"{i}.{k}": t for i, g in enumerate(self.groups) for k, t in self.states.get(g, {}).items()}
        return arrays, {"loss": self.loss, "epoch": self.epoch, "states": list(self.states)}

    def load_state(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take them back."""
        self.loss, self.epoch = dict(facts["loss"]), dict(facts["epoch"])
        for i, group in enumerate(self.groups):
            if group in facts["states"]:
                self.states[group] = {k.removeprefix(f"{i}."): t for k, t in arrays.items() if k.startswith(f"{i}.")}


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
        prepared = inputs if self.streams else narrowed(inputs, model)
        self.held = (prepared.take(valid), target[valid], weight[valid])
        self.inputs = prepared if self.streams else prepared.to(self.device)
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
