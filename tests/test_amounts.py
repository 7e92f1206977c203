"""Amounts: intervals around predicted numbers, transforms of the target, and the metric that leads."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor, load
from plait.base.errors import ConfigError, ModelError, TableError
from plait.cli import main
from plait.evaluation.evaluate import evaluate
from plait.networks.tasks import Regression, restore
from plait.networks.transforms import TRANSFORMS

SMALL = {"store": "none", "epochs": 15, "members": 5, "branches": ("joint", "linear"), "progress": False}


def two_parts(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A number that two modalities carry, with noise of standard deviation 0.5; a third of the rows lack the second one."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    y = a + b + 0.5 * rng.normal(size=n)
    table = pd.DataFrame({"a": a, "b": np.where(rng.random(n) < 1 / 3, np.nan, b)})
    return table, y


PARTS = {name: {"kind": "tabular", "columns": [name]} for name in "ab"}


@pytest.fixture(scope="module")
def numbers():
    table, y = two_parts(600, 0)
    return FusionRegressor(modalities=PARTS, **SMALL).fit(table, y)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("hidden", [None, "a"])
def test_intervals_cover_new_rows_as_often_as_they_say_whatever_is_present(numbers, coverage, hidden):
    table, y = two_parts(2000, 1)
    if hidden:
        table[hidden] = np.nan
    bounds = numbers.predict_interval(table, coverage)
    for rows in (table["b"].isna(), table["b"].notna()):
        inside = ((bounds[rows, 0] <= y[rows]) & (y[rows] <= bounds[rows, 1])).mean()
        # of the rows judged, and of the (about 600, 400 of them complete) held-out rows that set the width
        noise = (coverage * (1 - coverage) * (1 / rows.sum() + 1 / 400)) ** 0.5
        assert abs(inside - coverage) < 3.3 * noise


def test_an_absent_modality_widens_the_interval(numbers):
    table, _ = two_parts(200, 1)
    known = table[table["b"].notna()]
    width = np.ptp(numbers.predict_interval(known), axis=1).mean()
    assert np.ptp(numbers.predict_interval(known.assign(b=np.nan)), axis=1).mean() > 1.5 * width
    nothing = np.ptp(numbers.predict_interval(known.assign(a=np.nan, b=np.nan)), axis=1)
    assert nothing.mean() > 1.5 * width


def test_intervals_are_saved_and_those_of_old_models_are_told_of(numbers, tmp_path):
    table, y = two_parts(50, 2)
    again = load(numbers.save(tmp_path / "model"))
    assert np.array_equal(again.predict_interval(table, 0.8), numbers.predict_interval(table, 0.8))
    judged = evaluate(again, table, y=y, bootstrap=0).metrics
    bounds = again.predict_interval(table)
    assert judged["coverage"]["value"] == ((bounds[:, 0] <= y) & (y <= bounds[:, 1])).mean()
    assert judged["interval_width"]["value"] == pytest.approx(np.ptp(bounds, axis=1).mean())
    again.members_.intervals = None  # as of a folder that an earlier version wrote
    with pytest.raises(ModelError, match=r"knows no intervals: .*; fit it again"):
        again.predict_interval(table)
    assert "coverage" not in evaluate(again, table, y=y, bootstrap=0).metrics


def test_a_coverage_that_cannot_be_is_refused(numbers):
    table, _ = two_parts(5, 2)
    with pytest.raises(ConfigError, match="coverage must be"):
        numbers.predict_interval(table, 90)
    with pytest.raises(
        ModelError, match=r"coverage 0\.9999: the model had \d+ held-out rows, enough for 0\.99\d at most"
    ):
        numbers.predict_interval(table, 0.9999)


def run(*arguments: object) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_predict_writes_the_bounds(numbers, tmp_path):
    table, _ = two_parts(20, 3)
    table.to_csv(tmp_path / "table.csv", index=False)
    model = numbers.save(tmp_path / "model")
    assert run("predict", model, tmp_path / "table.csv", "--interval", 0.8, "--out", tmp_path / "out.csv") == 0
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written) == ["prediction", "low", "high"]
    assert np.allclose(written[["low", "high"]], numbers.predict_interval(table, 0.8))


def test_intervals_are_for_numbers(tmp_path, capsys):
    table, y = two_parts(60, 0)
    model = FusionClassifier(modalities=PARTS, **SMALL).fit(table, y > 0).save(tmp_path / "model")
    table.to_csv(tmp_path / "table.csv", index=False)
    assert run("predict", model, tmp_path / "table.csv", "--interval", 0.8) == 2
    assert "--interval 0.8: is for a predicted number; the task is classification" in capsys.readouterr().err


# -- the metric that leads -------------------------------------------------------------------------------------------


def rare(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two classes that overlap, one of them a sixth of the rows."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 1 / 6
    return pd.DataFrame({"a": rng.normal(size=n) + y, "b": rng.normal(size=n) + y}), np.where(y, "spam", "ham")


def test_answers_keep_the_expected_cost_low(tmp_path):
    table, y = rare(400, 0)
    costs = {"spam": {"ham": 8}}
    model = FusionClassifier(modalities=PARTS, metric="cost", costs=costs, **SMALL).fit(table, y)
    new, truth = rare(800, 1)
    p = model.predict_proba(new)
    expected = np.where(8 * p[:, 1] > p[:, 0], "spam", "ham")  # missing spam costs 8, losing ham 1
    assert np.array_equal(model.predict(new), expected)
    assert (expected != np.array(["ham", "spam"])[p.argmax(1)]).sum() > 50
    judged = evaluate(model, new, y=truth, bootstrap=0)
    paid = np.where(truth == "spam", 8, 1) * (expected != truth)
    assert judged.main_metric == next(iter(judged.metrics)) == "cost"
    assert judged.score["value"] == pytest.approx(paid.mean())
    assert paid.mean() < (np.where(truth == "spam", 8, 1) * (np.array(["ham", "spam"])[p.argmax(1)] != truth)).mean()
    assert model.score(new, truth) == pytest.approx((expected == truth).mean())
    assert np.array_equal(load(model.save(tmp_path / "model")).predict(new), expected)


def test_a_metric_that_counts_rare_classes_tunes_the_answer_on_held_out_rows():
    table, y = rare(400, 0)
    new, truth = rare(1500, 1)
    plain = FusionClassifier(modalities=PARTS, **SMALL).fit(table, y)
    tuned = FusionClassifier(modalities=PARTS, metric="balanced_accuracy", **SMALL).fit(table, y)
    assert np.array_equal(plain.predict_proba(new), tuned.predict_proba(new))
    judged = [evaluate(model, new, y=truth, bootstrap=0) for model in (plain, tuned)]
    assert [each.main_metric for each in judged] == ["accuracy", "balanced_accuracy"]
    before, after = (each.metrics["balanced_accuracy"]["value"] for each in judged)
    assert after > before + 0.05
    assert "balanced_accuracy" in tuned.leaderboard_


def test_several_labels_get_thresholds_by_the_metric():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = (x + rng.normal(size=(300, 2)) > 0.8).astype(int)
    table = pd.DataFrame(x, columns=["a", "b"])
    f1, exact = (
        FusionClassifier(modalities=PARTS, metric=name, **SMALL).fit(table, y) for name in (None, "subset_accuracy")
    )
    assert np.array_equal(f1.predict_proba(table), exact.predict_proba(table))
    right = [(model.predict(table) == y).all(1).mean() for model in (f1, exact)]
    assert right[1] > right[0] + 0.02
    assert exact.thresholds_[0] > f1.thresholds_[0]


@pytest.mark.parametrize("branches", [("joint",), ("trees",)])
def test_the_metric_decides_the_loss_of_a_number(branches):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    settings = {**SMALL, "members": 2, "modalities": PARTS, "branches": branches}
    y = table["a"].to_numpy() + 3 * rng.exponential(size=600) ** 2  # mean 6 + a, median 1.4 + a
    mean, middle = (
        FusionRegressor(metric=name, target_transform="none", **settings).fit(table, y).predict(table).mean()
        for name in ("RMSE", "MAE")
    )
    assert abs(mean - y.mean()) < 1
    assert middle < mean - 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "acuracy"}, "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ({"metric": "mae"}, "metric 'mae': is for regression; the task is classification (accuracy, "),
        ({"metric": "coverage"}, "metric 'coverage': judges intervals, not answers"),
        ({"metric": "cost"}, "metric cost: needs costs"),
        ({"metric": "auc", "costs": {"ham": {"spam": 2}}}, "costs: are for metric cost; metric is 'auc'"),
        ({"costs": {"ham": {"spma": 2}}}, "costs: unknown class 'spma' (did you mean 'spam'?)"),
        ({"costs": {"ham": {"spam": -2}}}, "costs: expected {true class: {answer: a number from 0}}, found -2"),
        ({"costs": {"ham": 3}}, "costs: expected {true class: {answer: a number from 0}}, found"),
        ({"target_transform": "log"}, "target_transform log: is for a number; the task is classification"),
    ],
)
def test_a_metric_that_cannot_lead_is_one_clear_line(settings, said):
    table, y = rare(60, 0)
    with pytest.raises(ConfigError) as caught:
        FusionClassifier(modalities=PARTS, **SMALL, **settings).fit(table, y)
    assert str(caught.value).count("f1_macro") < 2
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_tunes_and_shows_the_metric_first(tmp_path, capsys):
    table, y = rare(150, 0)
    table.assign(kind=y).to_csv(tmp_path / "t.csv", index=False)
    options = [
        "--members",
        2,
        "--epochs",
        3,
        "--store",
        "none",
        "--set",
        "branches=[joint]",
        "--set",
        "costs.spam.ham=5",
    ]
    folder = tmp_path / "model"
    assert run("fit", tmp_path / "t.csv", "--target", "kind", "--metric", "cost", *options, "--out", folder) == 0
    shown = capsys.readouterr().out
    assert "cost on 23 held-out rows" in shown
    assert "mean cost differs by" in shown
    assert run("evaluate", folder, tmp_path / "t.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index(next(line for line in lines if line.startswith("metric"))) + 1].startswith("cost ")


# -- transforms of the target ------------------------------------------------------------------------------------------


def prices(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """An amount whose logarithm two modalities carry."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    return pd.DataFrame({"a": a, "b": b}), 50 * np.exp(a + b + 0.3 * rng.normal(size=n))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_undone(name):
    y = prices(500, 0)[1]
    task = Regression.learn(y, np.ones(500), name)
    assert np.allclose(task.decode(task.encode(y).double()).numpy(), y, rtol=1e-4)
    assert abs(float(task.encode(y).mean())) < 1e-3
    again = restore("regression", json.loads(json.dumps(task.state())))
    assert again == task
    far = torch.tensor([[-50.0], [50.0]], dtype=torch.float64, requires_grad=True)
    values = task.decode(far)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(far.grad).all()
    assert values[0] >= 0
    if name != "none":
        assert values[1] <= y.max() + 0.1 * np.ptp(y) + 1e-6 * y.max()


@pytest.mark.parametrize("branches", [("joint",), ("trees",)])
def test_a_heavy_tailed_amount_is_transformed_and_better_for_it(branches):
    table, y = prices(400, 0)
    new, truth = prices(600, 1)
    settings = {**SMALL, "members": 2, "branches": branches, "modalities": PARTS}
    plain, chosen = (FusionRegressor(target_transform=name, **settings).fit(table, y) for name in ("none", "auto"))
    assert chosen.members_.task.transform != "none"
    error = [np.abs(model.predict(new) - truth).mean() for model in (plain, chosen)]
    assert error[1] < 0.95 * error[0]
    assert min(model.predict(new).min() for model in (plain, chosen)) >= 0
    again = restore("regression", chosen.members_.task.state())
    assert again == dataclasses.replace(chosen.members_.task, lead="")


def test_where_means_are_asked_for_auto_takes_no_transform_and_the_command_line_tells_of_one(tmp_path, capsys):
    table, y = prices(200, 0)
    table.assign(price=y.round(2)).to_csv(tmp_path / "t.csv", index=False)
    options = ["--members", 2, "--epochs", 3, "--store", "none", "--set", "branches=[joint]", "--no-report"]
    for metric, expected in (("mae", True), ("rmse", False)):
        command = ["fit", tmp_path / "t.csv", "--target", "price", "--metric", metric, "--out", tmp_path / metric]
        assert run(*command, *options) == 0
        shown = capsys.readouterr().out
        assert f"{metric} on 30 held-out rows" in shown
        assert ("The target was learned on a" in " ".join(shown.split())) == expected
    assert run("evaluate", tmp_path / "mae", tmp_path / "t.csv") == 0
    shown = capsys.readouterr().out
    assert "\ncoverage " in shown
    assert "\ninterval_width " in shown


def test_an_even_amount_is_left_as_it_is_and_negative_ones_are_answered(numbers):
    assert numbers.members_.task.transform == "none"
    assert numbers.predict(two_parts(100, 3)[0]).min() < 0
    table, y = two_parts(100, 0)
    with pytest.raises(TableError, match="target_transform log: the target has values below 0 .*; take yeo-johnson"):
        FusionRegressor(modalities=PARTS, target_transform="log", **SMALL).fit(table, y)


def test_intervals_of_a_transformed_amount_cover_and_stay_possible():
    table, y = prices(500, 0)
    new, truth = prices(1500, 1)
    bounds = FusionRegressor(modalities=PARTS, target_transform="log", **SMALL).fit(table, y).predict_interval(new, 0.8)
    inside = ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean()
    assert abs(inside - 0.8) < 3.3 * (0.16 * (1 / 1500 + 1 / 500)) ** 0.5
    assert bounds.min() >= 0


def test_a_mean_of_prices_is_asked_for_by_the_squared_error():
    """The median of a lognormal amount is not its mean: the offset puts that right, as held-out rows ask for it."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    y = np.exp(rng.normal(size=600))  # mean 1.65, median 1
    middle, mean = (
        FusionRegressor(modalities=PARTS, metric=name, target_transform="log", **SMALL)
        .fit(table, y)
        .predict(table)
        .mean()
        for name in ("mae", "rmse")
    )
    assert middle < 1.25
    assert abs(mean - y.mean()) < 0.15


def test_a_wrong_metric_is_refused_before_anything_is_encoded(monkeypatch):
    table, y = rare(60, 0)
    monkeypatch.setattr("plait.encoders.featurize.Featurizer.fit", lambda *arguments: pytest.fail("encoded"))
    with pytest.raises(ConfigError, match="is for regression"):
        FusionClassifier(modalities=PARTS, metric="mae", **SMALL).fit(table, y)
