"""Fusion operators: contracts at every level, formulas against plain loops."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from plait.base import registry
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.fusion.layers import Attend
from plait.networks.fusion import FusionNetwork
from plait.testing import check_fusion, check_gradients, example_tokens

NAMES = registry.names("fusion")
FEATURE = [name for name in NAMES if "feature" in registry.find("fusion", name).levels]
DECISION = [name for name in NAMES if "decision" in registry.find("fusion", name).levels]
PLACES = [*itertools.product(FEATURE, ("early", "middle", "late")), *((name, "decision") for name in DECISION)]


def operator(name: str, dims: dict[str, int], **options: Any) -> Fusion:
    torch.manual_seed(0)
    found: Fusion = registry.find("fusion", name)(dims, **options).eval()
    return found


def vectors(rows: Sequence[Sequence[float]], present: Sequence[bool] | None = None) -> Tokens:
    there = None if present is None else torch.tensor(present)
    return Tokens.of_vectors(torch.tensor(rows, dtype=torch.float32), there)


def pair(seed: int = 0, names: str = "ab") -> dict[str, Tokens]:
    """One token of width 3 for four rows: everything, nothing, and each of the first two modalities alone."""
    generator = torch.Generator().manual_seed(seed)
    present = {"a": [True, False, True, False], "b": [True, False, False, True], "c": [True, False, True, True]}
    return {n: Tokens.of_vectors(torch.randn(4, 3, generator=generator), torch.tensor(present[n])) for n in names}


# -- contracts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECISION)
def test_contract_at_decision_level(name: str) -> None:
    check_fusion(partial(registry.find("fusion", name), level="decision"), {"a": 4, "b": 4, "c": 4})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_contract_for_any_number_of_modalities(name: str, count: int) -> None:
    options = {"units": 3} if name == "tensor" else {}
    check_fusion(partial(registry.find("fusion", name), **options), dict.fromkeys("abcd"[:count], 5))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tensor", {"units": None}),
        ("low_rank", {"rank": 1}),
        ("film", {"target": "b"}),
        ("cross_attention", {"heads": 3}),
        ("bottleneck", {"tokens": 1, "layers": 1, "heads": 1}),
        ("transformer", {"layers": 2, "heads": 7}),
    ],
)
def test_contract_with_options(name: str, options: dict[str, Any]) -> None:
    check_fusion(partial(registry.find("fusion", name), **options), {"a": 4, "b": 4, "c": 4})


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(registry.find("fusion", name)) or ""
    found = re.findall(r"^(Formula|Shape|Source|Use when|Not when|Example):", text, re.MULTILINE)
    assert found == ["Formula", "Shape", "Source", "Use when", "Not when", "Example"]


@pytest.mark.parametrize(("name", "depth"), PLACES)
def test_network_holds_the_contract(name: str, depth: str) -> None:
    torch.manual_seed(0)
    network = FusionNetwork({"a": 3, "b": 5}, 2, fusion=name, depth=depth, width=6)
    tokens = example_tokens({"a": 3, "b": 5})
    network.train()
    check_gradients(network, network(tokens).square().sum())
    network.eval()
    garbage = {k: Tokens(t.x.masked_fill(~t.mask[:, :, None], math.nan), t.mask) for k, t in tokens.items()}
    torch.testing.assert_close(network(garbage), network(tokens))


# -- formulas --------------------------------------------------------------------------------------------------------


def present_of(tokens: dict[str, Tokens], row: int) -> list[torch.Tensor]:
    return [tokens[n].x[row, 0] for n in sorted(tokens) if tokens[n].mask[row, 0]]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "product"])
def test_simple_operators_are_the_naive_loop(name: str) -> None:
    tokens = pair(names="abc")
    out = operator(name, {"a": 3, "b": 3, "c": 3})(tokens)
    reduce = {"sum": sum, "mean": lambda v: sum(v) / len(v), "max": max, "product": math.prod}[name]
    for row in range(4):
        there = present_of(tokens, row)
        expected = [reduce([float(x[d]) for x in there]) for d in range(3)] if there else [0.0] * 3
        assert out[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_product_of_decisions_multiplies_probabilities() -> None:
    tokens = pair()
    found = operator("product", {"a": 3, "b": 3}, level="decision")(tokens).softmax(1)
    for row in (0, 2, 3):
        multiplied = torch.stack([x.softmax(0) for x in present_of(tokens, row)]).prod(0)
        torch.testing.assert_close(found[row], multiplied / multiplied.sum())


def test_gated_is_the_naive_loop() -> None:
    fusion, tokens = operator("gated", {"a": 3, "b": 3}), pair()
    out = fusion(tokens).detach()
    for row in range(4):
        x = [tokens[n].x[row, 0] * tokens[n].mask[row, 0] for n in "ab"]
        gate = (fusion.gates.weight @ torch.cat(x) + fusion.gates.bias).detach().view(2, 3)
        h = [torch.tanh(fusion.own[n].weight @ x[i] + fusion.own[n].bias).tolist() for i, n in enumerate("ab")]
        for d in range(3):
            there = [i for i, n in enumerate("ab") if tokens[n].mask[row, 0]]
            total = sum(math.exp(float(gate[i, d])) for i in there)
            expected = sum(math.exp(float(gate[i, d])) / total * h[i][d] for i in there)
            assert float(out[row, d]) == pytest.approx(expected, abs=1e-6)


def test_attention_is_the_naive_loop() -> None:
    fusion, tokens = operator("attention", {"a": 3, "b": 3}), pair()
    out = fusion(tokens)
    first, _, last = fusion.scores
    for row in range(4):
        x = [tokens[n].x[row, 0] * tokens[n].mask[row, 0] for n in "ab"]
        score = (last.weight @ torch.tanh(first.weight @ torch.cat(x) + first.bias) + last.bias).detach()
        there = [i for i, n in enumerate("ab") if tokens[n].mask[row, 0]]
        total = sum(math.exp(float(score[i])) for i in there)
        expected = sum((math.exp(float(score[i])) / total * x[i] for i in there), torch.zeros(3))
        torch.testing.assert_close(out[row], expected)


def test_tensor_holds_every_product_once() -> None:
    tokens = {"a": vectors([[2.0, 3.0]]), "b": vectors([[5.0]]), "c": vectors([[7.0]])}
    dims = {"a": 2, "b": 1, "c": 1}
    out = operator("tensor", dims, units=None)(tokens)[0].tolist()
    expected = [a * b * c for a in (2.0, 3.0, 1.0) for b in (5.0, 1.0) for c in (7.0, 1.0)]
    assert out == expected
    without = {**tokens, "b": tokens["b"].absent_where(torch.tensor([True]))}
    only = [a * b * c for a in (2.0, 3.0, 1.0) for b in (0.0, 1.0) for c in (7.0, 1.0)]
    assert operator("tensor", dims, units=None)(without)[0].tolist() == only


def test_low_rank_is_a_layer_on_the_outer_product() -> None:
    fusion, tokens = operator("low_rank", {"a": 3, "b": 3}, rank=2), pair()
    appended = {n: torch.cat([tokens[n].pooled(), torch.ones(4, 1)], 1) for n in "ab"}
    factor = {n: torch.cat([fusion.factors[n].weight, fusion.factors[n].bias[:, None]], 1).view(2, 3, 4) for n in "ab"}
    weights = torch.einsum("rdi,rdj->dij", factor["a"], factor["b"])  # the tensor that is never written out
    expected = torch.einsum("dij,ni,nj->nd", weights, appended["a"], appended["b"])
    torch.testing.assert_close(fusion(tokens), expected)


def test_film_is_the_naive_loop() -> None:
    fusion, tokens = operator("film", {"a": 3, "b": 3}), pair()
    found = {"": fusion(tokens), "a": operator("film", {"a": 3, "b": 3}, target="a")(tokens)}
    for row in range(4):
        x = {n: tokens[n].x[row, 0] * tokens[n].mask[row, 0] for n in "ab"}
        turned = {}
        for name, other in (("a", "b"), ("b", "a")):
            scale, shift = (fusion.maps[name].weight @ x[other]).chunk(2)
            turned[name] = (1 + scale) * x[name] + shift
        there = [n for n in "ab" if tokens[n].mask[row, 0]]
        expected = sum((turned[n] for n in there), torch.zeros(3)) / max(1, len(there))
        torch.testing.assert_close(found[""][row], expected)
    torch.testing.assert_close(found["a"][2], tokens["a"].x[2, 0])  # nobody else is there to modulate it


def test_weighted_decisions_are_the_naive_loop() -> None:
    fusion, tokens = operator("weighted", {"a": 3, "b": 3}), pair()
    with torch.no_grad():
        fusion.trust.copy_(torch.tensor([[0.0, 1.0, -2.0], [0.5, 0.0, 3.0]]))
    out = fusion(tokens)
    for row, d in itertools.product(range(4), range(3)):
        there = [i for i, n in enumerate("ab") if tokens[n].mask[row, 0]]
        total = sum(math.exp(float(fusion.trust[i, d])) for i in there)
        expected = sum(math.exp(float(fusion.trust[i, d])) / total * float(tokens["ab"[i]].x[row, 0, d]) for i in there)
        assert float(out[row, d]) == pytest.approx(expected, abs=1e-6)


def test_stacking_is_linear_in_outputs_and_presence() -> None:
    fusion, tokens = operator("stacking", {"a": 3, "b": 3}), pair()
    torch.testing.assert_close(fusion(tokens)[0], (tokens["a"].x[0, 0] + tokens["b"].x[0, 0]) / 2)  # where it starts
    torch.nn.init.normal_(fusion.linear.weight)
    torch.nn.init.normal_(fusion.linear.bias)
    for row in range(4):
        parts = [tokens[n].x[row, 0] * tokens[n].mask[row, 0] for n in "ab"]
        flags = torch.tensor([float(tokens[n].mask[row, 0]) for n in "ab"])
        expected = fusion.linear.weight @ torch.cat([*parts, flags]) + fusion.linear.bias
        torch.testing.assert_close(fusion(tokens)[row], expected)


def test_attend_is_the_naive_loop() -> None:
    torch.manual_seed(0)
    attend, query = Attend(4, 2), torch.randn(3, 2, 4)
    context = Tokens(torch.randn(3, 5, 4), torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]) > 0)
    out = attend(query, context)
    assert out[1].abs().max() == 0  # nothing to look at
    for row, place in itertools.product((0, 2), range(2)):
        q = attend.query(query[row, place])
        keys, values = attend.key_value(context.x[row]).chunk(2, -1)
        heads = []
        for h in (slice(0, 2), slice(2, 4)):
            seen = [t for t in range(5) if context.mask[row, t]]
            score = [math.exp(float(q[h] @ keys[t, h]) / math.sqrt(2)) for t in seen]
            heads.append(sum((s / sum(score) * values[t, h] for s, t in zip(score, seen, strict=True)), torch.zeros(2)))
        torch.testing.assert_close(out[row, place], attend.out(torch.cat(heads)))


def additive(fusion: Fusion) -> float:
    """How far f(a, b) + f(a', b') is from f(a, b') + f(a', b)."""
    generator = torch.Generator().manual_seed(1)
    a, b = (Tokens.of_vectors(torch.randn(2, 8, generator=generator)) for _ in range(2))
    swapped = b.take(torch.tensor([1, 0]))
    return float((fusion({"a": a, "b": b}).sum(0) - fusion({"a": a, "b": swapped}).sum(0)).abs().max())


def test_a_bottleneck_of_one_layer_only_gathers() -> None:
    dims = {"a": 8, "b": 8}
    assert additive(operator("bottleneck", dims, layers=1)) < 1e-5
    assert additive(operator("bottleneck", dims, layers=2)) > 1e-3


@pytest.mark.parametrize("name", ["cross_attention", "bottleneck", "transformer"])
def test_operators_on_sequences_see_single_tokens_of_both(name: str) -> None:
    fusion, tokens = operator(name, {"a": 8, "b": 8}), example_tokens({"a": 8, "b": 8}, tokens=4)
    torch.testing.assert_close(fusion(tokens), fusion({k: turned(t) for k, t in tokens.items()}))  # no order
    means = {k: Tokens.of_vectors(t.pooled(), t.present) for k, t in tokens.items()}
    assert not torch.allclose(fusion(tokens)[0], fusion(means)[0], atol=1e-3)
    assert additive(fusion) > 1e-3


def turned(tokens: Tokens) -> Tokens:
    return Tokens(tokens.x.flip(1), tokens.mask.flip(1))
