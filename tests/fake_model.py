"""A small model with the interface that evaluation, explanation and report rely on: one linear model per subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

from plait.base.inputs import subsets_of
from plait.data.modality import Modality, Schema
from plait.data.schema import absent


class FakeModel:
    """Linear models on the columns of every subset; a row is answered by the one for what it has."""

    def __init__(self, schema: Schema) -> None:
        self.schema_ = schema
        self.task_ = schema.task
        self.names = tuple(m.name for m in schema.modalities)
        self.history_: list[dict[str, Any]] = []
        self.record_: dict[str, Any] = {}
        self.asked = 0

    def fit(self, frame: pd.DataFrame) -> FakeModel:
        raw = frame[self.schema_.target]
        if self.task_ == "classification":
            self.classes_ = np.unique(raw)
        elif self.task_ == "multilabel":
            self.classes_ = np.array(sorted({name for cell in raw for name in cell.split("|") if name}))
        y = self.target_of(frame)
        self.models = {s: self._fitted(frame, s, y) for s in subsets_of(self.names)}
        return self

    def _fitted(self, frame: pd.DataFrame, subset: tuple[str, ...], y: np.ndarray) -> Any:
        x = self._features(frame, subset)
        if self.task_ == "regression":
            return LinearRegression().fit(x, y)
        if self.task_ == "classification":
            return LogisticRegression().fit(x, y)
        return [LogisticRegression().fit(x, y[:, c]) for c in range(y.shape[1])]

    def _features(self, frame: pd.DataFrame, subset: tuple[str, ...]) -> np.ndarray:
        columns = [c for m in self.schema_.modalities if m.name in subset for c in m.columns]
        values = frame[columns].to_numpy(float) if columns else np.zeros((len(frame), 1))
        return np.nan_to_num(values)

    def _answer(self, frame: pd.DataFrame, subset: tuple[str, ...]) -> np.ndarray:
        model, x = self.models[subset], self._features(frame, subset)
        if self.task_ == "regression":
            return model.predict(x)
        if self.task_ == "classification":
            return model.predict_proba(x)
        return np.stack([m.predict_proba(x)[:, 1] for m in model], axis=1)

    def predict_subsets(
        self, frame: pd.DataFrame, subsets: Sequence[tuple[str, ...]] | None
    ) -> Mapping[tuple[str, ...], np.ndarray]:
        self.asked += 1
        gone = absent(self.schema_, frame)
        found = {}
        for subset in subsets_of(self.names) if subsets is None else subsets:
            own = [tuple(n for i, n in enumerate(self.names) if n in subset and not row[i]) for row in gone]
            parts = [self._answer(frame, have) for have in sorted(set(own))]
            place = {have: parts[i] for i, have in enumerate(sorted(set(own)))}
            found[subset] = np.array([place[have][row] for row, have in enumerate(own)])
        return found

    def target_of(self, frame: pd.DataFrame) -> np.ndarray:
        raw = frame[self.schema_.target]
        if self.task_ == "multilabel":
            return np.array([[int(c in cell.split("|")) for c in self.classes_] for cell in raw])
        return raw.to_numpy()


def schema(task: str, names: Sequence[str] = ("words", "picture", "numbers"), target: str = "kind") -> Schema:
    """Tabular modalities of two columns each."""
    return Schema(tuple(Modality(n, "tabular", (f"{n}_a", f"{n}_b")) for n in names), target, task)


def table(
    task: str, rows: int, *, classes: Sequence[str] = ("ant", "bee", "cat"), seed: int = 0, **told: Any
) -> pd.DataFrame:
    """Rows whose first modality says most, the second a little, the last nothing; some cells are absent."""
    rng = np.random.default_rng(seed)
    found = schema(task, **told)
    code = rng.integers(0, len(classes), rows)
    frame = pd.DataFrame(index=range(100, 100 + rows))
    for place, modality in enumerate(found.modalities):
        strength = (2.0, 0.7, 0.0)[min(place, 2)]
        for turn, column in enumerate(modality.columns):
            frame[column] = strength * np.cos(2 * np.pi * code / len(classes) + turn * np.pi / 2) + rng.normal(
                size=rows
            )
        frame.loc[rng.random(rows) < 0.15, list(modality.columns)] = np.nan
    labels = np.array(list(classes))
    if task == "classification":
        frame[found.target] = labels[code]
    elif task == "multilabel":
        second = labels[(code + 1) % len(classes)]
        frame[found.target] = np.where(
            rng.random(rows) < 0.5, labels[code], np.char.add(np.char.add(labels[code], "|"), second)
        )
    else:
        frame[found.target] = 3.0 * code + rng.normal(size=rows)
    return frame


def fitted(task: str, rows: int = 240, **told: Any) -> tuple[FakeModel, pd.DataFrame]:
    """A fitted model and rows that it has not seen."""
    names = {k: v for k, v in told.items() if k in ("names", "target")}
    model = FakeModel(schema(task, **names)).fit(table(task, 300, seed=1, **told))
    return model, table(task, rows, seed=2, **told)
