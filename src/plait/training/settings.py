"""What the fields of an estimator say of training, pretraining and finetuning, checked before anything is encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from plait.base import checks, config
from plait.base.checks import MOST, Count, Layers, Natural, NonNegative, Part, Positive, Width, Within
from plait.base.errors import ConfigError
from plait.data.modality import Schema
from plait.training.optimiser import LIMIT, StepRule
from plait.training.rows import Hiding


@dataclass(frozen=True)
class Thawing:
    """The epoch from which an encoder learns, layer by layer or all at once.

    Attributes:
        after: epochs for which it stays as it is.
        every: epochs from one layer to the next, the last layer first; 0: all layers at once.

    Source: Howard and Ruder 2018, Universal Language Model Fine-tuning, arXiv 1801.06146, section 3.3 (gradual unfreezing).
    """

    after: Natural = 0
    every: Natural = 0

    def __post_init__(self) -> None:
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
    """How long and how fast a member learns, and what is dropped and hidden meanwhile.

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
        optimiser: and ``schedule``, ``clip``: see ``StepRule``.
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
    optimiser: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = LIMIT
    encoder_rates: Mapping[str, float] = field(default_factory=dict)
    thaw: Mapping[str, Thawing] = field(default_factory=dict)

    @property
    def rule(self) -> StepRule:
        """How gradients become a step."""
        return StepRule(self.optimiser, self.schedule, self.clip)


def rates(value: object, learning: Sequence[str], names: Mapping[str, str]) -> dict[str, float]:
    """Learning rate of each encoder that learns, from one for all, or modality (or kind) -> rate."""
    result = _each(value, learning, learning, names, "encoder_learning_rate")
    return {n: checks.number(rate, f"encoder_learning_rate of '{n}'", above=True) for n, rate in result.items()}


def thaws(
    setting: object, learning: Sequence[str], begun: Sequence[str], names: Mapping[str, str]
) -> dict[str, Thawing]:
    """When each encoder begins to learn; one for all is for those that have learned before (``begun``)."""
    if not isinstance(setting, Mapping) or set(setting) <= {"after", "every"}:
        return _begun({name: _thawing(setting, "thaw") for name in ("", *begun)}, begun)
    named = _each(setting, learning, begun, names, "thaw")
    return _begun({name: _thawing(value, f"thaw of '{name}'") for name, value in named.items()}, learning)


def _thawing(value: object, where: str) -> Thawing:
    return config.build(Thawing, value if isinstance(value, Mapping) else {"after": value}, where)


def _begun(result: Mapping[str, Thawing], names: Sequence[str]) -> dict[str, Thawing]:
    """Those of the modalities ``names`` that do not learn from the first epoch on."""
    return {name: thawing for name, thawing in result.items() if name in names and thawing != Thawing()}


def _each(
    value: object, learning: Sequence[str], usual: Sequence[str], names: Mapping[str, str], field: str
) -> dict[str, object]:
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


T = TypeVar("T")


def per_modality(variant: type[T], schema: Schema, spec: Mapping[str, Any] | None) -> dict[str, T]:
    """How each modality of a regime is trained: options for all, those of its kind, then those of its name over them.

    Args:
        variant: ``Pretraining`` or ``Tuning``.
        schema: the modalities, of which those with the regime of the variant are given.
        spec: the estimator's field ``pretrain`` or ``tune``.

    Raises:
        ConfigError: an unknown modality or option, or a value that is none.

    Example:
        >>> from plait.data.modality import Modality, Schema
        >>> schema = Schema((Modality("story", "text", ("words",), train="tuned"),))
        >>> per_modality(Tuning, schema, {"epochs": 4, "text": {"layers": 2}})["story"].layers
        2
    """
    (field, regime, example), options = _REGIMES[variant], config.fields_of(variant)
    if spec is not None and not isinstance(spec, Mapping):
        raise ConfigError(f"{field}: expected options, as in {example}, found {spec!r}")
    shared = {k: v for k, v in (spec or {}).items() if k in options}
    single = {k: v for k, v in (spec or {}).items() if k not in options}
    known = [m.name for m in schema.modalities] + [m.kind for m in schema.modalities]
    config.check_fields(single, dict.fromkeys([*options, *known]), field)
    for name, value in single.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{field}.{name}: expected options ({', '.join(options)}), found {value!r}")
        config.build(variant, value, f"{field}.{name}")
    config.build(variant, shared, field)
    result = {
        m.name: config.build(
            variant, {**shared, **single.get(m.kind, {}), **single.get(m.name, {})}, f"{field}.{m.name}"
        )
        for m in schema.modalities
    }
    return {m.name: result[m.name] for m in schema.modalities if m.train == regime}


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How an encoder is trained alone before it joins the model.

    Attributes:
        epochs: at most so many; None: by the number of rows, as for the whole model.
        batch_size: rows per step; None: by the number of rows.
        learning_rate: peak of the schedule; None: by the batch size.
        weight_decay: of AdamW; None: the model's.
        patience: epochs without a better validation loss before it stops; None: the model's.
        frozen: it learns no more once it joins the model.
    """

    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    weight_decay: NonNegative | None = None
    patience: Count | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        checks.check(self, "pretrain")


#: Words of ``pretrain`` that are for every modality.
PRETRAINING_OPTIONS = tuple(config.fields_of(Pretraining))


def with_regimes(schema: Schema, spec: Mapping[str, str] | None) -> Schema:
    """The schema with every modality trained as ``spec`` (modality or kind -> word) says.

    Example:
        >>> from plait.data.modality import Modality, Schema
        >>> schema = Schema((Modality("sound", "audio", ("wav",)), Modality("text", "text", ("words",))))
        >>> [m.train for m in with_regimes(schema, {"audio": "pretrain"}).modalities]
        ['pretrain', 'frozen']
    """
    if spec is None:
        return schema
    if not isinstance(spec, Mapping):
        raise ConfigError(f"train: expected modality: regime, as in {{audio: pretrain}}, found {spec!r}")
    known = [m.name for m in schema.modalities] + [m.kind for m in schema.modalities]
    config.check_fields(spec, dict.fromkeys(known), "train")
    trained = (dataclasses.replace(m, train=spec.get(m.name, spec.get(m.kind, m.train))) for m in schema.modalities)
    return dataclasses.replace(schema, modalities=tuple(trained))


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How the last layers of an encoder are adapted.

    Attributes:
        layers: so many, counted from the end.
        rank: of the update of each weight matrix.
        alpha: the update is multiplied by ``alpha / rank``.
        epochs: at most so many passes; the learning rate falls to zero over them.
        batch_size: rows per step.
        learning_rate: peak, of the updates; ``head_rate`` of the temporary head.
        weight_decay: of AdamW.
        dropout: before the temporary head.
        patience: epochs without a better loss on the validation part before it stops.
        validation: share of the training rows that training never sees and that stops it.
        folds: encoders tuned on all folds but one; each training row is embedded by the one that has not seen it. 0: one
            encoder embeds the rows that it learned from.
        final: what embeds new rows: the ``mean`` of the encoders of the folds, or one more tuned on ``all`` rows.
    """

    layers: Layers = 3
    rank: Width = 8
    alpha: Positive = 16.0
    epochs: Count = 10
    batch_size: Annotated[int, Within(2, MOST)] = 32
    learning_rate: Positive = 1e-3
    head_rate: Positive = 3e-3
    weight_decay: NonNegative = 0.01
    dropout: Part = 0.2
    patience: Count = 2
    validation: Annotated[float, Within(0, 1, above=True, below=True)] = 0.15
    folds: Annotated[int, Within(0, 1000)] = 3
    final: Literal["mean", "all"] = "mean"

    @property
    def encoders(self) -> int:
        """How many encoders are tuned: one per fold, and one on all rows where it is asked for or there are no folds."""
        return self.folds + (self.final == "all" or not self.folds)

    def __post_init__(self) -> None:
        checks.check(self, "tune")
        if self.folds == 1:
            raise ConfigError("tune: folds must be 0, or a whole number from 2; one fold leaves nothing to learn from")


#: Words of ``tune`` that are for every modality.
FINETUNING_OPTIONS = tuple(config.fields_of(Tuning))

#: Options -> the field that holds them, the regime that they are for, and an example.
_REGIMES = {
    Pretraining: ("pretrain", "pretrain", "{epochs: 20, frozen: true}"),
    Tuning: ("tune", "tuned", "{layers: 2, epochs: 5}"),
}
