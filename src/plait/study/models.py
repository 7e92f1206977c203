"""The models of a study: plait's estimators and the baselines, fitted on rows that a group of runs shares."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.base.inputs import Inputs, together
from plait.conditions.base import Condition
from plait.conditions.cells import SignalCondition
from plait.data import schema
from plait.data.dropped import left_out
from plait.data.labels import codes_of
from plait.data.row_numbers import numbered
from plait.data.targets import Labels
from plait.encoders.featurize import Featurizer
from plait.encoders.ngrams import appended, fit_ngrams
from plait.encoders.pairs import linear_target
from plait.estimators import preparing
from plait.estimators.base import FusionEstimator
from plait.estimators.fit_settings import NO_STORE, FitSettings
from plait.estimators.prepared import Make, Prepared, groups_of
from plait.evaluation.baselines import MINUTES, Baseline, scaled
from plait.evaluation.beside import plain_schema, table_of
from plait.store import Store
from plait.study import conditions, splits
from plait.study.runs import Run, teachers
from plait.study.tables import Setting, StudyTable
from plait.workflow.fit import make_model

Pattern = tuple[str, ...]
#: Gives outputs for patterns of what is present, under the conditions that change cells.
Outputs = Callable[[Any, Sequence[Pattern]], Mapping[Pattern, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted model as ``judge`` needs it; ``peaks``: MB of each stage, where they are known.

    ``threshold``: of several labels; a number, or a function of the same arguments as ``outputs``, which gives each row's.
    """

    outputs: Outputs
    threshold: Any
    seconds: dict[str, float]
    weights: dict[str, int]
    epochs: list[dict[str, Any]]
    peaks: Mapping[str, float] = dataclasses.field(default_factory=dict)


class SharedRows:
    """The prepared rows of one group of runs; each fit is given it (``share``)."""

    def __init__(self) -> None:
        self.prepared: Prepared | None = None
        #: Test tables and what they became: see ``FusionEstimator.remembering``.
        self.seen: list[tuple[Any, Any]] = []
        #: Test rows of one modality under a condition: see ``plait.study.models``.
        self.passes: dict[tuple[str, str], Any] = {}
        #: Of baselines: encoders, scalers, training rows and test rows (by the identity of their table), scaled.
        self.features: Any = None
        self.scalers: Any = None
        self.raw: Any = None
        self.raw_test: dict[int, Any] = {}

    def __call__(self, settings: FitSettings, make: Make) -> Prepared:
        """The rows, made by the first run that asks."""
        if settings.train or any(m.train != "frozen" for m in getattr(settings.modalities, "modalities", ())):
            return make()  # an encoder that learns leaves its mark on itself
        if self.prepared is None:
            made = make()
            if (made.row_index < 0).any():
                return made  # a sample, which a budget of time left room for, is nobody else's
            self.prepared = made
        return self.prepared


class Group:
    """What one group of runs shares."""

    def __init__(self, table: StudyTable, train: np.ndarray, test: np.ndarray, run: Run, setting: Setting) -> None:
        """Apply the training condition; nothing is encoded yet."""
        self.table, self.train, self.test, self.setting = table, train, test, setting
        kept = tuple(m for m in table.schema.modalities if m.name in {*run.subset, *teachers(run.model)})
        told = schema.Schema(kept, None, table.task, {}, table.schema.types, table.schema.root)
        self.schema = left_out(told, run.model.get("drop"), table.frame.columns)
        self.columns = list(self.schema.columns)
        self._seen_train = numbered(table.frame).iloc[train]
        self._test = numbered(table.frame).iloc[test]
        condition = conditions.parsed(run.train_condition)
        self.x = conditions.changed(condition, self._seen_train, self._seen_train, table.schema, table.schema.root)
        self.x = self.x[self.columns]
        self.y = taken(table.y, train)
        self.split, self.at = setting.spec.data[run.data].split or setting.spec.split, (run.seed, run.split)
        column = splits.group_column(table, self.split)
        self.together = None if column is None else self._seen_train[column].to_numpy()
        self.rows = SharedRows()
        self._frames: dict[str, pd.DataFrame] = {}
        self._lost: dict[str, Mapping[str, np.ndarray]] = {}

    def frame(self, changing: Sequence[Condition]) -> pd.DataFrame:
        """The test rows under conditions that change cells; the same object each time."""
        root = self.table.schema.root
        felt = [p for p in changing if any(c in self.columns for m in p.targets(self.table.schema) for c in m.columns)]
        label = " + ".join(part.label for part in felt)
        if label not in self._frames:
            frame = self._test
            for part in felt:
                frame = conditions.changed(part, self._seen_train, frame, self.table.schema, root)
            self._frames[label] = frame[self.columns]
        return self._frames[label]

    def chosen_by(self) -> np.ndarray:
        """Which of the training rows (n,) bool choose the epoch of a model that wants validation rows."""
        return splits.chosen_by(self.table, self.split, *self.at, self.train)

    def lost(self, absences: Sequence[Condition]) -> Mapping[str, np.ndarray]:
        """Which test rows lose which modality."""
        label = " + ".join(part.label for part in absences)
        if label not in self._lost:
            self._lost[label] = conditions.lost(list(absences), self._test, self.table.schema, self.table.schema.root)
        return self._lost[label]


def taken(y: Any, rows: np.ndarray) -> Any:
    """The targets of some rows."""
    return y.take(rows) if isinstance(y, Labels) else y[rows]


def truth_of(table: StudyTable, rows: np.ndarray) -> np.ndarray:
    """Class indices (n,), indicators (n, C) or values (n,)."""
    if isinstance(table.y, Labels):
        return np.asarray(table.y.indicator[rows], np.int64)
    if table.classes is not None:
        return codes_of(table.y[rows], table.classes)
    return np.asarray(table.y[rows], np.float64)


def spread(output: np.ndarray, known: Sequence[object], classes: Sequence[object] | None) -> np.ndarray:
    """Probabilities over the classes of the training part, at their places among all classes of the table."""
    if classes is None or list(known) == list(classes):
        return output
    result = np.zeros((len(output), len(classes)))
    result[:, codes_of(known, classes)] = output
    return result


def fit(group: Group, run: Run) -> Fit:
    """The model of a run, fitted on the rows of its group."""
    name = str(run.model.get("estimator", "fusion"))
    return fit_fusion(group, run) if name == "fusion" else fit_baseline(group, run, name)


def fit_fusion(group: Group, run: Run) -> Fit:
    """The estimator itself."""
    model = _model(group, run)
    clock = time.perf_counter()
    test = (group.frame(()), taken(group.table.y, group.test)) if model.record_epochs else None
    if model.validation == "given":
        _fit_by_valid(model, group, test)
    else:
        model.fit(group.x, group.y, groups=group.together, test=test, share=group.rows)
    record = model.record_
    seconds = record["seconds"]
    shared = group.rows.prepared is not None and group.rows.prepared.pipeline.scalers is model.scalers_
    passes: Passes = group.rows.passes if shared else {}
    seen = group.rows.seen if shared else None  # rows that were made for this model alone are nobody else's
    # What encoders that were trained alone cost when they were, be it in another run, and what they keep beside the model.
    pretrained = (record.get("pretrain") or {}).values()
    encode = sum(seconds.get(stage, 0.0) for stage in ("schema", "encode", "scale"))

    def outputs(changing: Any, patterns: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], np.ndarray]:
        rows = [] if seen is None else seen
        with model.remembering(rows):
            remember(model, group, changing, passes, rows)
            result = model.predict_subsets(group.frame(changing), patterns)
        return {pattern: spread(output, model.labels, group.table.classes) for pattern, output in result.items()}

    def thresholds(changing: Any, patterns: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], np.ndarray]:
        with model.remembering(seen):
            return model.thresholds_for(group.frame(changing), patterns)

    spent = {"fit": seconds.get("train", time.perf_counter() - clock) + seconds.get("align", 0.0), "encode": encode}
    weights = {"trained": int(record["trained_weights"]), "frozen": int(record["frozen_weights"] or 0)}
    if pretrained:
        spent["pretrain"] = sum(one["seconds"] for one in pretrained)
        weights["pretrained"] = sum(int(one["trained_weights"]) for one in pretrained)
    threshold = thresholds if model.task_ == "multilabel" else 0.5
    epochs = [*model.pretrain_history_, *model.history_]
    spent = {stage: round(value, 3) for stage, value in spent.items()}
    return Fit(outputs, threshold, spent, weights, epochs, record["stage_peak_mb"])


def _fit_by_valid(model: FusionEstimator, group: Group, test: tuple[object, object] | None) -> None:
    """Fit on exactly the training rows; the validation rows choose. The rows are no other model's, so nothing is shared."""
    chosen = group.chosen_by()
    learned, choosing = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    together = None if group.together is None else group.together[learned]
    valid = group.x.iloc[choosing], taken(group.y, choosing)
    model.fit(group.x.iloc[learned], taken(group.y, learned), groups=together, test=test, valid=valid)


def _model(group: Group, run: Run) -> FusionEstimator:
    options = {k: v for k, v in run.model.items() if k != "estimator"}
    for name in ("checkpoint", "tensorboard"):  # each run has its own
        if options.get(name) is not None:
            options[name] = str(Path(options[name], run.name))
    options |= {"random_state": run.seed, "progress": False, "store": group.setting.store}
    return make_model(group.schema, options)


def fit_baseline(group: Group, run: Run, name: str) -> Fit:
    """A baseline on the same rows; the majority needs no features at all."""
    minutes = float(run.model.get("minutes") or MINUTES)
    model = Baseline(name, group.table.task, run.seed, table_of(group.schema), minutes)
    clock = time.perf_counter()
    y = truth_of(group.table, group.train)
    raw = _plain_rows(group, run, y) if name != "majority" else _no_features(len(group.x))
    encode = time.perf_counter() - clock
    model.fit(raw, y)
    fit = time.perf_counter() - clock - encode
    known = group.rows.raw_test

    def outputs(changing: Any, patterns: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], np.ndarray]:
        frame = group.frame(changing)
        if name == "majority":
            rows = _no_features(len(frame))
        else:
            if id(frame) not in known:
                features = group.rows.features
                rows = scaled(_encoded(group, features, frame), table_of(group.schema), group.rows.scalers)[0]
                known[id(frame)] = appended(features.ngrams, features.schema.modalities, frame, rows)
            rows = known[id(frame)]
        result = model.outputs(rows, patterns)
        classes = group.table.classes  # the training part may lack the last of them
        return {p: spread(o, (classes or ())[: o.shape[-1]], classes) for p, o in result.items()}

    spent = {"fit": round(fit, 3), "encode": round(encode, 3)}
    return Fit(outputs, model.threshold, spent, {"trained": model.weights, "frozen": 0}, [])


def _plain_rows(group: Group, run: Run, y: np.ndarray) -> Inputs:
    """The training rows as frozen encoders see them, scaled, with their words; once for all baselines of a group."""
    shared = group.rows
    if shared.raw is None:
        schema = plain_schema(group.schema, run.model.get("encoders"), run.model.get("train"))
        shared.features = Featurizer(schema)
        shared.features.fit(group.x, schema.root)
        shared.raw, shared.scalers = scaled(_encoded(group, shared.features, group.x), table_of(schema))
        if run.model.get("ngrams", "auto") == "auto":  # as the estimator does it
            target = linear_target(y, group.table.task, len(group.table.classes or ()))
            groups = None if group.together is None else groups_of(group.together, np.arange(len(group.x)))
            shared.features.ngrams, shared.raw = fit_ngrams(schema.modalities, group.x, shared.raw, target, groups)
    result: Inputs = shared.raw
    return result


def _no_features(rows: int) -> Inputs:
    return Inputs({}, {}, {"": torch.ones(rows, dtype=torch.bool)})


def _encoded(group: Group, features: Featurizer, frame: Any) -> Inputs:
    kept = contextlib.nullcontext() if group.setting.store == NO_STORE else Store(group.setting.store)
    with kept as store:
        return features.transform(frame, group.schema.root, store, strict=False, progress=False)


#: (modality, label of what is done to it) -> the test rows of this modality alone.
Passes = dict[tuple[str, str], Inputs]


def remember(
    model: FusionEstimator,
    group: Group,
    changing: Sequence[Condition],
    passes: Passes,
    seen: list[tuple[Any, Inputs]],
) -> None:
    """Put together what the model will be asked about next, from rows of one modality each; within ``remembering``.

    Only signals are taken apart: what happens to one of them never depends on another modality's cells.
    """
    frame = group.frame(changing)
    several = len(changing) > 1 and all(isinstance(part, SignalCondition) for part in changing)
    if not several or model.enhancers_ or any(known is frame for known, _ in seen):
        return
    seen.append((frame, together({m.name: _one(model, group, changing, m, passes) for m in model.schema_.modalities})))


def _one(model: FusionEstimator, group: Group, changing: Sequence[Condition], modality: Any, passes: Passes) -> Inputs:
    felt = [part for part in changing if modality.name in {m.name for m in part.targets(group.table.schema)}]
    key = modality.name, " + ".join(part.label for part in felt)
    if key not in passes:
        passes[key] = preparing.scaled(model.settings(), group.frame(felt), model.pipeline.alone(modality))
    return passes[key]
