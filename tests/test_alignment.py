"""Losses against naive loops, gradients of large batches, and every stage of the registry against its contract."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from plait.alignment.base import reciprocal_rank
from plait.alignment.batches import backward, loss_of, sides_of
from plait.alignment.cca import Cca
from plait.alignment.context import ATTENDING, OPERATIONS, Attention, DeepFusionEncoder
from plait.alignment.learned import PlateauAdamW
from plait.alignment.losses import LOSSES, Contrast, Couples, FixedTargets, HardestNegatives, InfoNCE, SoftTargets
from plait.alignment.network import COLDEST, HOTTEST, Temperature, unit
from plait.alignment.pairs import Pairs, numbered
from plait.base import config, registry
from plait.base.errors import ConfigError, PlaitError, TableError
from plait.base.tokens import Tokens
from plait.testing.models import check_alignment, example_pairs

STAGES = registry.names("alignment")
LOSS_OBJECTS = [InfoNCE(), HardestNegatives(3), SoftTargets(), FixedTargets(), SoftTargets(same="positives")]


def stage(name: str, **told: object) -> object:
    """A stage that learns in no time."""
    variant = registry.find("alignment", name)
    quick = {"epochs": 14, "learning_rate": 1e-2, "batch_size": 16} if variant.learned else {}
    quick |= {"width": 16, "input_dropout": 0.1} if "input_dropout" in config.fields_of(variant) else {}
    quick |= {"anchors": ["b"]} if name == "hardest_negatives" else {}
    return config.build(variant, {**quick, **told}, name)


def vectors(n: int = 7, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator)


def cos(a: Tensor, b: Tensor) -> float:
    """As the papers write it."""
    dot = sum(float(u) * float(v) for u, v in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(u) ** 2 for u in a)) / math.sqrt(sum(float(v) ** 2 for v in b))


# -- the losses as the papers write them ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 6, 50])
@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_hardest_negatives_is_the_formula_of_the_paper(k: int, tau: float) -> None:
    a, b = vectors()
    total = 0.0
    for i in range(7):
        similar = [math.exp(cos(a[i], b[j]) / tau) for j in range(7)]
        hardest = sorted((similar[j] for j in range(7) if j != i), reverse=True)[:k]
        total += -math.log(similar[i] / (similar[i] + sum(hardest) + 1e-7))
    assert float(HardestNegatives(k)(a, b, torch.tensor(tau))) == pytest.approx(total / 7, abs=1e-5)


def naive_soft(a: Tensor, b: Tensor, x: Tensor, y: Tensor, tau: float) -> float:
    """Equations 3 to 6; ``x`` and ``y`` are what equation 5 is read over."""
    n = len(a)
    total = 0.0
    for i in range(n):
        for j in range(n):
            one = -math.log(math.exp(cos(a[i], b[j]) / tau) / sum(math.exp(cos(a[i], b[m]) / tau) for m in range(n)))
            two = -math.log(math.exp(cos(b[i], a[j]) / tau) / sum(math.exp(cos(b[i], a[m]) / tau) for m in range(n)))

            def target(i: int, j: int) -> float:
                alike = [math.exp((cos(x[i], x[m]) + cos(y[i], y[m])) / (2 * tau)) for m in range(n)]
                return alike[j] / sum(alike)

            total += target(i, j) * one + target(j, i) * two
    return total / (2 * n)


@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_soft_targets_are_equations_3_to_6(tau: float) -> None:
    a, b = vectors()
    x, y = vectors(d=3, seed=1)
    assert float(SoftTargets()(a, b, torch.tensor(tau))) == pytest.approx(naive_soft(a, b, a, b, tau), abs=1e-5)
    fixed = FixedTargets()(a, b, torch.tensor(tau), fixed=(x, y))
    assert float(fixed) == pytest.approx(naive_soft(a, b, x, y, tau), abs=1e-5)


def test_infonce_is_cross_entropy_both_ways() -> None:
    a, b = vectors()
    logits = unit(a) @ unit(b).T / 0.2
    own = torch.arange(7)
    expected = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    assert float(InfoNCE()(a, b, torch.tensor(0.2))) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("loss", [InfoNCE(), HardestNegatives(3)], ids=lambda v: type(v).__name__)
def test_rows_of_one_thing_are_no_negatives_of_each_other(loss: Contrast) -> None:
    a, b = vectors(4)
    labels = torch.tensor([[0, 0], [1, 1], [2, 2], [2, 3]])  # rows 2 and 3 share a thing
    found = float(loss(a, b, torch.tensor(0.3), labels))
    total, ways = 0.0, 1 if isinstance(loss, HardestNegatives) else 2
    for one, two in [(a, b), (b, a)][:ways]:
        for i in range(4):
            rivals = [j for j in range(4) if j != i and {i, j} != {2, 3}]
            positive = math.exp(cos(one[i], two[i]) / 0.3)
            total += -math.log(positive / (positive + sum(math.exp(cos(one[i], two[j]) / 0.3) for j in rivals)))
    assert found == pytest.approx(total / (4 * ways), abs=1e-5)


def test_soft_targets_of_rows_of_one_thing_are_those_without_the_other() -> None:
    a, b = vectors(3)
    both = torch.tensor([[0], [1], [1]])
    tau = torch.tensor(0.4)
    total = 0.0
    for i in range(3):  # each row's own softmax, over the rows that count for it
        kept = [j for j in range(3) if j == i or both[i] != both[j]]
        for one, two in ((a, b), (b, a)):
            for j in kept:
                beside = [m for m in range(3) if m == j or both[m] != both[j]] if one is b else kept
                row = j if one is b else i
                alike = {m: math.exp((cos(a[row], a[m]) + cos(b[row], b[m])) / 0.8) for m in beside}
                share = alike[i if one is b else j] / sum(alike.values())
                chance = math.exp(cos(one[i], two[j]) / 0.4) / sum(math.exp(cos(one[i], two[m]) / 0.4) for m in kept)
                total -= share * math.log(chance)
    assert float(SoftTargets()(a, b, tau, both)) == pytest.approx(total / 6, abs=1e-5)


# -- numbers that break ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSS_OBJECTS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("case", ["zero vector", "all the same", "one row", "coldest", "huge", "tiny"])
def test_no_vector_makes_a_loss_or_its_gradient_infinite(loss: Contrast, case: str) -> None:
    a, b = vectors(1 if case == "one row" else 6)
    a = torch.zeros_like(a) if case == "zero vector" else a * {"huge": 1e30, "tiny": 1e-25}.get(case, 1.0)
    a = a[:1].expand_as(a) if case == "all the same" else a
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    tau = torch.tensor(COLDEST, requires_grad=True)
    found = loss(a, b, tau, fixed=(a.detach(), b.detach()))
    found.backward()
    assert math.isfinite(found.item())
    for leaf in (a, b, tau):
        assert leaf.grad is None or torch.isfinite(leaf.grad).all()
    if case == "zero vector":
        assert (a.grad == 0).all()


def test_cosine_of_a_zero_vector_is_zero() -> None:
    assert (unit(torch.zeros(1, 3)) @ unit(torch.ones(2, 3)).T).tolist() == [[0.0, 0.0]]
    assert unit(torch.tensor([[1e30, 0.0], [1e-20, 0.0]])).tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("start", [0.0, -1.0, COLDEST / 2, HOTTEST * 2, math.nan])
def test_temperature_beyond_its_bounds_is_refused(start: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        Temperature(start, learned=True)


@pytest.mark.parametrize(("bound", "way"), [(COLDEST, -1.0), (HOTTEST, 1.0)])
def test_temperature_stays_within_its_bounds_and_can_leave_them(bound: float, way: float) -> None:
    temperature = Temperature(bound, learned=True)
    with torch.no_grad():
        temperature.log.add_(way)
    temperature.hold()
    assert temperature().item() == pytest.approx(bound, rel=1e-5)
    temperature().backward()
    assert float(temperature.log.grad) != 0


# -- large batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSS_OBJECTS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("labelled", [False, True])
def test_blocks_have_the_loss_and_the_gradients_of_the_whole(loss: Contrast, labelled: bool) -> None:
    a, b = (v.double().requires_grad_() for v in vectors(11))
    x, y = (unit(v.double()) for v in vectors(11, 3, seed=1))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    labels = torch.stack([torch.arange(11) // 2, torch.arange(11)], 1) if labelled else None
    whole = loss(a, b, tau, labels, (x, y))
    expected = torch.autograd.grad(whole, (a, b, tau))
    leaves = [unit(v).detach().requires_grad_() for v in (a, b)]
    own, total = tau.detach().clone().requires_grad_(), 0.0
    for term in loss.blocks(Couples(leaves[0], leaves[1], own, labels, (x, y)), 4):
        total += float(term.detach())
        term.backward()
    assert total == pytest.approx(whole.item(), abs=1e-12)
    for vector, leaf, wanted in zip((a, b), leaves, expected, strict=False):
        torch.testing.assert_close(torch.autograd.grad(unit(vector), vector, leaf.grad)[0], wanted)
    torch.testing.assert_close(own.grad, expected[2])


@pytest.mark.parametrize(
    ("name", "loss"), [("hardest_negatives", None), *[(n, k) for n in ("context", "plain_heads") for k in LOSSES]]
)
def test_a_cached_batch_has_the_gradients_of_the_full_batch(name: str, loss: str | None) -> None:
    told = stage(name, loss=loss) if loss else stage(name)
    dims = {"a": 6, "b": 5, "c": 7}
    pairs = example_pairs(dims)
    torch.manual_seed(0)
    network = told.network(dims).double()
    network.train()
    batch = Pairs({n: {"x": b["x"].double()} for n, b in pairs.x.items()}, pairs.present, pairs.cell, pairs.thing)
    found = []
    for rows in (len(batch), 7):
        network.zero_grad()
        value = backward(network, told.contrast(), told.pairs_of(list(dims)), batch, rows)
        assert value == pytest.approx(loss_of(network, told.contrast(), told.pairs_of(list(dims)), batch, 13), abs=1e-9)
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_dropout_draws_the_same_masks_in_both_passes_of_a_cached_batch() -> None:
    told = stage("plain_heads", input_dropout=0.5)
    pairs = example_pairs({"a": 6, "b": 5})
    torch.manual_seed(0)
    network = told.network({"a": 6, "b": 5}).train()
    values = [backward(network, told.contrast(), [("a", "b")], pairs, 7, seed=s) for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    network.zero_grad()
    backward(network, told.contrast(), [("a", "b")], pairs, 7, seed=1)
    step = 1e-2
    gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
    with torch.no_grad():
        for p in network.parameters():
            p -= step * p.grad / gradient.norm()
    after = backward(network, told.contrast(), [("a", "b")], pairs, 7, seed=1)
    assert after - values[0] == pytest.approx(
        -step * float(gradient.norm()), rel=0.2
    )  # masks drawn anew would not fall so


# -- stages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_stage_contract(name: str) -> None:
    check_alignment(stage(name), {"a": 6, "b": 5})


@pytest.mark.parametrize("name", ["cca", "context", "ridge"])
def test_three_modalities_share_a_space(name: str) -> None:
    longer = {"epochs": 18} if registry.find("alignment", name).learned else {}
    check_alignment(stage(name, **longer), {"a": 6, "b": 5, "c": 9})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_context_joins_in_every_way_and_matters(operation: str) -> None:
    told = stage("context", operation=operation)
    check_alignment(told, {"a": 6, "b": 5})
    torch.manual_seed(0)
    network = told.network({"a": 6, "b": 6}).eval()
    network.projections["1"].load_state_dict(network.projections["0"].state_dict())
    x = torch.randn(3, 6)
    assert not torch.allclose(network("a", {"x": x}), network("b", {"x": x}), atol=1e-4)


def naive_encoder(f: DeepFusionEncoder, slots: Tensor, contexts: Tensor) -> Tensor:
    """f of equation 1 for one row, vector by vector and head by head."""
    block, width = f.block, slots.shape[1]
    if isinstance(f.fuse, Attention):
        powers = [torch.stack([torch.exp(q @ k / width**0.5) for k in slots]) for q in contexts]
        fused = [sum(p / each.sum() * v for p, v in zip(each, slots, strict=True)) for each in powers]
    else:
        fused = [v + contexts[0] for v in slots]
    x = [f.norm(v) for v in fused]
    q, k, v = ([one.view(3, 4, -1)[part] for one in map(block.qkv, map(block.norm1, x))] for part in range(3))
    after = []
    for place, one in enumerate(x):
        heads = []
        for h in range(4):
            e = [torch.exp(q[place][h] @ other[h] / (width // 4) ** 0.5) for other in k]
            heads.append(sum(w / sum(e) * other[h] for w, other in zip(e, v, strict=True)))
        moved = one + block.out(torch.cat(heads))
        after.append(moved + block.down(torch.nn.functional.gelu(block.up(block.norm2(moved)))))
    return fused[0] + after[0]


@pytest.mark.parametrize("operation", ["add", "dot"])
def test_the_deep_fusion_encoder_and_its_gradients_are_those_of_plain_loops(operation: str) -> None:
    torch.manual_seed(0)
    f = DeepFusionEncoder(operation, 8, 0.0).double().eval()
    slots = torch.randn(3, 4, 8, dtype=torch.float64)
    contexts = torch.randn(2 if operation == "dot" else 1, 8, dtype=torch.float64, requires_grad=True)
    whole = f(slots, contexts)
    weights = [contexts, *f.parameters()]
    found = torch.autograd.grad(whole.square().sum(), weights)
    loops = torch.stack([naive_encoder(f, row, contexts) for row in slots])
    torch.testing.assert_close(whole, loops, atol=1e-12, rtol=0)
    for mine, theirs in zip(found, torch.autograd.grad(loops.square().sum(), weights), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_rows_begin_as_unlike_as_in_plain_heads(operation: str) -> None:
    """Rows that begin alike stay alike under soft targets: whatever the epochs, they are found by chance."""
    pairs = example_pairs({"a": 60, "b": 50}, rows=200)

    def unlike(name: str, **told: object) -> float:
        torch.manual_seed(0)
        network = stage(name, width=64, **told).network(pairs.dims).eval()
        network.learn_inputs(pairs)
        return min(float(1 - unit(network(n, batch).detach()).mean(0).square().sum()) for n, batch in pairs.x.items())

    assert unlike("context", operation=operation) > unlike("plain_heads") - 0.1


def test_the_contract_sees_a_block_whose_attention_can_learn_nothing() -> None:
    dead = stage("context", slots=1, queries=1)  # as before there were slots: one token, whose softmax is 1
    with pytest.raises(AssertionError, match=r"hardly any gradient reaches \['encoder.block.qkv.weight"):
        check_alignment(dead, {"a": 6, "b": 5})


def test_tokens_of_an_encoder_are_attended_to_and_what_is_not_there_never_matters() -> None:
    for operation in OPERATIONS:
        told = stage("context", operation=operation, tokens=True)
        encoders = {"a": SimpleNamespace(tunable=2), "b": SimpleNamespace(tunable=0)}
        assert [told.takes(encoders[n]) for n in "ab"] == ["tokens", "vectors"]
        torch.manual_seed(0)
        network = told.network_over(encoders, {"a": 6, "b": 5}).eval()
        x, mask = torch.randn(3, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
        out = network("a", {"x": x, "mask": mask})
        assert torch.isfinite(out).all()
        torch.testing.assert_close(out, network("a", {"x": x.masked_fill(~mask[..., None], 99.0), "mask": mask}))
        moved = x.clone()
        moved[0, 0], moved[0, 1] = x[0, 0] + 1, x[0, 1] - 1  # the mean is the same: it is the words that matter
        assert not torch.allclose(out[0], network("a", {"x": moved, "mask": mask})[0], atol=1e-4)


@pytest.mark.parametrize("name", ["context", "plain_heads"])
def test_a_closed_form_is_where_learning_starts_and_what_stays_if_nothing_is_better(name: str) -> None:
    pairs = example_pairs({"a": 6, "b": 5}, rows=200)
    closed = Cca(components=16)
    maps = closed.network({"a": 6, "b": 5})
    closed.fit(maps, pairs, seed=0)
    told = stage(name, init="cca", held_out=0.0, input_dropout=0.0)
    network = told.network({"a": 6, "b": 5})
    assert told.begin(network, pairs, 0)
    for n, batch in pairs.x.items():
        torch.testing.assert_close(unit(network(n, batch))[:, :5], unit(maps(n, batch)), atol=1e-5, rtol=0)
    before = loss_of(network, told.contrast(), [("a", "b")], pairs, 64)
    told.fit(network, pairs, seed=0)
    assert loss_of(network, told.contrast(), [("a", "b")], pairs, 64) < before
    assert float(network.gain.detach().abs().max()) > 0
    wild = stage(name, init="cca", learning_rate=30.0, select="rank", refit=True, epochs=3)
    network = wild.network({"a": 6, "b": 5})
    history = wild.fit(network, pairs, seed=0)
    assert history[0]["started"]
    assert history[-1] == {"refit": 0}  # the start was best: all pairs, and not one step
    for n, batch in pairs.x.items():
        torch.testing.assert_close(unit(network(n, batch))[:, :5], unit(maps(n, batch)), atol=1e-5, rtol=0)


def test_the_rate_of_a_closed_form_is_a_tenth() -> None:
    variant = registry.find("alignment", "context")
    assert (variant().learning_rate, variant(init="cca").learning_rate) == (1e-3, 1e-4)
    with pytest.raises(ConfigError, match="needs frozen encoders"):
        registry.find("alignment", "convirt")(init="cca")


def test_a_refit_learns_from_all_pairs_up_to_the_best_epoch() -> None:
    pairs = example_pairs({"a": 6, "b": 5}, rows=120)
    told = stage("plain_heads", refit=True, patience=2, epochs=30)
    network = told.network({"a": 6, "b": 5})
    start = {k: v.clone() for k, v in network.state_dict().items()}
    history = told.fit(network, pairs, seed=0)
    best = min((r for r in history if "valid_loss" in r), key=lambda r: r["valid_loss"])["epoch"] + 1
    assert history[-1] == {"refit": best}
    other = stage("plain_heads", held_out=0.0, epochs=best)
    again = other.network({"a": 6, "b": 5})
    again.load_state_dict(start)
    other.fit(again, pairs, seed=0)
    for n, batch in pairs.x.items():
        torch.testing.assert_close(network(n, batch), again(n, batch))


def test_ranks_choose_the_epoch_where_they_are_asked_to() -> None:
    pairs = example_pairs({"a": 6, "b": 5}, rows=120)
    pairs = pairs.take(pairs.both("a", "b"))
    told = stage("plain_heads", select="rank")
    network = told.network({"a": 6, "b": 5})
    history = told.fit(network, pairs, seed=0)
    generator = torch.Generator().manual_seed(0)
    _, held = pairs.split(told.held_out, [("a", "b")], generator)
    found = reciprocal_rank(network, held, [("a", "b")])
    assert min(r["valid_loss"] for r in history) == pytest.approx(1 - found, abs=1e-6)


def naive_positives(a: Tensor, b: Tensor, thing: list[int], tau: float) -> float:
    total = 0.0
    for one, two in ((a, b), (b, a)):
        for i in range(len(a)):
            mine = [j for j in range(len(a)) if thing[j] == thing[i]]
            below = sum(math.exp(cos(one[i], two[j]) / tau) for j in range(len(a)))
            total -= sum(math.log(math.exp(cos(one[i], two[j]) / tau) / below) for j in mine) / len(mine)
    return total / (2 * len(a))


def test_rows_of_one_thing_may_be_positives_or_negatives() -> None:
    (a, b), thing = vectors(5), [0, 1, 1, 2, 1]
    labels, tau = torch.tensor(thing)[:, None], torch.tensor(0.3)
    found = InfoNCE(same="positives")(a, b, tau, labels)
    assert float(found) == pytest.approx(naive_positives(a, b, thing, 0.3), abs=1e-5)
    for kind in (InfoNCE, SoftTargets):
        assert float(kind(same="negatives")(a, b, tau, labels)) == pytest.approx(float(kind()(a, b, tau)), abs=1e-6)
    total = 0.0
    for one, two, forth in ((a, b, True), (b, a, False)):
        for i, j in itertools.product(range(5), range(5)):
            row, column = (i, j) if forth else (j, i)
            alike = [2.0 if thing[row] == thing[m] else cos(a[row], a[m]) + cos(b[row], b[m]) for m in range(5)]
            share = math.exp(alike[column] / 0.6) / sum(math.exp(v / 0.6) for v in alike)
            below = sum(math.exp(cos(one[i], two[m]) / 0.3) for m in range(5))
            total -= share * math.log(math.exp(cos(one[i], two[j]) / 0.3) / below)
    assert float(SoftTargets(same="positives")(a, b, tau, labels)) == pytest.approx(total / 10, abs=1e-5)


@pytest.mark.parametrize("operation", ATTENDING)
def test_attention_over_one_slot_would_ignore_the_context(operation: str) -> None:
    with pytest.raises(ConfigError, match="ignores the context"):
        stage("context", operation=operation, slots=1)
    attend = OPERATIONS[operation](4)
    x = torch.randn(3, 1, 4)
    torch.testing.assert_close(attend(x, torch.randn(1, 4)), x)  # softmax over one score is 1


def test_scores_of_attention_are_the_formulas() -> None:
    torch.manual_seed(0)
    x, query = torch.randn(2, 3, 4), torch.randn(4)
    for name in ATTENDING:
        attend = OPERATIONS[name](4)
        for row in range(2):
            scores = []
            for key in x[row]:
                if name == "dot":
                    scores.append((query @ key).item() / 2)
                elif name == "general":
                    scores.append((key @ (attend.weight.weight @ query)).item() / 2)
                else:
                    inner = attend.query.weight @ query + attend.key.weight @ key + attend.key.bias
                    scores.append((attend.score.weight[0] @ inner.tanh()).item())
            weight = torch.tensor(scores).softmax(0)
            torch.testing.assert_close(
                attend(x, query[None])[row, 0], (weight[:, None] * x[row]).sum(0), atol=1e-6, rtol=0
            )


def test_the_fusion_encoder_is_shared_and_contexts_are_not() -> None:
    network = stage("context").network({"a": 6, "b": 5, "c": 3})
    assert network.contexts.vectors.weight.shape == (3, 16)
    assert sum(n.startswith("encoder.") for n, _ in network.named_parameters()) == sum(
        1 for _ in network.encoder.named_parameters()
    )


def test_projector_is_linear_tanh_dropout_residual() -> None:
    network = stage("hardest_negatives").network({"a": 6, "b": 5}).eval()
    x = torch.randn(4, 6)
    linear = network.projectors["0"].linear
    expected = x @ linear.weight.T + linear.bias
    torch.testing.assert_close(network("a", {"x": x}), expected + expected.tanh())


def test_anchors_of_another_width_are_faced_through_a_map() -> None:
    told = stage("hardest_negatives", anchors=["text", "image"])
    network = told.network({"table": 4, "text": 6, "image": 9}).eval()
    x = torch.randn(3, 4)
    assert network.out_dim == 6
    assert network("table", {"x": x}, "text").shape == (3, 6)
    assert network("table", {"x": x}, "image").shape == (3, 9)
    assert network.side("table", "text").towards is None
    assert network.side("table", "image").towards == "image"


def test_procrustes_finds_a_rotation() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=generator)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    told = stage("procrustes")
    network = told.network({"a": 4, "b": 4})
    told.fit(network, Pairs.of({"a": x @ rotation, "b": x}), seed=0)
    a, b = network("a", {"x": x @ rotation}), network("b", {"x": x})
    torch.testing.assert_close(unit(a), unit(b), atol=1e-3, rtol=0)
    assert network("a", {"x": x @ rotation}).norm(dim=1) == pytest.approx(
        (x @ rotation - (x @ rotation).mean(0)).norm(dim=1)
    )


def test_ridge_is_least_squares() -> None:
    pairs = example_pairs({"a": 3, "b": 4})
    told = stage("ridge", penalty=1e-12)
    network = told.network({"a": 3, "b": 4})
    told.fit(network, pairs, seed=0)
    rows = pairs.both("a", "b")
    a, b = pairs.x["a"]["x"][rows].double(), pairs.x["b"]["x"][rows].double()
    design = torch.cat([b, torch.ones(len(b), 1, dtype=torch.float64)], 1)
    expected = design @ torch.linalg.lstsq(design, a).solution
    mean = pairs.x["a"]["x"][pairs.present["a"]].mean(0)
    torch.testing.assert_close(
        network("b", {"x": b.float()}) + a.mean(0).float() - mean, expected.float() - mean, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("name", ["cca", "ridge"])
def test_the_penalty_is_the_one_that_finds_held_out_pairs(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(120, 3, generator=generator)
    noisy = {n: torch.cat([hidden, 2 * torch.randn(120, 40, generator=generator)], 1) for n in "ab"}
    told = stage(name)
    network = told.network({"a": 43, "b": 43})
    (record,) = told.fit(network, Pairs.of(noisy), seed=0)
    tried = {float(k): v for k, v in record["tried"].items()}
    assert tuple(tried) == told.choices
    assert tried[record["penalty"]] == max(tried.values())
    fixed = stage(name, penalty=record["penalty"])
    other = fixed.network({"a": 43, "b": 43})
    assert fixed.fit(other, Pairs.of(noisy), seed=0) == [{"penalty": record["penalty"], "tried": {}}]
    x = {"x": noisy["b"]}
    torch.testing.assert_close(network("b", x), other("b", x))


def test_cca_of_two_is_that_of_scikit_learn() -> None:
    from sklearn.cross_decomposition import CCA

    pairs = example_pairs({"a": 3, "b": 4}, rows=300)
    told = stage("cca", components=2, penalty=1e-9, power=0.0)
    network = told.network({"a": 3, "b": 4})
    told.fit(network, pairs, seed=0)
    both = pairs.take(pairs.both("a", "b"))
    found = [network(n, both.x[n]).numpy() for n in "ab"]
    expected = CCA(2, scale=False).fit_transform(both.x["a"]["x"].numpy(), both.x["b"]["x"].numpy())
    for place in range(2):
        correlation = np.corrcoef(*(f[:, place] for f in found))[0, 1]
        wanted = np.corrcoef(*(e[:, place] for e in expected))[0, 1]
        assert float(correlation) == pytest.approx(float(wanted), abs=1e-3)


class _Learning(torch.nn.Module):
    """An encoder's network with something to train."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(dim, 4)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(self.linear(batch["x"]))


def naive_maxvar(x: dict[str, torch.Tensor], penalty: float, count: int) -> dict[str, torch.Tensor]:
    """Whiten each modality as it is, stack, solve the whole: what ``cca`` must equal however it gets there."""
    white = {}
    for name, rows in x.items():
        rows = rows.double() - rows.double().mean(0)
        variance = rows.T @ rows / len(rows)
        values, vectors = torch.linalg.eigh(
            variance + penalty * variance.trace() / len(variance) * torch.eye(len(variance))
        )
        white[name] = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    stacked = torch.cat([(r.double() - r.double().mean(0)) @ white[n] for n, r in x.items()], 1)
    whole = stacked.T @ stacked / len(stacked)
    at = 0
    for rows in x.values():
        part = slice(at, at + rows.shape[1])
        whole[part, part] = torch.eye(rows.shape[1], dtype=torch.float64)
        at = part.stop
    values, vectors = (t.flip(-1)[..., :count] for t in torch.linalg.eigh(whole))
    weight = ((values - 1) / (len(x) - 1)).clamp(0, 1)
    parts = vectors.split([rows.shape[1] for rows in x.values()])
    return {
        n: (r.double() - r.double().mean(0)) @ white[n] @ (v * weight)
        for (n, r), v in zip(x.items(), parts, strict=True)
    }


@pytest.mark.parametrize("dims", [{"a": 6, "b": 5, "c": 4}, {"a": 50, "b": 40, "c": 6}, {"a": 50, "b": 4}])
def test_cca_is_maxvar_however_wide_the_modalities_are(dims: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = example_pairs(dims, rows=24).take(torch.arange(24) % 6 > 2)
    rows = torch.stack(list(pairs.present.values())).all(0)
    x = {name: batch["x"][rows] for name, batch in pairs.x.items()}
    network = Cca(components=4, penalty=0.3).network(dims)
    sizes = []
    solve = scipy.linalg.eigh
    monkeypatch.setattr("scipy.linalg.eigh", lambda a, **told: sizes.append(len(a)) or solve(a, **told))
    Cca(components=4, penalty=0.3).fit(network, pairs, seed=0)
    assert all(size <= sum(min(int(rows.sum()) - 1, dim) for dim in dims.values()) for size in sizes)
    assert len(sizes) == (len(dims) > 2)
    expected = naive_maxvar(x, 0.3, 4)
    for a, b in itertools.combinations(dims, 2):
        found = network(a, {"x": x[a]}) @ network(b, {"x": x[b]}).T
        torch.testing.assert_close(found.double(), expected[a] @ expected[b].T, atol=1e-4, rtol=1e-4)


def test_cca_of_many_wide_modalities_keeps_what_varies_most(monkeypatch: pytest.MonkeyPatch) -> None:
    dims = {"a": 12, "b": 12, "c": 12}
    pairs = example_pairs(dims, rows=120)
    whole, fewer = (Cca(components=3, penalty=0.3).network(dims) for _ in range(2))
    Cca(components=3, penalty=0.3).fit(whole, pairs, seed=0)
    monkeypatch.setattr("plait.alignment.cca.MOST", 18)
    Cca(components=3, penalty=0.3).fit(fewer, pairs, seed=0)
    for name, batch in pairs.x.items():
        similar = (
            unit(whole(name, batch)) @ unit(whole(name, batch)).T,
            unit(fewer(name, batch)) @ unit(fewer(name, batch)).T,
        )
        assert np.corrcoef(*(s.flatten().numpy() for s in similar))[0, 1] > 0.99


def test_convirt_trains_the_encoders_too() -> None:
    torch.manual_seed(0)
    pairs = example_pairs({"a": 6, "b": 5})
    encoders = {n: SimpleNamespace(dim=4, module=partial(_Learning, d)) for n, d in pairs.dims.items()}
    told = stage("convirt", rows_at_once=7, batch_size=None)
    network = told.network_over(encoders, {"a": 0, "b": 0})
    before = {k: v.clone() for k, v in network.state_dict().items()}
    told.fit(network, pairs, seed=0, progress=False)
    moved = [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])]
    assert "encoders.0.linear.weight" in moved
    assert "heads.1.2.weight" in moved


# -- bad input -------------------------------------------------------------------------------------------------------


def fit(name: str, pairs: Pairs, **told: object) -> None:
    made = stage(name, **told)
    made.fit(made.network(pairs.dims), pairs, seed=0, progress=False)


@pytest.mark.parametrize("name", STAGES)
def test_one_row_is_not_enough(name: str) -> None:
    with pytest.raises(TableError, match="1 rows have both"):
        fit(name, Pairs.of({"a": torch.ones(1, 6), "b": torch.ones(1, 5)}))


@pytest.mark.parametrize("name", STAGES)
def test_rows_that_are_all_the_same_have_nothing_to_tell(name: str) -> None:
    with pytest.raises(TableError, match="all 8 cells of 'a' are the same"):
        fit(name, Pairs.of({"a": torch.ones(8, 6), "b": torch.randn(8, 5)}))
    with pytest.raises(TableError, match="about one thing"):
        fit(name, Pairs.of({"a": torch.randn(8, 6), "b": torch.randn(8, 5)}, thing=torch.zeros(8, dtype=torch.int64)))


@pytest.mark.parametrize("name", STAGES)
def test_a_zero_vector_among_the_rows_leaves_every_number_finite(name: str) -> None:
    pairs = example_pairs({"a": 6, "b": 5})
    x = {n: b["x"].clone() for n, b in pairs.x.items()}
    x["a"][1] = 0.0
    made = stage(name)
    network = made.network(pairs.dims)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    history = made.fit(network, Pairs.of(x), seed=0, progress=False)
    assert any(not torch.equal(v, before[k]) for k, v in network.state_dict().items()), "nothing was learned"
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())
    assert all(math.isfinite(v) for record in history for v in record.values() if isinstance(v, float))
    for side in sides_of(network, made.pairs_of(list(pairs.dims))):
        assert torch.isfinite(network(side.name, {"x": x[side.name]}, side.towards)).all()


def test_more_negatives_than_the_batch_has_are_all_of_them() -> None:
    pairs = example_pairs({"a": 6, "b": 5})
    found = []
    for negatives in (1000, 15, 2):  # a batch of 16 has 15
        made = stage("hardest_negatives", negatives=negatives, epochs=2)
        torch.manual_seed(0)
        network = made.network(pairs.dims)
        made.fit(network, pairs, seed=0, progress=False)
        found.append(network("a", pairs.x["a"]))
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-5)


@pytest.mark.parametrize(
    ("anchors", "match"), [([], "needs anchors"), (["a", "b"], "needs anchors"), (["c"], "unknown anchor 'c'")]
)
def test_anchors_that_cannot_be(anchors: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        stage("hardest_negatives", anchors=anchors).network({"a": 3, "b": 4})


@pytest.mark.parametrize(
    ("name", "told", "match"),
    [
        ("context", {"operation": "ad"}, "did you mean 'add'"),
        ("context", {"width": 30}, "multiple of 4"),
        ("context", {"loss": "infonc"}, "did you mean 'infonce'"),
        ("plain_heads", {"batch_size": 1}, "batch_size"),
        ("plain_heads", {"held_out": 1.0}, "held_out"),
        ("plain_heads", {"learning_rate": 0.0}, "learning_rate"),
        ("hardest_negatives", {"negatives": 0}, "negatives"),
        ("ridge", {"penalty": 0.0}, "penalty"),
        ("cca", {"components": 0}, "components"),
        ("procrustes", {"towards": "c"}, "unknown modality 'c'"),
    ],
)
def test_settings_that_cannot_be(name: str, told: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        stage(name, **told).network({"a": 3, "b": 4})


def test_one_modality_is_nothing_to_align() -> None:
    for name in STAGES:
        if name != "hardest_negatives":
            with pytest.raises(ConfigError, match="two modalities"):
                stage(name).network({"a": 3})


def test_training_that_diverges_says_so() -> None:
    pairs = example_pairs({"a": 6, "b": 5})
    with pytest.raises(PlaitError, match="diverged"):
        fit("plain_heads", pairs, learning_rate=1e38)


# -- training --------------------------------------------------------------------------------------------------------


def test_training_stops_early_and_keeps_the_best_state() -> None:
    pairs = example_pairs({"a": 6, "b": 5}, rows=120)
    told = stage("plain_heads", epochs=200, patience=3, input_dropout=0.0, learning_rate=3e-2)
    network = told.network(pairs.dims)
    history = told.fit(network, pairs, seed=0, progress=False)
    losses = [record["valid_loss"] for record in history]
    assert len(history) < 200
    assert len(losses) - 1 - losses.index(min(losses)) == 3


def test_things_are_held_out_whole() -> None:
    x = {"a": torch.randn(100, 3), "b": torch.randn(100, 3)}
    fold, held = Pairs.of(x, thing=torch.arange(100) // 5).split(0.1, [("a", "b")], torch.Generator().manual_seed(0))
    assert held is not None
    assert not set(fold.thing.tolist()) & set(held.thing.tolist())
    assert len(held) == 10


def test_the_learning_rate_falls_on_a_plateau() -> None:
    optimiser = PlateauAdamW([torch.nn.Parameter(torch.ones(1))], 1.0, 0.0, patience=2)
    for loss in (3.0, 2.0, 2.0, 2.0):
        optimiser.observe(loss)
    assert optimiser.factor() == 1.0
    optimiser.observe(2.0)
    assert optimiser.factor() == 0.5
    optimiser.observe(1.0)
    assert optimiser.factor() == 0.5


def test_equal_rows_have_equal_numbers() -> None:
    assert numbered(torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])).tolist() == [0, 1, 0]


# -- known answers ---------------------------------------------------------------------------------------------------


class _Counting(InfoNCE):
    """The plain loss; it writes down how many rows it compared."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        self.rows.append(len(couples))
        return super().blocks(couples, rows)


@pytest.mark.parametrize(("rows", "size", "batches"), [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 8, [3])])
def test_the_last_batch_is_what_is_left_and_never_one_row(rows: int, size: int, batches: list[int]) -> None:
    """A row alone has nothing to differ from, so it joins the batch before."""
    told = stage("plain_heads", epochs=1, batch_size=size)
    counting = _Counting()
    told.contrast = lambda: counting
    generator = torch.Generator().manual_seed(0)
    x = {name: torch.randn(rows, 3, generator=generator) for name in "ab"}
    told.fit(told.network({"a": 3, "b": 3}), Pairs.of(x), seed=0, progress=False)
    assert counting.rows == batches


@pytest.mark.parametrize(("rows", "size"), [(49, 16), (320, 40), (4800, 256)])
def test_without_a_size_a_batch_is_an_eighth_of_the_rows_within_bounds(rows: int, size: int) -> None:
    told = stage("plain_heads", epochs=1, batch_size=None, held_out=0.0, width=4)
    counting = _Counting()
    told.contrast = lambda: counting
    x = {name: torch.randn(rows, 2, generator=torch.Generator().manual_seed(0)) for name in "ab"}
    told.fit(told.network({"a": 2, "b": 2}), Pairs.of(x), seed=0, progress=False)
    assert counting.rows[0] == size
    assert sum(counting.rows) == rows


@pytest.mark.parametrize(("share", "held"), [(0.1, 10), (0.25, 25), (0.0, 0), (0.01, 0)])
def test_a_share_of_the_things_is_held_out_where_it_is_two_at_least(share: float, held: int) -> None:
    x = {name: torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) for name in "ab"}
    fold, judged = Pairs.of(x).split(share, [("a", "b")], torch.Generator().manual_seed(0))
    assert (0 if judged is None else len(judged)) == held
    assert len(fold) == 100 - held
    few = Pairs.of({name: t[:49] for name, t in x.items()})
    assert few.split(0.25, [("a", "b")], torch.Generator().manual_seed(0))[1] is None  # from 50 rows on


def test_the_rate_falls_after_more_than_patience_epochs_and_again_after_as_many() -> None:
    optimiser = PlateauAdamW([torch.nn.Parameter(torch.ones(1))], 1.0, 0.0, patience=2, factor=0.1)
    levels = []
    for _ in range(8):
        optimiser.observe(1.0)
        levels.append(optimiser.factor())
    assert levels == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_one_canonical_direction_is_the_first_of_scikit_learn_weighed_by_its_correlation(power: float) -> None:
    from sklearn.cross_decomposition import CCA

    pairs = example_pairs({"a": 3, "b": 4}, rows=300)
    both = pairs.take(pairs.both("a", "b"))
    told = stage("cca", components=1, penalty=1e-9, power=power)
    network = told.network({"a": 3, "b": 4})
    assert network.out_dim == 1
    told.fit(network, both, seed=0)
    x = {name: both.x[name]["x"].numpy() for name in "ab"}
    expected = CCA(1, scale=False).fit_transform(x["a"], x["b"])
    rho = float(np.corrcoef(expected[0][:, 0], expected[1][:, 0])[0, 1])
    for name, wanted in zip("ab", expected, strict=True):
        found = network(name, both.x[name]).numpy()[:, 0]
        assert abs(np.corrcoef(found, wanted[:, 0])[0, 1]) == pytest.approx(1.0, abs=1e-3)
        assert found.mean() == pytest.approx(0.0, abs=1e-4)
        assert found.var() == pytest.approx(0.5 * rho ** (2 * power), rel=1e-2)  # unit vectors shared by two modalities


def test_directions_of_three_modalities_are_the_eigenvectors_of_the_whitened_covariance() -> None:
    dims = {"a": 3, "b": 4, "c": 2}
    pairs = example_pairs(dims, rows=200)
    pairs = pairs.take(torch.stack([pairs.present[n] for n in dims]).all(0))
    told = stage("cca", components=2, penalty=0.5, power=1.0)
    network = told.network(dims)
    told.fit(network, pairs, seed=0)
    white = []
    for name in dims:
        x = pairs.x[name]["x"].double().numpy()
        x = x - x.mean(0)
        covariance = x.T @ x / len(x)
        values, vectors = np.linalg.eigh(covariance + 0.5 * np.trace(covariance) / len(covariance) * np.eye(x.shape[1]))
        white.append(x @ vectors @ np.diag(values**-0.5) @ vectors.T)
    stacked = np.concatenate(white, 1)
    between = stacked.T @ stacked / len(stacked)
    start = 0
    for dim in dims.values():
        between[start : start + dim, start : start + dim] = np.eye(dim)
        start += dim
    values, vectors = np.linalg.eigh(between)
    start = 0
    for name, part in zip(dims, white, strict=True):
        found = network(name, pairs.x[name]).numpy()
        for place in range(2):
            share = min(1.0, (values[-1 - place] - 1) / 2)
            wanted = part @ vectors[start : start + dims[name], -1 - place] * share
            assert np.corrcoef(found[:, place], wanted)[0, 1] ** 2 == pytest.approx(1.0, abs=1e-4)
            assert found[:, place].std() == pytest.approx(wanted.std(), rel=1e-3)
        start += dims[name]


def test_ranks_of_pairs_are_counted_one_by_one() -> None:
    from plait.alignment.base import reciprocal_rank

    told = stage("ridge", penalty=1.0)
    network = told.network({"a": 2, "b": 2})
    angles = {"a": [0.0, 0.5, 1.0, 2.0], "b": [0.1, 1.15, 0.9, 0.6]}  # turned by so much
    x = {n: torch.tensor([[math.cos(t), math.sin(t)] for t in found]) for n, found in angles.items()}
    network.put("b", torch.zeros(2), torch.eye(2))
    total = 0.0
    for one, other in (("a", "b"), ("b", "a")):
        for i in range(4):
            similar = [math.cos(angles[one][i] - angles[other][j]) for j in range(4)]
            total += 1 / sum(s >= similar[i] - 1e-6 for s in similar)
    assert reciprocal_rank(network, Pairs.of(x), [("a", "b")]) == pytest.approx(total / 8, abs=1e-6)


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        (9, [1.0] * 5 + [0.5] * 4 + [0.25]),  # told of at the end of epochs 4 and 8
        (2, [1.0] * 3),  # never sooner than after one epoch without a better one
    ],
)
def test_the_rate_is_halved_after_a_third_of_the_patience_and_training_ends_with_it(
    patience: int, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is learned at such a rate, so no epoch is better than the first."""
    factors: list[float] = []
    step = PlateauAdamW.step
    monkeypatch.setattr(PlateauAdamW, "step", lambda self, *told: [factors.append(self.factor()), step(self, *told)][1])
    told = stage("plain_heads", epochs=50, patience=patience, batch_size=1000, learning_rate=1e-12, input_dropout=0.0)
    pairs = example_pairs({"a": 6, "b": 5}, rows=120)
    network = told.network(pairs.dims)
    history = told.fit(network, pairs, seed=0, progress=False)
    assert factors == expected
    assert [record["epoch"] for record in history] == list(range(1 + patience))  # the first, and those without a better
    assert not network.training


def test_features_are_dropped_from_the_first_epoch_on_whatever_the_network_did_before() -> None:
    losses = []
    for dropped, learning in ((0.5, True), (0.5, False), (0.0, True)):
        told = stage("plain_heads", epochs=1, batch_size=100, input_dropout=dropped, held_out=0.0)
        pairs = example_pairs({"a": 6, "b": 5})
        torch.manual_seed(0)
        network = told.network(pairs.dims).train(learning)
        losses.append(told.fit(network, pairs, seed=0, progress=False)[0]["train_loss"])
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches() -> None:
    told = stage("plain_heads", epochs=1, batch_size=4, learning_rate=1e-12, input_dropout=0.0)
    kept: list[float] = []

    class Kept(InfoNCE):
        def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
            terms = list(super().blocks(couples, rows))
            kept.append(float(sum(terms).detach()))
            return iter(terms)

    told.contrast = Kept
    x = {n: torch.randn(10, 3, generator=torch.Generator().manual_seed(i)) for i, n in enumerate("ab")}
    network = told.network({"a": 3, "b": 3})
    (record,) = told.fit(network, Pairs.of(x), seed=0, progress=False)
    assert len(kept) == 3
    assert record["train_loss"] == pytest.approx(sum(kept) / 3)


@torch.no_grad()
def test_pairs_of_modalities_count_alike_however_many_rows_they_share() -> None:
    """The loss is the mean over pairs; those with fewer than two rows have no part in it."""
    told = stage("plain_heads", input_dropout=0.0, loss="infonce")
    dims = {"a": 4, "b": 4, "c": 4}
    torch.manual_seed(0)
    network = told.network(dims).eval()
    x = {n: torch.randn(12, 4, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(dims)}
    present = {"a": torch.ones(12, dtype=torch.bool), "b": torch.arange(12) < 8, "c": torch.arange(12) > 5}
    pairs = Pairs.of(x, present)
    found = loss_of(network, told.contrast(), told.pairs_of(list(dims)), pairs, 100)
    tau, total = network.temperature(), 0.0
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        rows = present[one] & present[other]
        first, second = (network(n, {"x": x[n][rows]}) for n in (one, other))
        total += float(InfoNCE()(first, second, tau))
    assert found == pytest.approx(total / 3, abs=1e-5)
    single = Pairs.of(x, {**present, "c": torch.arange(12) == 0})
    alone = loss_of(network, told.contrast(), told.pairs_of(list(dims)), single, 100)
    first, second = (network(n, {"x": x[n][:8]}) for n in "ab")
    assert alone == pytest.approx(float(InfoNCE()(first, second, tau)), abs=1e-5)
