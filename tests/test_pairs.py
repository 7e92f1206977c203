"""Two modalities of one encoder are compared where training rows say that it helps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from plait import FusionClassifier, Modality, Schema
from plait.base.inputs import Inputs, together
from plait.base.tokens import Tokens
from plait.encoders.pairs import Pair, fit_pairs, linear_target, ridge_error
from plait.encoders.scale import Scaler
from plait.encoders.vector import Vector
from plait.evaluation.beside import grown, seen_by_baselines
from plait.training.rows import Hiding

TEXTS = Schema((Modality("a", "text", ("a",)), Modality("b", "text", ("b",))))
SETTINGS = {
    "modalities": TEXTS,
    "encoders": {"text": "hashed_ngrams"},
    "store": "none",
    "progress": False,
    "members": 1,
}


def sentences(rows: int, *, alike: bool, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Pairs of four words; the answer: whether they are the same words (``alike``), or the first sentence's first word."""
    rng = np.random.default_rng(seed)
    words = np.array(["amber", "birch", "cedar", "delta", "ember", "frost", "grove", "haven", "inlet", "jetty"])
    first = rng.integers(0, 10, (rows, 4))
    same = rng.random(rows) < 0.5
    second = np.where(same[:, None], rng.permuted(first, axis=1), rng.integers(0, 10, (rows, 4)))
    table = pd.DataFrame({"a": [" ".join(w) for w in words[first]], "b": [" ".join(w) for w in words[second]]})
    return table, same if alike else first[:, 0] < 5


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    table, label = sentences(300, alike=True)
    return FusionClassifier(**SETTINGS, branches=["joint", "linear", "trees"]).fit(table, label)


def test_what_lies_between_two_texts_is_learned_by_every_branch(fitted):
    table, label = sentences(300, alike=True, seed=1)
    without = FusionClassifier(**SETTINGS, branches=["joint", "linear", "trees"], pairs="none")
    without.fit(*sentences(300, alike=True))
    assert fitted.record_["pairs"] == ["a*b"]
    assert without.record_["pairs"] == []
    assert fitted.score(table, label) > 0.95
    assert without.score(table, label) < 0.75
    held_out = fitted.leaderboard_.set_index("branch")["accuracy"]
    assert (held_out[["joint", "linear", "trees"]] > 0.9).all()


def test_the_trees_that_are_a_baseline_see_what_they_learned_from(fitted):
    table, label = sentences(300, alike=True, seed=1)
    output = grown(fitted, seen_by_baselines(fitted, table, table)[1])
    assert (output.argmax(1) == label).mean() > 0.9


def test_texts_that_say_it_alone_are_not_compared():
    model = FusionClassifier(**SETTINGS, branches=["linear"], epochs=2).fit(*sentences(400, alike=False))
    assert model.record_["pairs"] == []


def test_an_absent_half_leaves_the_other_and_is_calm(fitted, tmp_path):
    table, _ = sentences(50, alike=True, seed=2)
    half = table.assign(b=None)
    assert np.array_equal(fitted.predict_subsets(table, [["a"]])[("a",)], fitted.predict_proba(half))
    loaded = FusionClassifier.load(fitted.save(tmp_path / "model"))
    mixed = pd.concat([table, half, table.assign(a=None, b=None)], ignore_index=True)
    assert np.isfinite(fitted.predict_proba(mixed)).all()
    assert np.array_equal(loaded.predict_proba(mixed), fitted.predict_proba(mixed))
    alone = np.vstack([fitted.predict_proba(table.iloc[[i]]) for i in range(5)])
    assert np.allclose(alone, fitted.predict_proba(table)[:5], atol=1e-6)


def rows_of(n: int = 200, seed: int = 0) -> tuple[Inputs, dict[str, Scaler], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    raw = {name: Tokens.of_vectors(torch.randn(n, 5, generator=generator)) for name in "ab"}
    scalers = {name: Scaler(256).fit(tokens) for name, tokens in raw.items()}
    tokens = {name: scalers[name](t) for name, t in raw.items()}
    return Inputs(tokens, {}, {name: t.present for name, t in tokens.items()}), scalers, raw


def test_the_cosine_is_that_of_what_the_encoder_gave():
    inputs, scalers, raw = rows_of()
    pair = Pair.fit(("a", "b"), scalers, inputs)
    cosine = torch.cosine_similarity(raw["a"].x[:, 0], raw["b"].x[:, 0])
    own = pair(inputs.tokens).x[:, 0, 0]
    assert np.corrcoef(cosine, own)[0, 1] == pytest.approx(1, abs=1e-5)


def test_a_reduced_modality_is_undone_up_to_what_was_left_out():
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([9.0, 5, 4, 3, 2, 1, 0.01, 0.01])
    tokens = Tokens.of_vectors(x)
    plain = Scaler(6, standardise=False).fit(tokens)
    assert torch.allclose(plain.undone(plain(tokens).x[:, 0]), x, atol=0.2)
    whole = Scaler(8).fit(tokens)
    assert torch.allclose(whole.undone(whole(tokens).x[:, 0]), x, atol=1e-3)


def test_inputs_compare_only_what_is_there():
    inputs, scalers, _ = rows_of()
    inputs = dataclasses.replace(inputs, pairs={"a*b": Pair.fit(("a", "b"), scalers, inputs)})
    assert inputs.compared["a*b"].present.all()
    assert not inputs.only(["a"]).compared["a*b"].present.any()
    first, second = (dataclasses.replace(inputs, tokens={n: inputs.tokens[n]}) for n in "ab")
    assert first.compared == {}
    joined = together({"a": first, "b": second})
    assert torch.equal(joined.compared["a*b"].x, inputs.compared["a*b"].x)
    assert set(inputs.unfolded().tokens) == {"a", "b", "a*b"}


def test_nothing_is_kept_of_noise_and_of_other_encoders():
    inputs, scalers, _ = rows_of(600)
    noise = np.random.default_rng(0).normal(size=(600, 1))
    product = (inputs.tokens["a"].x * inputs.tokens["b"].x).sum((1, 2)).numpy()[:, None]
    same, other = {"a": Vector(), "b": Vector()}, {"a": Vector(), "b": Vector(max_tokens=3)}
    assert list(fit_pairs(same, scalers, inputs, product)) == ["a*b"]
    assert fit_pairs(same, scalers, inputs, noise) == {}
    assert fit_pairs(other, scalers, inputs, product) == {}


def test_the_left_out_error_is_that_of_rows_left_out_one_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    errors = []
    for penalty in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        predicted = cross_val_predict(Ridge(alpha=penalty * 30), x, y, cv=LeaveOneOut())
        errors.append(((predicted.reshape(-1, 1) - y) ** 2).mean())
    assert ridge_error(x, y) == pytest.approx(min(errors))
    alone = ((y - y.mean()) * 30 / 29) ** 2  # numbers that do not vary leave the mean of the other rows
    assert ridge_error(np.ones((30, 2)), y) == pytest.approx(alone.mean())


def test_targets_become_numbers():
    assert linear_target(np.array([0, 1, 1]), "classification", 2).shape == (3, 2)
    assert linear_target(np.array([0.5, 2]), "regression", 0).tolist() == [[0.5], [2.0]]
    assert linear_target(np.array([[1, 0], [1, 1]]), "multilabel", 2).tolist() == [[1, 0], [1, 1]]


def test_a_pair_is_hidden_with_either_half():
    shown = Hiding({"a": 0.5, "b": 0.5}).shown(["a", "a*b", "b"], (200,), torch.Generator(), {"a*b": ("a", "b")})
    assert torch.equal(shown[:, 1], shown[:, 0] & shown[:, 2])
    assert 0.1 < shown[:, 1].float().mean() < 0.4


def test_groups_are_left_out_together() -> None:
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(60, 5)), np.repeat(np.arange(6), 10)
    y = x[:, :2] + rng.normal(size=(6, 2))[groups]
    x, y = x - x.mean(0), y - y.mean(0)
    wide = np.hstack([np.full((60, 1), 1.0), x])
    errors = []
    for penalty in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        shrink = np.diag([0.0, *[penalty * 60] * 5])
        left = []
        for group in range(6):
            kept = groups != group
            weights = np.linalg.solve(wide[kept].T @ wide[kept] + shrink, wide[kept].T @ y[kept])
            left.append(y[~kept] - wide[~kept] @ weights)
        errors.append(float((np.concatenate(left) ** 2).mean()))
    assert ridge_error(x, y, groups) == pytest.approx(min(errors))
    assert ridge_error(x, y, groups) > ridge_error(x, y) * 1.05
