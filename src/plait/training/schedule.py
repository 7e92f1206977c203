"""How fast the parts of a model learn, and when encoders that were trained before begin to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from plait.base import checks, config
from plait.base.checks import Natural
from plait.base.errors import ConfigError
from plait.base.inputs import Inputs

if TYPE_CHECKING:
    from plait.branches.branches import Branches


@dataclass(frozen=True)
class Thawing:
    """When an encoder begins to learn.

    Attributes:
        after: epochs for which it stays as it is.
        every: epochs from one layer to the next, the last layer first; 0: all layers at once.

    Source: Howard and Ruder 2018, Universal Language Model Fine-tuning, arXiv 1801.06146, section 3.3 (gradual unfreezing).
    """

    after: Natural = 0
    every: Natural = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of epochs."""
        checks.check(self, "thaw")

    def layers(self, epoch: int, count: int) -> int:
        """How many of the ``count`` last layers learn in an epoch (from 0).

        Example:
            >>> [Thawing(after=2, every=1).layers(epoch, 3) for epoch in range(6)]
            [0, 0, 1, 2, 3, 3]
        """
        if epoch < self.after:
            return 0
        return count if not self.every else min(count, (epoch - self.after) // self.every + 1)


def check_warmup(value: Any) -> float:
    """The share of all steps over which the learning rate rises."""
    return checks.number(value, "warmup (share of the steps)", 0, 1)


def rates(value: Any, learning: Sequence[str], names: Mapping[str, str]) -> dict[str, float]:
    """Learning rate of each encoder that learns, from one for all, or modality (or kind) -> rate.

    Args:
        value: the estimator's ``encoder_learning_rate``.
        learning: modalities whose encoders learn.
        names: every modality and its kind.
    """
    result = _each(value, learning, learning, names, "encoder_learning_rate")
    return {n: checks.number(rate, f"encoder_learning_rate of '{n}'", above=True) for n, rate in result.items()}


def thaws(setting: Any, learning: Sequence[str], begun: Sequence[str], names: Mapping[str, str]) -> dict[str, Thawing]:
    """When each encoder begins to learn; one for all is for those that have learned before (``begun``)."""
    if not isinstance(setting, Mapping) or set(setting) <= {"after", "every"}:
        return _begun({name: _thawing(setting, "thaw") for name in ("", *begun)}, begun)
    named = _each(setting, learning, begun, names, "thaw")
    return _begun({name: _thawing(value, f"thaw of '{name}'") for name, value in named.items()}, learning)


def _thawing(value: Any, where: str) -> Thawing:
    return config.build(Thawing, value, where) if isinstance(value, Mapping) else Thawing(after=value)


def _begun(result: Mapping[str, Thawing], names: Sequence[str]) -> dict[str, Thawing]:
    """Those of the modalities ``names`` that do not learn from the first epoch on."""
    return {name: thawing for name, thawing in result.items() if name in names and thawing != Thawing()}


def _each(
    value: Any, learning: Sequence[str], usual: Sequence[str], names: Mapping[str, str], field: str
) -> dict[str, Any]:
    """Modality -> value; one value without a name is for the modalities ``usual``."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return dict.fromkeys(usual, value)
    config.check_fields(value, [*names, *dict.fromkeys(names.values())], field)
    wrong = [name for name in value if name in names and name not in learning]
    if wrong:
        raise ConfigError(f"{field}: the encoder of '{wrong[0]}' does not learn; set train: scratch or pretrain there")
    return {name: value.get(name, value.get(names[name])) for name in learning if name in value or names[name] in value}


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
