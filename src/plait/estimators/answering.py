"""What is asked of a fitted estimator: rows encoded once, and everything that is read from them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from plait.alignment.enhancement import Enhancer
from plait.base.config import CheckedFields
from plait.base.errors import ConfigError, ModelError, TableError, warn
from plait.base.inputs import Comparison, Inputs, subsets_of
from plait.data.cells import media_columns
from plait.data.labels import label_text
from plait.data.modality import Schema
from plait.data.remote_cells import fetch_cells
from plait.data.row_numbers import numbered
from plait.data.schema_yaml import modalities_from
from plait.data.table import frame_of, table_like
from plait.data.targets import target_array
from plait.data.typed import typed
from plait.data.values import object_array
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import Scaler
from plait.encoders.tabular import Tabular
from plait.estimators import objective, preparing
from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Pipeline, Prepared
from plait.metrics.base import MAIN
from plait.networks.tasks import Multilabel
from plait.training.checkpoint import Checkpoints
from plait.training.member import Members


class Answering(FitSettings, CheckedFields, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What a fitted estimator is asked: predictions, probabilities, features, what is absent, what its branches are worth."""

    schema_: Schema
    task_: str
    features_: Featurizer
    enhancers_: Mapping[str, Enhancer]
    scalers_: dict[str, Scaler]
    pairs_: Mapping[str, Comparison]
    members_: Members
    record_: dict[str, Any]

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
        return numbered(_array_frame(checked))

    def _media_columns(self) -> list[str]:
        """Columns that are said to hold media or vectors: what they name is a file, whatever its ending."""
        if self.remote is None or self.modalities is None:
            return []
        given = self.modalities
        parts = given.modalities if isinstance(given, Schema) else modalities_from(given)
        return media_columns(parts)

    @property
    def modality_names_(self) -> tuple[str, ...]:
        """The modalities in schema order."""
        return tuple(m.name for m in self.schema_.modalities)

    @property
    def pipeline(self) -> Pipeline:
        """What rows pass on their way to the networks."""
        return Pipeline(self.schema_, self.features_, self.scalers_, self.enhancers_, self.pairs_)

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
        result = preparing.scaled(self.settings(), frame, self.pipeline)
        if answering:
            _tell_unseen(self.features_, frame)
        if self.remembers:
            self._remembered.append((X, result))
        return result

    def _remember(self, X: Any, prepared: Prepared) -> None:
        """Keep the rows that were learned from as they are now encoded, for a caller who goes on with them."""
        whole = bool(self.learned_rows_.all())
        if self.remembers and (whole or isinstance(X, pd.DataFrame)):
            learned = prepared.inputs.take(torch.from_numpy(prepared.row_index[self.learned_rows_]))
            self._remembered.append((X if whole else X[self.learned_rows_], learned))

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
            subsets = subsets_of(names)
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
        """All features of frozen modalities beside each other (n, D), zeros where absent: for a model of your own.

        They are scaled; behind those of a text stand its words, where the model has them.
        """
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
        return objective.leading(self.task_, self.metric, self.costs) or MAIN[self.task_]

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


def _array_frame(array: np.ndarray) -> pd.DataFrame:
    """A 2-d array as a table with columns x0, x1, ..."""
    if array.dtype == object:
        for cell in array.ravel()[: array.shape[1]]:
            if not isinstance(cell, str | bytes | int | float | np.generic | np.ndarray | list | type(None)):
                raise TypeError(
                    f"a cell holds a {type(cell).__name__}: argument must be a string, a number or an array"
                )
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def _tell_unseen(features: Featurizer, frame: pd.DataFrame) -> None:
    """Warn, in one line, of categories that no training row has."""
    tables = [m for m in features.schema.modalities if m.kind == "tabular"]
    parts = [(features.encoders[m.name], [c for c in m.columns if c in frame.columns]) for m in tables]
    said = [part for encoder, there in parts if isinstance(encoder, Tabular) for part in encoder.unseen(frame[there])]
    if said:
        warn(f"categories that no row of the fit had count as unknown: {', '.join(said)}")
