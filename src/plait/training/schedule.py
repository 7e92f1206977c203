"""How fast the parts of a model learn, and when encoders that were trained before begin to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.base import checks, config
from plait.base.checks import Natural
from plait.base.errors import ConfigError
from plait.training.hiding import Hiding

if TYPE_CHECKING:
    pass


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
