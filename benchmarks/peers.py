"""The systems of ``against_peers.py``: each is fitted on the same training rows and answers the same test rows.

Every peer gets the table's columns by the types that the data set states (numbers, categories, empty cells as they are) and
30 principal components of each embedding, learned on training rows. A peer that stops early does so on the same 15 % of the
training rows (groups kept together). Settings are the documented defaults but where said; none has seen a test row.

    lightgbm   native categories; the best on the 15 % of the default and of settings that a careful user would try (slower,
               with a penalty: at its default many classes diverge), up to 1,000 rounds, stopped after 50 without a better
               log loss or absolute error; fitted again on all training rows, unless their loss says that this diverged
    catboost   CatBoost's own categories, its default; stopped in the same way, or when half of 150 s of the processor are
               over; fitted again on all training rows
    tabm       pytabkit's TabM_D; numbers filled by medians, stopped on log loss (classes) or RMSE, or after as many epochs as
               150 s of the processor have room for
    skrub      tabular_pipeline around scikit-learn's trees that stop early on a part of the training rows (without that, its
               default, rows of many classes diverge); text columns as strings beside it all
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
#: LightGBM's default, and what a careful user would try beside it; of numbers also the loss that is asked for.
LIGHTGBM: tuple[dict[str, Any], ...] = (
    {},
    {"learning_rate": 0.05, "reg_lambda": 5.0},
    {"learning_rate": 0.05, "reg_lambda": 5.0, "num_leaves": 15, "colsample_bytree": 0.5},
)
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
        limit: seconds that AutoGluon is given, and of the processor CatBoost and TabM.
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
        rows, y = self.frame.iloc[self.train], self.y[self.train]
        fit, valid = split(rows, (0.85, 0.15), self.seed, y, groups, self.schema.task)
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
        common: dict[str, Any] = {"n_jobs": case.threads, "random_state": case.seed, "verbose": -1}
        first, held = case.held
        absolute = [{**one, "objective": "regression_l1"} for one in LIGHTGBM] if case.regression else []
        trials: list[tuple[float, int, dict[str, Any], Any]] = []
        for settings in (*LIGHTGBM, *absolute):
            model = kind(n_estimators=1000, **settings, **common).fit(
                x.iloc[first],
                case.target[first],
                eval_set=[(x.iloc[held], case.target[held])],
                eval_metric="l1" if case.regression else None,
                callbacks=[lgb.early_stopping(50, first_metric_only=True, verbose=False)],
            )
            trials.append((lightgbm_loss(model, x.iloc[held], case, held), len(trials), settings, model))
        loss, _, settings, trial = min(trials, key=lambda each: each[:2])
        rounds = max(1, trial.best_iteration_ or 1000)
        again = kind(n_estimators=rounds, **settings, **common).fit(x.iloc[case.train], case.target[case.train])
        diverged = not lightgbm_loss(again, x.iloc[case.train], case, case.train) < loss
        return (trial if diverged else again), x

    return timed(case, fit, answered(case), lambda model, to: model[0].booster_.save_model(to / "model.txt"))


def lightgbm_loss(model: Any, x: pd.DataFrame, case: Case, rows: np.ndarray) -> float:
    """Log loss or mean absolute error on training rows."""
    if case.regression:
        return float(np.abs(model.predict(x) - case.target[rows]).mean())
    p = widened(np.asarray(model.predict_proba(x)), model.classes_, case)
    return float(-np.log(np.maximum(p[np.arange(len(rows)), case.target[rows]], 1e-6)).mean())


class Until:
    """Ends CatBoost when so many seconds of the processor are over."""

    def __init__(self, seconds: float) -> None:
        self.end = time.process_time() + seconds

    def after_iteration(self, info: Any) -> bool:  # CatBoost's own signature
        return time.process_time() < self.end


def catboost(case: Case) -> Answer:
    import catboost as cb

    def fit() -> Any:
        x, categories = case.table()
        x[categories] = x[categories].fillna("")
        kind = cb.CatBoostRegressor if case.regression else cb.CatBoostClassifier
        common = {"thread_count": case.threads, "random_seed": case.seed, "cat_features": categories, "verbose": False}
        common["allow_writing_files"] = False
        first, held = case.held
        judged = {"eval_metric": "MAE"} if case.regression else {}
        trial = kind(iterations=1000, early_stopping_rounds=50, **judged, **common)
        half = [Until(case.limit / 2)]
        trial.fit(x.iloc[first], case.target[first], eval_set=(x.iloc[held], case.target[held]), callbacks=half)
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
        numbers = [c for c in x.columns if c not in categories]
        x[numbers] = x[numbers].fillna(x.iloc[case.train][numbers].median()).fillna(0.0)
        common = {"device": "cpu", "n_threads": case.threads, "random_state": case.seed}
        kind = TabM_D_Regressor if case.regression else TabM_D_Classifier
        common |= {} if case.regression else {"val_metric_name": "cross_entropy"}
        first, held = case.held
        target = case.target

        def fitted(epochs: int) -> Any:
            model = kind(n_epochs=epochs, **common)
            return model.fit(x.iloc[first], target[first], x.iloc[held], target[held], cat_col_names=categories)

        start = time.process_time()  # it has no limit of time of its own
        fitted(1)
        return fitted(max(1, int(case.limit / (time.process_time() - start)) - 1)), x

    return timed(case, fit, answered(case), lambda model, to: joblib.dump(model[0], to / "model.joblib") and None)


def skrub(case: Case) -> Answer:
    import joblib
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from skrub import tabular_pipeline

    def fit() -> Any:
        x = pd.concat([case.table()[0], case.strings()], axis=1)
        np.random.seed(case.seed)  # its encoder of strings draws from numpy's own generator
        kind = HistGradientBoostingRegressor if case.regression else HistGradientBoostingClassifier
        model = tabular_pipeline(kind(early_stopping=True, validation_fraction=0.15, random_state=case.seed))
        rows = case.train
        if not case.regression:  # its split by classes refuses a class of one row, so that such a row is given twice
            rows = np.concatenate([rows, rows[np.bincount(case.codes[rows])[case.codes[rows]] == 1]])
        return model.fit(x.iloc[rows], case.target[rows]), x

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
