"""Learning rates of single parts, warm-up, and encoders that thaw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from plait import FusionClassifier, Modality, Schema
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.training.member import Thaw, layers_of
from plait.training.optimiser import AdamW
from plait.training.settings import Thawing, rates, thaws

KINDS = {"a": "vector", "b": "vector", "t": "text"}
SCHEMA = Schema(
    (
        Modality("a", "vector", ("a",), {"name": "mlp", "width": 6, "dropout": 0.0}),
        Modality("b", "vector", ("b",), {"name": "mlp", "width": 6, "dropout": 0.0}),
    )
)
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 60)
FRAME = pd.DataFrame({name: list(RNG.normal(size=(60, 4)) + Y[:, None]) for name in ("a", "b")})
QUICK: dict[str, Any] = {
    "members": 1,
    "epochs": 3,
    "width": 8,
    "branches": ("joint",),
    "store": "none",
    "progress": False,
}


def fitted(**told: Any) -> FusionClassifier:
    usual = {"modalities": SCHEMA, "train": {"vector": "scratch"}, **QUICK}
    return FusionClassifier(**{**usual, **told}).fit(FRAME, Y)


def weights(model: FusionClassifier, name: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.members_.members[0].encoders[name].state_dict().items()}


# -- learning rates ----------------------------------------------------------------------------------------------------


def test_parts_learn_at_their_own_rates() -> None:
    x = torch.ones(8, 3)

    def trained(share: float, rate: float) -> torch.Tensor:
        layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
        for part in (layer, other):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        optimiser = AdamW(
            [*layer.parameters(), *other.parameters()], rate, 0.1, 10, shares=dict.fromkeys(layer.parameters(), share)
        )
        for _ in range(5):
            optimiser.clear()
            (layer(x).square().sum() + other(x).square().sum()).backward()
            optimiser.step(False)
        return layer.weight.detach()

    torch.testing.assert_close(trained(0.1, 0.05), trained(1.0, 0.005))
    assert not torch.allclose(trained(0.1, 0.05), trained(1.0, 0.05))


def test_one_rate_for_all_encoders_or_one_for_each() -> None:
    still = fitted(encoder_learning_rate={"a": 1e-12}, thaw=0, weight_decay=0.0)
    start = fitted(epochs=1, encoder_learning_rate=1e-12, weight_decay=0.0)
    for key, value in weights(still, "a").items():
        torch.testing.assert_close(value, weights(start, "a")[key], atol=1e-6, rtol=0)
    assert any(not torch.allclose(v, weights(start, "b")[k], atol=1e-4) for k, v in weights(still, "b").items())
    assert rates(0.1, ["a", "t"], KINDS) == {"a": 0.1, "t": 0.1}
    assert rates({"vector": 0.1, "a": 0.2}, ["a", "b"], KINDS) == {"a": 0.2, "b": 0.1}
    assert rates(None, ["a"], KINDS) == {}


def test_the_rate_rises_over_the_warm_up() -> None:
    def factors(warmup: float) -> list[float]:
        optimiser = AdamW(nn.Linear(2, 2).parameters(), 1.0, 0.0, 20, warmup=warmup)
        found = []
        for step in range(20):
            optimiser.done = step
            found.append(optimiser.factor())
        return found

    assert factors(0.5)[:11] == pytest.approx([(i + 1) / 10 for i in range(10)] + [1.0])
    assert factors(0.0)[0] == 1.0
    assert all(a >= b for a, b in zip(factors(0.0)[1:], factors(0.0)[2:], strict=False))
    assert factors(1.0) == pytest.approx([(i + 1) / 20 for i in range(20)])


# -- thawing -----------------------------------------------------------------------------------------------------------


class Deep(nn.Module):
    """Three layers, registered in another order than they are passed, the first with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.first, self.middle = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, batch: dict[str, torch.Tensor]) -> Tokens:
        return Tokens.of_vectors(self.last(self.middle(self.norm(self.first(batch["x"])))))


def test_layers_are_those_that_a_batch_passes() -> None:
    encoder = Deep().train()
    found = layers_of(encoder, {"x": torch.zeros(2, 4)})
    assert found == [[encoder.first, encoder.norm], [encoder.middle], [encoder.last]]
    assert encoder.training
    assert encoder.norm.num_batches_tracked == 0


def test_layers_thaw_from_the_last() -> None:
    from plait.base.inputs import Inputs

    encoder = Deep()
    model = Branches({}, {}, {"a": encoder})
    sample = Inputs({}, {"a": {"x": torch.zeros(2, 4)}}, {"a": torch.ones(2, dtype=torch.bool)})
    thaw = Thaw(model, {"a": Thawing(after=1, every=2)}, sample)
    seen = []
    for epoch in range(7):
        thaw.begin(epoch)
        model.train()
        parts = {n: getattr(encoder, n) for n in ("first", "norm", "middle", "last")}
        learning = "".join(n[0] for n, part in parts.items() if next(part.parameters()).requires_grad)
        resting = "".join(n[0] for n, part in parts.items() if not part.training)
        seen.append((learning, resting, encoder.training))
    assert seen == [
        ("", "fnml", False),
        ("l", "fnm", True),
        ("l", "fnm", True),
        ("ml", "fn", True),
        ("ml", "fn", True),
        ("fnml", "", True),
        ("fnml", "", True),
    ]
    thaw.begin(0)
    thaw.end()
    assert all(p.requires_grad for p in encoder.parameters())
    assert model.resting == []


def test_a_frozen_encoder_stays_as_it_is_until_its_epoch() -> None:
    told = {"train": {"a": "pretrain", "b": "scratch"}, "pretrain": {"epochs": 2}, "weight_decay": 0.5}
    one, two = fitted(**told, epochs=1, thaw=1), fitted(**told, epochs=2, thaw=2)
    for key, value in weights(one, "a").items():
        assert torch.equal(value, weights(two, "a")[key])
    thawed = fitted(**{**told, "epochs": 2, "thaw": 1, "patience": 5})
    assert thawed.record_["trained_weights"] == one.record_["trained_weights"]
    moved = fitted(**told, epochs=2)
    assert any(not torch.equal(v, weights(moved, "a")[k]) for k, v in weights(one, "a").items())
    assert any(not torch.equal(v, weights(one, "b")[k]) for k, v in weights(two, "b").items()), "scratch is never held"


def test_when_each_encoder_thaws() -> None:
    names = KINDS
    assert thaws(2, ["a", "b"], ["b"], names) == {"b": Thawing(2)}
    assert thaws({"after": 2, "every": 1}, ["a", "b"], ["b"], names) == {"b": Thawing(2, 1)}
    assert thaws({"a": 1, "b": {"after": 3, "every": 2}}, ["a", "b"], [], names) == {
        "a": Thawing(1),
        "b": Thawing(3, 2),
    }
    assert thaws({"vector": 1}, ["a", "b"], [], names) == {"a": Thawing(1), "b": Thawing(1)}
    assert thaws(0, ["a"], ["a"], names) == {}


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"warmup": 1.5}, "warmup must be a number from 0 to 1, found 1.5"),
        ({"warmup": "x"}, "warmup must be a number from 0 to 1, found 'x'"),
        ({"encoder_learning_rate": 0.0}, "encoder_learning_rate must be a number above 0"),
        ({"encoder_learning_rate": {"c": 0.1}}, "encoder_learning_rate: unknown field 'c'"),
        ({"thaw": -1}, "thaw must be a whole number from 0 or a mapping"),
        ({"thaw": {"a": {"afer": 1}}}, "thaw.a: unknown field 'afer'"),
        ({"thaw": {"c": 1}}, "thaw: unknown field 'c'"),
        ({"thaw": {"a": 1.5}}, "found 1.5"),
        (
            {"train": {"a": "pretrain", "b": "scratch"}, "pretrain": {"frozen": True}, "thaw": {"a": 2}},
            "'a' stays frozen",
        ),
        (
            {"encoders": {"b": "vector"}, "train": {"a": "scratch", "b": "frozen"}, "thaw": {"b": 1}},
            "the encoder of 'b' does not learn",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(told: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fitted(**told)


def test_a_study_takes_the_fields_by_the_same_names() -> None:
    from plait.estimators.settings import check_value

    assert check_value("train.audio", "pretrain") is None
    assert check_value("train", {"audio": "pretrian"}) == "train: unknown regime 'pretrian' (did you mean 'pretrain'?)"
    assert check_value("pretrain", {"epochs": 3, "audio": {"epochs": 2}}) is None
    assert "unknown field" not in str(check_value("pretrain.epochs", 3))
    assert "whole number from 1" in str(check_value("pretrain", {"epochs": 0}))
    assert check_value("thaw", {"after": 2, "every": 1}) is None
    assert "whole number from 0" in str(check_value("thaw", -3))
    assert check_value("encoder_learning_rate.audio", 0.001) is None
    assert "no model.json there" in str(check_value("encoders.audio", "runs/none"))
