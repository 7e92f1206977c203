"""``FusionEstimator``: what classifier and regressor share: fitting, encoding, predicting, saving."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from plait.alignment import file as aligner_file
from plait.alignment.enhancement import Enhancer
from plait.base import config, registry
from plait.base.config import CheckedFields
from plait.base.deadline import Deadline
from plait.base.errors import ConfigError, ModelError, TableError
from plait.base.fusion import adviser
from plait.base.inputs import Comparison, Inputs, all_subsets
from plait.base.machine import seeded
from plait.base.progress import session
from plait.data.cells import media_columns
from plait.data.labels import codes_of, label_array, label_text
from plait.data.modality import Schema
from plait.data.remote_cells import fetch_cells
from plait.data.row_numbers import numbered
from plait.data.schema_yaml import modalities_from
from plait.data.table import frame_of, table_like
from plait.data.targets import indicator_of, target_array, target_numbers
from plait.data.typed import typed
from plait.data.values import object_array
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import Scaler
from plait.estimators import diagram, fitting, modelfile, preparing, tracking
from plait.estimators import target as targets
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import GivenRows, Share
from plait.estimators.quality import of_quality
from plait.estimators.settings import check_settings
from plait.exporting import export as exporting
from plait.exporting.graph import Fitted, ModelGraph
from plait.metrics.base import MAIN
from plait.networks.tasks import Multilabel
from plait.training import model_parts
from plait.training.checkpoint import Checkpoints
from plait.training.member import Members

#: Weights within this, and its inverse, lose nothing in single precision.
_FLOAT_RANGE = 1e15


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class FusionEstimator(FitSettings, CheckedFields, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Early fusion of frozen or learning encoders, for tables whose columns hold text, images, sound, video, code and numbers.

    Its fields are those of ``FitSettings``.
    """

    _regressor: ClassVar[bool] = False

    def __new__(cls, *args: Any, **fields: Any) -> Self:
        """Remember which fields are given beside a protocol: these win over it, even where they are the usual ones."""
        self = super().__new__(cls, *args, **fields)
        if fields.get("protocol") is not None:
            self._given = frozenset(fields)
        return self

    def __post_init__(self) -> None:
        """Take the fields of the protocol, if there is one; ``fit`` refuses one that there is not."""
        config.apply_protocol(self, self.__dict__.pop("_given", ()))

    def set_params(self, **params: Any) -> Self:
        """Set fields by name; a protocol sets its own, but for those that are given beside it."""
        return super().set_params(**config.with_protocol(params))

    # -- fitting ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        test: tuple[Any, Any] | None = None,
        share: Share | None = None,
        valid: tuple[Any, Any] | None = None,
        end: Deadline | None = None,
    ) -> Self:
        """Fit on rows X (a DataFrame, or a 2-d array) and targets y (n,), or an indicator matrix (n, C).

        Rows of one group (n,) belong together (one speaker, one patient, one video): the folds on which branches are
        mixed and training is stopped keep them on one side, so that what is chosen holds for groups never seen.
        ``test`` are rows and targets that ``record_epochs`` scores after every epoch; nothing is learned or chosen by them.
        ``valid`` are rows and targets that choose the best epoch, where ``validation`` is ``given``.
        ``share`` gives rows that were encoded and scaled before, for whoever fits several models on the same rows.
        ``end`` of a longer work that this fit is a part of, which then tells what was left out; None: after ``minutes``.

        Raises:
            PlaitError: the table, the target or a setting cannot be used; the message says what to do.
        """
        check_settings(self)
        tracked = None if self.track is None else tracking.track_of(self.track)
        _check_validation(self.validation, valid)
        frame = self._frame(X, y, reset=True)
        target = self._target(y)
        if len(target) != len(frame):
            raise TableError(f"X has {len(frame)} rows and y has {len(target)}; they must be equal")
        weight = _check_sample_weight(
            sample_weight, np.zeros((len(frame), 1)), dtype=np.float64, ensure_non_negative=True
        )
        if weight.max() > _FLOAT_RANGE or weight.max() < 1 / _FLOAT_RANGE:
            weight = weight / weight.max()  # only their ratios count
        if groups is not None and len(groups) != len(frame):
            raise TableError(f"X has {len(frame)} rows and groups has {len(groups)}; they must be equal")
        if groups is not None and (np.ndim(groups) != 1 or any(isinstance(g, list | set | dict) for g in groups)):
            raise TableError("groups must be one value per row; found lists, or a table; join them into one text")
        advice = adviser(self.fusion)
        self.advised_ = {} if advice is None else advice.settings(self, frame, self._labelled(target))
        advised = copy.copy(self).set_params(**self.advised_) if self.advised_ else self
        judged = None if test is None else self._judged(test, "test")
        chosen = None if valid is None else self._judged(valid, "valid")
        named, together = hasattr(self, "feature_names_in_"), None if groups is None else np.asarray(groups)
        until = Deadline(self.minutes) if end is None else end
        given = GivenRows(frame, target, weight, together, tuple(self.labels), self._regressor, named, share, end=until)
        if chosen is not None:
            given = dataclasses.replace(given, valid=(chosen[0], self._codes(chosen[1], target.ndim == 2)))
        # Networks are made in several places; what they draw is never the user's.
        with session("fit", self.progress), seeded(0):
            fitted = fitting.fit(of_quality(advised.settings()), given, judged)
        until.note(fitted.record)
        if end is None:
            until.tell()
        self.schema_: Schema = _with_target(fitted.schema, y)
        self.task_: str = fitted.members.task.name
        if self.task_ == "classification":
            self.classes_ = label_array(list(fitted.members.task.classes))  # type: ignore[attr-defined]
        self.features_: Featurizer = fitted.features
        self.enhancers_: Mapping[str, Enhancer] = fitted.enhancers
        self.scalers_: dict[str, Scaler] = fitted.scalers
        self.pairs_: Mapping[str, Comparison] = fitted.inputs.pairs
        self.members_: Members = fitted.members
        self.history_: list[dict[str, Any]] = fitted.members.history
        self.pretrain_history_: list[dict[str, Any]] = fitted.pretrain_history
        self.record_: dict[str, Any] = fitted.record
        self.leaks_: list[dict[str, Any]] = [dict(leak) for leak in fitted.leaks]
        if fitted.checkpoints is not None and not hasattr(self, "_keeping"):
            fitted.checkpoints.remove()
        elif fitted.checkpoints is not None:
            self._keeping.append(fitted.checkpoints)
        if tracked is not None:
            tracking.note(tracked, tracking.noted_fit(self))
        if self.remembers and (fitted.row_index >= 0).all():
            self._remembered.append((X, fitted.inputs.take(torch.from_numpy(fitted.row_index))))
        return self

    def _judged(self, rows: object, what: str) -> tuple[pd.DataFrame, object]:
        """Rows and targets that are scored while training, or that choose."""
        if not isinstance(rows, tuple | list) or len(rows) != 2:
            raise TableError(f"{what} must be a pair of rows and targets, found {type(rows).__name__}")
        frame = self._frame(rows[0], reset=False)
        if len(rows[1]) != len(frame):
            raise TableError(f"{what} has {len(frame)} rows and {len(rows[1])} targets; they must be equal")
        return frame, rows[1]

    def _codes(self, y: Any, several: bool) -> np.ndarray:
        """The target of validation rows as that of the training rows; a class that these do not have is -1."""
        if self._regressor:
            return target_numbers(y)
        if several:
            return indicator_of(getattr(y, "indicator", y), self.classes_).indicator
        return codes_of(y, self.classes_)

    def _frame(self, X: object, y: object = None, *, reset: bool) -> pd.DataFrame:
        """X as a DataFrame whose columns are those of fit."""
        frame = frame_of(X)
        if frame is not None:
            if reset:
                validate_data(self, frame, skip_check_array=True, reset=True)
            frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
            return numbered(typed(fetch_cells(frame, self.remote, self.root, self._media_columns(), self.progress)))
        if not reset and hasattr(self, "feature_names_in_"):
            names = ", ".join(map(str, self.feature_names_in_[:8])) + (
                ", ..." if len(self.feature_names_in_) > 8 else ""
            )
            raise TableError(
                f"found a {type(X).__name__}, but the model was fitted on a table with named columns ({names}); "
                "give a DataFrame that has them"
            )
        if reset and y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        checked = validate_data(
            self, X, dtype=None, ensure_all_finite=False, reset=reset, ensure_min_samples=2 if reset else 1
        )
        return numbered(preparing.array_frame(checked))

    def _media_columns(self) -> list[str]:
        """Columns that are said to hold media or vectors: what they name is a file, whatever its ending."""
        if self.remote is None or self.modalities is None:
            return []
        given = self.modalities
        parts = given.modalities if isinstance(given, Schema) else modalities_from(given)
        return media_columns(parts)

    def _target(self, y: object) -> np.ndarray:
        raise NotImplementedError

    def _labelled(self, target: np.ndarray) -> np.ndarray:
        """A target with the labels in place of their codes."""
        return self.classes_[target] if target.ndim == 1 and hasattr(self, "classes_") else target

    # -- prediction ------------------------------------------------------------------------------------------------

    @property
    def modality_names_(self) -> tuple[str, ...]:
        """The modalities in schema order."""
        return tuple(m.name for m in self.schema_.modalities)

    def _inputs(self, X: Any, partial: bool | None = None, *, answering: bool = False) -> Inputs:
        check_is_fitted(self, "members_")
        if partial is not None and partial != self.partial:
            other = copy.copy(self)  # the rows it remembers are the same
            other.partial = partial
            return other._inputs(X, answering=answering)
        remembered: list[tuple[Any, Inputs]] = getattr(self, "_remembered", [])
        for known, inputs in remembered:
            if known is X:
                return inputs
        frame = self._frame(X, reset=False)
        parts = (self.schema_, self.features_, self.scalers_, self.enhancers_, self.pairs_)
        result = preparing.scaled(self.settings(), frame, *parts)
        if answering:
            preparing.tell_unseen(self.features_, frame)
        if self.remembers:
            self._remembered.append((X, result))
        return result

    @property
    def remembers(self) -> bool:
        """Whether a table that is given again is not encoded again (see ``remembering``)."""
        return hasattr(self, "_remembered")

    @contextmanager
    def remembering(self, seen: list[tuple[Any, Inputs]] | None = None) -> Iterator[None]:
        """Within the block a table that is given again is not encoded again; it must not be changed meanwhile.

        A block within another one goes on with what that one has.

        Args:
            seen: tables and what they became, to begin with; what is encoded is added, so that the next model that was
                fitted on the same rows with the same encoders may go on with it.
        """
        around: list[tuple[Any, Inputs]] | None = getattr(self, "_remembered", None)
        self._remembered: list[tuple[Any, Inputs]] = seen if seen is not None else [] if around is None else around
        try:
            yield
        finally:
            del self._remembered
            if around is not None:
                self._remembered = around

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within the block a finished fit's checkpoint stays, so that what comes after it may be killed too."""
        self._keeping: list[Checkpoints] = []
        try:
            yield
            for checkpoints in self._keeping:
                checkpoints.remove()
        finally:
            del self._keeping

    def _decoded(self, inputs: Inputs) -> np.ndarray:
        return self._read(self.members_.raw(inputs))

    def _read(self, raw: torch.Tensor) -> np.ndarray:
        """Raw outputs as probabilities or values."""
        task = self.members_.task
        # Doubles: a large target that varies little, such as a time in seconds, is one number in floats.
        result: np.ndarray = task.decode(raw.double() if task.name == "regression" else raw).numpy().astype(np.float64)
        if not np.isfinite(result).all():
            raise ModelError(
                "the model answers with what is no number: its folder is damaged, or it was fitted so; fit it again"
            )
        return result / result.sum(1, keepdims=True) if task.name == "classification" else result

    def predict(self, X: object, *, partial: bool | None = None) -> np.ndarray:
        """Class (n,), indicators (n, C), or value (n,) of each row; any modality may be absent.

        With ``partial`` a modality whose columns the table lacks is absent, too (None: as the field ``partial`` says).
        """
        return self.answers(X, partial=partial)[0]

    def predict_frame(self, X: object, *, partial: bool | None = None) -> Any:
        """The predictions as a table of the kind that X is (pandas with its index, polars, else Arrow); see ``predict``.

        Columns: ``prediction``, and of classes and labels ``p(NAME)``, their probabilities.
        """
        answer, decoded = self.answers(X, partial=partial)
        names = [label_text(label) for label in self.labels]
        columns = {f"p({name})": decoded[:, i] for i, name in enumerate(names)}
        if answer.ndim == 2:
            said = [[n for n, on in zip(names, row, strict=True) if on] for row in answer]
            return table_like(X, {"prediction": object_array(said), **columns})
        return table_like(X, {"prediction": answer, **columns})

    def answers(self, X: object, *, partial: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What ``predict`` gives, and the probabilities (n, C) or values (n,) that it is read from; encodes once."""
        inputs = self._inputs(X, partial, answering=True)
        decoded = self._decoded(inputs)
        return self._answer(decoded, inputs), decoded

    def predict_subsets(
        self, X: Any, subsets: Sequence[Sequence[str]] | None = None, *, partial: bool | None = None
    ) -> dict[tuple[str, ...], np.ndarray]:
        """Probabilities (n, C) or values (n,) with only the modalities of each subset present; encodes once.

        Args:
            X: rows.
            subsets: of modality names; None takes all 2^M, the empty one included.
            partial: a modality whose columns the table lacks is absent; None: as the field ``partial`` says.
        """
        inputs = self._inputs(X, partial)
        names = self.modality_names_
        if subsets is None:
            subsets = all_subsets(names)
        for subset in subsets:
            if unknown := set(subset) - set(names):
                raise ConfigError(f"unknown modality {sorted(unknown)}; the model has: {', '.join(names)}")
        ordered = list(dict.fromkeys(tuple(name for name in names if name in subset) for subset in subsets))
        raw = self.members_.raw_under(inputs, ordered)
        return {subset: self._read(out) for subset, out in zip(ordered, raw, strict=True)}

    def decoded(self, X: object) -> np.ndarray:
        """Probabilities (n, C) or values (n,), whatever the task."""
        return self._decoded(self._inputs(X))

    def feature_matrix(self, X: object) -> np.ndarray:
        """All scaled features of frozen modalities beside each other (n, D), zeros where absent: for a model of your own."""
        inputs = self._inputs(X)
        parts = [inputs.tokens[name].pooled() for name in self.modality_names_ if name in inputs.tokens]
        return torch.cat(parts or [torch.zeros(len(inputs), 1)], dim=1).numpy()

    @property
    def labels(self) -> list[Any]:
        """Names of the outputs: classes, or none for a number."""
        return list(getattr(self, "classes_", []))

    @property
    def leaderboard_(self) -> pd.DataFrame:
        """One row for the mixture and each branch, best first: what it is worth on held-out rows, and what it costs.

        Columns: ``branch``, ``loss`` and the task's main metric on rows that its members had not learned from and that have
        everything, ``weight`` in the mixture there, ``weights`` (numbers learned), ``seconds`` (of networks, which are
        trained together, an equal share), ``megabytes``, ``kept`` (it was not dropped), ``left_out`` (why it was not fitted).
        """
        check_is_fitted(self, "members_")
        return pd.DataFrame(self.record_.get("branches", []))

    @property
    def thresholds_(self) -> tuple[float, ...]:
        """For several labels: the probability from which each counts as predicted, where everything is present."""
        task = self.members_.task
        return task.thresholds if isinstance(task, Multilabel) else ()

    @property
    def pattern_thresholds_(self) -> dict[tuple[str, ...], float]:
        """For several labels: the threshold chosen for each pattern of present modalities; empty where ``threshold`` is given."""
        return dict(self.members_.mixture.thresholds)

    @property
    def metric_(self) -> str:
        """The metric that leads: what ``metric`` says, or the task's usual one."""
        return targets.leading(self.task_, self.metric, self.costs) or MAIN[self.task_]

    def absent(self, X: object) -> np.ndarray:
        """Bool (n, M): modalities that a row has nothing of, unreadable cells included."""
        return ~self._present(self._inputs(X))

    def target_of(self, frame: pd.DataFrame) -> np.ndarray:
        """The target column of a table as the task takes it: labels (n,), indicators (n, C), or floats (n,)."""
        check_is_fitted(self, "members_")
        name = self.schema_.target
        if name is None or name not in frame.columns:
            raise TableError(f"the table has no column '{name}' to judge by")
        return target_array(frame[name], self.task_, self.labels)

    def _answer(self, decoded: np.ndarray, inputs: Inputs) -> np.ndarray:
        """Probabilities or values as what ``predict`` gives."""
        return self.members_.answer(decoded, self._present(inputs))

    def _present(self, inputs: Inputs) -> np.ndarray:
        return np.stack([inputs.present[name].numpy() for name in self.modality_names_], axis=1)

    def thresholds_for(self, X: Any, subsets: Sequence[Sequence[str]]) -> dict[tuple[str, ...], np.ndarray]:
        """For several labels: each row's thresholds (n, C) with only the modalities of each subset present."""
        present = self._present(self._inputs(X))
        names = self.modality_names_
        return {tuple(s): self.members_.thresholds(present & [name in s for name in names]) for s in subsets}

    # -- saving ----------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder (no pickle); an existing model folder is replaced, anything else is refused."""
        check_is_fitted(self, "members_")
        return modelfile.save(self, folder)

    @property
    def _parts(self) -> Fitted:
        check_is_fitted(self, "members_")
        return Fitted(self.schema_, self.features_, self.enhancers_, self.scalers_, self.members_, self.pairs_)

    def export(self, folder: str | Path, *, onnx: bool = True, encoders: bool = False, opset: int = 17) -> Path:
        """Write a folder with ``model.onnx``, which answers without plait, and ``inputs.json``, which says what it takes.

        Args:
            folder: made whole, or not at all.
            onnx: the format; there is no other yet.
            encoders: also write the frozen encoders that onnxruntime can run (MiniLM, EfficientNet), each as its own file.
            opset: of ONNX's operators, 17 to 20.

        Raises:
            ConfigError: something in the model cannot be exported; the message names it.
        """
        return exporting.export(self._parts, folder, onnx=onnx, encoders=encoders, opset=opset)

    def export_inputs(self, X: object) -> dict[str, np.ndarray]:
        """What the exported file takes for these rows, by the names of its inputs; the model's own encoders make it."""
        graph, frame = ModelGraph(self._parts), self._frame(X, reset=False)
        frame = preparing.validated(self.settings(), frame, self.schema_)
        return graph.feed(frame, preparing.encode(self.settings(), self.features_, frame, whole=False))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A model from its folder; sizes, digests and format are checked before anything is used."""
        model = loaded(folder)
        if not isinstance(model, cls):
            raise ConfigError(f"{folder}: holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def _sk_visual_block_(self) -> object:
        """scikit-learn's diagram: modalities with their encoders beside each other, then branches, then the mixture."""
        return diagram.of_estimator(self)

    def __sklearn_tags__(self) -> Any:
        """Missing values, text and categories are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _check_validation(validation: str, valid: object) -> None:
    """Refuse validation rows that nothing chooses by, and none where they are to choose."""
    if validation == "given" and valid is None:
        raise ConfigError(
            "validation: given, but fit was given no validation rows; pass valid=(X, y), or take validation: folds or none"
        )
    if validation != "given" and valid is not None:
        raise ConfigError(
            f"validation: {validation}, but fit was given validation rows; take validation: given, or add them to X"
        )


def _with_target(schema: Schema, y: object) -> Schema:
    """The schema with the name of the target that a Series brings, so that a table with that column can be judged."""
    name = getattr(y, "name", None)
    if schema.target is not None or not isinstance(name, str) or name in schema.columns:
        return schema
    return dataclasses.replace(schema, target=name)


def loaded(folder: str | Path) -> Any:
    """The estimator or aligner that was saved.

    Raises:
        ModelError: the folder is broken, or was written by a newer plait.
    """

    def rebuild(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
        kind = registry.model_class(manifest["kind"])
        return (modelfile if issubclass(kind, FusionEstimator) else aligner_file).rebuild(kind, manifest, arrays)

    return model_parts.read(folder, rebuild)
