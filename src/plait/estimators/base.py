"""``FusionEstimator``: fitting and saving; ``Answering`` is what a fitted one is asked."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from plait.alignment import file as aligner_file
from plait.alignment.enhancement import Enhancer
from plait.base import config, registry
from plait.base.deadline import Deadline
from plait.base.errors import ConfigError, TableError
from plait.base.fusion import adviser
from plait.base.inputs import Comparison
from plait.base.machine import blas_on_one_core, seeded
from plait.base.progress import session
from plait.data.labels import codes_of, label_array
from plait.data.modality import Modality, Schema
from plait.data.schema_yaml import modalities_from
from plait.data.targets import indicator_of, target_numbers
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import Scaler
from plait.estimators import fitting, modelfile, preparing, tracking
from plait.estimators.answering import Answering
from plait.estimators.prepared import GivenRows, Share
from plait.estimators.settings import check_settings, of_quality
from plait.exporting import export as exporting
from plait.exporting.graph import Fitted, ModelGraph
from plait.training import model_parts
from plait.training.member import Members

#: Weights within this, and its inverse, lose nothing in single precision.
_FLOAT_RANGE = 1e15


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class FusionEstimator(Answering):
    """Early fusion of frozen or learning encoders, for tables whose columns hold text, images, sound, video, code and numbers.

    Its fields are those of ``FitSettings``.

    Attributes:
        schema_: the modalities, as they were given or inferred; ``modality_names_``: their names in its order.
        task_: ``classification``, ``multilabel`` or ``regression``; ``metric_``: what leads.
        feature_names_in_: the table's columns, where they have names; ``n_features_in_``: how many there are.
        features_: the encoders of the modalities, with what they have learned of the training rows.
        enhancers_: modality -> what ``align`` has learned to do to it.
        scalers_: modality -> centre, scale and directions of its features.
        pairs_: name -> two modalities of one encoder that are also compared.
        members_: the networks and the mixture: whatever predicts.
        leaderboard_: one row for the mixture and each branch, best first.
        thresholds_: for several labels, from which probability on each is answered; ``pattern_thresholds_``: by what is present.
        history_: one record per epoch and member; ``pretrain_history_``: of encoders that were trained alone before.
        record_: what the fit took and chose: rows, epochs, weights, seconds, memory, versions, data hash.
        leaks_: columns that look like the target in disguise.
        learned_rows_: (n,) bool: the given rows that were learned from: those of some weight, or where a budget of time left no
            room for all of them a sample.
        advised_: the settings that ``fusion: auto`` chose.
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
        registry.model_kind(type(self), warns=False)  # nothing is trained that could not be saved
        tracked = None if self.track is None else tracking.track_of(self.track)
        _check_validation(self.validation, valid)
        given = self._rows_given(X, y, sample_weight, groups)
        advice = adviser(self.fusion)
        labelled = self.classes_[given.target] if given.target.ndim == 1 and hasattr(self, "classes_") else given.target
        self.advised_ = {} if advice is None else advice.settings(self, given.frame, labelled)
        advised = copy.copy(self).set_params(**self.advised_) if self.advised_ else self
        judged = None if test is None else self._judged(test, "test")
        if valid is not None:
            rows, chosen_by = self._judged(valid, "valid")
            given = dataclasses.replace(given, valid=(rows, self._codes(chosen_by, given.target.ndim == 2)))
        until = Deadline(self.minutes) if end is None else end
        given = dataclasses.replace(given, share=share, end=until)
        # Networks are made in several places; what they draw is never the user's.
        with session("fit", self.progress), seeded(0), blas_on_one_core():
            fitted = fitting.fit(of_quality(advised.settings()), given, judged)
        until.note(fitted.record)
        if end is None:
            until.tell()
        self._learned(fitted, y)
        if tracked is not None:
            tracking.note(tracked, tracking.noted_fit(self))
        self._remember(X, fitted.prepared)
        return self

    def _rows_given(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> GivenRows:
        """The rows to learn from, checked against each other."""
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
        named, together = hasattr(self, "feature_names_in_"), None if groups is None else np.asarray(groups)
        return GivenRows(frame, target, weight, together, tuple(self.labels), self._regressor, named)

    def _learned(self, fitted: fitting.Fitted, y: Any) -> None:
        """Take what was fitted as attributes."""
        prepared, pipeline = fitted.prepared, fitted.prepared.pipeline
        self.schema_: Schema = _with_target(pipeline.schema, y)
        self.task_: str = fitted.members.task.name
        if self.task_ == "classification":
            self.classes_ = label_array(list(fitted.members.task.classes))  # type: ignore[attr-defined]
        self.features_: Featurizer = pipeline.features
        self.enhancers_: Mapping[str, Enhancer] = pipeline.enhancers
        self.scalers_: dict[str, Scaler] = pipeline.scalers
        self.pairs_: Mapping[str, Comparison] = pipeline.pairs
        self.members_: Members = fitted.members
        self.history_: list[dict[str, Any]] = fitted.members.history
        self.pretrain_history_: list[dict[str, Any]] = fitted.pretrain_history
        self.record_: dict[str, Any] = fitted.record
        self.leaks_: list[dict[str, Any]] = [dict(leak) for leak in prepared.leaks]
        self.learned_rows_: np.ndarray = prepared.row_index >= 0
        if fitted.checkpoints is not None and not hasattr(self, "_keeping"):
            fitted.checkpoints.remove()
        elif fitted.checkpoints is not None:
            self._keeping.append(fitted.checkpoints)

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

    def _target(self, y: object) -> np.ndarray:
        raise NotImplementedError

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
            raise ConfigError(
                f"{folder}: holds a {type(model).__name__}; expected a model that plait fit wrote ({cls.__name__})"
            )
        return model

    def _sk_visual_block_(self) -> object:
        """scikit-learn's diagram: modalities with their encoders beside each other, then branches, then the mixture."""
        return of_estimator(self)

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


@dataclasses.dataclass
class Block:
    """What scikit-learn asks of a part of a diagram (its own class for it is private): ``single``, ``serial``, ``parallel``."""

    kind: str
    estimators: Any
    names: Any
    name_details: Any
    name_caption: str | None = None
    doc_link_label: str | None = None
    dash_wrapped: bool = True

    def _sk_visual_block_(self) -> Block:
        return self


def of_estimator(model: Any) -> Block:
    """The diagram of a fitted estimator, or of one whose modalities are given; else its settings alone."""
    modalities = _modalities(model)
    if not modalities:
        return Block("single", model, type(model).__name__, str(model))
    parts = [_side_by_side([_modality(m, model) for m in modalities])]
    branches = [b if isinstance(b, str) else str(b.get("name")) for b in model.branches]
    if hasattr(model, "record_"):
        branches = [
            str(b["branch"]) for b in model.record_["branches"] if b.get("kept", True) and b["branch"] != "mixture"
        ]
    parts.append(_side_by_side([_leaf(name, _branch(name, model)) for name in branches or ["joint"]]))
    members = model.record_["members"] if hasattr(model, "record_") else model.members or 5
    parts.append(
        _leaf(f"mixture of {members} members", f"mix: {model.mix}; what it answers is weighed on held-out rows")
    )
    return Block("serial", parts, [None] * len(parts), [None] * len(parts), dash_wrapped=False)


def _modalities(model: Any) -> Sequence[Modality]:
    given = getattr(model, "schema_", model.modalities)
    if isinstance(given, Schema):
        return given.modalities
    return modalities_from(given) if isinstance(given, Mapping) else ()


def _modality(modality: Modality, model: Any) -> Block:
    if hasattr(model, "features_"):
        encoder = model.features_.encoders[modality.name].name()
    else:
        chosen = (model.encoders or {}).get(modality.name, modality.encoder)
        encoder = chosen if isinstance(chosen, str) else "best installed encoder" if chosen is None else str(chosen)
    columns = ", ".join(modality.columns)
    return _leaf(f"{modality.name}: {encoder}", f"{modality.kind}, {modality.train}; columns: {columns}", modality.kind)


def _branch(name: str, model: Any) -> str:
    if name == "joint":
        return f"fusion: {model.fusion}; depth: {model.depth}; layers: {model.layers}"
    return "plait list branches says what it is"


def _leaf(name: str, details: str, caption: str | None = None) -> Block:
    return Block("single", None, name, details, caption)


def _side_by_side(blocks: list[Block]) -> Block:
    return Block("parallel", blocks, [None] * len(blocks), [None] * len(blocks), dash_wrapped=False)
