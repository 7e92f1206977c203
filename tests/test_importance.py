"""Columns and modalities by importance, the worst rows, and baselines that see what trees see."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

import plait
from plait import FusionClassifier, FusionRegressor, evaluate, explain
from plait.base.errors import PlaitWarning, TableError
from plait.base.inputs import Columns, Inputs
from plait.base.tokens import Tokens
from plait.evaluation.baselines import Baseline, baselines, scaled
from plait.evaluation.evaluate import Evaluation
from plait.evaluation.importance import importance
from plait.evaluation.learners import fit_linear
from plait.workflow.fit import fit_table

QUICK: dict[str, Any] = {"members": 1, "epochs": 6, "width": 16, "store": "none", "progress": False}
MODALITIES = {
    "words": {"kind": "text", "columns": ["words"], "encoder": "hashed_ngrams"},
    "table": {"kind": "tabular", "columns": ["strong", "weak", "noise"]},
}


def rows(n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    strong, weak, noise = rng.normal(size=(3, n))
    said = rng.integers(0, 2, n)
    y = 2.0 * strong + 0.5 * weak + said
    words = [f"{'red apple' if v else 'blue sky'} number {i}" for i, v in enumerate(said)]
    return pd.DataFrame({"words": words, "strong": strong, "weak": weak, "noise": noise}), y


@pytest.mark.parametrize("kind", [FusionClassifier, FusionRegressor])
def test_columns_and_texts_are_ranked_by_what_they_carry(kind: Any) -> None:
    x, y = rows()
    target = np.where(y > 0.5, "high", "low") if kind is FusionClassifier else y
    model = kind(modalities=MODALITIES, **QUICK).fit(x, target)
    explained = explain(model, x, y=target, bootstrap=0)
    with model.remembering():
        found = importance(model, x, y=target, explanation=explained, bootstrap=200)
    of = found.set_index("column")
    assert found["column"].iloc[0] == "strong"
    assert set(found["column"]) == {"words", "strong", "weak", "noise"}
    assert of.loc["strong", "low"] > 0
    assert of.loc["words", "low"] > 0
    assert of.loc["noise", "importance"] < 0.2 * of.loc["strong", "importance"]
    assert of.loc[["strong", "weak", "noise"], "share"].sum() == pytest.approx(1.0)
    table = next(w["value"] for w in explained.games[1]["values"] if w["modality"] == "table")
    assert of.loc[["strong", "weak", "noise"], "worth"].sum() == pytest.approx(table)
    pd.testing.assert_frame_equal(found, importance(model, x, y=target, explanation=explained, bootstrap=200))
    with pytest.raises(TableError, match="no target column"):
        importance(model, x.drop(columns=["noise"]).assign(noise=0.0))


def test_columns_are_worth_the_same_however_many_are_shuffled_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(80)
    model = FusionRegressor(modalities=MODALITIES, **QUICK).fit(x, y)
    together = importance(model, x, y=y, bootstrap=0)
    monkeypatch.setattr("plait.evaluation.importance.AT_ONCE", 1)
    pd.testing.assert_frame_equal(together, importance(model, x, y=y, bootstrap=0))


def test_a_column_that_the_table_lacks_is_worth_nothing() -> None:
    x, y = rows(80)
    model = FusionRegressor(modalities=MODALITIES, partial=True, **QUICK).fit(x, y)
    for lacking in (["strong"], ["strong", "weak", "noise"]):
        with pytest.warns(PlaitWarning) if len(lacking) < 3 else contextlib.nullcontext():
            found = importance(model, x.drop(columns=lacking), y=y, bootstrap=0).set_index("column")
        assert (found.loc[lacking, "importance"] == 0).all()
        assert found.loc["words", "importance"] != 0


def test_the_worst_rows_are_those_with_the_largest_loss() -> None:
    x, y = rows(120)
    model = FusionRegressor(modalities=MODALITIES, **QUICK).fit(x, y)
    wrong = y.copy()
    wrong[[7, 90]] += 50.0
    found = evaluate(model, x.assign(words=x["words"] + " long" * 60), y=wrong, bootstrap=0, subsets=False)
    assert {r["row"] for r in found.worst[:2]} == {7, 90}
    losses = [r["loss"] for r in found.worst]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 10
    assert set(found.worst[0]["cells"]) == {"words", "strong", "weak", "noise"}
    assert max(len(c) for c in found.worst[0]["cells"].values()) <= 120
    old = found.to_dict()
    assert Evaluation.from_dict(old).worst == old["worst"]
    del old["worst"]  # as an earlier version wrote it
    assert Evaluation.from_dict(old).worst == []


def inputs(codes: np.ndarray, text: np.ndarray) -> Inputs:
    """A postal code as a category, of which scaled flags of the frequent ones know little, beside a text."""
    flags = np.eye(3)[np.minimum(codes, 2)]
    tokens = {k: Tokens.of_vectors(torch.from_numpy(v.astype(np.float32))) for k, v in {"t": flags, "w": text}.items()}
    column = torch.from_numpy(codes)[:, None]
    columns = {"t": Columns(torch.zeros(len(codes), 0), column, (), ("code",), (40,))}
    return scaled(Inputs(tokens, {}, {k: v.present for k, v in tokens.items()}, columns), ("t",))[0]


def test_trees_see_the_columns_as_they_are_and_the_best_modality_is_found() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 40, 600)
    y = (codes * 7 % 2 + codes // 5 % 2) % 2  # nothing that flags of three codes could tell
    both = inputs(codes, rng.normal(size=(600, 5)))
    every = ("t", "w")
    right = {}
    for name in ("linear", "trees", "single"):
        model = Baseline(name, "classification", 0, ("t",)).fit(both, y)
        right[name] = (model.outputs(both, [every])[every].argmax(1) == y).mean()
        absent = model.outputs(both, [("w",)])["w",]
        assert np.isfinite(absent).all()
    assert right["trees"] > 0.95 > 0.8 > right["linear"]
    assert model.chosen == "t, trees"
    assert right["single"] > 0.95


def test_the_model_is_compared_with_each_baseline_row_by_row() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    x[:, 0] += 2.0 * y
    perfect = {"labels": y[100:], "probabilities": np.eye(2)[y[100:]] * 0.98 + 0.01}
    found = baselines("classification", (x[:100], y[:100]), (x[100:], y[100:]), ours=perfect, bootstrap=200)
    for name in ("linear", "trees", "majority"):
        beside = found.beside(name, "accuracy")
        assert beside is not None
        assert beside["difference"] == pytest.approx(1.0 - found[name]["accuracy"])
        assert 0 < beside["low"] <= beside["difference"] <= beside["high"]
    best = found.best("classification")
    assert best in ("linear", "trees")
    assert found[str(best)]["accuracy"] == max(found[n]["accuracy"] for n in found)
    loss = found.beside("majority", "log_loss")
    assert loss is not None
    assert loss["difference"] == pytest.approx(found["majority"]["log_loss"] + np.log(0.99))


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_the_linear_model_is_scikit_learn_s(task: str) -> None:
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(2, 400, 6))
    scores = x @ rng.normal(size=(6, 4)) + rng.normal(size=(400, 4))
    if task == "regression":
        found = fit_linear(x, scores[:, 0], task, 1, strength=0.05, steps=100)(new)
        np.testing.assert_allclose(found, Ridge(alpha=20.0).fit(x, scores[:, 0]).predict(new), atol=2e-3)
    elif task == "multilabel":
        found = fit_linear(x, (scores > 0.5) * 1, task, 4, strength=0.05, steps=200)(new)
        for place in range(4):
            one = LogisticRegression(C=0.05, max_iter=200).fit(x, scores[:, place] > 0.5).predict_proba(new)[:, 1]
            np.testing.assert_allclose(found[:, place], one, atol=2e-3)
    else:
        for classes in (2, 4):
            y = scores[:, :classes].argmax(1) * 2  # no training row has the odd ones
            found = fit_linear(x, y, task, 2 * classes, strength=0.05, steps=200)(new)
            theirs = LogisticRegression(C=0.05, max_iter=200).fit(x, y).predict_proba(new)
            np.testing.assert_allclose(found[:, ::2], theirs, atol=2e-3)
            assert not found[:, 1::2].any()
        assert (fit_linear(x, np.ones(400, int), task, 3, strength=0.05, steps=5)(new) == [0.0, 1.0, 0.0]).all()


def test_the_best_single_modality_is_what_the_model_answers_from_it_alone() -> None:
    x, y = rows()
    frame = x.assign(label=np.where(y > 0.5, "high", "low"))
    settings = {**QUICK, "encoders": {"text": "hashed_ngrams"}}
    outcome = fit_table(frame, settings=settings, target="label")
    losses = outcome.model.record_["alone"]
    best = next(m.name for m in outcome.model.schema_.modalities if m.kind == "tabular")
    assert set(losses) == set(outcome.model.modality_names_)
    assert min(losses, key=lambda name: losses[name]) == best
    assert f"from its best modality alone ({best})" in outcome.baselines.about["single"]
    table = next(s for s in outcome.evaluation.subsets if s["modalities"] == [best])
    assert outcome.baselines["single"]["accuracy"] == pytest.approx(table["value"])
    again = evaluate(outcome.model, frame, baselines=frame, bootstrap=0, subsets=False).baselines
    assert again is not None
    assert again.about == outcome.baselines.about
    joint = fit_table(frame, settings={**settings, "branches": ["joint"]}, target="label")
    assert "linear or trees" in joint.baselines.about["single"]


def test_under_patterns_every_branch_answers_as_if_the_rest_were_absent() -> None:
    x, y = rows(200)
    model = FusionClassifier(modalities=MODALITIES, **QUICK).fit(x, np.where(y > 0.5, "high", "low"))
    inputs, member = model._inputs(x), model.members_.members[0]
    patterns = [("words", "table"), ("words",), ("table",)]
    for pattern, outputs in zip(patterns, member.outputs_under(inputs, patterns), strict=True):
        expected = member.outputs(inputs.only(pattern))
        assert set(outputs) == set(expected)
        for name, out in outputs.items():
            torch.testing.assert_close(out, expected[name], rtol=0, atol=0)


def test_it_is_a_public_name() -> None:
    assert plait.importance is importance
