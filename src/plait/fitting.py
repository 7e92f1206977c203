"""What an estimator does when it is fitted, step by step."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from plait import __version__, config, enhancement, network_choice, precision, rows, schema
from plait.assembly import Design, dropouts, maker, member_count, schedule
from plait.checkpoint import Checkpoints
from plait.crossfit import Members, crossfit
from plait.errors import ConfigError, TableError
from plait.features import Featurizer
from plait.fusion._base import resolve
from plait.inputs import Inputs
from plait.networks.fusion import depth_number
from plait.prepared import SHARING, Prepared
from plait.pretraining import pace, regime
from plait.progress import track
from plait.records import memory
from plait.records.asked import following, frozen_weights
from plait.scaling import Scaler
from plait.schema import Modality, Schema
from plait.table import data_hash
from plait.tasks import task_class
from plait.tokens import Tokens
from plait.train import Training, trained_weights
from plait.tuning.stage import Lesson, tune

if TYPE_CHECKING:
    from plait.estimators import FusionEstimator


@dataclasses.dataclass(frozen=True)
class Fitted:
    """All that fitting gives; ``inputs`` are the distinct rows as the networks saw them, ``went`` each given row's place."""

    schema: Schema
    features: Featurizer
    enhancers: Mapping[str, enhancement.Enhancer]
    scalers: dict[str, Scaler]
    members: Members
    record: dict[str, Any]
    inputs: Inputs
    went: np.ndarray
    checkpoints: Checkpoints | None = None


#: A tabular modality keeps so many features whatever ``components`` says.
TABULAR_FEATURES = 1024


class _Clock:
    """Seconds and peak memory of each stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None, peak_mb: Mapping[str, float] | None = None) -> None:
        self.seconds, self.peak_mb = dict(seconds or {}), dict(peak_mb or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        memory.begin_stage()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), memory.stage_mb())


def array_frame(array: np.ndarray) -> pd.DataFrame:
    """A 2-d array as a table with columns x0, x1, ..."""
    if array.dtype == object:
        for cell in array.ravel()[: array.shape[1]]:
            if not isinstance(cell, str | bytes | int | float | np.generic | np.ndarray | list | type(None)):
                raise TypeError(
                    f"a cell holds a {type(cell).__name__}: argument must be a string, a number or an array"
                )
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def resolve_schema(
    told: Mapping[str, Any] | Schema | None, frame: pd.DataFrame, root: str | None, named: bool
) -> Schema:
    """The schema that was given, or the one inferred; a plain array is one tabular modality, all of it."""
    if isinstance(told, Schema):
        found = told
    elif told is not None:
        found = schema.from_dict({"modalities": told}, "modalities")
    elif named:
        found = schema.infer(frame, root=root)
    else:
        found = Schema((Modality("tabular", "tabular", tuple(frame.columns)),))
    if not found.modalities:
        raise TableError("the table has no column to learn from: every column is constant, empty or an identifier")
    schema.validate(found, frame)
    return found


def inputs_of(
    told: FusionEstimator, frame: pd.DataFrame, found: Schema, features: Featurizer, scalers: Mapping[str, Scaler]
) -> Inputs:
    """Rows as the networks take them: validated, encoded, scaled."""
    return _scaled(told, frame, found, features, scalers, told.enhancers_)


def _scaled(
    told: FusionEstimator,
    frame: pd.DataFrame,
    found: Schema,
    features: Featurizer,
    scalers: Mapping[str, Scaler],
    enhancers: Mapping[str, enhancement.Enhancer],
) -> Inputs:
    frame = with_missing_columns(found, frame) if told.partial else frame
    schema.validate(found, frame)
    raw = enhancement.apply(enhancers, _encode(told, features, frame))
    tokens = {name: scalers[name](t) for name, t in raw.tokens.items()}
    return dataclasses.replace(raw, tokens=tokens)


def with_missing_columns(found: Schema, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with every missing column of the schema added, empty."""
    gone = [c for m in found.modalities for c in m.columns if c not in frame.columns]
    return frame.assign(**dict.fromkeys(gone, None)) if gone else frame


def _encode(
    told: FusionEstimator, features: Featurizer, frame: pd.DataFrame, ready: Mapping[str, Tokens] | None = None
) -> Inputs:
    stored = any(m.kind not in ("tabular",) and features.encoders[m.name].stored for m in features.schema.modalities)
    store = told._opened_store() if stored else None
    try:
        return features.transform(frame, told.root, store, strict=told.strict, progress=told.progress, ready=ready)
    finally:
        if store is not None:
            store.close()


def fit(
    told: FusionEstimator,
    frame: pd.DataFrame,
    target: np.ndarray,
    weight: np.ndarray,
    groups: np.ndarray | None = None,
    test: tuple[pd.DataFrame, Any] | None = None,
) -> Fitted:
    """Everything from rows to trained members; rows of one group (n,) are held out together.

    ``test``: rows and their targets, scored after every epoch where that is asked for; nothing is learned from them.
    """
    precision.device_of(told.device)  # refused before anything is encoded
    _check_design(told)
    pace.check_warmup(told.warmup)
    seed = _seed(told.random_state)
    ready = _ready(told, frame, target, weight, groups)
    found, task, features, scalers = ready.schema, ready.task, ready.features, ready.scalers
    inputs, target, row_weight = ready.inputs, ready.target, ready.weight
    clock = _Clock(ready.seconds, ready.peak_mb)
    learning = {m.name: features.encoders[m.name] for m in found.modalities if m.learns}
    members = member_count(told.members, len(inputs), bool(learning))
    learning |= enhancement.encoders(ready.enhancers)
    dropout, input_dropout = dropouts(len(inputs), told.dropout, told.input_dropout)
    design = Design(
        fusion=told.fusion,
        depth=told.depth,
        layers=told.layers,
        width=told.width,
        dropout=dropout,
        branches=tuple(told.branches),
        max_weights=told.max_weights,
        members=members,
        network=told.network,
    )
    names = [m.name for m in found.modalities]
    dims = {name: (scalers[name].dim if name in scalers else learning[name].dim) for name in names}
    design, make = maker(design, dims, task.out_dim, learning)
    training = schedule(
        regime.paced(told, ready, _training(told, names, input_dropout)), len(inputs), told.epochs, told.batch_size
    )
    with clock.stage("train"), track(members, "training", "members", told.progress) as bar:
        row_weight = row_weight / row_weight.mean()
        alone = regime.stage(told, ready, row_weight, training, seed)
        seen = None
        if told.record_epochs and test is not None:
            seen = (_scaled(told, test[0], found, features, scalers, ready.enhancers), test[1])
        follow = following(told, ready, row_weight, seen, design)
        result = crossfit(
            make,
            task,
            inputs,
            task.encode(target),
            row_weight,
            task.strata(target),
            names,
            training,
            members,
            seed,
            bar.advance,
            None if groups is None else _groups(groups, ready.went),
            alone,
            follow,
        )
    regime.tell(alone, clock.seconds)
    record = _record(told, seed, ready, clock, result, design, training)
    record["pretrain"] = alone.record()
    record["tuned"] = ready.tuned
    follow.close()
    return Fitted(found, features, ready.enhancers, scalers, result, record, inputs, ready.went, follow.checkpoints)


def _groups(groups: np.ndarray, went: np.ndarray) -> np.ndarray:
    """The group of each distinct row (m,), from those of the given rows (n,) and where they went."""
    codes = pd.factorize(np.asarray(groups, dtype=object))[0]
    found = np.zeros(int(went.max()) + 1, dtype=np.int64)
    found[went[went >= 0]] = codes[went >= 0]
    return found


def _ready(
    told: FusionEstimator, frame: pd.DataFrame, target: np.ndarray, weight: np.ndarray, groups: np.ndarray | None
) -> Prepared:
    """Rows ready for networks; an alignment learns from a seed, so its rows are never another model's."""

    def make() -> Prepared:
        return _prepare(told, frame, target, weight, groups)

    return make() if told.align else SHARING.get()(told, make)


def _prepare(
    told: FusionEstimator, frame: pd.DataFrame, target: np.ndarray, weight: np.ndarray, groups: np.ndarray | None
) -> Prepared:
    """Equal rows made one, encoded and scaled."""
    clock = _Clock()
    digest = data_hash(frame)
    given = len(frame)
    with clock.stage("schema"):
        found = resolve_schema(told.modalities, frame, told.root, hasattr(told, "feature_names_in_"))
        found = regime.schema_for(vars(told), network_choice.schema_for(told.network, found, told.encoders))
        task_name = rows.infer_task(target, told._regressor) if told.task is None else told.task
        weight = weight * rows.class_weights(target, told.class_weight, task_name)
        used = [c for m in found.modalities for c in m.columns]
        frame, target, weight, went = rows.merge_equal(frame[used], target, weight)
        task = task_class(task_name).learn(target, weight)
        task = _named(told, task)
        enhancements = enhancement.parse(told.align, found)
        modality_rates(told.modality_dropout, [m.name for m in found.modalities])  # refused before anything is encoded
    with clock.stage("encode"):
        features = Featurizer(found, told.encoders)
        features.fit(frame, told.root)
    with clock.stage("tune"):
        drawn = _seed(told.random_state) if any(m.train == "tuned" for m in found.modalities) else 0
        lesson = Lesson(task, target, weight, None if groups is None else _groups(groups, went), drawn)
        tuned, tokens = tune(told, features, frame, lesson)
    with clock.stage("encode"):
        raw = _encode(told, features, frame, tokens)
    enhancers: dict[str, enhancement.Enhancer] = {}
    if enhancements:
        with clock.stage("align"):
            enhancers = enhancement.fit(enhancements, raw, _seed(told.random_state), told.progress)
            raw = enhancement.apply(enhancers, raw, training=True)
            found, features, raw = enhancement.without_dropped(enhancers, found, features, raw)
    with clock.stage("scale"):
        row_weight = torch.from_numpy(weight).float()
        kinds = {m.name: m.kind for m in found.modalities}
        # Flags of a table are few and each its own: reducing them lost 3 points of accuracy on Pokemon.
        limits = {name: TABULAR_FEATURES if kinds[name] == "tabular" else told.components for name in raw.tokens}
        scalers = {name: Scaler(limits[name]).fit(t, row_weight) for name, t in raw.tokens.items()}
        inputs = dataclasses.replace(raw, tokens={name: scalers[name](t) for name, t in raw.tokens.items()})
    return Prepared(
        found, task, target, features, scalers, inputs, row_weight, went, digest, given, clock.seconds, enhancers, tuned,
        clock.peak_mb,
    )


def _check_design(told: FusionEstimator) -> None:
    """Refuse a fusion or a depth that there is not before anything is encoded."""
    resolve(told.fusion)
    depth_number(told.depth, told.layers)
    network_choice.check_depth(told.network, told.depth, told.layers)


def _named(told: FusionEstimator, task: Any) -> Any:
    if task.name == "multilabel":
        return dataclasses.replace(task, classes=tuple(told.classes_.tolist()))
    return task


def modality_rates(told: float | Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """The chance that each modality is hidden, from one for all or one for some.

    Example:
        >>> modality_rates(0.2, ["text", "image"]), modality_rates({"image": 0.5}, ["text", "image"])
        ({'text': 0.2, 'image': 0.2}, {'image': 0.5})
    """
    rates = dict(told) if isinstance(told, Mapping) else dict.fromkeys(names, float(told))
    config.check_fields(rates, names, "modality_dropout")
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ConfigError(f"modality_dropout of '{name}': {rate!r}; expected a chance from 0 to 1")
    return rates


def _training(told: FusionEstimator, names: Sequence[str], input_dropout: float) -> Training:
    return Training(
        epochs=0,
        batch_size=0,
        learning_rate=told.learning_rate or 0.0,
        weight_decay=told.weight_decay,
        patience=told.patience,
        smoothing=told.smoothing,
        input_dropout=input_dropout,
        modality_dropout=modality_rates(told.modality_dropout, names),
    )


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return int(random_state)


def _record(
    told: FusionEstimator,
    seed: int,
    ready: Prepared,
    clock: _Clock,
    result: Members,
    design: Design,
    training: Training,
) -> dict[str, Any]:
    """What must be known to repeat the fit, and what it cost."""
    import resource

    return {
        "seed": seed,
        "data_hash": ready.digest,
        "rows": ready.given,
        "distinct_rows": len(ready.inputs),
        "width": design.width,
        "members": len(result.members),
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "dropout": design.dropout,
        "input_dropout": training.input_dropout,
        "trained_weights": sum(trained_weights(m) for m in result.members)
        + sum(enhancer.record.get("trained_weights", 0) for enhancer in ready.enhancers.values())
        + sum(one["trained_weights"] for one in ready.tuned.values()),
        "align": {name: dict(enhancer.record) for name, enhancer in ready.enhancers.items()},
        "frozen_weights": frozen_weights(ready.features.encoders, ready.schema),
        "device": str(precision.device_of(told.device)),
        "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
        "stage_peak_mb": clock.peak_mb,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "absent": {name: float((~there).float().mean()) for name, there in ready.inputs.present.items()},
        "encoders": {
            name: {"name": e.name(), "licence": e.licence, "dim": e.dim, "fingerprint": e.fingerprint()}
            for name, e in ready.features.encoders.items()
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """plait, Python, and the packages that decide the numbers."""
    found = {"plait": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "numpy", "scikit-learn", "pandas", "transformers", "onnxruntime"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "threads": str(torch.get_num_threads()), "cores": str(os.cpu_count())}
