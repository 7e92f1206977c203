"""Baselines beside a fitted model: what they see of its modalities without training, and how they do on the same rows."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.encoder import Encoder
from plait.base.inputs import Inputs
from plait.data.labels import classes_of, label_array
from plait.data.modality import Schema
from plait.data.targets import Labels
from plait.encoders.defaults import is_folder, own_encoder
from plait.encoders.featurize import Featurizer
from plait.evaluation.baselines import NAMES, Baselines, Lead, Ready, baselines, scaled
from plait.evaluation.predictions import gather
from plait.training.settings import with_regimes

if TYPE_CHECKING:
    from plait.estimators.base import FusionEstimator


def plain_schema(
    schema: Schema, overrides: Mapping[str, Any] | None = None, train: Mapping[str, str] | None = None
) -> Schema:
    """The schema with every encoder frozen: of a modality that would learn, plait's own light encoder of its kind.

    ``overrides`` and ``train``: as the estimator has ``encoders`` and ``train``.
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
    with model.opened_store() or contextlib.nullcontext() as store:
        return features.transform(frame, model.root, store, strict=False, progress=False)


def _joined(*parts: Inputs) -> Inputs:
    tokens = {name: result for part in parts for name, result in part.tokens.items()}
    columns = {name: result for part in parts for name, result in part.columns.items()}
    words = {name: count for part in parts for name, count in part.words.items()}
    pairs = {name: pair for part in parts for name, pair in part.pairs.items()}  # the model's own trees read them
    present = {name: result.present for name, result in tokens.items()}
    return Inputs(tokens, {}, present, columns, pairs=pairs, words=words)


#: What the baselines are that a model has learned on its way.
OWN = {
    "trees": "histogram gradient boosting on the table's columns and a few components of each embedding: the model's own trees, "
    "those of its first member; the number of rounds is chosen on training rows held out from them",
    "single": "what the model answers from its best modality alone ({}), which has a network of its own; chosen on held-out "
    "training rows",
}


def baselines_beside(
    model: FusionEstimator,
    train: tuple[pd.DataFrame, Any],
    test: tuple[pd.DataFrame, Any],
    outputs: Mapping[Any, Any] | None = None,
    names: Sequence[str] = NAMES,
) -> Baselines:
    """What a model must be better than, learned from training rows and judged on the same test rows.

    What the model has learned on its way is not learned again: its trees, and its answers from one modality alone.
    ``train`` and ``test``: rows and their target; ``outputs``: what ``model.predict_subsets`` gave for the test rows already.
    """
    seen = seen_by_baselines(model, train[0], test[0])
    y = [truth.indicator if isinstance(truth, Labels) else truth for truth in (train[1], test[1])]
    every = tuple(m.name for m in model.schema_.modalities)
    best = alone(model)
    subsets = [every] if best is None else [every, (best,)]
    known = outputs if outputs is not None and all(subset in outputs for subset in subsets) else None
    ours = gather(model, test[0], subsets, y=y[1], outputs=known)
    ready: dict[str, Ready] = {}
    if _same_classes(model, y[0]):
        if best is not None:
            limit = ours.thresholds.get((best,), ours.threshold)
            ready["single"] = Ready(ours.outputs[best,], OWN["single"].format(best), float(np.mean(limit)))
        if "trees" in names and (output := grown(model, seen[1])) is not None:
            ready["trees"] = Ready(output, OWN["trees"])
    lead = Lead(ours.main, ours.costs, names, ready)
    rows = ((seen[0], y[0]), (seen[1], y[1]))
    return baselines(model.task_, *rows, table=table_of(model.schema_), ours=ours.inputs(), lead=lead)


def _same_classes(model: FusionEstimator, y: object) -> bool:
    """Whether the training rows hold the classes that the model tells apart, so that its outputs mean the same."""
    if model.task_ != "classification":
        return True
    return list(classes_of(label_array(y))[0]) == list(model.classes_)


def alone(model: FusionEstimator) -> str | None:
    """The modality from which the model answers best by itself, where each has a network of its own."""
    losses: Mapping[str, float] = model.record_.get("alone") or {}
    return min(losses, key=lambda name: losses[name]) if losses else None


def light(model: FusionEstimator) -> bool:
    """Whether nothing but a linear model is still to be learned, which leaves the process as it is: on a thread of its own."""
    frozen = not any(m.learns for m in model.schema_.modalities)
    one = len(model.schema_.modalities) < 2
    return frozen and "trees" in model.members_.members[0].fitted and (one or alone(model) is not None)


def grown(model: FusionEstimator, inputs: Inputs) -> np.ndarray | None:
    """What the first member's trees answer by themselves, where they see what the baseline of that name would see."""
    trees, task = model.members_.members[0].fitted.get("trees"), model.members_.task
    if trees is None or task.name == "multilabel" or any(m.learns for m in model.schema_.modalities):
        return None
    result: np.ndarray = task.decode(trees.outputs(inputs).double()).numpy()
    return result[:, 0] if result.ndim == 2 and task.name == "regression" else result
