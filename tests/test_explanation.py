from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest

from fake_model import FakeModel, fitted, schema, table
from plait.base.errors import ConfigError
from plait.base.inputs import subsets_of
from plait.data.schema import absent
from plait.evaluation.evaluate import evaluate
from plait.evaluation.explain import explain, shapley_interactions, shapley_values

TASKS = ("classification", "multilabel", "regression")


def naive(game: np.ndarray, players: int) -> list[float]:
    """Mean over all orders of what each player adds when it comes in."""
    total = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        inside = 0
        for player in order:
            total[player] += game[inside | 1 << player] - game[inside]
            inside |= 1 << player
    return list(total / len(orders))


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_shapley_equals_the_mean_over_all_orders(players):
    game = np.random.default_rng(players).normal(size=1 << players)
    found = shapley_values(game)
    np.testing.assert_allclose(found, naive(game, players))
    assert found.sum() == pytest.approx(game[-1] - game[0])  # efficiency
    assert shapley_values(np.stack([game, 2 * game])).shape == (2, players)


def test_shapley_is_symmetric_and_nothing_for_a_null_player():
    rng = np.random.default_rng(0)
    game = np.empty(8)
    by_size = rng.normal(size=3)
    for subset in range(8):
        game[subset] = by_size[int(subset & 1) + int(subset >> 1 & 1)]  # players 0 and 1 alike, player 2 does nothing
    first, second, null = shapley_values(game)
    assert first == pytest.approx(second)
    assert null == 0.0


def test_interactions_have_known_values():
    xor = np.array([0.0, 0.0, 0.0, 1.0])  # neither alone, both together
    assert shapley_interactions(xor).tolist() == [1.0]
    same = np.array([0.0, 1.0, 1.0, 1.0])  # either says it all
    assert shapley_interactions(same).tolist() == [-1.0]
    weights = np.array([1.0, 2.0, 4.0])
    additive = np.array([sum(w for i, w in enumerate(weights) if s >> i & 1) for s in range(8)])
    np.testing.assert_allclose(shapley_interactions(additive), 0, atol=1e-12)
    np.testing.assert_allclose(shapley_values(additive), weights)
    only_two = np.array([float(s & 0b101 == 0b101) for s in range(8)])
    np.testing.assert_allclose(shapley_interactions(only_two), [0, 1, 0])
    assert shapley_interactions(np.zeros(2)).shape == (0,)


@pytest.fixture(scope="module", params=TASKS)
def explained(request):
    model, frame = fitted(request.param)
    return model, frame, explain(model, frame, bootstrap=200)


def test_what_is_shared_out_adds_up(explained):
    model, _, found = explained
    prefixes = ("", "true_") if model.task_ != "regression" else ("",)
    for prefix in prefixes:
        values = found.rows[[f"{prefix}value_{name}" for name in model.names]].to_numpy()
        apart = found.rows[f"{prefix}full"] - found.rows[f"{prefix}base"]
        np.testing.assert_allclose(values.sum(1), apart, atol=1e-12)
    for game in found.games:
        assert sum(w["value"] for w in game["values"]) == pytest.approx(game["full"] - game["base"], abs=1e-12)


def test_a_row_s_absent_modality_gets_exactly_zero(explained):
    model, frame, found = explained
    gone = absent(model.schema_, frame)
    assert gone.any(axis=0).all()
    for place, name in enumerate(model.names):
        values = found.rows[f"value_{name}"].to_numpy()
        assert (values[gone[:, place]] == 0.0).all()
        assert (values[~gone[:, place]] != 0.0).mean() > 0.9


def test_exactly_zero_even_when_the_model_s_outputs_differ_by_rounding():
    model, frame = fitted("classification")
    outputs = dict(model.predict_subsets(frame, None))
    rng = np.random.default_rng(0)
    noisy = {s: o + rng.normal(0, 1e-7, o.shape) for s, o in outputs.items()}
    found = explain(model, frame, outputs=noisy, bootstrap=0)
    gone = absent(model.schema_, frame)
    for place, name in enumerate(model.names):
        assert (found.rows.loc[gone[:, place], f"value_{name}"] == 0.0).all()
    values = found.rows[[f"value_{name}" for name in model.names]].to_numpy()
    np.testing.assert_allclose(values.sum(1), found.rows["full"] - found.rows["base"], atol=1e-12)


def test_games_are_the_scores_that_evaluation_tells(explained):
    model, frame, found = explained
    scored = evaluate(model, frame, bootstrap=0)
    main, second, confidence = found.games
    assert main["name"] == scored.main_metric
    assert main["full"] == scored.score["value"]
    assert second["full"] == -scored.metrics[second["name"]]["value"]
    assert main["label"] != second["label"]
    assert confidence["name"] == "confidence"
    assert confidence["full"] == pytest.approx(found.rows["full"].mean())
    empty = model.predict_subsets(frame, [()])[()]
    if model.task_ == "classification":
        assert main["base"] == (model.classes_[empty.argmax(1)] == frame["kind"]).mean()
    assert found.overall is main["values"]


def test_the_strong_modality_is_worth_most_and_noise_nothing(explained):
    _, _, found = explained
    words, picture, numbers = found.overall
    assert [w["modality"] for w in found.overall] == ["words", "picture", "numbers"]
    assert words["low"] > picture["high"]
    assert words["low"] > 0
    assert -0.1 < numbers["value"] < 0.05
    for worth in found.overall:
        assert worth["low"] <= worth["value"] <= worth["high"]


def test_rows_tell_the_answer_and_keep_the_index(explained):
    model, frame, found = explained
    assert list(found.rows.index) == list(frame.index)
    full = model.predict_subsets(frame, [model.names])[model.names]
    if model.task_ == "classification":
        assert list(found.rows["predicted"]) == list(model.classes_[full.argmax(1)])
        np.testing.assert_allclose(found.rows["full"], full.max(1))
        assert list(found.rows["true"]) == list(frame["kind"])
        share = full[np.arange(len(frame)), np.searchsorted(model.classes_, frame["kind"])]
        np.testing.assert_allclose(found.rows["true_full"], share)
    elif model.task_ == "multilabel":
        first = "|".join(name for name, p in zip(model.classes_, full[0], strict=True) if p >= 0.5)
        assert found.rows["predicted"].iloc[0] == first
        np.testing.assert_allclose(found.rows["full"], np.maximum(full, 1 - full).mean(1))
    else:
        np.testing.assert_allclose(found.rows["full"], full)
        assert "true_full" not in found.rows


def test_log_loss_is_shared_out_as_the_mean_of_its_rows():
    """Log loss is linear in the rows: sharing the mean out is the mean of what is shared out per row."""
    model, frame = fitted("classification")
    found = next(g for g in explain(model, frame, bootstrap=0).games if g["name"] == "log_loss")
    outputs = model.predict_subsets(frame, None)
    true = np.searchsorted(model.classes_, frame["kind"])
    ordered = [tuple(n for i, n in enumerate(model.names) if s >> i & 1) for s in range(8)]
    game = np.stack([np.log(outputs[s][np.arange(len(frame)), true]) for s in ordered], axis=1)
    game[:, 0] = np.log(np.bincount(true)[true] / len(true))  # the best constant answer
    np.testing.assert_allclose([w["value"] for w in found["values"]], shapley_values(game).mean(0))
    expected = shapley_interactions(game).mean(0)
    np.testing.assert_allclose([w["value"] for w in found["interactions"]], expected)
    assert found["interactions"][0]["modalities"] == ["words", "picture"]


def test_a_model_below_chance_has_no_modality_that_is_worth_something() -> None:
    """Its answer without any modality is the worst of all: that any modality mends it is not worth anything."""
    names = ("words", "numbers")
    model, frame = fitted("classification", names=names)
    share = np.bincount(np.searchsorted(model.classes_, frame["kind"])) / len(frame)
    rare = np.eye(len(share))[share.argmin()] * 0.97 + 0.01
    answers = {(): rare, ("words",): 0.5 * rare + 0.5 / len(share), ("numbers",): 0.5 * rare + 0.5 / len(share)}
    answers[names] = 0.2 * rare + 0.8 / len(share)
    model.predict_subsets = lambda rows, subsets: {
        s: np.tile(p / p.sum(), (len(rows), 1)) + 1e-9 * np.arange(len(rows))[:, None] * (len(s) > 0)
        for s, p in answers.items()
    }
    accuracy, loss, _ = explain(model, frame, bootstrap=0).games
    assert all(w["value"] <= 0 for w in accuracy["values"])
    assert all(w["value"] < 0 for w in loss["values"])


def test_without_a_target_the_answers_are_shared_out():
    model, frame = fitted("classification")
    found = explain(model, frame.drop(columns="kind"), bootstrap=20)
    assert [g["name"] for g in found.games] == ["confidence"]
    assert "true" not in found.rows
    with_target = explain(model, frame, bootstrap=20)
    assert found.overall == with_target.games[-1]["values"]


def test_it_is_json_without_nan(explained):
    _, _, found = explained
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["overall"] == found.overall
    assert told["rows"] == len(found.rows)
    model, frame = fitted("classification", rows=20)
    plain = explain(model, frame, bootstrap=0).to_dict()
    assert plain["overall"][0]["low"] is None
    json.dumps(plain, allow_nan=False)


def test_the_same_seed_gives_the_same_explanation(explained):
    model, frame, found = explained
    assert explain(model, frame, bootstrap=200).to_dict() == found.to_dict()
    assert explain(model, frame, bootstrap=200, seed=1).overall != found.overall


def test_one_modality_and_one_row_will_do():
    model, frame = fitted("classification", names=("words",))
    found = explain(model, frame.iloc[:1], bootstrap=10)
    assert len(found.rows) == 1
    assert found.games[0]["interactions"] == []


def test_too_many_modalities_are_refused_with_what_to_do():
    names = tuple("abcdefghijk")
    model = FakeModel(schema("classification", names))
    with pytest.raises(ConfigError, match=r"11 modalities have 2,048 subsets.*at most 10: put columns"):
        explain(model, table("classification", 5, names=names))


def test_eight_modalities_are_exact():
    names = tuple("abcdefgh")
    model = FakeModel(schema("regression", names))
    frame = table("regression", 60, names=names).fillna(0.0)
    weights = np.arange(8.0)
    model.predict_subsets = lambda rows, subsets: {
        s: sum((weights[names.index(n)] * rows[f"{n}_a"].to_numpy() for n in s), np.zeros(len(rows)))
        for s in subsets_of(names)
    }
    found = explain(model, frame, bootstrap=50)
    for place, name in enumerate(names):
        np.testing.assert_allclose(found.rows[f"value_{name}"], weights[place] * frame[f"{name}_a"], atol=1e-9)


def test_its_picture_draws(explained):
    pytest.importorskip("matplotlib")
    _, _, found = explained
    from plait.report.sections.modalities import worth_figure

    figure = worth_figure(found)
    assert "words" in [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_intervals_of_every_game_hold_their_value_and_the_strong_one_is_above_nothing(explained):
    """Losses are turned so that more is better, the resampled ones too."""
    model, _, found = explained
    assert [game["name"] for game in found.games][:2] == {
        "classification": ["accuracy", "log_loss"],
        "multilabel": ["f1_samples", "log_loss"],
        "regression": ["r2", "mae"],
    }[model.task_]
    for game in found.games:
        for worth in game["values"] + game["interactions"]:
            assert worth["low"] <= worth["value"] <= worth["high"], (game["name"], worth)
            assert worth["low"] < worth["high"]
    for game in found.games[:2]:
        assert game["values"][0]["low"] > 0, game["name"]
