"""Depth: known answers of every operator at every depth, absence, equal budgets, settings and bad input."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from plait.base import config, registry
from plait.base.errors import ConfigError
from plait.base.fusion import resolve
from plait.base.tokens import Tokens
from plait.branches.branches import trained_weights
from plait.estimators.estimators import FusionClassifier
from plait.networks.base import Norm
from plait.networks.fusion import FusionNetwork
from plait.testing import check_gradients, example_tokens
from plait.training.design import TOLERANCE, Design, maker, matched_width
from plait.training.optimiser import AdamW

#: plait's own: an installed package may bring more.
NAMES = [n for n in registry.names("fusion") if registry.find("fusion", n).__module__.startswith("plait.")]
FEATURE = [name for name in NAMES if "feature" in registry.find("fusion", name).levels]
DECISION = [name for name in NAMES if "decision" in registry.find("fusion", name).levels]
PLACES = [*itertools.product(FEATURE, ("early", "middle", "late")), *((name, "decision") for name in DECISION)]


# -- known answers ---------------------------------------------------------------------------------------------------


def rows_of(seed: int, *, xor: bool) -> tuple[dict[str, Tokens], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    number = torch.arange(128)
    a, b = number % 2, number // 2 % 2

    def noisy(bit: torch.Tensor, width: int) -> Tokens:
        return Tokens.of_vectors((2.0 * bit - 1)[:, None] + 0.2 * torch.randn(len(bit), width, generator=generator))

    return {"a": noisy(a, 3), "b": noisy(b, 4)}, a ^ b if xor else a


def accuracy(name: str, depth: str, *, xor: bool, steps: int = 100) -> float:
    """Of a network trained on 128 rows at once, on 128 others."""
    torch.manual_seed(0)
    tokens, y = rows_of(0, xor=xor)
    network = FusionNetwork({"a": 3, "b": 4}, 2, fusion=name, depth=depth, width=16, dropout=0.0)
    optimiser = AdamW(network.parameters(), 0.03, 0.0, steps)
    for step in range(steps):
        loss = functional.cross_entropy(network(tokens), y)
        if step >= 30 and loss < 0.02:  # the running statistics have settled by then
            break
        optimiser.clear()
        loss.backward()
        optimiser.step()
    fresh, truth = rows_of(1, xor=xor)
    network.eval()
    return float((network(fresh).argmax(1) == truth).float().mean())


@pytest.mark.parametrize(("name", "depth"), [p for p in PLACES if p[1] != "decision"])
def test_xor_of_two_modalities_is_solved(name: str, depth: str) -> None:
    assert accuracy(name, depth, xor=True) > 0.95


@pytest.mark.parametrize("name", DECISION)
def test_xor_stays_at_chance_for_decisions(name: str) -> None:
    assert 0.35 < accuracy(name, "decision", xor=True) < 0.65


@pytest.mark.parametrize("name", ["concat", "sum", "mean"])
def test_without_a_joint_block_late_is_a_sum_of_opinions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.find("fusion", name), "interacts", True)
    assert accuracy(name, "late", xor=True) < 0.8


@pytest.mark.parametrize(("name", "depth"), [p for p in PLACES if p[1] in ("late", "decision")])
def test_a_label_told_by_one_modality_is_learned_by_all(name: str, depth: str) -> None:
    assert accuracy(name, depth, xor=False, steps=50) > 0.98


# -- depth and absence -----------------------------------------------------------------------------------------------


def test_one_joint_block_follows_what_only_adds_up() -> None:
    def joint(name: str, depth: str, dims: dict[str, int]) -> int:
        return len(FusionNetwork(dims, 2, fusion=name, depth=depth, width=4).joint)

    two = {"a": 3, "b": 5}
    assert [joint("concat", d, two) for d in ("early", "middle", "late")] == [2, 1, 1]
    assert [joint("product", d, two) for d in ("early", "middle", "late")] == [2, 1, 0]
    assert joint("mean", "decision", two) == 0
    assert joint("concat", "late", {"a": 3}) == 0


def test_widths_are_made_equal_only_where_they_must_be() -> None:
    early = FusionNetwork({"a": 3, "b": 5}, 2, fusion="mean", depth="early", width=4)
    assert early.fusion.dims == {"a": 4, "b": 4}
    assert FusionNetwork({"a": 3, "b": 5}, 2, fusion="concat", depth="early", width=4).fusion.out_dim == 8
    middle = FusionNetwork({"a": 3, "b": 5}, 2, fusion="mean", depth="middle", width=4)
    assert [len(own) for own in middle.own.values()] == [1, 1]  # the block itself does it


def test_decision_without_layers_still_has_heads() -> None:
    network = FusionNetwork({"a": 3, "b": 5}, 4, fusion="mean", depth="decision", layers=0)
    assert network(example_tokens({"a": 3, "b": 5})).shape == (6, 4)


def test_own_blocks_learn_from_the_present_alone() -> None:
    tokens = example_tokens({"a": 3, "b": 5}, rows=8, tokens=1)
    there = tokens["a"].present
    networks = []
    for rows in (torch.ones_like(there), there):
        torch.manual_seed(0)
        networks.append(FusionNetwork({"a": 3, "b": 5}, 2, depth="late", width=4, dropout=0.0))
        networks[-1].alone({k: t.take(rows) for k, t in tokens.items()})
    statistics = [[m.running_var for m in n.own["a"].modules() if isinstance(m, Norm)] for n in networks]
    torch.testing.assert_close(*statistics)


@pytest.mark.parametrize("count", [0, 1])
def test_own_blocks_take_batches_of_one_present_row_and_none(count: int) -> None:
    network = FusionNetwork({"a": 3, "b": 5}, 2, depth="late", width=4)
    a = Tokens.of_vectors(torch.randn(4, 3), torch.arange(4) < count)
    out = network({"a": a, "b": Tokens.of_vectors(torch.randn(4, 5))})
    assert torch.isfinite(out).all()
    check_gradients(network, out.square().sum())


def test_own_blocks_take_each_token_for_operators_on_sequences() -> None:
    tokens = example_tokens({"a": 3, "b": 5}, tokens=4)
    lengths = {}
    for name in ("transformer", "mean"):
        network = FusionNetwork({"a": 3, "b": 5}, 2, fusion=name, depth="late", width=4).eval()
        lengths[name] = network.alone(tokens)["a"].x.shape
    assert lengths == {"transformer": (6, 4, 4), "mean": (6, 1, 4)}


@pytest.mark.parametrize(
    ("name", "masked", "zeros"), [("mean", -4.0, -2.0), ("max", -4.0, 0.0), ("product", -4.0, 0.0)]
)
def test_zeros_for_the_absent_is_an_option(name: str, masked: float, zeros: float) -> None:
    tokens = {
        "a": Tokens.of_vectors(torch.tensor([[-4.0]])),
        "b": Tokens.of_vectors(torch.tensor([[9.0]]), torch.tensor([False])),
    }
    for absence, expected in (("masked", masked), ("zeros", zeros)):
        network = FusionNetwork({"a": 1, "b": 1}, 2, fusion={"name": name, "absence": absence}, depth=0, width=1)
        for own in network.own.values():
            torch.nn.init.ones_(own[0].weight)
            torch.nn.init.zeros_(own[0].bias)
        assert network.fusion(network.alone(tokens)).tolist() == [[expected]]


ZEROS_ARE_ABSENCE = ("concat", "sum", "low_rank")
ZEROS_MATTER = ("mean", "gated", "attention", "film", "cross_attention", "bottleneck", "transformer", "weighted")


@pytest.mark.parametrize(("name", "depth"), PLACES)
def test_zeros_change_nothing_where_all_is_present(name: str, depth: str) -> None:
    found = []
    for absence in ("masked", "zeros"):
        torch.manual_seed(0)
        told = {"name": name, "absence": absence}
        network = FusionNetwork({"a": 3, "b": 5}, 2, fusion=told, depth=depth, width=4).eval()
        found.append(network(example_tokens({"a": 3, "b": 5})))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert torch.isfinite(found[1]).all()
    if name in ZEROS_MATTER:
        assert not torch.allclose(found[0][2:], found[1][2:])  # somebody is absent in these rows
    if name in ZEROS_ARE_ABSENCE:
        torch.testing.assert_close(*found)


# -- equal budgets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "depth"), PLACES)
def test_every_design_can_be_built_at_the_same_number_of_weights(name: str, depth: str) -> None:
    # What some operators bring of their own depends on the features, whatever the width: early, they need more room.
    target = 400_000 if depth == "early" and name in ("mag", "misa", "miss_modal") else 100_000
    dims = {"text": 128, "image": 96, "tabular": 40}
    _, make = maker(Design(name, depth, 2, "match", 0.1, ("joint",), target, 2), dims, 5, {})
    assert abs(2 * trained_weights(make()) - target) <= TOLERANCE * target


def test_the_matched_width_is_the_nearest() -> None:
    weights = [10 * w + w * w for w in range(200)]
    for target in (11, 24, 500, 12_345):
        found = matched_width(lambda w: weights[w], target)
        assert abs(weights[found] - target) == min(abs(w - target) for w in weights[1:])


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    dims = {"a": 1000, "b": 1000}
    with pytest.raises(ConfigError, match=r"nearest to 1,000 weights comes width 1 with 2,0\d\d; raise max_weights"):
        maker(Design("concat", "early", 2, "match", 0.1, ("joint",), 1000, 1), dims, 2, {})
    with pytest.raises(ConfigError, match="has a width; add the branch 'joint'"):
        maker(Design("concat", "early", 2, "match", 0.1, ("linear",), 1000, 1), dims, 2, {})
    for width in ("mtach", 0, -3):
        with pytest.raises(ConfigError, match="expected a number from 1, 'match'"):
            Design("concat", "early", 2, width, 0.1, ("joint",), 1000, 1)


def test_the_page_tells_the_numbers_of_weights() -> None:
    page = (Path(__file__).parent.parent / "docs" / "depth_and_operators.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| .* \| ([\d,]+) \|", page, re.MULTILINE)
    depths = ["late"] * len(FEATURE) + ["decision"] * len(DECISION)
    assert sorted(name for name, _ in told) == sorted([*FEATURE, *DECISION])
    for (name, weights), depth in zip(told, depths, strict=True):
        network = FusionNetwork({"a": 256, "b": 256}, 10, fusion=name, depth=depth, width=64)
        assert f"{trained_weights(network):,}" == weights, name


# -- names, options, bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ("lowrank", "unknown name 'lowrank' in fusion: did you mean 'low_rank'"),
        ({"rank": 3}, "which operator"),
        ({"name": "low_rank", "rnak": 3}, r"unknown field 'rnak' \(did you mean 'rank'\?\)"),
        ({"name": "low_rank", "level": "decision"}, "unknown field 'level'"),
        ({"name": "mean", "absence": "zeroes"}, "unknown absence 'zeroes': did you mean 'zeros'"),
        ({"name": "low_rank", "rank": 0}, "rank must be a whole number from 1, found 0"),
        ({"name": "low_rank", "rank": "eight"}, "rank must be a whole number from 1, found 'eight'"),
        ({"name": "bottleneck", "tokens": True}, "tokens must be a whole number from 1, found True"),
        ({"name": "transformer", "heads": 2.5}, "heads must be a whole number from 1, found 2.5"),
        ({"name": "film", "target": "imaeg"}, "unknown target 'imaeg': did you mean 'image'"),
        (
            {"name": "tensor", "units": None},
            r"257 x 257 = 66,049 products, more than 20,000; set units to 140 or fewer",
        ),
        ("stacking", "joins outputs of heads .depth 'decision'., not features; for those take attention"),
    ],
)
def test_what_is_wrong_is_said(told: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        FusionNetwork({"text": 256, "image": 256}, 2, fusion=told)


def test_features_are_not_joined_at_decision_depth() -> None:
    with pytest.raises(ConfigError, match="for those take mean, product, stacking, weighted"):
        FusionNetwork({"a": 3, "b": 5}, 2, fusion="concat", depth="decision")


@pytest.mark.parametrize("depth", [0.5, None, [1]])
def test_a_depth_that_is_no_number_is_refused(depth: Any) -> None:
    with pytest.raises(ConfigError, match="expected 0 to 2 or a name"):
        FusionNetwork({"a": 3, "b": 5}, 2, depth=depth)


def test_options_are_told_as_those_of_encoders() -> None:
    told = config.override({"fusion": "low_rank"}, ["fusion.rank=2", "fusion.absence=zeros"])
    found, options, absence = resolve(told["fusion"])
    assert (found.name(), options, absence) == ("low_rank", {"rank": 2}, "zeros")
    assert registry.find("fusion", "bottleneck").facts()["options"] == "tokens, layers, heads"


def test_an_estimator_takes_options_and_keeps_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("wxyz"))
    y = (table["w"] * table["y"] > 0).to_numpy()
    modalities = {n: {"kind": "tabular", "columns": c} for n, c in (("first", ["w", "x"]), ("second", ["y", "z"]))}
    told = {"name": "low_rank", "rank": 2, "absence": "zeros"}
    model = FusionClassifier(
        modalities=modalities,
        branches=("joint",),  # beside others it may be dropped
        fusion=told,
        depth="late",
        width="match",
        max_weights=20_000,
        epochs=2,
        store="none",
    )
    model.fit(table, y)
    assert abs(model.record_["trained_weights"] - 20_000) <= TOLERANCE * 20_000
    again = FusionClassifier.load(model.save(tmp_path / "model"))
    table.loc[:9, ["w", "x"]] = np.nan
    np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    assert again.fusion == told
