"""The contracts, over everything in the registry: a new file is tested the moment it exists."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from plait.base import registry
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.networks.base import depth_number
from plait.networks.fusion import FusionNetwork
from plait.networks.linear import LinearNetwork
from plait.testing import check_fusion, check_gradients, example_tokens

OPERATORS = registry.names("fusion")


@pytest.mark.parametrize("name", OPERATORS)
def test_fusion_contract(name: str) -> None:
    operator = registry.find("fusion", name)
    dims = {"a": 4, "b": 4, "c": 4} if operator.equal_widths else {"a": 3, "b": 5, "c": 4}
    check_fusion(operator, dims)


@pytest.mark.parametrize("name", [n for n in OPERATORS if registry.find("fusion", n).equal_widths])
def test_fusion_of_equal_widths_refuses_others(name: str) -> None:
    with pytest.raises(ConfigError, match="equal widths"):
        registry.find("fusion", name)({"a": 3, "b": 5})


def test_check_fusion_finds_a_broken_operator() -> None:
    class Leaky(registry.find("fusion", "concat")):  # type: ignore[misc]
        def forward(self, tokens):  # type: ignore[no-untyped-def]
            return torch.cat([tokens[n].x.nan_to_num().mean(1) for n in self.names], 1)

    with pytest.raises(AssertionError, match="absent token"):
        check_fusion(Leaky, {"a": 3, "b": 5})


def test_concat_is_the_naive_loop() -> None:
    tokens = example_tokens({"a": 2, "b": 3})
    out = registry.find("fusion", "concat")({"a": 2, "b": 3})(tokens)
    for row in range(6):
        expected: list[float] = []
        for name in ("a", "b"):
            kept = [tokens[name].x[row, t] for t in range(3) if tokens[name].mask[row, t]]
            width = tokens[name].dim
            expected += (sum(kept) / len(kept)).tolist() if kept else [0.0] * width
        assert out[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_mean_is_over_the_present() -> None:
    a = Tokens.of_vectors(torch.tensor([[2.0], [4.0]]))
    b = Tokens.of_vectors(torch.tensor([[6.0], [9.0]]), torch.tensor([True, False]))
    out = registry.find("fusion", "mean")({"a": 1, "b": 1})({"a": a, "b": b})
    assert out[:, 0].tolist() == [4.0, 4.0]


@pytest.mark.parametrize("depth", [0, 1, 2, "early", "middle", "late"])
def test_network_at_every_depth(depth: int | str) -> None:
    network = FusionNetwork({"a": 3, "b": 5}, 4, depth=depth, width=8)
    out = network(example_tokens({"a": 3, "b": 5}))
    assert out.shape == (6, 4)
    check_gradients(network, out.square().sum())


def test_depth_changes_where_the_blocks_are() -> None:
    joint = [sum(1 for _ in FusionNetwork({"a": 3}, 2, depth=d).joint) for d in ("early", "middle", "late")]
    assert joint == [2, 1, 0]


@pytest.mark.parametrize("depth", ["erly", 3, -1, True])
def test_depth_beyond_the_layers_is_refused(depth: int | str) -> None:
    with pytest.raises(ConfigError, match="depth"):
        depth_number(depth, 2)


def test_linear_network_is_a_sum_over_the_present() -> None:
    network = LinearNetwork({"a": 2, "b": 1}, 1)
    torch.nn.init.ones_(network.linear.weight)
    a, b = Tokens.of_vectors(torch.tensor([[1.0, 2.0]])), Tokens.of_vectors(torch.tensor([[5.0]]))
    assert network({"a": a, "b": b}).item() == 8.0
    assert network({"a": a, "b": b.absent_where(torch.tensor([True]))}).item() == 3.0


def test_registry_says_what_it_knows() -> None:
    with pytest.raises(ConfigError, match="did you mean 'concat'"):
        registry.find("fusion", "concatt")
    with pytest.raises(ConfigError, match="family"):
        registry.names("fusions")


#: Families of which a user chooses one variant: each says when to, and when not.
CHOSEN = sorted(set(registry.FAMILIES) - {"datasets", "advisers", "samplers", "sections", "subjects"})


@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_every_variant_has_its_own_summary(family: str) -> None:
    records = registry.describe(family)
    assert records
    assert sorted(r["name"] for r in records) == sorted(registry.names(family))
    own = [n for n in registry.names(family) if registry.find(family, n).__module__.startswith("plait.")]
    summaries = [r["summary"] for r in records if r["name"] in own]
    assert len(set(summaries)) == len(summaries)
    bases = {inspect.getdoc(b) for n in own for b in registry.find(family, n).__mro__[1:]}
    assert not {s for s in summaries if any((base or "").startswith(s) for base in bases)}, "inherited, not its own"
    for summary in summaries:
        assert re.fullmatch(r"\S+( \S+){2,}[.:]", summary), summary


@pytest.mark.parametrize(("family", "name"), [(f, n) for f in CHOSEN for n in registry.names(f)])
def test_every_variant_says_its_shape_and_when_to_use_it(family: str, name: str) -> None:
    text = registry.find(family, name).__doc__ or ""
    sections = ["Shape", "Use when", "Not when"] + (["Formula", "Example"] if family != "encoders" else [])
    assert [s for s in sections if not re.search(rf"^ *{s}:\s+\S", text, re.M)] == []


def test_tokens_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="bool mask"):
        Tokens(torch.zeros(2, 3, 4), torch.ones(2, 2, dtype=torch.bool))


def test_pooled_ignores_what_is_masked() -> None:
    x = torch.tensor([[[1.0], [float("nan")]], [[3.0], [5.0]]])
    mask = torch.tensor([[True, False], [True, True]])
    assert Tokens(x, mask).pooled()[:, 0].tolist() == [1.0, 4.0]
