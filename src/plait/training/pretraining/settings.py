"""What the estimator's fields ``train`` and ``pretrain`` say, checked before anything is encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from plait.base import checks, config
from plait.base.checks import Count, NonNegative, Positive
from plait.base.errors import ConfigError
from plait.data.modality import Modality, Schema
from plait.training.options import per_modality


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How an encoder is trained alone.

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
        """Refuse what no training could take."""
        checks.check(self, "pretrain")


#: Words of ``pretrain`` that are for every modality.
OPTIONS = tuple(config.fields_of(Pretraining))


def with_regimes(schema: Schema, spec: Mapping[str, str] | None) -> Schema:
    """The schema with every modality trained as ``spec`` (modality or kind -> word) says.

    Example:
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
    return dataclasses.replace(schema, modalities=tuple(_trained(m, spec) for m in schema.modalities))


def _trained(modality: Modality, spec: Mapping[str, str]) -> Modality:
    return dataclasses.replace(modality, train=spec.get(modality.name, spec.get(modality.kind, modality.train)))


def pretrained_first(schema: Schema, spec: Mapping[str, Any] | None) -> dict[str, Pretraining]:
    """How each modality with ``train: pretrain`` is trained alone: options for all, and modality (or kind) -> options.

    Raises:
        ConfigError: an unknown modality or option, or a value that is none.
    """
    result = per_modality(Pretraining, spec, schema, "pretrain", "{epochs: 20, frozen: true}")
    return {m.name: result[m.name] for m in schema.modalities if m.train == "pretrain"}
