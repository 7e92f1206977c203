"""One encoder of a table, trained alone and saved: ``plait pretrain``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import versions
from plait.base.errors import ConfigError, nearest
from plait.base.folders import check_folder
from plait.base.machine import seeded
from plait.base.progress import step
from plait.data import schema
from plait.data.modality import Modality, Schema
from plait.data.targets import target_values, with_target
from plait.estimators import fitting, preparing, regime
from plait.estimators.base import FusionEstimator
from plait.estimators.prepared import GivenRows, groups_of
from plait.estimators.settings import check_settings
from plait.store.model_files import plain_values
from plait.training import history
from plait.training.pretrained import Pretrained, Saved, write
from plait.training.pretraining import EncoderListener, PretrainedWeights, Stage
from plait.training.rows import folds_of
from plait.workflow.fit import make_model
from plait.workflow.rows import group_column, part_of, split_rows

#: Settings of a model of several modalities, which an encoder alone has no use for.
FUSION = ("align", "depth", "encoder_learning_rate", "fusion", "modality_dropout", "thaw")


def pretrain(
    frame: pd.DataFrame,
    table_schema: Schema,
    settings: Mapping[str, Any] | None = None,
    *,
    modality: str | None = None,
    out: str | Path | None = None,
    test_fraction: float = 0.15,
    split_column: str | None = None,
    group: str | None = None,
) -> Saved:
    """Train the encoder of one modality alone on a table's target, and save it.

    The rows that ``plait fit`` would hold out with the same seed and options are left out here too, so that a model which takes
    the encoder back is judged on rows that neither has seen. A fifth of the others chooses the checkpoint.

    Args:
        frame: the table, target included.
        table_schema: its schema, with a target.
        settings: fields of the estimator (``encoders``, ``pretrain``, ``random_state``, ``store``, ...).
        modality: which one; None where there is only one.
        out: folder to write; None writes nothing.
        test_fraction: share of rows left out; 0: none.
        split_column: a column that says ``train`` or ``test`` instead.
        group: a column whose equal values stay on one side.

    Raises:
        PlaitError: the table, the modality or a setting cannot be used; the message says what to do.
    """
    settings = dict(settings or {})
    if table_schema.target is None:
        raise ConfigError("the schema names no target; say which column to pretrain for (--target)")
    one = _only(table_schema, modality)
    model = make_model(one, {**_of_one(settings, one.modalities[0]), "train": {one.modalities[0].name: "pretrain"}})
    check_settings(model)
    if out is not None:
        check_folder(out, "PretrainedEncoder")
    frame = with_target(frame, table_schema.target)
    schema.validate(one, frame)
    if test_fraction or split_column is not None:
        seed = int(settings.get("random_state") or 0)
        kept, left = split_rows(frame, table_schema, test_fraction, split_column, group, seed)
        target = target_values(frame[table_schema.target], table_schema.task)
        held_out = frame.iloc[left], part_of(target, left)
        target, frame = part_of(target, kept), frame.iloc[kept]
    else:
        target, held_out = target_values(frame[table_schema.target], table_schema.task), None
    groups = None if group is None else group_column(frame, group).to_numpy()
    with seeded(0):  # networks are made in several places; what they draw is never the user's
        saved, epochs = _trained(model, frame, target, groups, one, held_out if model.record_epochs else None)
    if out is not None:
        write(saved, out, epochs)
    return saved


def _only(table_schema: Schema, value: str | None) -> Schema:
    names = [m.name for m in table_schema.modalities]
    if value is None and len(names) != 1:
        raise ConfigError(f"--modality: say which one to pretrain; the table has {', '.join(names)}")
    chosen = [m for m in table_schema.modalities if value is None or m.name == value]
    if not chosen:
        raise ConfigError(f"--modality {value}: the table has no such modality{_meant(table_schema, str(value))}")
    return dataclasses.replace(table_schema, modalities=tuple(dataclasses.replace(m, train="pretrain") for m in chosen))


def _meant(table_schema: Schema, value: str) -> str:
    """What is to be said of a modality that there is not: where a column of this name stands, or the nearest name."""
    holding = [m.name for m in table_schema.modalities if value in m.columns]
    if holding:
        return (
            f"; the column '{value}' is a part of modality '{holding[0]}': take --modality {shlex.quote(holding[0])}, or give "
            "the column a modality of its own in the schema (plait schema, then --schema)"
        )
    if value in table_schema.ignored:
        return f"; the column '{value}' is left out: {table_schema.ignored[value]}"
    return f": {nearest(value, [m.name for m in table_schema.modalities])}"


def _of_one(settings: Mapping[str, Any], modality: Modality) -> dict[str, Any]:
    """The fields that say something of this modality alone."""
    options = dict(settings)
    unused = [field for field in FUSION if options.get(field) is not None]
    if unused:
        raise ConfigError(f"pretrain: {', '.join(unused)} is of a fusion, and is not used here; leave it out")
    if isinstance(options.get("encoders"), Mapping):
        options["encoders"] = {k: v for k, v in options["encoders"].items() if k in (modality.name, modality.kind)}
    return options


def _trained(
    model: FusionEstimator,
    frame: pd.DataFrame,
    target: object,
    groups: np.ndarray | None,
    one: Schema,
    held_out: tuple[pd.DataFrame, object] | None,
) -> tuple[Saved, list[dict[str, object]]]:
    """The encoder, and the records of its epochs with their scores; of ``held_out`` rows nothing is learned."""
    table = model._frame(frame, target, reset=True)
    settings, codes = model.settings(), model._target(target)
    given = GivenRows(table, codes, np.ones(len(table)), groups, tuple(model.labels), model._regressor)
    prepared = preparing.prepare(settings, given)
    seed, modality = preparing.seed_of(settings.random_state), prepared.pipeline.schema.modalities[0]
    together = None if groups is None else groups_of(groups, prepared.row_index)
    fold, valid = folds_of(prepared.task.strata(prepared.target), 5, seed, together)[0]
    training = regime.paced(settings, prepared, fitting.training_of(settings, [modality.name], 0.0))
    weight = prepared.weight / prepared.weight.mean()
    test = None if held_out is None else (preparing.scaled(settings, held_out[0], prepared.pipeline), held_out[1])
    score, tell = fitting.listeners(settings, prepared, weight, test)
    listener = EncoderListener([modality.name], score, tell)
    stage = regime.stage(settings, prepared, weight, training, seed, listener)
    encoder = prepared.pipeline.features.encoders[modality.name]
    step(f"pretrain {modality.name}", model.progress)
    result = stage.trained(modality.name, 0, fold, valid, encoder.module())
    if tell is not None:
        tell.close()
    sizes = {"seed": seed, "rows": len(fold), "held_out_rows": len(valid), "data_hash": prepared.digest}
    facts = {
        "task": {"name": prepared.task.name, "target": one.target, "classes": [str(c) for c in model.labels]},
        "columns": list(modality.columns),
        "record": {**sizes, **_record(stage, modality.name, result)},
        "history": history.slim(stage.history),
    }
    inner = encoder.held.encoder if isinstance(encoder, Pretrained) else encoder
    return Saved(inner, modality.kind, result.weights, plain_values(facts)), stage.history


def _record(stage: Stage, name: str, result: PretrainedWeights) -> dict[str, object]:
    """What is kept of how an encoder was trained."""
    return {
        "seconds": result.seconds,
        "epochs": len(result.history),
        "trained_weights": result.trained_weights,
        "valid_loss": min((r["valid_loss"] for r in result.history if "valid_loss" in r), default=None),
        "from_store": result.stored,
        "peak_mb": stage.peak_mb,
        "settings": dataclasses.asdict(stage.spec[name]),
        "versions": versions(),
    }
