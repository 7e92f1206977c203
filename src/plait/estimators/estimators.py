"""``FusionClassifier`` and ``FusionRegressor``: scikit-learn estimators over a table of mixed columns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from plait.base.errors import ConfigError, ModelError, TableError
from plait.base.folders import check_folder, whole_folder
from plait.branches.intervals import COVERAGE
from plait.data import rows
from plait.data.labels import classes_of, codes_of, label_array, warn_alike
from plait.data.targets import Labels, holds_lists, indicator_of, target_numbers
from plait.estimators.base import FusionEstimator as FusionEstimator
from plait.estimators.base import loaded
from plait.estimators.target_models import TargetModels, folders_of, holds_targets, load_targets
from plait.metrics.base import answered
from plait.networks.tasks import Classification, Regression
from plait.store import model_files


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class FusionClassifier(ClassifierMixin, FusionEstimator):  # type: ignore[misc]
    """Predicts one class, or several, from any mixture of modalities; see ``FusionEstimator`` for the settings.

    Attributes:
        classes_: the classes in the order of ``predict_proba``'s columns; of several labels, their names.

    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.1; the mixing of branches is ours.

    Example:
        >>> table = pd.DataFrame({"size": [1.0, 2.0, 8.0, 9.0] * 10, "name": ["ant", "bee", "cow", "dog"] * 10})
        >>> model = FusionClassifier(store="none", epochs=5).fit(table, ["insect", "insect", "mammal", "mammal"] * 10)
        >>> model.predict_proba(table).shape
        (40, 2)
    """

    def _target(self, y: object) -> np.ndarray:
        """Places among ``classes_`` (n,), which are learned here, or indicators (n, C)."""
        if self.task not in (None, "classification", "multilabel"):
            raise ConfigError(f"task '{self.task}': a FusionClassifier takes classification or multilabel")
        labels = y if isinstance(y, Labels) else None
        lists = labels is None and holds_lists(y)
        if lists and self.task == "classification":
            raise TableError(
                "the target holds lists of labels; expected one class per row (task multilabel takes lists)"
            )
        if labels is None and (lists or self.task == "multilabel"):
            labels = indicator_of(y)
        values = rows.checked_classes(y) if labels is None else labels.indicator
        task = self.task or ("multilabel" if labels is not None else rows.infer_task(values, regressor=False))
        if task == "multilabel":
            labels = labels or indicator_of(y if isinstance(y, pd.DataFrame) else values)
            self.classes_ = label_array(list(labels.classes))
            return labels.indicator
        self.classes_, codes = classes_of(np.ravel(values))
        warn_alike(self.classes_)
        return codes

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows that are answered rightly, of several labels all at once; ``y`` may be written in any way."""
        truth = (
            codes_of(y, self.classes_) if self.task_ == "classification" else indicator_of(y, self.classes_).indicator
        )
        inputs = self._inputs(X)
        decoded = self._decoded(inputs)
        task = self.members_.task
        right_by = task.decides if isinstance(task, Classification) else None
        result = answered(decoded, right_by) if right_by is not None else self._answer(decoded, inputs)
        right = (result == truth).reshape(len(truth), -1).all(1)
        return float(np.average(right, weights=sample_weight))

    def predict_proba(self, X: object, *, partial: bool | None = None) -> np.ndarray:
        """Calibrated probabilities (n, C); for several labels each column stands alone. ``partial`` as in ``predict``."""
        return self._decoded(self._inputs(X, partial, answering=True))


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class FusionRegressor(RegressorMixin, FusionEstimator):  # type: ignore[misc]
    """Predicts a number from any mixture of modalities; see ``FusionEstimator`` for the settings."""

    _regressor: ClassVar[bool] = True

    def _target(self, y: object) -> np.ndarray:
        if self.task not in (None, "regression"):
            raise ConfigError(f"task '{self.task}': a FusionRegressor takes regression")
        return rows.checked_number(y)

    def predict_interval(self, X: object, coverage: float = COVERAGE, *, partial: bool | None = None) -> np.ndarray:
        """Lower and upper bound (n, 2) that hold a new row's value with probability ``coverage``, whatever is present in it.

        Conformal: by how far the mixture was off on rows that its members had not learned from, among rows that show the
        same modalities. ``partial`` as in ``predict``.

        Raises:
            ConfigError: a coverage that is not between 0 and 1.
            ModelError: the model has no held-out errors, or too few for this coverage.
        """
        inputs = self._inputs(X, partial)
        return self.interval_around(self._decoded(inputs), self._present(inputs), coverage)

    def interval_around(self, values: object, present: object, coverage: float = COVERAGE) -> np.ndarray:
        """The same (n, 2) around values (n,) that were predicted already, with what is present in each row (n, M)."""
        check_is_fitted(self, "members_")
        known = self.members_.intervals
        if known is None:
            raise ModelError(
                "the model knows no intervals: it was fitted on very few rows, or by a version of plait that had none; "
                "fit it again, on 20 rows and more"
            )
        task = self.members_.task
        assert isinstance(task, Regression)
        return known.bounds(task, np.asarray(values, np.float64), np.asarray(present), coverage)

    @property
    def has_intervals(self) -> bool:
        """Whether ``predict_interval`` can answer at the coverage that evaluations show."""
        known = self.members_.intervals
        return known is not None and known.usual.quantiles(COVERAGE) is not None

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 of the predictions; ``y`` may be written in any way."""
        return float(super().score(X, target_numbers(y), sample_weight))


def load(folder: str | Path, *, download: bool = False) -> Any:
    """The estimator or aligner that was saved; of folders with a model per target, a ``TargetModels``.

    Args:
        folder: a path, or ``hf://owner/name`` (``hf://owner/name@revision``) on the hub (extra ``hub``).
        download: a model of the hub is fetched where the cache does not have it; ``PLAIT_DOWNLOAD=1`` says the same.

    Raises:
        ModelError: the folder is broken, was written by a newer plait, or is on the hub and not in its cache.
    """
    place = model_files.located(folder, download=download)
    return load_targets(place) if holds_targets(place) else loaded(place)


def export(
    model: FusionEstimator | TargetModels | str | Path,
    folder: str | Path,
    *,
    onnx: bool = True,
    encoders: bool = False,
    opset: int = 17,
) -> Path:
    """Write a fitted model, or the one in a folder, as ONNX files that answer without plait (``FusionEstimator.export``).

    Models of several targets go into a folder each, named as the targets are.

    Raises:
        ConfigError: something in the model cannot be exported; the message names it.
        ModelError: the folder of the model is broken, or holds a model of another kind.
    """
    options: dict[str, Any] = {"onnx": onnx, "encoders": encoders, "opset": opset}
    if isinstance(model, str | Path):
        model = load(model) if holds_targets(model_files.located(model)) else FusionEstimator.load(model)
    if not isinstance(model, TargetModels):
        return model.export(folder, **options)
    check_folder(folder, "ONNX")
    with whole_folder(folder, "ONNX") as place:
        for target, name in folders_of(list(model)).items():
            model[target].export(place / name, **options)
    return Path(folder)
