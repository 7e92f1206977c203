"""What a judgement rests on: the user's state left alone, baselines that see something, thresholds, leaks, worths at chance."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor, load
from plait.base.errors import ConfigError, PlaitWarning
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data import schema
from plait.data.leaks import leaks
from plait.evaluation.baselines import Baseline, baselines, scaled
from plait.evaluation.evaluate import evaluate
from plait.evaluation.explain import explain
from plait.report.sections.modalities import worth
from plait.training.member import Members
from plait.workflow.fit import fit_table
from study_tiny import study

N = 80
QUICK: dict[str, Any] = {"store": "none", "members": 2, "epochs": 2, "progress": False, "width": 8}
RNG = np.random.default_rng(0)
HALF = np.arange(N) % 2 == 0


def mixed() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    pictures = [(rng.random((8, 8, 3)) * (120 if half else 255)).astype(np.uint8) for half in HALF]
    sounds = [(np.sin(np.arange(800) * (0.1 if half else 0.4)) * rng.uniform(0.5, 1), 8000) for half in HALF]
    words = [f"{'red' if half else 'blue'} thing number {i} stands here" for i, half in enumerate(HALF)]
    return pd.DataFrame({"a": rng.normal(size=N), "image": pictures, "sound": sounds, "words": words})


PARTS: dict[str, dict[str, Any]] = {
    "a": {"kind": "tabular", "columns": ["a"]},
    "words": {"kind": "text", "columns": ["words"], "encoder": "hashed_ngrams"},
    "image": {"kind": "image", "columns": ["image"], "encoder": "pixel_statistics"},
    "sound": {"kind": "audio", "columns": ["sound"], "encoder": "logmel"},
}


def parts(*names: str, learn: tuple[str, ...] = (), regime: str = "scratch") -> dict[str, Any]:
    return {n: {**PARTS[n], **({"train": regime, "encoder": None} if n in learn else {})} for n in names}


# -- the user's state --------------------------------------------------------------------------------------------------------


def state() -> dict[str, Any]:
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "errors": np.geterr(),
        "folder": str(Path.cwd()),
    }


def fitted(**settings: Any) -> Callable[[Path], None]:
    def run(place: Path) -> None:
        frame = mixed()
        model = FusionClassifier(**QUICK | settings).fit(frame, HALF)
        model.predict(frame)
        evaluate(model, frame, y=HALF, bootstrap=5)
        explain(model, frame, y=HALF, bootstrap=5)
        load(model.save(place / "m")).predict_proba(frame)

    return run


def aligned(place: Path) -> None:
    from plait import ModalityAligner

    frame = mixed()[["image", "words"]]
    ModalityAligner(stage={"name": "plain_heads", "epochs": 2}, store="none", progress=False).fit(frame)


def workflow(place: Path) -> None:
    frame = mixed()[["a", "words"]].assign(y=HALF)
    fit_table(frame, schema.infer(frame, target="y"), QUICK | {"encoders": {"text": "hashed_ngrams"}}, out=place / "m")


LIGHT: dict[str, Any] = {"members": 1, "epochs": 1}
USES: dict[str, Callable[[Path], None]] = {
    "frozen": fitted(modalities=parts("a", "words", "image", "sound"), branches=("joint", "linear", "own")),
    "late, attention": fitted(modalities=parts("a", "words"), depth="late", fusion="attention"),
    "aligned": fitted(modalities=parts("a", "words"), align={"a": ["words"]}),
    "cnn from scratch": fitted(modalities=parts("a", "image", learn=("image",)), **LIGHT),
    "text pretrained": fitted(modalities=parts("words", learn=("words",), regime="pretrain"), **LIGHT),
    "sound from scratch": fitted(modalities=parts("a", "sound", learn=("sound",)), **LIGHT),
    "conv_lstm": fitted(
        modalities=parts("image", "sound", learn=("image", "sound")),
        network={"name": "conv_lstm", "dense": 4, "least_steps": 3},
        encoders={
            "image": {"name": "pixels", "size": 6, "channels": 1},
            "sound": {"name": "spectrogram", "window": 128, "stride": 128, "rate": 8000},
        },
        **LIGHT,
    ),
    "aligner": aligned,
    "workflow": workflow,
    "study": lambda place: void(study(place, seeds=1, grid=None).run(place / "out", engine="inline")),
}


def void(_: Any) -> None:
    """The answer is not looked at."""


@pytest.mark.parametrize("name", USES)
def test_the_users_state_is_as_it_was(name: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # the user's own generator is what must not move
    random.seed(7)
    before = state()
    USES[name](tmp_path)
    after = state()
    assert {k for k, v in after.items() if v != before[k]} == set()


def test_a_users_seed_changes_no_fit() -> None:
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        learning = parts("a", "words", learn=("words",))
        model = FusionClassifier(modalities=learning, **QUICK | LIGHT).fit(mixed(), HALF)
        answers.append(model.predict_proba(mixed()))
    np.testing.assert_array_equal(*answers)


# -- baselines ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "regime"), [("image", "scratch"), ("sound", "scratch"), ("words", "scratch"), ("words", "pretrain")]
)
def test_the_linear_baseline_sees_modalities_that_learn(name: str, regime: str) -> None:
    frame = mixed()[["a", name]].assign(y=HALF)
    found = schema.Schema(
        tuple(schema.from_dict({"modalities": parts("a", name, learn=(name,), regime=regime)}, "m").modalities),
        "y",
        "classification",
    )
    light = {"members": 1, "epochs": 1, "pretrain": {"epochs": 1} if regime == "pretrain" else None}
    simple = fit_table(frame, found, QUICK | light, split={"test_fraction": 0.4}).baselines
    assert simple["linear"]["accuracy"] > 0.9
    assert simple["majority"]["accuracy"] < 0.7


@pytest.mark.parametrize("train", [None, {"text": "scratch"}])
def test_baselines_of_a_study_over_encoders_that_learn(train: Any, tmp_path: Path) -> None:
    model = {"train": train} if train else {"encoders": {"text": "hashed_ngrams"}}
    variants = {"linear": {"estimator": "linear"}, "majority": {"estimator": "majority"}}
    told: dict[str, Any] = {"grid": None, "seeds": 1, "model": model, "present": "all"}
    results = study(tmp_path, variants=variants, **told).run(tmp_path / "out", engine="inline")
    assert results.status()["failed"] == 0, results.status()["reasons"]


def inputs_of(**features: np.ndarray) -> Inputs:
    tokens = {k: Tokens.of_vectors(torch.from_numpy(v.astype(np.float32))) for k, v in features.items()}
    return scaled(Inputs(tokens, {}, {k: t.present for k, t in tokens.items()}), ("table",))[0]


def test_components_are_taken_where_they_are_the_stronger_baseline() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(120, 2))
    wide = hidden @ rng.normal(size=(2, 200)) * 2 + rng.normal(size=(120, 200))
    y = (hidden[:, 0] > 0).astype(int)
    model = Baseline("linear", "classification").fit(inputs_of(text=wide, table=rng.normal(size=(120, 3))), y)
    assert model.weights == 2 * (1 + 200 + 3) or model.weights == 2 * (1 + 30 + 3)
    narrow = np.eye(120)[np.arange(120) % 60] * 3  # sixty words, of which thirty components hold half
    y = (np.arange(120) % 60 < 30).astype(int)
    model = Baseline("linear", "classification").fit(inputs_of(text=narrow), y)
    assert model.weights == 2 * (1 + 120)


def test_fits_and_studies_have_one_linear_baseline() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 40)), rng.integers(0, 3, 200)
    x[:, :3] += 2 * np.eye(3)[y]
    both = inputs_of(table=x)
    direct = Baseline("linear", "classification", 0, ("table",)).fit(both, y).outputs(both, [("table",)])["table",]
    told = baselines("classification", (both, y), (both, y), table=("table",))["linear"]
    assert told["accuracy"] == (direct.argmax(1) == y).mean()


# -- thresholds --------------------------------------------------------------------------------------------------------------


def several(n: int = 300) -> tuple[pd.DataFrame, list[list[str]]]:
    rng = np.random.default_rng(0)
    a, b, rare = rng.normal(size=n), rng.integers(0, 2, n), rng.random(n) < 0.2
    flags = zip(a > 0, b > 0, rare, strict=True)
    labels = [[name for name, on in zip("pqr", row, strict=True) if on] for row in flags]
    words = [f"{'red apple' if v else 'blue sky'} number {i} {i % 13} is here" for i, v in enumerate(b)]
    return pd.DataFrame({"a": a, "words": words}), labels


SEVERAL = {**QUICK, "epochs": 8, "width": 16, "modalities": parts("a", "words")}


def test_every_pattern_of_presence_has_its_own_threshold(tmp_path: Path) -> None:
    x, y = several()
    model = FusionClassifier(**SEVERAL).fit(x, y)
    chosen = model.pattern_thresholds_
    assert set(chosen) == {("a", "words"), ("a",), ("words",), ()}
    assert len(set(chosen.values())) > 1
    again = load(model.save(tmp_path / "m"))
    assert again.pattern_thresholds_ == chosen
    for frame, pattern in ((x, ("a", "words")), (x.assign(words=None), ("a",)), (x.assign(a=None), ("words",))):
        for each in (model, again):
            assert (each.predict(frame) == (each.predict_proba(frame) >= chosen[pattern])).all()
    half = x.assign(words=x["words"].where(np.arange(len(x)) % 2 == 0))  # two patterns in one table
    limits = np.where(np.arange(len(x)) % 2 == 0, chosen["a", "words"], chosen["a",])[:, None]
    assert (model.predict(half) == (model.predict_proba(half) >= limits)).all()
    judged = evaluate(model, x, y=y, bootstrap=0)
    alone = next(s["value"] for s in judged.subsets if s["modalities"] == ["a"])
    assert alone == evaluate(model, x.assign(words=None), y=y, bootstrap=0, subsets=False).score["value"]


def test_a_threshold_that_is_given_holds_for_every_pattern() -> None:
    x, y = several(100)
    model = FusionClassifier(**SEVERAL, threshold=0.8).fit(x, y)
    assert model.thresholds_ == (0.8,) * 3
    assert model.pattern_thresholds_ == {}
    for frame in (x, x.assign(words=None)):
        assert (model.predict(frame) == (model.predict_proba(frame) >= 0.8)).all()


@pytest.mark.parametrize("wrong", [0, 1, -0.5, True, "half"])
def test_a_threshold_is_a_probability_and_for_several_labels(wrong: Any) -> None:
    x, y = several(40)
    with pytest.raises(ConfigError, match=f"threshold must be a number above 0 to below 1, found {wrong!r}"):
        FusionClassifier(**SEVERAL, threshold=wrong).fit(x, y)
    with pytest.raises(ConfigError, match="is for several labels; the task is classification"):
        FusionClassifier(**QUICK, threshold=0.3).fit(x[["a"]], [len(v) > 1 for v in y])


def test_a_model_without_thresholds_of_patterns_answers_as_before(tmp_path: Path) -> None:
    from plait.branches.mixture import Mixture

    x, y = several(100)
    model = FusionClassifier(**SEVERAL).fit(x, y)
    told = model.members_.mixture.state()
    del told["thresholds"]  # as version 0.1 saved it
    old = Members(model.members_.task, model.members_.members, Mixture.restore(told), [])
    assert (old.thresholds(np.array([[True, False]])) == model.thresholds_[0]).all()


# -- leaks -------------------------------------------------------------------------------------------------------------------


def games() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    total = rng.lognormal(0, 1.5, n)
    shares = rng.dirichlet([3, 2, 1, 1], n) * total[:, None]
    table = pd.DataFrame(shares.round(2), columns=["na", "eu", "jp", "other"])
    table["sold"] = table.sum(axis=1).round(2)
    table["rank"] = table["sold"].rank(ascending=False, method="first").astype(int)
    table["year"] = rng.integers(1990, 2020, n)
    return table


def kinds(frame: pd.DataFrame, target: str, task: str | None = None) -> dict[str, str]:
    return {leak["column"]: leak["kind"] for leak in leaks(frame, schema.infer(frame, target=target, task=task))}


def test_columns_that_add_up_to_the_target_or_order_it_are_leaks() -> None:
    assert {frozenset(c.split(" + ")): k for c, k in kinds(games(), "sold").items()} == {
        frozenset(("na", "eu", "jp", "other")): "sum",
        frozenset(("rank",)): "orders",
    }
    weighted = games().assign(sold=lambda t: 2 * t["na"] - 3 * t["jp"] + 5)[["na", "eu", "jp", "year", "sold"]]
    found = kinds(weighted, "sold")
    assert [set(c.split(" + ")) for c, k in found.items() if k == "sum"] == [{"na", "jp"}]
    falling = games().assign(rank=lambda t: -np.exp(t["sold"] / 10))[["rank", "year", "sold"]]
    assert kinds(falling, "sold")["rank"] in ("orders", "predicts")


def test_classes_that_are_sums_are_leaks_and_honest_columns_are_none() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 3, 300), "b": rng.integers(0, 3, 300), "c": rng.normal(size=300)})
    found = kinds(frame.assign(y=frame["a"] + frame["b"]), "y", "classification")
    assert list(found.values()) == ["sum"]
    assert kinds(frame.assign(y=frame["a"] + frame["b"] + rng.normal(size=300)), "y") == {}
    assert kinds(frame.assign(y=frame["c"] + 0.1 * rng.normal(size=300)), "y") == {}


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_fit_warns_of_leaks_once_in_python(task: str) -> None:
    table = games()
    x = table.drop(columns="sold").assign(copy=table["sold"])
    y: Any = {
        "regression": table["sold"],
        "classification": np.where(table["sold"] > 1, "hit", "flop"),
        "multilabel": [["hit"] if v > 1 else ["flop", "all"] for v in table["sold"]],
    }[task]
    kind = FusionRegressor if task == "regression" else FusionClassifier
    with pytest.warns(PlaitWarning) as warned:
        model = kind(**QUICK).fit(x, y)
    told = [w for w in warned if "the target" in str(w.message)]
    assert len(told) == 1
    assert told[0].filename == __file__
    assert "column 'copy'" in str(told[0].message)
    assert "copy" in {leak["column"] for leak in model.leaks_}


# -- worths at chance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
@pytest.mark.parametrize("learns", [True, False])
def test_worths_of_a_model_at_chance_are_not_decided(task: str, learns: bool) -> None:
    rng = np.random.default_rng(3)
    n = 240
    x = pd.DataFrame({"a": rng.normal(size=n), "words": [f"thing number {v} stands here" for v in rng.permutation(n)]})
    cause = x["a"].to_numpy() if learns else rng.normal(size=n)
    noise = 0.3 * rng.normal(size=n)
    y: Any = {
        "classification": np.where(cause + noise > 0, "u", "v"),
        "regression": cause + noise,
        "multilabel": [["p"] * int(v > 0) + ["q"] * int(v < 0.5) for v in cause + noise],
    }[task]
    kind = FusionRegressor if task == "regression" else FusionClassifier
    model = kind(**QUICK | {"epochs": 15}, modalities=parts("a", "words")).fit(x[:160], y[:160])
    found = explain(model, x[160:], y=y[160:], bootstrap=200)
    if learns:
        assert found.note == ""
        assert "Certain to help: a (+" in worth(found)
        assert "words" not in worth(found).split("Not decided")[0].split("Certain to harm")[0]
    else:
        assert found.note.startswith("The model is not certainly better than the best constant answer on these 80 rows")
        assert worth(found) == found.note
        assert found.to_dict()["note"] == found.note


def test_trees_beside_words_answer_as_a_baseline(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 160)
    story = [f"{'red' if one else 'blue'} thing number {rng.integers(999)} of {rng.integers(99)}" for one in first]
    frame = pd.DataFrame({"story": story, "size": rng.normal(size=160), "y": np.array(["a", "b"])[first]})
    settings = {"store": "none", "members": 2, "epochs": 2, "encoders": {"text": "hashed_ngrams"}, "components": 32}
    done = fit_table(frame, schema.infer(frame, target="y"), settings, out=tmp_path / "m", report=False)
    assert done.baselines["trees"]["accuracy"] > 0.8
