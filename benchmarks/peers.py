"""The systems of ``against_peers.py``: each is fitted on the same training rows and answers the same test rows.

Every peer gets the table's columns by the types that the data set states (numbers, categories, empty cells as they are) and
30 principal components of each embedding, learned on training rows. A peer that stops early does so on the same 15 % of the
training rows (groups kept together). Settings are the documented defaults; none was tuned, and none has seen a test row.

    lightgbm   native categories; up to 1,000 rounds, stopped after 50 without a better loss, fitted again on all training rows
    catboost   the same with CatBoost's own categories
    tabm       pytabkit's TabM_D; numbers filled by medians, stopped on log loss (classes) or RMSE
    skrub      tabular_pipeline; text columns as strings beside it all
    autogluon  TabularPredictor, best_quality, log loss or RMSE, 150 s; text columns as strings beside it all
    plait      the default; plait_light: its lightest setting. Cells are already in the store, as the peers' arrays are
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.data.modality import Schema
from plait.data.table import split

COMPONENTS = 30
#: Encoders of both sides, whatever the default is at the time.
ENCODERS = {"text": "minilm", "code": "minilm_code", "image": "efficientnet_lite0", "audio": "speech"}


@dataclass(frozen=True)
class Case:
    """One table, one seed: what every system is given.

    Attributes:
        frame: all rows, inputs and target; ``y``: the target, labels as text or floats.
        embeddings: modality -> (n, D), NaN where a row has none.
        train: rows to learn from; ``test``: to answer.
        groups: (n,) or None.
        limit: seconds that AutoGluon is given.
    """

    frame: pd.DataFrame
    schema: Schema
    y: np.ndarray
    embeddings: Mapping[str, np.ndarray]
    train: np.ndarray
    test: np.ndarray
    groups: np.ndarray | None
    seed: int
    threads: int
    store: str
    limit: float = 150.0

    @property
    def regression(self) -> bool:
        return self.schema.task == "regression"

    @cached_property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Training rows to fit on and the 15 % to stop by."""
        groups = None if self.groups is None else self.groups[self.train]
        fit, valid = split(
            self.frame.iloc[self.train], (0.85, 0.15), self.seed, stratify=self.y[self.train], group=groups
        )
        return self.train[fit], self.train[valid]

    @cached_property
    def classes(self) -> np.ndarray:
        return np.unique(self.y[self.train])

    @cached_property
    def target(self) -> np.ndarray:
        """What the peers learn: numbers, or class numbers."""
        return self.y if self.regression else self.codes

    @cached_property
    def codes(self) -> np.ndarray:
        """Class numbers as the training rows have them; -1 for a class that is not there."""
        place = {label: i for i, label in enumerate(self.classes)}
        return np.array([place.get(label, -1) for label in self.y])

    def table(self) -> tuple[pd.DataFrame, list[str]]:
        """Columns by their types beside components, and the names of the categories."""
        from sklearn.decomposition import PCA

        columns: dict[str, Any] = {}
        categories = []
        for modality in self.schema.modalities:
            for name in modality.columns if modality.kind == "tabular" else ():
                if self.schema.types.get(name) == "number":
                    columns[name] = pd.to_numeric(self.frame[name], errors="coerce").astype(float)
                else:
                    columns[name] = self.frame[name].map(lambda v: None if pd.isna(v) else str(v)).astype(object)
                    categories.append(name)
        for name, x in self.embeddings.items():
            there = np.isfinite(x).all(1)
            learned = x[np.intersect1d(self.train, np.flatnonzero(there))]
            pca = PCA(min(COMPONENTS, *learned.shape), random_state=0).fit(learned)
            values = np.full((len(x), pca.n_components_), np.nan, np.float32)
            values[there] = pca.transform(x[there])
            columns |= {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
        return pd.DataFrame(columns), categories

    def strings(self) -> pd.DataFrame:
        """Text columns as they are, for systems that read text themselves."""
        kinds = ("text", "code")
        names = [c for m in self.schema.modalities if m.kind in kinds for c in m.columns]
        return self.frame[names].reset_index(drop=True)


@dataclass
class Answer:
    """Class probabilities (n, classes of the training rows) or values (n,) of the test rows, and what they cost.

    ``busy_seconds`` are the processor's while fitting, all threads together: what else runs on the machine disturbs them least.
    """

    output: np.ndarray
    fit_seconds: float
    busy_seconds: float
    predict_seconds: float
    megabytes: float


def timed(
    case: Case, fit: Callable[[], Any], predict: Callable[[Any], np.ndarray], save: Callable[[Any, Path], None]
) -> Answer:
    """Fit, answer, save: each by the clock."""
    start, used = time.perf_counter(), time.process_time()
    model = fit()
    middle, used = time.perf_counter(), time.process_time() - used
    output = predict(model)
    end = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return Answer(np.asarray(output, dtype=np.float64), middle - start, used, end - middle, size / 1e6)


def answered(case: Case) -> Callable[[Any], np.ndarray]:
    """How an estimator of scikit-learn's kind, fitted beside its table, answers the test rows."""

    def predict(model: Any) -> np.ndarray:
        fitted, x = model
        rows = x.iloc[case.test]
        if case.regression:
            return np.asarray(fitted.predict(rows)).ravel()
        return widened(np.asarray(fitted.predict_proba(rows)), fitted.classes_, case)

    return predict


def lightgbm(case: Case) -> Answer:
    import lightgbm as lgb

    def fit() -> Any:
        x, categories = case.table()
        for name in categories:
            x[name] = pd.Categorical(x[name], categories=sorted(x[name].iloc[case.train].dropna().unique()))
        kind = lgb.LGBMRegressor if case.regression else lgb.LGBMClassifier
        common = {"n_jobs": case.threads, "random_state": case.seed, "verbose": -1}
        first, held = case.held
        trial = kind(n_estimators=1000, **common).fit(
            x.iloc[first],
            case.target[first],
            eval_set=[(x.iloc[held], case.target[held])],
            callbacks=[lgb.early_stopping(50, verbose=False)],
        )
        rounds = max(1, trial.best_iteration_ or 1000)
        return kind(n_estimators=rounds, **common).fit(x.iloc[case.train], case.target[case.train]), x

    return timed(case, fit, answered(case), lambda model, to: model[0].booster_.save_model(to / "model.txt"))


def catboost(case: Case) -> Answer:
    import catboost as cb

    def fit() -> Any:
        x, categories = case.table()
        x[categories] = x[categories].fillna("")
        kind = cb.CatBoostRegressor if case.regression else cb.CatBoostClassifier
        common = {"thread_count": case.threads, "random_seed": case.seed, "cat_features": categories, "verbose": False}
        common["allow_writing_files"] = False
        first, held = case.held
        trial = kind(iterations=1000, early_stopping_rounds=50, **common)
        trial.fit(x.iloc[first], case.target[first], eval_set=(x.iloc[held], case.target[held]))
        rate = trial.learning_rate_  # chosen by the number of rows and rounds: the same for the second fit
        model = kind(iterations=max(1, trial.tree_count_), learning_rate=rate, **common)
        return model.fit(x.iloc[case.train], case.target[case.train]), x

    return timed(case, fit, answered(case), lambda model, to: model[0].save_model(str(to / "model.cbm")))


def tabm(case: Case) -> Answer:
    import joblib
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    def fit() -> Any:
        x, categories = case.table()
        x[categories] = x[categories].fillna("")
        numbers = [c for c in x if c not in categories]
        x[numbers] = x[numbers].fillna(x.iloc[case.train][numbers].median()).fillna(0.0)
        common = {"device": "cpu", "n_threads": case.threads, "random_state": case.seed}
        model = (
            TabM_D_Regressor(**common)
            if case.regression
            else TabM_D_Classifier(val_metric_name="cross_entropy", **common)
        )
        first, held = case.held
        target = case.target
        return model.fit(x.iloc[first], target[first], x.iloc[held], target[held], cat_col_names=categories), x

    return timed(case, fit, answered(case), lambda model, to: joblib.dump(model[0], to / "model.joblib") and None)


def skrub(case: Case) -> Answer:
    import joblib
    from skrub import tabular_pipeline

    def fit() -> Any:
        x = pd.concat([case.table()[0], case.strings()], axis=1)
        np.random.seed(case.seed)  # its encoder of strings draws from numpy's own generator
        model = tabular_pipeline("regressor" if case.regression else "classifier")
        return model.fit(x.iloc[case.train], case.target[case.train]), x

    return timed(case, fit, answered(case), lambda model, to: joblib.dump(model[0], to / "model.joblib") and None)


def autogluon(case: Case) -> Answer:
    from autogluon.tabular import TabularPredictor

    scratch = tempfile.TemporaryDirectory()

    def fit() -> Any:
        x = pd.concat([case.table()[0], case.strings()], axis=1)
        kind = "regression" if case.regression else "binary" if len(case.classes) == 2 else "multiclass"
        metric = "root_mean_squared_error" if case.regression else "log_loss"
        model = TabularPredictor("target", problem_type=kind, eval_metric=metric, path=scratch.name, verbosity=0)
        model.fit(
            x.iloc[case.train].assign(target=case.target[case.train]),
            presets="best_quality",
            time_limit=case.limit,
            num_cpus=case.threads,
        )
        return model, x

    def predict(model: Any) -> np.ndarray:
        fitted, x = model
        rows = x.iloc[case.test]
        if case.regression:
            return np.asarray(fitted.predict(rows))
        p = fitted.predict_proba(rows, as_multiclass=True)
        return widened(p.to_numpy(), p.columns, case)

    with scratch:
        return timed(case, fit, predict, lambda model, to: model[0].clone_for_deployment(str(to / "model")) and None)


def widened(p: np.ndarray, classes: Any, case: Case) -> np.ndarray:
    """Probabilities with a column for every class of the training rows, also those that a system left out."""
    result = np.zeros((len(p), len(case.classes)))
    result[:, np.asarray(classes, dtype=np.int64)] = p
    return result


def plait(case: Case, settings: Mapping[str, Any] | None = None) -> Answer:
    from plait.workflow.fit import make_model

    kinds = {m.kind for m in case.schema.modalities}
    encoders = {kind: name for kind, name in ENCODERS.items() if kind in kinds}
    common = {"encoders": encoders, "store": case.store, "random_state": case.seed, "progress": False}
    inputs = case.frame.drop(columns=str(case.schema.target))

    def fit() -> Any:
        model = make_model(case.schema, {**common, **(settings or {})})
        groups = None if case.groups is None else case.groups[case.train]
        return model.fit(inputs.iloc[case.train], case.y[case.train], groups=groups)

    def predict(model: Any) -> np.ndarray:
        rows = inputs.iloc[case.test]
        if case.regression:
            return np.asarray(model.predict(rows))
        places = np.searchsorted(case.classes, np.asarray(model.classes_).astype(str))
        return widened(np.asarray(model.predict_proba(rows)), places, case)

    return timed(case, fit, predict, lambda model, to: model.save(to / "model") and None)


def plait_light(case: Case) -> Answer:
    """The quality preset where this version has it; else one member of the joint and the linear branch."""
    from plait import FusionClassifier

    known = FusionClassifier().get_params()
    return plait(case, {"quality": "light"} if "quality" in known else {"members": 1, "branches": ("joint", "linear")})


SYSTEMS: dict[str, Callable[[Case], Answer]] = {
    "plait": plait,
    "plait_light": plait_light,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "skrub": skrub,
    "tabm": tabm,
    "autogluon": autogluon,
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block the systems keep their notes to themselves; errors still come through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
