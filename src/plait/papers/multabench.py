"""plait as a model of the benchmark MulTaBench, and its published runs beside one's own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import need
from plait.datasets.multabench import plain, schema_of
from plait.workflow.fit import make_model

#: The benchmark's own seed.
SEED = 42


def tabular_model(settings: Mapping[str, object] | None = None) -> type[Any]:
    """A subclass of the benchmark's ``TabularModel`` that fits plait, to stand among its ``BASELINES``.

    plait reads the columns as the table has them, with encoders of its own, so the benchmark's embeddings and its filling of
    gaps are left out, as for its other models that read raw columns. It needs no accelerator, downloads nothing by default, and
    takes every one of the 80 tables.

    Args:
        settings: fields of the estimator; the defaults are what a leaderboard asks for.

    Raises:
        MissingDependencyError: the package ``multabench`` with its extra ``bench`` is not installed.
    """
    base = need("multabench.baselines.abstract_model", "multabench").TabularModel
    labels = need("multabench.baselines.preprocessing.target", "multabench")
    given = dict(settings or {})

    class Plait(base):  # type: ignore[misc, valid-type]  # known only where the package is
        """plait at its defaults."""

        MODEL_NAME = "plait"
        SHORT_NAME = "plait"
        USE_VAL_SPLIT = False
        USE_MEDIAN_FILLING = False
        USE_CATEGORICAL_ENCODING = False
        USE_TEXT_EMBEDDINGS = False
        USE_TARGET_ENCODER = True
        NEEDS_GPU = False

        def initialize_model(self) -> None:
            """The estimator is made when the columns are known."""

        def fit(self, x: pd.DataFrame, y: pd.Series[Any]) -> None:
            """Fit on a split's training rows."""
            self.target_transformer = labels.fit_preprocess_y(y=y, is_cls=self.is_cls)
            target = labels.transform_preprocess_y(y=y, scaler=self.target_transformer)
            self.d_output = target.nunique() if self.is_cls else 1
            task = "classification" if self.is_cls else "regression"
            schema = schema_of(x, self.image_column, "target", task, self.image_folder)
            self.model_ = make_model(schema, {"random_state": SEED, "progress": False, **given})
            self.model_.fit(plain(x), target.to_numpy())

        def predict(self, x: pd.DataFrame) -> np.ndarray:
            """Values (n,), the second class's probability (n,), or probabilities (n, C)."""
            rows = plain(x)
            if not self.is_cls:
                return np.asarray(self.model_.predict(rows))
            p = np.asarray(self.model_.predict_proba(rows))
            return p[:, 1] if self.d_output == 2 else p

    return Plait


def runs_of(
    table: str, data_dir: str | Path, settings: Mapping[str, object] | None = None, folds: Iterable[int] = range(6)
) -> pd.DataFrame:
    """Fit and judge plait on splits of one table by the benchmark's own protocol.

    Args:
        table: name of its repository and of its folder below ``data_dir``, as ``core-text-reg-video-games-sales``.
        data_dir: where the benchmark's files lie.
        settings: fields of the estimator.
        folds: which of the six splits.

    Returns:
        One row per split: ``model``, ``dataset``, ``fold``, ``metric``, ``test_error``, ``seconds``.
    """
    read = need("multabench.benchmark.load", "multabench")
    known = need("multabench", "multabench").MulTaBenchDatasetID(table)
    whole = read.load_multabench_dataset(known, data_dir=str(data_dir))
    kind = tabular_model(settings)
    rows = []
    for fold in folds:
        part = read.split_dataset(whole, fold=fold)
        start = time.perf_counter()
        model = kind(whole.task_type, "cpu", image_folder=whole.image_folder, image_column=whole.image_column)
        model.fit(part.x_train, part.y_train)
        score = model.score_all_metrics(part.x_test, part.y_test)
        about = {"model": kind.MODEL_NAME, "dataset": known.name, "fold": fold, "metric": score["metric"]}
        rows.append({**about, "test_error": score["test_error"], "seconds": time.perf_counter() - start})
    return pd.DataFrame(rows)


def beside_published(runs: pd.DataFrame, size: str = "10k") -> pd.DataFrame:
    """Mean test error over the six splits of every published model, and of one's own runs, best first.

    Args:
        runs: columns ``model``, ``dataset``, ``fold``, ``test_error``; what ``multabench`` names them.
        size: of the benchmark.

    Returns:
        ``dataset``, ``model``, ``mean``, ``std`` (over splits), ``splits``, ``rank``; only splits that all models have count.
    """
    known: pd.DataFrame = need("multabench", "multabench").load_published_results(size)
    known = known[(known["status"] == "ok") & known["dataset"].isin(runs["dataset"])]
    every = pd.concat([known, runs])[["dataset", "model", "fold", "test_error"]]
    shared = every.merge(runs[["dataset", "fold"]].drop_duplicates(), on=["dataset", "fold"])
    table: pd.DataFrame = (
        shared.groupby(["dataset", "model"])["test_error"].agg(mean="mean", std="std", splits="count").reset_index()
    )
    table = table[table["splits"] == table.groupby("dataset")["splits"].transform("max")]
    table["rank"] = table.groupby("dataset")["mean"].rank(method="min").astype(int)
    return table.sort_values(["dataset", "rank"], ignore_index=True)
