"""What a service answers for rows: probabilities or a value, and what each modality of a row is worth."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ModelError, PlaitWarning
from plait.data.labels import label_text
from plait.estimators.base import FusionEstimator
from plait.estimators.estimators import load
from plait.estimators.targets import TargetModels
from plait.evaluation.explain import MOST, explain


class Answers:
    """Models that answer for rows of one table, one per target."""

    def __init__(self, models: FusionEstimator | Mapping[str, FusionEstimator] | str | Path) -> None:
        """A fitted model, several by target, or a folder of either.

        Raises:
            ModelError: a folder that is broken, of a newer version, or of a model that predicts nothing.
        """
        where = str(models) if isinstance(models, str | Path) else "serve"
        given: Any = load(models) if isinstance(models, str | Path) else models
        if isinstance(given, FusionEstimator):
            given = {str(given.schema_.target or "answer"): given}
        if not isinstance(given, Mapping) or not all(isinstance(m, FusionEstimator) for m in given.values()):
            raise ModelError(
                f"{where}: holds a {type(given).__name__}, which predicts nothing; expected a model of plait fit"
            )
        self.models: dict[str, FusionEstimator] = {target: copy.copy(model) for target, model in given.items()}
        for model in self.models.values():
            model.partial, model.progress, model.root, model.strict = True, False, None, False

    def __call__(self, frame: pd.DataFrame, *, worth: bool) -> list[dict[str, Any]]:
        """One answer per row; ``worth``: with what each modality adds to it."""
        with TargetModels(self.models).sharing() as models:
            parts = {target: _answered(model, frame, worth) for target, model in models.items()}
        if len(parts) == 1:
            return next(iter(parts.values()))
        return [{"targets": {t: rows[i] for t, rows in parts.items()}} for i in range(len(frame))]


def _answered(model: FusionEstimator, frame: pd.DataFrame, worth: bool) -> list[dict[str, object]]:
    """The rows' answers by one model; what plait warned of is a note of each."""
    with warnings.catch_warnings(record=True) as seen, model.remembering():
        warnings.simplefilter("always", PlaitWarning)
        answers, decoded = model.answers(frame)
        absent = model.absent(frame)
        explained = explain(model, frame, bootstrap=0).rows if worth and len(model.modality_names_) <= MOST else None
    notes = list(dict.fromkeys(str(w.message) for w in seen if issubclass(w.category, PlaitWarning)))
    names = [label_text(label) for label in model.labels]
    result = []
    for place in range(len(frame)):
        there = [name for name, gone in zip(model.modality_names_, absent[place], strict=True) if not gone]
        row: dict[str, Any] = {"answer": _answer(model, answers[place], names)}
        if names:
            row["probabilities"] = {n: float(p) for n, p in zip(names, decoded[place], strict=True)}
        row["present"] = there
        if explained is not None:
            one = explained.iloc[place]
            row["worth"] = {name: float(one[f"value_{name}"]) for name in model.modality_names_}
            row["without_anything"] = float(one["base"])
        result.append(row | ({"notes": notes} if notes else {}))
    return result


def _answer(model: FusionEstimator, answer: Any, names: list[str]) -> Any:
    if model.task_ == "multilabel":
        return [name for name, on in zip(names, answer, strict=True) if on]
    return label_text(answer) if names else float(np.asarray(answer))
