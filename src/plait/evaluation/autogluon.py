"""AutoGluon Tabular, a rival of the papers, as a model of a study (extra ``bench``)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from plait.base.errors import TableError, need
from plait.base.inputs import Inputs
from plait.evaluation.learners import Folds, Learner

Array = NDArray[Any]
#: Minutes of a fit where a variant names none.
MINUTES = 1.0
_TARGET = "target"


class AutoGluon(Learner):
    """AutoGluon Tabular over a table's columns and 30 components of each embedding: its preset ``best_quality``, nothing tuned.

    Source: Erickson et al. 2020, AutoGluon-Tabular, arXiv 2003.06505. The papers' own AutoGluon reads text and pictures by
    networks of its own; here it has the features that every other model of the study has.

    Raises:
        MissingDependencyError: the extra ``bench`` is not installed.
        TableError: several labels, which it does not answer.
    """

    def __init__(self, task: str, names: Sequence[str], table: frozenset[str], minutes: float = MINUTES) -> None:
        """Nothing is learned yet; ``minutes`` by the clock of a fit."""
        super().__init__(task, names, table)
        self.minutes, self._package = minutes, need("autogluon.tabular", "bench")
        if task == "multilabel":
            raise TableError("estimator autogluon: it answers one class or one number, not several labels")

    def _try(self, inputs: Inputs, folds: Folds) -> None:
        """It chooses within its fit, on rows that it holds out itself."""

    def _learn(self, inputs: Inputs) -> None:
        few = self.outputs_ == 2 or len(np.unique(self._y)) == 2
        kind = "regression" if self.task == "regression" else "binary" if few else "multiclass"
        metric = "root_mean_squared_error" if self.task == "regression" else "log_loss"
        self._folder = tempfile.TemporaryDirectory(prefix="plait-autogluon-")
        frame = self._frame(inputs, self.names).assign(**{_TARGET: self._y})
        with contextlib.redirect_stdout(io.StringIO()):
            model = self._package.TabularPredictor(
                _TARGET, problem_type=kind, eval_metric=metric, path=self._folder.name, verbosity=0
            )
            # Its own trial of stacking fits in this process first, and leaves the learner fitted where time is short.
            options = {"presets": "best_quality", "time_limit": 60 * self.minutes, "dynamic_stacking": False}
            self._fitted = model.fit(frame, num_cpus=torch.get_num_threads(), **options)

    def outputs(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """Probabilities (n, C) or values (n,); what is absent is null."""
        frame = self._frame(inputs, present)
        if self.task == "regression":
            return np.asarray(self._fitted.predict(frame), np.float64)
        answer = self._fitted.predict_proba(frame, as_multiclass=True)
        result = np.zeros((len(frame), self.outputs_))
        result[:, np.asarray(answer.columns, np.int64)] = answer.to_numpy()
        return result

    def _frame(self, inputs: Inputs, present: Sequence[str]) -> pd.DataFrame:
        parts: dict[str, Any] = {}
        for name in self.names:
            gone = ~(inputs.present[name].numpy() & (name in present))
            if name in inputs.columns:
                columns = inputs.columns[name]
                codes = np.where(gone[:, None], -1, columns.codes.numpy())
                for place, levels in enumerate(columns.levels):
                    parts[f"{name} category {place}"] = pd.Categorical.from_codes(
                        codes[:, place], pd.Index(range(levels))
                    )
                x = columns.numbers.numpy()
            else:
                x = inputs.tokens[name].pooled().numpy()
                x = x @ self._narrow[name] if name in self._narrow else x
            x = np.where(gone[:, None], np.nan, x)
            parts |= {f"{name} {place}": column for place, column in enumerate(x.T)}
        return pd.DataFrame(parts)
