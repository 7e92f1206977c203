"""Trees that LightGBM and CatBoost grow answer in plait as they do there, and need neither package to answer."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier
from plait.base.branch import resolve
from plait.base.errors import ConfigError, MissingDependencyError
from plait.branches.boosting import catboost, forest_of_lightgbm, lightgbm
from plait.branches.growth import Pace, Seedbed
from plait.branches.trees import Trees
from plait.testing.models import check_branch, example_rows

PACE = Pace(rounds=20, rate=0.2, leaves=8, min_rows=5, penalty=1.0, share=0.8, bins=63)
ENGINES = ("lightgbm", "catboost")


def matrix(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A category of 40 levels and one of 5, three numbers, nulls in all but the last; the value that they decide."""
    rng = np.random.default_rng(seed)
    x = np.c_[rng.integers(0, 40, rows), rng.integers(0, 5, rows), rng.normal(size=(rows, 3))]
    value = x[:, 2] + (x[:, 0] % 3 == 1) - 2.0 * (x[:, 1] == 2) + 0.3 * rng.normal(size=rows)
    x[:, :4][rng.random((rows, 4)) < 0.2] = np.nan
    return x.astype(np.float32), value


def bed(task: str) -> Seedbed:
    (x, value), (held, other) = matrix(500, 0), matrix(200, 1)
    outputs = {"two": 1, "four": 4, "number": 1}[task]
    cuts = {"two": [0.0], "four": [-1.0, 0.0, 1.0], "number": []}[task]
    y, z = (np.digitize(v, cuts) if cuts else v for v in (value, other))
    return Seedbed(x, y, np.ones(500), (held, z, np.ones(200)), 2, outputs, "log" if cuts else "squared", 0, bool)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that the libraries made."""
    models: list[Any] = []
    import catboost as cat
    import lightgbm as light

    train, fit = light.train, cat.CatBoost.fit

    def keep(*args: Any, **options: Any) -> Any:
        models.append(train(*args, **options))
        return models[-1]

    def keep_fitted(self: Any, *args: Any, **options: Any) -> Any:
        models.append(self)
        return fit(self, *args, **options)

    monkeypatch.setattr(light, "train", keep)
    monkeypatch.setattr(cat.CatBoost, "fit", keep_fitted)
    return models


@pytest.mark.parametrize("task", ["two", "four", "number"])
def test_lightgbm_is_answered_as_it_answers_itself(spied: list[Any], task: str) -> None:
    forest, rounds = lightgbm(bed(task), PACE)
    new = matrix(300, 2)[0]
    new[:20, 0] = np.nan
    theirs = spied[0].predict(new, raw_score=True, num_iteration=rounds).reshape(300, -1)
    np.testing.assert_allclose(forest(new), theirs, atol=1e-5)
    np.testing.assert_allclose(forest(new[:7]), theirs[:7], atol=1e-5)
    assert rounds > 3


@pytest.mark.parametrize("task", ["two", "four", "number"])
def test_catboost_is_answered_as_it_answers_itself(spied: list[Any], task: str) -> None:
    seedbed = bed(task)
    forest, rounds = catboost(seedbed, PACE)
    new = matrix(300, 2)[0]
    flags = np.column_stack([new[:, 1] == level for level in range(5)])
    theirs = spied[0].predict(np.column_stack([new[:, 2:], flags]).astype(np.float32), prediction_type="RawFormulaVal")
    np.testing.assert_allclose(forest(new), theirs.reshape(300, -1), atol=1e-5)
    np.testing.assert_allclose(forest(new[:7]), theirs.reshape(300, -1)[:7], atol=1e-5)
    assert rounds > 3


def test_unknown_counts_as_zero_where_lightgbm_never_saw_it() -> None:
    import lightgbm as light

    x, value = matrix(300, 0)
    x = np.nan_to_num(x)
    model = light.train({"verbosity": -1, "num_threads": 1}, light.Dataset(x, value), 5)
    new = matrix(50, 1)[0]
    forest = forest_of_lightgbm(model.dump_model(), 5, 1)
    np.testing.assert_allclose(forest(new)[:, 0], model.predict(new), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_contract_holds_with_every_engine(engine: str) -> None:
    check_branch(partial(Trees, engine=engine, rounds=8, min_rows=3))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_more_trees_are_grown_when_time_is_up(engine: str) -> None:
    rows = example_rows(n=200)
    asked = iter([False] * 3 + [True] * 1000)
    branch = Trees(engine=engine, rounds=200)
    branch.fit(dataclasses.replace(rows, stop=lambda: next(asked)))
    assert max(branch.state()[1]["rounds"]) <= 5


def test_a_saved_model_answers_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=200), "town": rng.choice(list("abcdef"), 200)})
    y = np.where((frame["size"] > 0) ^ frame["town"].isin(["a", "b"]), "yes", "no")
    branches = [{"name": "trees", "engine": "lightgbm", "rounds": 10}]
    settings: dict[str, Any] = {"store": "none", "members": 2, "progress": False}
    model = FusionClassifier(**settings, branches=branches).fit(frame, y)
    model.save(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    np.testing.assert_array_equal(plait.load(tmp_path / "m").predict_proba(frame), model.predict_proba(frame))
    with pytest.raises(MissingDependencyError, match=r"'lightgbm' is needed.*pip install \"plait\[boost\]\"") as raised:
        FusionClassifier(**settings, branches=branches).fit(frame, y)
    assert "\n" not in str(raised.value)


def test_an_unknown_engine_is_one_line() -> None:
    with pytest.raises(ConfigError, match="engine must be scikit-learn, lightgbm or catboost"):
        resolve({"name": "trees", "engine": "xgboost"})
