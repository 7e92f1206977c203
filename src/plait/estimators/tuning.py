"""The stage of a fit in which encoders are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.base.deadline import Deadline
from plait.base.errors import ConfigError, need
from plait.base.machine import give_back
from plait.base.mapped import Limits
from plait.base.tokens import Tokens
from plait.data.cells import cells
from plait.data.modality import Schema
from plait.data.row_numbers import row_numbers
from plait.encoders.column import Column
from plait.encoders.featurize import Featurizer
from plait.estimators.fit_settings import FitSettings
from plait.networks.tasks import Task
from plait.training import finetuning
from plait.training.settings import Tuning, tunings


@dataclass(frozen=True)
class FinetuningRows:
    """What encoders are tuned on.

    Shape: target as the estimator takes it (n, ...); weight (n,); groups (n,) integers, or None.
    """

    task: Task
    target: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None
    seed: int
    end: Deadline


def tune(
    settings: FitSettings, features: Featurizer, frame: pd.DataFrame, finetuning_rows: FinetuningRows
) -> tuple[dict[str, Any], dict[str, Tokens]]:
    """Tune the encoders of the modalities with ``train: tuned``, which are replaced in ``features``.

    Returns:
        Of each: what it cost, and the tokens of these rows, made by encoders that did not know their labels.

    Raises:
        ConfigError: an option that there is not, or more layers than the network has; before anything is computed.
    """
    wanted = checked(features, settings.tune)
    records: dict[str, Any] = {}
    tokens: dict[str, Tokens] = {}
    if not wanted:
        return records, tokens
    store = settings.opened_store()
    try:
        for modality in features.schema.modalities:
            if modality.name not in wanted:
                continue
            parts = cells(frame, modality, settings.root, strict=settings.strict)
            if len(parts) != 1:
                raise ConfigError(f"modality '{modality.name}': train: tuned takes one column, found {len(parts)}")
            column = Column(
                parts[0],
                name=modality.name,
                strict=settings.strict,
                rows=row_numbers(frame),
                progress=settings.progress,
                limits=Limits(end=finetuning_rows.end),
            )
            encoder = features.encoders[modality.name]
            one = finetuning.Single(
                column, encoder, wanted[modality.name], _known(finetuning_rows), store, settings.progress
            )
            features.encoders[modality.name], tokens[modality.name], records[modality.name] = one.run()
            give_back()
    finally:
        if store is not None:
            store.close()
    return records, tokens


def _known(finetuning_rows: FinetuningRows) -> finetuning.FinetuningTarget:
    task, weight = finetuning_rows.task, torch.from_numpy(finetuning_rows.weight).float()
    strata = task.strata(finetuning_rows.target)
    return finetuning.FinetuningTarget(
        task,
        task.encode(finetuning_rows.target),
        weight / weight.mean(),
        strata,
        finetuning_rows.groups,
        finetuning_rows.seed,
        finetuning_rows.end,
    )


def checked(features: Featurizer, spec: Mapping[str, object] | None) -> dict[str, Tuning]:
    """How each modality is tuned, after a look at what its encoder has."""
    schema: Schema = features.schema
    wanted = tunings(schema, spec)
    for name, tuning in wanted.items():
        encoder = features.encoders[name]
        if tuning.layers > encoder.tunable:
            raise ConfigError(
                f"modality '{name}': tune.layers is {tuning.layers}, "
                f"but '{encoder.name()}' has only {encoder.tunable} that can be tuned"
            )
    if wanted:
        need("peft", "tune")
    return wanted
