from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from fake_model import FakeModel, fitted, schema, table
from plait.base.errors import ConfigError, ModelError, PlaitWarning, TableError
from plait.evaluation.baselines import baselines
from plait.evaluation.breakdown import UNKNOWN, confusion, distribution, per_class, points, reliability
from plait.evaluation.evaluate import Evaluation, evaluate
from plait.metrics.base import MAIN, metrics

TASKS = ("classification", "multilabel", "regression")


@pytest.fixture(scope="module", params=TASKS)
def scored(request):
    model, frame = fitted(request.param)
    return model, frame, evaluate(model, frame, bootstrap=200)


def test_everything_is_scored_with_an_interval_around_it(scored):
    model, frame, found = scored
    assert (found.task, found.rows, found.main_metric) == (model.task_, len(frame), MAIN[model.task_])
    assert set(found.metrics) == set(metrics(model.task_)) - {"coverage", "interval_width", "cost"}
    for name, told in found.metrics.items():
        assert told["low"] <= told["value"] <= told["high"], name
        assert told["low"] < told["high"]
        assert told["resamples"] == 200
    assert found.score is found.metrics[found.main_metric]
    full = model.predict_subsets(frame, [model.names])[model.names]
    if found.task == "classification":
        assert found.score["value"] == sk.accuracy_score(model.target_of(frame), model.classes_[full.argmax(1)])
    if found.task == "regression":
        assert found.score["value"] == pytest.approx(sk.r2_score(model.target_of(frame), full))


def test_it_survives_json_unchanged(scored):
    _, _, found = scored
    told = found.to_dict()
    text = json.dumps(told, allow_nan=False)
    assert Evaluation.from_dict(json.loads(text)).to_dict() == told
    assert Evaluation.from_dict(json.loads(text)).metrics == found.metrics
    with pytest.raises(ConfigError, match="format 99"):
        Evaluation.from_dict(told | {"format": 99})


def test_nan_becomes_null_and_comes_back():
    model, frame = fitted("classification")
    only = frame[frame["kind"] == "ant"]
    found = evaluate(model, only, bootstrap=20)
    assert math.isnan(found.metrics["auc_macro"]["value"])
    assert found.metrics["auc_macro"]["note"]
    assert found.to_dict()["metrics"]["auc_macro"]["value"] is None
    assert math.isnan(Evaluation.from_dict(found.to_dict()).metrics["auc_macro"]["low"])


def test_every_subset_is_scored_and_compared_in_pairs(scored):
    model, _, found = scored
    assert len(found.subsets) == 7
    last = found.subsets[-1]
    assert last["modalities"] == list(model.names)
    assert last["value"] == found.score["value"]
    assert (last["difference"], last["difference_low"], last["difference_high"]) == (0, 0, 0)
    assert (last["low"], last["high"]) == pytest.approx((found.score["low"], found.score["high"]))
    by_name = {tuple(s["modalities"]): s for s in found.subsets}
    assert by_name["numbers",]["difference"] == pytest.approx(by_name["numbers",]["value"] - last["value"])
    assert by_name["numbers",]["difference_high"] < 0  # noise alone is surely worse than everything
    assert by_name["words", "picture"]["difference_low"] <= 0 <= by_name["words", "picture"]["difference_high"]


def test_pairs_are_narrower_than_their_parts():
    """What the pairing is for: the difference of two close subsets is known better than either score."""
    model, frame = fitted("classification")
    found = evaluate(model, frame, bootstrap=300)
    near = next(s for s in found.subsets if s["modalities"] == ["words", "picture"])
    assert near["difference_high"] - near["difference_low"] < 0.6 * (near["high"] - near["low"])


def test_the_same_seed_gives_the_same_intervals(scored):
    model, frame, found = scored
    assert evaluate(model, frame, bootstrap=200).to_dict() == found.to_dict()
    assert evaluate(model, frame, bootstrap=200, seed=1).metrics != found.metrics


def test_without_bootstrap_or_subsets():
    model, frame = fitted("classification")
    found = evaluate(model, frame, bootstrap=0, subsets=False)
    assert found.subsets == []
    assert math.isnan(found.score["low"])
    assert found.score["resamples"] == 0
    assert model.asked == 1


def test_outputs_that_are_there_are_not_asked_for_again():
    model, frame = fitted("classification")
    outputs = model.predict_subsets(frame, None)
    found = evaluate(model, frame, bootstrap=20, subsets=outputs)
    assert model.asked == 1
    assert found.to_dict() == evaluate(model, frame, bootstrap=20).to_dict()


def test_absences_are_counted_per_modality():
    model, frame = fitted("classification")
    expected = {m.name: int(frame[list(m.columns)].isna().all(axis=1).sum()) for m in model.schema_.modalities}
    assert evaluate(model, frame, bootstrap=0, subsets=False).absences == expected
    assert min(expected.values()) > 0


def test_a_target_of_its_own():
    model, frame = fitted("classification")
    y = frame["kind"].to_numpy()
    bare = frame.drop(columns="kind")
    assert evaluate(model, bare, y=y, bootstrap=0).score == evaluate(model, frame, bootstrap=0).score
    with pytest.raises(TableError, match="no target column"):
        evaluate(model, bare)
    with pytest.raises(TableError, match="3 rows, the table 240"):
        evaluate(model, bare, y=y[:3])


def test_missing_columns_only_where_they_may():
    model, frame = fitted("classification")
    less = frame.drop(columns=["numbers_a", "numbers_b"])
    with pytest.raises((TableError, KeyError)):
        evaluate(model, less)
    found = evaluate(model, less, partial=True, bootstrap=0)
    assert found.absences["numbers"] == len(frame)
    without = next(s for s in found.subsets if s["modalities"] == ["words", "picture"])
    assert without["value"] == found.score["value"]


def test_an_unknown_class_counts_as_wrong_and_is_told_once():
    model, frame = fitted("classification")
    frame = frame.copy()
    frame.iloc[:5, frame.columns.get_loc("kind")] = "dragon"
    with pytest.warns(PlaitWarning, match="5 of 240 rows.*dragon") as caught:
        found = evaluate(model, frame, bootstrap=20)
    assert len(caught) == 1
    right = found.score["value"] * 240
    assert right == pytest.approx(round(right))
    assert found.confusion["labels"][-1] == UNKNOWN
    assert sum(found.confusion["counts"][-1]) == 5
    assert found.distribution[-1] == {"label": UNKNOWN, "rows": 5}
    assert {w["true"] for w in found.worst if w["cells"] and w["row"] in frame.index[:5]} == {UNKNOWN}


@pytest.mark.parametrize("value", [None, np.nan])
def test_holes_in_the_target_are_refused(value):
    for task in ("classification", "regression"):
        model, frame = fitted(task)
        frame = frame.astype({"kind": object})
        frame.iloc[0, frame.columns.get_loc("kind")] = value
        with pytest.raises(TableError, match=r"empty.* in 1 "):
            evaluate(model, frame)


def test_an_empty_table_and_a_broken_model_are_refused():
    model, frame = fitted("classification")
    with pytest.raises(TableError, match="no rows"):
        evaluate(model, frame.iloc[:0])
    outputs = model.predict_subsets(frame, None)
    outputs[model.names][0] = np.nan
    with pytest.raises(ModelError, match="NaN or infinity for 1 of 240"):
        evaluate(model, frame, subsets=outputs)


def test_thresholds_that_the_model_chose_are_used():
    model, frame = fitted("multilabel")
    plain = evaluate(model, frame, bootstrap=0).metrics["f1_micro"]["value"]
    model.members_ = SimpleNamespace(task=SimpleNamespace(thresholds=(0.99,) * 3))  # where estimators keep them
    strict = evaluate(model, frame, bootstrap=0).metrics["f1_micro"]["value"]
    assert strict < plain
    model.thresholds_ = (0.5,) * 3
    assert evaluate(model, frame, bootstrap=0).metrics["f1_micro"]["value"] == plain


def test_intervals_of_the_model_are_covered():
    model, frame = fitted("regression")
    y = frame["kind"].to_numpy()
    model.predict_interval = lambda rows: np.stack([y - 1, np.where(np.arange(len(y)) < 60, y - 0.5, y + 1)], -1)
    assert evaluate(model, frame, bootstrap=0).metrics["coverage"]["value"] == 0.75


def test_many_modalities_are_scored_alone_without_each_and_all():
    names = tuple("abcdefghi")
    model = FakeModel(schema("classification", names))
    frame = table("classification", 60, names=names)
    model.classes_ = np.unique(frame["kind"])
    rng = np.random.default_rng(0)
    model.predict_subsets = lambda rows, subsets: {s: rng.dirichlet(np.ones(3), len(rows)) for s in subsets}
    found = evaluate(model, frame, bootstrap=10)
    assert [len(s["modalities"]) for s in found.subsets] == [1] * 9 + [8] * 9 + [9]


def test_per_class_is_nan_where_undefined():
    y = np.array([0, 0, 1, 1])
    p = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1]])
    a, b, c = per_class(["a", "b", "c"], y, p.argmax(1), p)
    assert (a["support"], a["predicted"], a["precision"], a["recall"]) == (2, 3, pytest.approx(1 / 3), 0.5)
    assert (b["precision"], b["recall"], b["f1"]) == (0.0, 0.0, 0.0)
    assert math.isnan(c["precision"])
    assert math.isnan(c["auc"])
    assert b["auc"] == sk.roc_auc_score(y == 1, p[:, 1])


def test_per_class_of_several_labels():
    y = np.array([[1, 0], [1, 1], [0, 1]])
    p = np.array([[0.9, 0.2], [0.8, 0.7], [0.6, 0.1]])
    one, two = per_class(["one", "two"], y, (p >= 0.5).astype(int), p)
    assert (one["support"], one["predicted"], one["precision"], one["recall"]) == (2, 3, pytest.approx(2 / 3), 1.0)
    assert (two["f1"], two["auc"]) == (pytest.approx(2 / 3), 0.5)
    alone = per_class(["one"], y[:, :1], (p[:, :1] >= 0.5).astype(int), p[:, :1])
    assert alone == [one]


def test_confusion_keeps_every_row_when_classes_are_many():
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 40, 2000), rng.integers(0, 40, 2000)
    y[y < 20] = np.where(rng.random((y < 20).sum()) < 0.5, y[y < 20], 39)
    names = [f"c{i}" for i in range(40)]
    found = confusion(names, y, predicted)
    counts = np.array(found["counts"])
    assert counts.sum() == 2000
    assert counts.shape == (21, 21)
    assert found["labels"][-1] == "(20 others)"
    for line, label in enumerate(found["labels"][:-1]):
        for column, other in enumerate(found["labels"][:-1]):
            assert counts[line, column] == ((y == int(label[1:])) & (predicted == int(other[1:]))).sum()
    most = set(np.argsort(-np.bincount(y, minlength=40), kind="stable")[:20])
    assert {int(label[1:]) for label in found["labels"][:-1]} == most


def test_reliability_adds_up():
    confidence, hit = np.array([0.0, 0.05, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    low, high = reliability(confidence, hit)
    assert (low["rows"], low["confidence"], low["hit_rate"]) == (2, 0.025, 0.5)
    assert (high["rows"], high["hit_rate"], high["high"]) == (2, 1.0, 1.0)


def test_distribution_of_a_number_and_of_labels():
    told = distribution([], np.array([0.0, 1.0, 1.0, 10.0]))
    assert sum(r["rows"] for r in told) == 4
    assert (told[0]["low"], told[-1]["high"]) == (0.0, 10.0)
    assert distribution(["x", "y"], np.array([[1, 0], [1, 1]])) == [
        {"label": "x", "rows": 2},
        {"label": "y", "rows": 1},
    ]
    assert len(points(np.arange(2000.0), np.arange(2000.0), 0)) == 500


# -- baselines ---------------------------------------------------------------------------------------------------------


def features(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 30))
    x[:, :3] += 3 * np.eye(3)[code]
    x[:, 3] = 7.0
    x[rng.random((n, 30)) < 0.02] = np.nan
    return x * 100 + 5, code


@pytest.mark.parametrize("task", TASKS)
def test_the_linear_baseline_learns_and_the_majority_does_not(task):
    (x, code), (x2, code2) = features(400, 0), features(200, 1)
    y, y2 = (
        {
            "classification": lambda c: np.array(["ant", "bee", "cat"])[c],
            "multilabel": lambda c: np.stack([c == 0, c > 0, c == 9], -1).astype(int),
            "regression": lambda c: (c == 1) * 4.0,
        }[task](code),
        {
            "classification": lambda c: np.array(["ant", "bee", "cat"])[c],
            "multilabel": lambda c: np.stack([c == 0, c > 0, c == 9], -1).astype(int),
            "regression": lambda c: (c == 1) * 4.0,
        }[task](code2),
    )
    found = baselines(task, (x, y), (x2, y2))
    main = MAIN[task]
    assert set(found) == {"majority", "linear", "trees"} == set(found.about)
    assert found["linear"][main] > found["majority"][main] + 0.2
    if task == "classification":
        assert found["majority"]["accuracy"] == (code2 == np.bincount(code).argmax()).mean()
        assert found["majority"]["auc_macro"] == 0.5
        assert found["linear"]["accuracy"] > 0.9
    if task == "regression":
        assert -0.05 < found["majority"]["r2"] <= 0


def test_baselines_on_odd_targets():
    x, code = features(60, 0)
    only = baselines("classification", (x, np.zeros(60, int)), (x, np.zeros(60, int)))
    assert set(only) == {"majority"}
    rare = np.r_[["rare"], np.array(["a", "b", "c"])[code[1:]]]
    assert baselines("classification", (x, rare), (x, rare))["linear"]["accuracy"] > 0.8
    unseen = np.r_[["new"], rare[1:]]
    assert baselines("classification", (x, rare), (x, unseen))["linear"]["accuracy"] <= 59 / 60
    one = (code == 1).astype(int)[:, None]
    assert baselines("multilabel", (x, one), (x, one))["linear"]["f1_micro"] > 0.8
    with pytest.raises(TableError, match="found 0 to train"):
        baselines("classification", (x[:0], rare[:0]), (x, rare))


def test_real_movies_majority(data_root):
    frame = pd.read_csv(data_root / "movies" / "movies.csv")
    genres = frame["genres"].str.get_dummies("|").to_numpy()
    x = np.random.default_rng(0).normal(size=(len(frame), 5))
    found = baselines("multilabel", (x[:2000], genres[:2000]), (x[2000:], genres[2000:]))
    assert abs(found["linear"]["auc_macro"] - 0.5) < 0.05  # noise stays noise


@pytest.mark.filterwarnings("error")
def test_a_class_per_row_spills_no_warning():
    x, _ = features(40, 0)
    y = np.array([f"c{i}" for i in range(40)])
    assert baselines("classification", (x, np.tile(y, 1)), (x, y))["majority"]["accuracy"] == 1 / 40
    p = np.eye(40) * 0.5 + 0.5 / 40
    assert len(per_class(list(y), np.arange(40), p.argmax(1), p)) == 40
