"""Amounts: intervals around predicted numbers, transforms of the target, and the metric that leads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, FusionRegressor, load
from plait.base.errors import ConfigError, ModelError
from plait.cli import main
from plait.evaluation.evaluate import evaluate

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
