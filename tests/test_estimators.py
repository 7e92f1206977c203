"""The estimators: scikit-learn's contract, absence, reproducibility, saving, bad input."""

from __future__ import annotations

import copy
import json
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

from plait import FusionClassifier, FusionRegressor, ModalityAligner, evaluate, explain, load
from plait.base.errors import ConfigError, ModelError, PlaitError, PlaitWarning, TableError
from plait.conditions.parse import parse
from plait.data.schema import warn_of_lists
from plait.data.schema_yaml import from_yaml, to_yaml
from plait.estimators.base import FusionEstimator

QUICK: dict[str, Any] = {"store": "none", "epochs": 12, "members": 2, "width": 16, "progress": False}


def table(n: int = 400, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Text tells half of the label, numbers the other half."""
    rng = np.random.default_rng(seed)
    warm, big = rng.integers(0, 2, n), rng.integers(0, 2, n)
    words = np.array(["a cold grey stone from the north", "a warm red flower of the south"])
    frame = pd.DataFrame(
        {
            "story": [f"{words[w]} number {i}" for i, w in enumerate(warm)],
            "weight": big * 2.0 + rng.normal(scale=0.3, size=n),
            "shape": np.where(rng.random(n) < 0.5, "round", "flat"),
        }
    )
    return frame, np.array(["cs", "cb", "ws", "wb"])[2 * warm + big]


MODALITIES = {
    "text": {"kind": "text", "columns": ["story"], "encoder": "hashed_ngrams"},
    "tabular": {"kind": "tabular", "columns": ["weight", "shape"]},
}


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    return FusionClassifier(modalities=MODALITIES, **QUICK | {"epochs": None}).fit(*table())


@pytest.mark.parametrize(
    "estimator", [kind(**QUICK | {"epochs": 40, "width": 32}) for kind in (FusionClassifier, FusionRegressor)]
)
def test_scikit_learn_contract(estimator: Any) -> None:
    passed = 0
    for checked, check in estimator_checks_generator(estimator, legacy=True):
        try:
            check(checked)
            passed += 1
        except SkipTest as reason:  # the array API is opt-in by an environment variable
            assert "SCIPY_ARRAY_API" in str(reason)
    assert passed > 50


def test_both_modalities_are_needed_and_used(fitted: FusionClassifier) -> None:
    frame, y = table(seed=1)
    assert fitted.score(frame, y) > 0.9
    alone = fitted.predict_subsets(frame)
    assert set(alone) == {(), ("text",), ("tabular",), ("text", "tabular")}
    for subset in (("text",), ("tabular",)):
        right = (fitted.classes_[alone[subset].argmax(1)] == y).mean()
        assert 0.35 < right < 0.75, "each modality alone knows half of it"
    np.testing.assert_allclose(alone[("text", "tabular")], fitted.predict_proba(frame))
    np.testing.assert_allclose(fitted.predict_proba(frame).sum(1), 1.0)


def undocumented(model: Any) -> list[str]:
    """Fitted attributes that no docstring of its classes names."""
    said = " ".join(kind.__doc__ or "" for kind in type(model).__mro__ if kind.__module__.startswith("plait."))
    names = {name for name in (*vars(model), *dir(type(model))) if name.endswith("_") and not name.startswith("_")}
    assert len(names) > 5
    return sorted(name for name in names if not re.search(rf"\b{name}\b", said))


def test_fitted_attributes_are_documented(fitted: FusionClassifier) -> None:
    pairs = pd.DataFrame({"name": [f"{w} {i}" for i, w in enumerate(["ant", "bee"] * 10)], "size": range(20)})
    modalities = {
        "text": {"kind": "text", "columns": ["name"], "encoder": "hashed_ngrams"},
        "number": {"kind": "tabular", "columns": ["size"]},
    }
    aligner = ModalityAligner(modalities=modalities, stage="cca", store="none").fit(pairs)
    aligner.index(pairs)
    assert undocumented(fitted) == undocumented(aligner) == []


def test_any_pattern_of_absence_is_predicted(fitted: FusionClassifier) -> None:
    frame, _ = table(seed=2)
    holes = frame.astype(object)
    holes.loc[::3, "story"] = None
    holes.loc[1::3, ["weight", "shape"]] = None
    holes.loc[2::9, ["story", "weight", "shape"]] = None
    assert np.isfinite(fitted.predict_proba(holes)).all()
    only_text = fitted.predict_subsets(frame, [("text",)])[("text",)]
    np.testing.assert_allclose(fitted.predict_proba(holes)[1::3], only_text[1::3], atol=1e-6)


def test_what_an_absent_cell_holds_never_matters(fitted: FusionClassifier) -> None:
    frame, _ = table(seed=3)
    empty, space = frame.assign(story=""), frame.assign(story="   ")
    np.testing.assert_array_equal(fitted.predict_proba(empty), fitted.predict_proba(space))


def test_trained_with_absences() -> None:
    frame, y = table()
    frame = frame.astype(object)
    frame.loc[::4, "story"] = None
    frame.loc[1::4, ["weight", "shape"]] = None
    model = FusionClassifier(modalities=MODALITIES, **QUICK | {"epochs": None}).fit(frame, y)
    assert model.record_["absent"]["text"] == pytest.approx(0.25, abs=0.01)
    whole, truth = table(seed=4)
    assert model.score(whole, truth) > 0.85


def test_same_seed_same_numbers_and_row_order_does_not_matter() -> None:
    frame, y = table()
    first = FusionClassifier(modalities=MODALITIES, **QUICK).fit(frame, y).predict_proba(frame)
    order = np.random.default_rng(0).permutation(len(frame))
    second = FusionClassifier(modalities=MODALITIES, **QUICK).fit(frame.iloc[order], y[order]).predict_proba(frame)
    np.testing.assert_allclose(first, second, atol=1e-6)
    other = FusionClassifier(modalities=MODALITIES, **QUICK, random_state=1).fit(frame, y).predict_proba(frame)
    assert not np.allclose(first, other)


def test_in_pipeline_cross_validation_and_grid() -> None:
    frame, y = table(120)
    model = FusionClassifier(modalities=MODALITIES, **QUICK)
    pipe = make_pipeline(FunctionTransformer(), clone(model))
    assert cross_val_score(pipe, frame, y, cv=2).mean() > 0.4
    search = GridSearchCV(model, {"dropout": [0.0, 0.4]}, cv=2).fit(frame, y)
    assert search.best_params_["dropout"] in (0.0, 0.4)


def test_class_weight_moves_towards_the_rare_class() -> None:
    frame, y = table(240)
    y = np.where(y == "ws", "rare", "common")
    rng = np.random.default_rng(0)
    kept = (y == "common") | (rng.random(240) < 0.3)
    frame, y = frame[kept].assign(weight=rng.normal(size=int(kept.sum()))), y[kept]
    rare = [
        FusionClassifier(modalities=MODALITIES, class_weight=w, **QUICK).fit(frame, y).predict_proba(frame)[:, 1].mean()
        for w in (None, "balanced", {"rare": 20.0})
    ]
    assert rare[0] < rare[1] < rare[2]


def test_lists_of_which_few_have_bars_are_warned_of() -> None:
    """Of very many distinct targets some are looked at, and the one with a bar is none of them."""
    lists = [str([f"i{n % 50}", f"j{n // 50}"]) for n in range(5000)]
    with pytest.warns(PlaitWarning, match="several labels a row"):
        warn_of_lists([lists[0], "x|y", *lists[1:]])


def test_weights_of_classes_do_not_tell_held_out_rows_apart() -> None:
    """Which of the warm rows are rare is drawn: no held-out loss can be below that of knowing the share alone."""
    n, rng = 900, np.random.default_rng(1001)
    frame, _ = table(n, 1)
    warm = frame["story"].str.contains("warm").to_numpy()
    rare = warm & (rng.random(n) < 0.22)
    frame = frame.assign(weight=rng.normal(size=n))
    told = QUICK | {"class_weight": "balanced", "branches": ["trees"], "random_state": 1}
    model = FusionClassifier(modalities=MODALITIES, **told).fit(frame, np.where(rare, "rare", "usual"))
    weight = np.where(rare, n / rare.sum(), n / (~rare).sum()) / 2
    share = weight[rare].sum() / weight[warm].sum()
    least = float((weight * -np.log(np.where(rare, share, np.where(warm, 1 - share, 1.0)))).sum() / weight.sum())
    assert model.leaderboard_.set_index("branch")["loss"]["trees"] > 0.95 * least


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_count_more_do_not_tell_held_out_rows_apart(seed: int, repeated: bool) -> None:
    """Which rows weigh more, and are of the rare class, is drawn: who ranks held-out ones better than by chance has seen it."""
    n, rng = 600, np.random.default_rng(seed + 100)
    frame = pd.DataFrame({"v": list(rng.normal(size=(n, 1000)))})
    rare = rng.random(n) < 0.2
    y, times = np.where(rare, "rare", "usual"), np.where(rare, 8, 1)
    given = (frame.loc[frame.index.repeat(times)], y.repeat(times), None) if repeated else (frame, y, times * 1.0)
    told = QUICK | {"branches": ["trees"], "members": 3, "metric": "auc", "random_state": seed}
    model = FusionClassifier(modalities={"v": {"kind": "vector", "columns": ["v"]}}, **told).fit(*given)
    assert model.leaderboard_.set_index("branch")["auc_macro"]["trees"] < 0.62  # 0.82 and 0.84 where weights scale


@pytest.mark.parametrize("dim", [4, 300])
def test_features_are_scaled_by_each_row_once(dim: int) -> None:
    """However often a row is given, and whatever it weighs, if anything."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, dim)).astype(np.float32), np.arange(80) % 2
    times = rng.integers(1, 5, 80)
    modalities = {"v": {"kind": "vector", "columns": ["v"]}}

    def scaler(x: np.ndarray, y: np.ndarray, weight: Any = None) -> dict[str, Any]:
        told = QUICK | {"branches": ["linear"], "epochs": 1}
        model = FusionClassifier(modalities=modalities, **told).fit(pd.DataFrame({"v": list(x)}), y, weight)
        return {name: value.numpy() for name, value in model.scalers_["v"].state().items()}

    plain = scaler(x, y)
    assert set(plain) == ({"mean", "scale"} if dim == 4 else {"mean", "scale", "axes"})
    np.testing.assert_allclose(plain["mean"], x.mean(0), atol=1e-5)
    for other in (scaler(x.repeat(times, 0), y.repeat(times)), scaler(x, y, times.astype(float))):
        for name, value in plain.items():
            np.testing.assert_array_equal(other[name], value)
    without = scaler(x, y, (times > 1).astype(float))
    np.testing.assert_array_equal(without["mean"], scaler(x[times > 1], y[times > 1])["mean"])


def few_cells(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Three columns of two or three categories, a class drawn by them, and its chance."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({c: rng.choice(list("xyz"[:k]), n) for c, k in (("a", 3), ("b", 2), ("c", 2))})
    chance = 0.15 + 0.3 * (frame["a"] == "x") + 0.4 * (frame["b"] == "y")
    return frame, np.where(rng.random(n) < chance, "yes", "no"), chance.to_numpy()


@pytest.mark.filterwarnings("ignore::plait.PlaitWarning")
def test_rows_of_few_cells_are_draws_not_copies() -> None:
    """Twelve kinds of rows, each with both classes: made one each, 24 rows were left, and none to hold out."""
    frame, y, _ = few_cells(600, 0)
    new, seen, chance = few_cells(4000, 1)
    model = FusionClassifier(store="none", progress=False, random_state=0).fit(frame, y)
    loss = -np.log(model.predict_proba(new)[np.arange(4000), (seen == "yes").astype(int)]).mean()
    least = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance)).mean()
    assert loss < least + 0.035  # 0.06 more than what is known to those who know the chances, where equal rows were one
    assert model.leaderboard_.set_index("branch")["loss"]["mixture"] == pytest.approx(least, abs=0.05)


@pytest.mark.filterwarnings("ignore::plait.PlaitWarning")
def test_a_weight_of_three_is_three_rows_of_few_cells_too() -> None:
    frame, y, _ = few_cells(80, 2)
    times = np.random.default_rng(0).integers(0, 4, 80)
    told = QUICK | {"random_state": 0}
    a = FusionClassifier(**told).fit(frame, y, sample_weight=times)
    b = FusionClassifier(**told).fit(frame.loc[frame.index.repeat(times)], y.repeat(times))
    np.testing.assert_allclose(a.predict_proba(frame), b.predict_proba(frame), atol=1e-6)


def test_multilabel_from_bars_lists_and_indicators() -> None:
    frame, y = table(200)
    lists = [["warm"] * (v[0] == "w") + ["big"] * (v[1] == "b") for v in y]
    bars = pd.Series(["|".join(v) for v in lists])
    told = QUICK | {"epochs": 40}
    a = FusionClassifier(modalities=MODALITIES, task="multilabel", **told).fit(frame, bars)
    b = FusionClassifier(modalities=MODALITIES, task="multilabel", **told).fit(frame, lists)
    indicator = np.array([["big" in v, "warm" in v] for v in lists]).astype(int)
    c = FusionClassifier(modalities=MODALITIES, **told).fit(frame, indicator)
    assert a.classes_.tolist() == ["big", "warm"]
    np.testing.assert_allclose(a.predict_proba(frame), b.predict_proba(frame))
    np.testing.assert_allclose(a.predict_proba(frame), c.predict_proba(frame))
    assert (a.predict(frame) == indicator).mean() > 0.85


def test_bars_taken_for_one_class_a_row_are_warned_of() -> None:
    frame, y = table(60)
    bars = np.array([f"{v[0]}|{v[1]}" for v in y], dtype=object)
    few = QUICK | {"epochs": 1}
    with pytest.warns(PlaitWarning, match="several labels a row .*task='multilabel'"):
        model = FusionClassifier(modalities=MODALITIES, **few).fit(frame, bars)
    assert model.task_ == "classification"
    with warnings.catch_warnings(record=True) as given:
        FusionClassifier(modalities=MODALITIES, task="classification", **few).fit(frame, bars)
    assert not any("several labels" in str(w.message) for w in given)


def test_regression_in_its_own_unit() -> None:
    frame, _ = table(300)
    y = 1000 + 50 * frame["weight"].to_numpy() + 30 * frame["story"].str.contains("warm").to_numpy()
    model = FusionRegressor(modalities=MODALITIES, **QUICK | {"epochs": 60, "width": 32}).fit(frame, y)
    assert model.score(frame, y) > 0.9
    nothing = model.predict_subsets(frame, [()])[()]
    np.testing.assert_allclose(nothing, y.mean(), rtol=1e-3)


def test_a_remembered_table_is_encoded_once(fitted: FusionClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.estimators import preparing

    frame, _ = table(seed=7)
    calls = []
    encode = preparing.scaled
    monkeypatch.setattr(preparing, "scaled", lambda *told: calls.append(1) or encode(*told))
    with fitted.remembering():
        first = fitted.predict_proba(frame)
        np.testing.assert_array_equal(first, fitted.predict_proba(frame))
        assert len(calls) == 1
        fitted.predict_proba(frame.copy())
        assert len(calls) == 2
    np.testing.assert_array_equal(first, fitted.predict_proba(frame))
    assert len(calls) == 3


# -- saving ----------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_predicts_the_same(fitted: FusionClassifier, tmp_path: Path) -> None:
    frame, _ = table(seed=5)
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, FusionClassifier)
    np.testing.assert_array_equal(fitted.predict_proba(frame), again.predict_proba(frame))
    assert fitted.predict(frame).tolist() == again.predict(frame).tolist()
    assert again.record_["seed"] == 0
    written = {p.name for p in (tmp_path / "model").iterdir()}
    assert written == {"model.json", "weights.safetensors", "README.md", ".plait.json"}
    assert sum(p.stat().st_size for p in (tmp_path / "model").iterdir()) < 10_000_000
    again.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").predict_proba(frame), fitted.predict_proba(frame))


class Mine(FusionClassifier):
    """A user's own, which load does not know."""


class Bare(FusionEstimator):
    """Extends what is no kind of a saved model."""


def test_a_class_of_ones_own_is_saved_as_what_it_extends(tmp_path: Path) -> None:
    frame, y = table(60)
    mine = Mine(modalities=MODALITIES, **QUICK | {"epochs": 2}).fit(frame, y)
    with pytest.warns(PlaitWarning, match="a Mine is saved as a FusionClassifier"):
        mine.save(tmp_path / "m")
    assert np.allclose(load(tmp_path / "m").predict_proba(frame), mine.predict_proba(frame), atol=1e-6)
    with pytest.raises(ConfigError, match="a Bare could not be loaded again"):
        Bare(**QUICK).fit(frame, y)


def test_regressor_and_multilabel_survive_saving(tmp_path: Path) -> None:
    frame, y = table(80)
    regressor = FusionRegressor(modalities=MODALITIES, **QUICK).fit(frame, frame["weight"])
    regressor.save(tmp_path / "r")
    np.testing.assert_array_equal(load(tmp_path / "r").predict(frame), regressor.predict(frame))
    labels = FusionClassifier(modalities=MODALITIES, task="multilabel", **QUICK).fit(frame, [list(v) for v in y])
    labels.save(tmp_path / "l")
    np.testing.assert_array_equal(load(tmp_path / "l").predict(frame), labels.predict(frame))
    with pytest.raises(ConfigError, match="holds a FusionRegressor"):
        FusionClassifier.load(tmp_path / "r")


def test_another_encoder_is_refused_when_loading(fitted: FusionClassifier, tmp_path: Path) -> None:
    from plait.base import documents

    fitted.save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    told = json.loads(path.read_text())
    told["encoders"]["text"]["fingerprint"] = "0" * 32
    told["checksum"] = documents.checksum({k: v for k, v in told.items() if k != "checksum"})
    path.write_text(json.dumps(told))
    with pytest.raises(ModelError, match="another one than the model was fitted with"):
        load(tmp_path / "m")


SHARED = """
target: kind
task: classification
modalities:
  words:
    kind: text
    columns: [story, shape, size, big]
    encoder: hashed_ngrams
  facts:
    kind: tabular
    columns: [shape, size, big]
    types: {shape: category, size: number, big: boolean}
"""


@pytest.mark.parametrize("shape", ["object", "string", "category"])
def test_a_column_serves_in_two_modalities(shape: str, tmp_path: Path) -> None:
    """The text is made of textual and categorical columns; what says the label stands in both modalities."""
    n = 60
    frame = pd.DataFrame(
        {"story": [f"a thing {i % 7}" for i in range(n)], "size": np.arange(n) % 5, "big": np.arange(n) % 2 == 0}
    )
    frame["shape"] = pd.Series(np.array(["round", "flat", "odd"])[np.arange(n) % 3]).astype(shape)
    frame["kind"] = np.array(["a", "b", "c"])[np.arange(n) % 3]
    found = from_yaml(SHARED)
    assert from_yaml(to_yaml(found)) == found
    assert found.columns == ("story", "shape", "size", "big")
    model = FusionClassifier(modalities=found, **QUICK).fit(frame.drop(columns="kind"), frame["kind"])
    again = load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    for alone in ("words", "facts"):
        assert (
            again.classes_[again.predict_subsets(frame, [(alone,)])[(alone,)].argmax(1)] == frame["kind"]
        ).mean() > 0.9
    worths = {told["modality"]: told["value"] for told in explain(again, frame).overall}
    assert min(worths["words"], worths["facts"]) > 0.1
    assert evaluate(again, frame, bootstrap=0).absences == {"words": 0, "facts": 0}
    with pytest.raises(TableError, match="column 'shape' of modality 'words' and 'facts' is missing"):
        again.predict(frame.drop(columns="shape"))


def test_a_column_has_one_type() -> None:
    told = (
        SHARED.replace("    encoder: hashed_ngrams\n", "")
        .replace("kind: text", "kind: tabular")
        .replace("big]\n  facts", "big]\n    types: {size: category}\n  facts")
    )
    with pytest.raises(ConfigError, match="facts: column 'size' is number here and category in another modality"):
        from_yaml(told)


def test_a_condition_says_what_else_it_changes() -> None:
    frame = pd.DataFrame({"story": ["a", "b"], "shape": ["x", "y"], "size": [1, 2], "big": [True, False]})
    with pytest.warns(PlaitWarning, match="column 'shape', 'size', 'big' serves in modality 'words', too"):
        assert parse("absent:facts=1").apply(frame, from_yaml(SHARED))["shape"].isna().all()


# -- bad input -------------------------------------------------------------------------------------------------------


def test_a_missing_column_is_named_or_absent(fitted: FusionClassifier) -> None:
    frame, y = table(seed=6)
    less = frame.drop(columns="story")
    with pytest.raises(
        PlaitError, match=r"'story' of modality 'text' is missing; .*pass --partial \(in Python: model.partial = True\)"
    ):
        fitted.predict(less)
    alone = fitted.predict_subsets(frame, [("tabular",)])[("tabular",)]
    np.testing.assert_allclose(fitted.predict_proba(less, partial=True), alone, atol=1e-6)
    assert fitted.predict(less, partial=True).tolist() == fitted.classes_[alone.argmax(1)].tolist()
    np.testing.assert_allclose(
        fitted.predict_subsets(less, [("tabular",)], partial=True)[("tabular",)], alone, atol=1e-6
    )
    assert not fitted.partial
    later = copy.copy(fitted)
    later.partial = True
    np.testing.assert_allclose(later.predict_proba(less), alone, atol=1e-6)
    with pytest.raises(PlaitError, match="--partial"):
        later.predict_proba(less, partial=False)
    assert evaluate(fitted, less, y=y, partial=True, bootstrap=0).absences == {"text": len(less), "tabular": 0}


def test_a_modality_that_lacks_only_some_columns_is_told_of(fitted: FusionClassifier) -> None:
    frame, y = table(20, seed=6)
    for ask in (fitted.predict, partial(evaluate, fitted, y=y, bootstrap=0)):
        with pytest.warns(PlaitWarning, match="modality 'tabular': column 'shape' is missing and counts as empty"):
            ask(frame.drop(columns="shape"), partial=True)


def test_extra_columns_and_another_order_do_not_matter(fitted: FusionClassifier) -> None:
    frame, _ = table(seed=6)
    more = frame[["shape", "story", "weight"]].assign(extra=1)
    np.testing.assert_array_equal(fitted.predict_proba(frame), fitted.predict_proba(more))


def test_swapped_types_mean_the_same(fitted: FusionClassifier) -> None:
    frame, _ = table(seed=6)
    text = frame.assign(weight=frame["weight"].map(repr))
    np.testing.assert_allclose(fitted.predict_proba(frame), fitted.predict_proba(text), atol=1e-6)


def test_nan_infinity_and_huge_numbers(fitted: FusionClassifier) -> None:
    frame, _ = table(seed=6)
    frame.loc[:3, "weight"] = [np.nan, np.inf, -np.inf, 1e300]
    with pytest.warns(PlaitWarning, match="infini"):
        assert np.isfinite(fitted.predict_proba(frame)).all()


def test_cells_of_ten_thousand_characters(fitted: FusionClassifier) -> None:
    frame, _ = table(4)
    assert np.isfinite(fitted.predict_proba(frame.assign(story="long words " * 1000))).all()


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"encoders": {"txt": "minilm"}}, ConfigError, "did you mean 'text'"),
        ({"encoders": {"text": "minilmm"}}, ConfigError, "did you mean 'minilm'"),
        ({"encoders": {"text": {"name": "hashed_ngrams", "widht": 3}}}, ConfigError, "unknown field 'widht'"),
        ({"encoders": {"text": "logmel"}}, ConfigError, "takes audio, not text"),
        ({"fusion": "konkat"}, ConfigError, "did you mean 'concat'"),
        ({"depth": "erly"}, ConfigError, "did you mean 'early'"),
        ({"members": 0}, ConfigError, "members must be a whole number from 1 to 1,000, found 0"),
        ({"task": "regression"}, ConfigError, "classification or multilabel"),
        ({"class_weight": {"nobody": 2.0}}, PlaitError, "class_weight"),
    ],
)
def test_bad_settings_are_one_clear_line(change: dict[str, Any], error: type[Exception], complaint: str) -> None:
    frame, y = table(40)
    with pytest.raises(error, match=complaint) as caught:
        FusionClassifier(modalities=MODALITIES, **QUICK | change).fit(frame, y)
    assert "\n" not in str(caught.value)


def test_a_bad_target_is_one_clear_line() -> None:
    frame, y = table(40)
    model = FusionClassifier(modalities=MODALITIES, **QUICK)
    for target, complaint in (
        (np.full(40, "x"), "one class only"),
        ([None, *y[1:]], "1 rows"),
        (y[:10], "40 rows and y has 10"),
    ):
        with pytest.raises(TableError, match=complaint):
            model.fit(frame, target)
    with pytest.raises(TableError, match="must be numbers"):
        FusionRegressor(modalities=MODALITIES, **QUICK).fit(frame, y)


def test_a_class_with_one_row_is_learned_without_trouble() -> None:
    frame, y = table(60)
    y = y.astype(object)
    y[7] = "only me"
    model = FusionClassifier(modalities=MODALITIES, **QUICK).fit(frame, y)
    assert "only me" in model.classes_


def test_a_table_without_any_use_is_refused() -> None:
    with pytest.raises(TableError, match="no column to learn from"):
        FusionClassifier(**QUICK).fit(pd.DataFrame({"a": [1.0] * 20}), ["x", "y"] * 10)


@pytest.mark.parametrize("modalities", [None, MODALITIES])
def test_a_dropped_column_is_no_input_and_may_be_missing_afterwards(modalities: Any, tmp_path: Path) -> None:
    frame, y = table()
    given = frame.assign(leaky=y)
    modalities = modalities and {**modalities, "rest": {"kind": "tabular", "columns": ["leaky"]}}
    settings = {**QUICK, "modalities": modalities, "encoders": {"text": "hashed_ngrams"}}
    model = clone(FusionClassifier(drop=["leaky", "shape"], **settings)).fit(given, y)
    assert set(model.schema_.columns) == {"story", "weight"}
    assert set(model.schema_.ignored) == {"leaky", "shape"}
    assert model.leaks_ == []
    expected = model.predict_proba(given)
    np.testing.assert_array_equal(model.predict_proba(frame[["weight", "story"]]), expected)
    np.testing.assert_array_equal(model.predict_proba(given.assign(leaky="no", shape=None)), expected)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert list(again.drop) == ["leaky", "shape"]
    assert again.schema_.ignored == model.schema_.ignored
    np.testing.assert_array_equal(again.predict_proba(frame.drop(columns="shape")), expected)
    plain = FusionClassifier(**{**settings, "modalities": modalities and MODALITIES})
    narrow = plain.set_params(drop="shape").fit(frame, y)
    np.testing.assert_allclose(narrow.predict_proba(frame), expected, atol=1e-6)


def test_what_cannot_be_dropped_is_refused_by_fit() -> None:
    frame, y = table(60)
    with pytest.raises(TableError, match="drop: the table has no column 'weigth'; did you mean 'weight'"):
        FusionClassifier(drop=["weigth"], **QUICK).fit(frame, y)
    with pytest.raises(ConfigError, match="no column is left to learn from"):
        FusionClassifier(drop=list(frame.columns), **QUICK).fit(frame, y)
    with pytest.raises(ConfigError, match="drop must be text"):
        FusionClassifier(drop=7, **QUICK).fit(frame, y)  # type: ignore[arg-type]
