"""What the estimator's field ``tune`` says, checked before anything is encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from plait.base import checks, config
from plait.base.checks import MOST, Count, Layers, NonNegative, Part, Positive, Width, Within
from plait.base.errors import ConfigError
from plait.data.modality import Schema
from plait.training.options import per_modality


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
        """Refuse what no training could take."""
        checks.check(self, "tune")
        if self.folds == 1:
            raise ConfigError("tune: folds must be 0, or a whole number from 2; one fold leaves nothing to learn from")


#: Words of ``tune`` that are for every modality.
OPTIONS = tuple(config.fields_of(Tuning))


def tunings(schema: Schema, spec: Mapping[str, Any] | None) -> dict[str, Tuning]:
    """How each modality with ``train: tuned`` is tuned: options for all, and modality (or kind) -> options.

    Raises:
        ConfigError: an unknown modality or option, or a value that is none.

    Example:
        >>> from plait.data.schema import Modality
        >>> schema = Schema((Modality("story", "text", ("words",), train="tuned"),))
        >>> tunings(schema, {"epochs": 4, "text": {"layers": 2}})["story"].layers
        2
    """
    result = per_modality(Tuning, spec, schema, "tune", "{layers: 2, epochs: 5}")
    return {m.name: result[m.name] for m in schema.modalities if m.train == "tuned"}
