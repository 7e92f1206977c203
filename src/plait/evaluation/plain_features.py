"""Features of every modality without training: what a baseline sees, also of modalities whose encoders learn with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from plait.base import registry
from plait.base.encoder import Encoder
from plait.base.inputs import Inputs
from plait.data.modality import Schema
from plait.encoders.defaults import own_encoder
from plait.encoders.featurize import Featurizer, is_folder
from plait.evaluation.baselines import scaled
from plait.training.settings import with_regimes

if TYPE_CHECKING:
    from plait.estimators.base import FusionEstimator


def plain_schema(
    schema: Schema, overrides: Mapping[str, Any] | None = None, train: Mapping[str, str] | None = None
) -> Schema:
    """The schema with every encoder frozen: of a modality that would learn, plait's own light encoder of its kind.

    Args:
        schema: as it was given.
        overrides: encoders by modality or kind, as the estimator's field ``encoders`` has them.
        train: regimes by modality or kind, as its field ``train`` has them.
    """
    plain = []
    for modality in with_regimes(schema, train).modalities:
        encoder = (overrides or {}).get(modality.name, (overrides or {}).get(modality.kind, modality.encoder))
        light = modality.learns or _only_learns(encoder)
        plain.append(
            dataclasses.replace(modality, train="frozen", encoder=own_encoder(modality.kind) if light else encoder)
        )
    return dataclasses.replace(schema, modalities=tuple(plain))


def _only_learns(encoder: object) -> bool:
    """Whether an encoder, as it is named, has no features before it is trained."""
    if isinstance(encoder, Encoder):
        return not encoder.frozen
    name = encoder.get("name") if isinstance(encoder, Mapping) else encoder
    return name is not None and not is_folder(str(name)) and not registry.find("encoders", str(name)).frozen


def table_of(schema: Schema) -> tuple[str, ...]:
    """Names of the tabular modalities."""
    return tuple(m.name for m in schema.modalities if m.kind == "tabular")


def seen_by_baselines(model: FusionEstimator, train: pd.DataFrame, test: pd.DataFrame) -> tuple[Inputs, Inputs]:
    """Scaled features of training and test rows: the fitted model's own where they are frozen, light ones where they learn."""
    result = [model._inputs(train), model._inputs(test)]
    learning = tuple(m for m in model.schema_.modalities if m.name not in result[0].tokens)
    if learning:
        own = tuple(dataclasses.replace(m, train="frozen", encoder=own_encoder(m.kind)) for m in learning)
        schema = dataclasses.replace(model.schema_, modalities=own)
        features = Featurizer(schema)
        features.fit(train, model.root)
        raw = [plain_inputs(model, features, frame) for frame in (train, test)]
        first, scalers = scaled(raw[0], table_of(schema))
        light = (first, scaled(raw[1], table_of(schema), scalers)[0])
        result = [_joined(a, b) for a, b in zip(result, light, strict=True)]
    return _joined(result[0]), _joined(result[1])


def plain_inputs(model: FusionEstimator, features: Featurizer, frame: pd.DataFrame) -> Inputs:
    """Rows through encoders that are frozen, and the model's store; cells that cannot be read were told of before."""
    store = model.opened_store()
    try:
        return features.transform(frame, model.root, store, strict=False, progress=False)
    finally:
        if store is not None:
            store.close()


def _joined(*parts: Inputs) -> Inputs:
    tokens = {name: result for part in parts for name, result in part.tokens.items()}
    columns = {name: result for part in parts for name, result in part.columns.items()}
    return Inputs(tokens, {}, {name: result.present for name, result in tokens.items()}, columns)
