"""Protocols, papers and ``plait reproduce``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import plait
from plait import FusionClassifier, Study
from plait.base import protocols
from plait.base.errors import ConfigError, PlaitWarning, TableError
from plait.base.tokens import Tokens
from plait.encoders.scale import Scaler
from plait.training.optimiser import AdamW, StepRule

PROTOCOL = "early-fusion-contrastive"


def insects(rows: int = 120, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Text, a category that stands in the text too, and a number; the class needs both."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "kind": rng.choice(["ant", "bee", "cow"], rows),
            "words": rng.choice(["the red house", "a blue tree", "some green sea"], rows),
        }
    )
    return frame, np.where((frame["kind"] == "cow") ^ (frame["size"] > 0), "x", "y")


MODALITIES = {
    "text": {"kind": "text", "columns": ["words", "kind"], "encoder": "hashed_ngrams"},
    "table": {"kind": "tabular", "columns": ["size", "kind"]},
}


def model(**fields: object) -> FusionClassifier:
    given = {"protocol": PROTOCOL, "modalities": MODALITIES, "store": "none", "epochs": 15, "width": 32} | fields
    return FusionClassifier(**given)


# -- the protocol as one name ------------------------------------------------------------------------------------------


def test_it_trains_one_network_on_exactly_the_training_rows_and_the_given_rows_choose() -> None:
    frame, y = insects()
    frame = pd.concat([frame[:60], frame[:4], frame[60:]], ignore_index=True)  # four rows twice: they stay eight
    y = np.concatenate([y[:60], y[:4], y[60:]])
    fitted = model().fit(frame[:84], y[:84], valid=(frame[84:104], y[84:104]))
    record = fitted.record_
    assert (record["distinct_rows"], record["validation_rows"], record["members"]) == (84, 20, 1)
    assert fitted.history_[0]["batches"] == {"train": 3, "valid": 1}  # 84 rows by 32
    assert fitted.members_.mixture.weights == {
        pattern: {"joint": 1.0} for pattern in [("text", "table"), ("text",), ("table",)]
    }
    # Raw logits of features as the encoders give them, and nothing else.
    inputs = fitted.features_.transform(frame[104:], None, None, strict=False, progress=False)
    raw = fitted.members_.members[0].outputs(inputs)["joint"]
    np.testing.assert_allclose(fitted.predict_proba(frame[104:]), raw.softmax(-1).numpy(), atol=1e-6)
    assert fitted.score(frame[104:], y[104:]) > 0.6


def test_validation_rows_teach_nothing_but_choose() -> None:
    frame, y = insects()
    rows, valid = (frame[:80], y[:80]), (frame[80:110], y[80:110])
    one = model(patience=1000).fit(*rows, valid=valid)
    other = model(patience=1000).fit(*rows, valid=(valid[0], np.where(valid[1] == "x", "y", "x")))
    assert [r["train_loss"] for r in one.history_] == [r["train_loss"] for r in other.history_]
    assert [r["valid_loss"] for r in one.history_] != [r["valid_loss"] for r in other.history_]
    assert not np.allclose(one.predict_proba(frame[110:]), other.predict_proba(frame[110:]))  # another epoch was chosen


def test_what_is_given_beside_it_wins_even_where_it_is_the_default() -> None:
    estimator = FusionClassifier(protocol=PROTOCOL, modality_dropout=0.2, scale=True)
    assert (estimator.modality_dropout, estimator.scale, estimator.members) == (0.2, True, 1)
    assert clone(estimator).get_params() == estimator.get_params()
    later = FusionClassifier(members=3).set_params(protocol=PROTOCOL, optimiser="adamw")
    assert (later.optimiser, later.schedule, later.members) == ("adamw", "constant", 1)
    assert protocols.settings(PROTOCOL).keys() <= estimator.get_params().keys()


def test_a_model_of_a_protocol_is_saved_and_loaded(tmp_path: Path) -> None:
    frame, y = insects()
    fitted = model().fit(frame[:80], y[:80], valid=(frame[80:], y[80:]))
    loaded = plait.load(fitted.save(tmp_path / "model"))
    assert (loaded.protocol, loaded.validation) == (PROTOCOL, "given")
    np.testing.assert_allclose(loaded.predict_proba(frame), fitted.predict_proba(frame), atol=1e-6)


def test_bad_protocols_and_validation_rows_are_one_line() -> None:
    frame, y = insects()
    with pytest.raises(ConfigError, match=f"unknown protocol 'early-fusion': did you mean '{PROTOCOL}'"):
        FusionClassifier(protocol="early-fusion").fit(frame, y)
    with pytest.raises(ConfigError, match=r"pass valid=\(X, y\)"):
        model().fit(frame, y)
    with pytest.raises(ConfigError, match="take validation: given"):
        FusionClassifier(store="none").fit(frame, y, valid=(frame, y))
    with pytest.raises(TableError, match="valid has 5 rows and 4 targets"):
        model().fit(frame, y, valid=(frame[:5], y[:4]))
    with pytest.warns(PlaitWarning, match="2 of 22 validation rows hold a class that no training row has"):
        model(epochs=1).fit(frame[:80], y[:80], valid=(frame[80:102], np.array(["z", "z", *y[82:102]])))


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (StepRule("adam", "constant", 0.0), lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
        (StepRule("adamw", "constant", 0.0), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
    ],
    ids=["adam", "adamw"],
)
def test_an_optimiser_at_a_constant_rate_is_that_of_torch(rule: StepRule, theirs: object) -> None:
    layers = []
    for make in (lambda p: AdamW(p, 0.01, 0.1, 40, warmup=0.0, rule=rule), theirs):
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(4, 3), torch.randn(8, 4) * 100  # gradients far above any clipping
        optimiser = make(layer.parameters())
        for _ in range(20):
            layer.zero_grad()
            layer(x).square().sum().backward()
            optimiser.step()
        layers.append(layer.weight.detach())
    torch.testing.assert_close(*layers)


def test_a_plain_scaler_changes_nothing_but_may_reduce() -> None:
    tokens = Tokens.of_vectors(torch.randn(50, 6) * 100 + 7)
    weight = torch.ones(50)
    assert torch.equal(Scaler(6, standardise=False).fit(tokens, weight)(tokens).x, tokens.x)
    reduced = Scaler(2, standardise=False).fit(tokens, weight)
    assert reduced(tokens).x.shape == (50, 1, 2)
    assert torch.equal(Scaler.restore(reduced.state())(tokens).x, reduced(tokens).x)


def test_the_parts_of_a_study_may_be_files(tmp_path: Path) -> None:
    frame, y = insects(150)
    frame["y"] = y
    for name, part in (("train", frame[:90]), ("valid", frame[90:110]), ("test", frame[110:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    spec = {
        "name": "parts",
        "data": {"table": "train.csv", "valid": "valid.csv", "test": "test.csv", "target": "y"},
        "model": {"protocol": PROTOCOL, "width": 16, "epochs": 3},
        "variants": {"paper": {}, "scaled": {"scale": True}},
        "seeds": 1,
    }
    results = Study.from_dict(spec, base=tmp_path).run(tmp_path / "out", engine="inline", store=str(tmp_path / "store"))
    assert set(results.runs["status"]) == {"done"}
    assert set(results.runs["train_rows"]) == {110}
    assert set(results.runs["test_rows"]) == {40}
    assert set(results.runs["set.scale"]) == {True, False}  # the protocol's own value, not the estimator's
    bad = Study.from_dict({**spec, "data": {"table": "train.csv", "valid": "valid.csv", "target": "y"}}, base=tmp_path)
    assert any("valid: without test" in mistake.text for mistake in bad.check(data=False))
