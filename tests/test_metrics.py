from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from plait.base.errors import ConfigError, ModelError, TableError
from plait.data.labels import codes_of
from plait.metrics.base import MAIN, METRICS, auc, average_precision, inputs, measure, median, metrics
from plait.metrics.bootstrap import affordable, draws, interval, resample_metrics, resample_outputs

TASKS = ("classification", "multilabel", "regression")


def example(task: str, n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and a fair output, with ties in the probabilities and a class that is never predicted."""
    rng = np.random.default_rng(seed)
    if task == "regression":
        y = np.round(rng.normal(size=n), 1)
        return y, np.round(y + rng.normal(size=n), 1)
    raw = np.round(rng.normal(size=(n, 4)), 1) - [0, 0, 0, 4]
    if task == "multilabel":
        return (rng.random((n, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(int), 1 / (1 + np.exp(-raw))
    y = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    raw[np.arange(n), y] += 1
    p = np.exp(raw)
    return y, p / p.sum(1, keepdims=True)


def beside(task, output):
    """What some metrics need beside the output."""
    if task == "classification":
        return {"costs": np.array([[0, 1, 5, 1], [1, 0, 1, 1], [9, 1, 0, 1], [1, 3, 1, 0.0]])}
    return {"intervals": np.stack([output - 1, output + 1], -1)} if task == "regression" else {}


@pytest.fixture(autouse=True)
def _no_warning_is_spilled():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("task", "name"), list(METRICS))
def test_resampled_equals_the_metric_on_repeated_rows(task, name):
    """The fast bootstrap is the slow one: every metric, every resample, against scikit-learn on the rows drawn."""
    y, output = example(task)
    told = inputs(task, output, **beside(task, output))
    metric = METRICS[task, name]
    for counts in draws(len(y), 12, seed=3):
        fast = metric.resampled(y, told[metric.input], counts)
        for column, value in zip(counts.T, fast, strict=True):
            rows = np.repeat(np.arange(len(y)), column.astype(int))
            assert value == pytest.approx(metric.score(y[rows], told[metric.input][rows]).value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("task", "name"), list(METRICS))
def test_every_metric_is_told(task, name):
    metric = METRICS[task, name]
    assert metric.direction in ("higher", "lower", "nominal")
    assert metric.input in ("labels", "probabilities", "values", "intervals", "costs")
    assert metric.summary.endswith(".")
    assert metric.range[0] < metric.range[1]
    y, output = example(task)
    told = inputs(task, output, **beside(task, output))
    assert metric.range[0] <= metric.score(y, told[metric.input]).value <= metric.range[1]


def test_the_issue_s_metrics_are_there_and_the_main_ones_lead():
    wanted = {
        "classification": "accuracy balanced_accuracy log_loss precision_weighted recall_weighted f1_weighted "
        "precision_macro recall_macro f1_macro auc_macro ece brier cost",
        "multilabel": "f1_samples f1_micro f1_macro f1_weighted subset_accuracy log_loss auc_macro map_macro ece",
        "regression": "r2 mae rmse median_ae spearman coverage interval_width",
    }
    for task in TASKS:
        assert set(metrics(task)) == set(wanted[task].split())
        assert MAIN[task] in metrics(task)
    with pytest.raises(ConfigError, match="regression"):
        metrics("regresion")


def test_classification_equals_scikit_learn():
    y, p = example("classification")
    predicted = p.argmax(1)
    found = {k: s.value for k, s in measure("classification", y, p).items()}
    assert found["accuracy"] == sk.accuracy_score(y, predicted)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert found["auc_macro"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    for average in ("weighted", "macro"):
        three = sk.precision_recall_fscore_support(y, predicted, average=average, zero_division=0)[:3]
        assert [found[f"{k}_{average}"] for k in ("precision", "recall", "f1")] == pytest.approx(three)
    onehot = np.eye(4)[y]
    assert found["brier"] == pytest.approx(((p - onehot) ** 2).sum(1).mean())


def test_regression_equals_scikit_learn_and_scipy():
    from scipy.stats import spearmanr

    y, values = example("regression")
    found = {k: s.value for k, s in measure("regression", y, values).items()}
    assert found["r2"] == pytest.approx(sk.r2_score(y, values))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, values))
    assert found["spearman"] == pytest.approx(spearmanr(y, values).statistic)
    assert "coverage" not in found
    wide = measure("regression", y, values, intervals=np.stack([values - 99, values + 99], -1))
    assert wide["coverage"].value == 1.0


def test_multilabel_equals_scikit_learn():
    y, p = example("multilabel")
    found = {k: s.value for k, s in measure("multilabel", y, p, threshold=0.4).items()}
    predicted = (p >= 0.4).astype(int)
    for average in ("micro", "macro", "weighted"):
        assert found[f"f1_{average}"] == pytest.approx(sk.f1_score(y, predicted, average=average, zero_division=0))
    assert found["subset_accuracy"] == sk.accuracy_score(y, predicted)
    assert found["map_macro"] == pytest.approx(sk.average_precision_score(y, p))
    assert found["log_loss"] == pytest.approx(np.mean([sk.log_loss(y[:, c], p[:, c]) for c in range(4)]))


def test_binary_brier_and_calibration_have_known_values():
    y = np.array([1, 1, 0, 0])
    p = np.array([[0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]])
    found = {k: s.value for k, s in measure("classification", y, p).items()}
    assert found["brier"] == pytest.approx((2 * 0.04 + 2 * 0.64) / 4)  # the usual one of two classes
    assert found["ece"] == pytest.approx(0.3)  # one bin: says 0.8, hits 0.5
    sure = measure("classification", np.array([0, 1]), np.eye(2))
    assert sure["ece"].value == 0.0
    assert sure["log_loss"].value == 0.0


def test_calibration_equals_a_plain_loop_over_bins():
    y, p = example("classification", 400)
    confidence, hit = p.max(1), p.argmax(1) == y
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    assert measure("classification", y, p)["ece"].value == pytest.approx(total)


def test_a_class_without_rows_is_left_out_of_auc_and_told():
    y, p = example("classification")
    p = p[y != 3]
    y = y[y != 3]
    found = measure("classification", y, p)["auc_macro"]
    assert found.value == pytest.approx(np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(3)]))
    assert "1 of 4 classes" in found.note


@pytest.mark.parametrize(
    ("task", "name", "y", "output"),
    [
        ("classification", "auc_macro", np.zeros(3, int), np.full((3, 2), 0.5)),
        ("multilabel", "auc_macro", np.zeros((3, 2), int), np.full((3, 2), 0.5)),
        ("multilabel", "map_macro", np.zeros((3, 2), int), np.full((3, 2), 0.5)),
        ("multilabel", "f1_micro", np.zeros((3, 2), int), np.full((3, 2), 0.1)),
        ("multilabel", "f1_weighted", np.zeros((3, 2), int), np.full((3, 2), 0.1)),
        ("regression", "r2", np.ones(3), np.arange(3.0)),
        ("regression", "r2", np.ones(1), np.ones(1)),
        ("regression", "spearman", np.arange(3.0), np.ones(3)),
    ],
)
def test_undefined_is_nan_with_a_reason_and_not_zero(task, name, y, output):
    found = measure(task, y, output)[name]
    assert np.isnan(found.value)
    assert found.note
    counts = np.ones((len(y), 2))
    resampled = METRICS[task, name].resampled(y, inputs(task, output)[METRICS[task, name].input], counts)
    assert np.isnan(resampled).all()


def test_an_unknown_class_is_a_miss_at_probability_zero():
    y = codes_of(np.array(["a", "b", "z"]), ["a", "b"])
    assert y.tolist() == [0, 1, -1]
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    found = {k: s.value for k, s in measure("classification", y, p).items()}
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx((-2 * np.log(0.9) - np.log(np.finfo(float).eps)) / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.01 + (0.81 + 0.01 + 1) / 2) / 3)
    assert found["auc_macro"] == (0.75 + 1.0) / 2  # "a" shares its probability with the unknown one


def test_a_row_rightly_left_without_labels_counts_one():
    y = np.array([[0, 0], [1, 0]])
    assert measure("multilabel", y, np.array([[0.1, 0.1], [0.9, 0.1]]))["f1_samples"].value == 1.0


def test_broken_output_is_refused_in_one_line():
    with pytest.raises(ModelError, match="1 of 3 rows"):
        measure("regression", np.zeros(3), np.array([0.0, np.nan, 1.0]))
    with pytest.raises(TableError, match="2 rows of target, 3 of output"):
        measure("regression", np.zeros(2), np.zeros(3))
    with pytest.raises(TableError, match="0 rows"):
        measure("regression", np.zeros(0), np.zeros(0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=12))
def test_order_statistics_equal_naive_loops(rows):
    positive, score, counts = (np.array(part) for part in zip(*rows, strict=True))
    drawn = np.repeat(np.arange(len(rows)), counts)
    weights = counts[:, None].astype(float)
    pairs = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in drawn
        for j in drawn
        if positive[i] and not positive[j]
    ]
    np.testing.assert_allclose(auc(positive, score, weights), [np.mean(pairs)] if pairs else [np.nan])
    if positive.any():
        found = average_precision(positive, score, weights)[0]
        hits = positive[drawn]
        assert np.isnan(found) if not hits.any() else np.isclose(found, sk.average_precision_score(hits, score[drawn]))
    if len(drawn):
        assert median(score.astype(float), weights)[0] == np.median(score[drawn])


@pytest.mark.parametrize("seed", range(20))
def test_auc_of_weighted_rows(seed: int):
    rng = np.random.default_rng(seed)
    positive, score, weight = rng.random(30) < 0.5, rng.integers(0, 9, 30), rng.random((30, 1))
    found = auc(positive, score, weight)
    np.testing.assert_allclose(found, sk.roc_auc_score(positive, score, sample_weight=weight[:, 0]))
    weight[~positive] = 0.0  # no negative is left: there is nothing to be above, whatever sums round to
    assert np.isnan(auc(positive, score, weight)).all()
    assert np.isnan(auc(np.ones(30, bool), score, weight)).all()
    assert np.isnan(auc(np.zeros(30, bool), score, weight)).all()


def test_draws_are_resamples_and_repeat_with_their_seed():
    first = np.hstack(list(draws(50, 300, seed=4)))
    assert first.shape == (50, 300)
    assert (first.sum(0) == 50).all()
    assert abs(first.var() - 1) < 0.05  # of a Poisson of mean 1, nearly
    np.testing.assert_array_equal(first, np.hstack(list(draws(50, 300, seed=4))))
    assert not np.array_equal(first, np.hstack(list(draws(50, 300, seed=5))))


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(150):
        values = rng.normal(size=60)
        drawn = np.concatenate([values @ c / 60 for c in draws(60, 200, seed=trial)])
        low, high = interval(drawn)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 150 <= 0.99


def test_interval_of_the_calibration_error_holds_the_value_itself():
    """Resamples are worse calibrated than the rows; unmoved, their percentiles can miss the value altogether."""
    rng = np.random.default_rng(1)
    p = rng.uniform(0.5, 1, 200)
    y = (rng.random(200) > p).astype(int)
    output = np.stack([p, 1 - p], -1)
    value = measure("classification", y, output)["ece"].value
    drawn = resample_metrics("classification", y, inputs("classification", output), 400, 0)["ece"]
    assert drawn.mean() > value
    low, high = interval(drawn, centre=value, limits=(0, 1))
    assert 0 <= low <= value <= high


def test_interval_of_mostly_undefined_resamples_is_undefined():
    assert np.isnan(interval(np.array([np.nan, np.nan, 1.0]))).all()
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_outputs_are_compared_on_the_same_resamples():
    y, output = example("regression")
    for metric in (METRICS["regression", "mae"], METRICS["regression", "r2"]):
        both = resample_outputs(metric, y, [output, output], 50, 0)
        assert both.shape == (50, 2)
        np.testing.assert_array_equal(both[:, 0], both[:, 1])
        alone = resample_metrics("regression", y, {"values": output}, 50, 0)[metric.name]
        np.testing.assert_allclose(alone, both[:, 0])


def test_very_many_rows_get_fewer_resamples():
    assert affordable(1000, 1800) == 1000
    assert affordable(1000, 1800, 40, ranked=True) == 1000
    assert 100 <= affordable(1000, 1_000_000, 40, ranked=True) < 1000
    assert affordable(50, 10**9) == 50


def test_one_label_alone_is_not_taken_for_a_class_of_two():
    y, p = np.array([[1], [0], [0]]), np.array([[0.9], [0.8], [0.1]])
    found = {k: s.value for k, s in measure("multilabel", y, p).items()}
    assert found["f1_micro"] == found["f1_macro"] == found["f1_weighted"] == pytest.approx(2 / 3)
    assert found["f1_samples"] == pytest.approx(2 / 3)  # right, wrong, rightly empty


def test_macro_intervals_stay_around_their_value_when_classes_are_rare():
    """A class of one row is missing in a third of the resamples, which lifts a plain mean over classes."""
    y = np.r_[np.zeros(60, int), np.arange(1, 25)]
    p = np.full((len(y), 25), 0.02) + 0.5 * (np.arange(25) == 0)  # always class 0
    told = inputs("classification", p)
    drawn = resample_metrics("classification", y, told, 300, 0)
    for name in ("f1_macro", "recall_macro", "precision_macro", "balanced_accuracy"):
        metric = METRICS["classification", name]
        value = metric.score(y, told[metric.input]).value
        assert metric.biased
        low, high = interval(drawn[name], centre=value, limits=metric.range)
        assert low <= value <= high
    assert interval(drawn["f1_macro"])[0] > measure("classification", y, p)["f1_macro"].value  # without the centring
