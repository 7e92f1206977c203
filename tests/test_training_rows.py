"""Features that wait in bf16, and a block whose derivative is written out: the numbers of the plain way, within bf16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.networks import base
from plait.networks.base import Block, Dropout, Masks
from plait.networks.tasks import Classification
from plait.training import rows as training_rows
from plait.training.design import Design, maker
from plait.training.optimiser import clip
from plait.training.rows import Examples, TrainingRows, narrowed

WIDE = 200


def inputs_of(rows: int = 50, tokens: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    x = {"a": torch.randn(rows, tokens, WIDE, generator=generator), "b": torch.randn(rows, 1, 5, generator=generator)}
    mask = {"a": torch.ones(rows, tokens, dtype=torch.bool), "b": torch.rand(rows, 1, generator=generator) > 0.3}
    found = {name: Tokens(x[name], mask[name]) for name in x}
    return Inputs(found, {}, {name: t.present for name, t in found.items()})


def model_of(fusion: str = "concat", depth: str = "early", width: int = 64) -> Branches:
    design = Design(fusion, depth, 2, width, 0.2, ("joint", "linear", "own"), 10**7, 1)
    return maker(design, {"a": WIDE, "b": 5}, 3, {})[1]()


@pytest.fixture(autouse=True)
def a_processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training_rows, base):
        monkeypatch.setattr(module, "fast_dtype", lambda device="cpu": torch.bfloat16)


def test_features_are_narrowed_where_all_that_they_enter_are_linear_maps() -> None:
    assert {t.x.dtype for t in narrowed(inputs_of(), model_of()).tokens.values()} == {torch.bfloat16}
    assert {t.x.dtype for t in narrowed(inputs_of(), model_of(depth="late", width=128)).tokens.values()} == {
        torch.float32
    }


@pytest.mark.parametrize("fusion", ["gated", "tensor", "attention"])
def test_features_that_an_operator_takes_first_are_left_as_they_are(fusion: str) -> None:
    design = Design(fusion, "early", 1, 64, 0.0, ("joint",), 10**7, 1)
    model = maker(design, {"a": WIDE, "b": 5}, 3, {})[1]()
    assert narrowed(inputs_of(), model).tokens["a"].x.dtype == torch.float32


def test_sequences_and_small_networks_are_left_as_they_are() -> None:
    given = inputs_of(tokens=3)
    assert narrowed(given, model_of()) is given
    given = inputs_of()
    assert narrowed(given, model_of(width=16)) is given


def test_a_batch_is_what_take_gives_whatever_was_gathered_before() -> None:
    given, model = inputs_of(), model_of(width=16)
    target, weight = torch.arange(50), torch.rand(50)
    rows = TrainingRows(Examples(Classification((0, 1)), given, target, weight), torch.arange(4), model)
    for chosen in (torch.tensor([3, 1, 4, 1, 5]), torch.tensor([9]), torch.arange(40)):
        batch, y, w = rows.take(chosen, torch.Generator())
        for name, tokens in given.take(chosen).tokens.items():
            assert torch.equal(batch.tokens[name].x, tokens.x)
            assert torch.equal(batch.tokens[name].mask, tokens.mask)
            assert torch.equal(batch.present[name], tokens.present)
        assert torch.equal(y, target[chosen])
        assert torch.equal(w, weight[chosen])


def gradients(block: Block, x: Tensor, out: Tensor) -> tuple[Tensor, ...]:
    learned = [p for name, p in block.named_parameters() if name != "0.bias"]
    return torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), [x, *learned])


def by_parts(block: Block, x: Tensor) -> Tensor:
    for part in block:
        x = part(x)
    return x


def masked(block: Block, seed: int = 0) -> Block:
    for part in block.modules():
        if isinstance(part, Dropout):
            part.masks = Masks(torch.Generator().manual_seed(seed))
    return block


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_written_derivative_of_a_block_is_that_of_its_parts(dropout: float) -> None:
    torch.manual_seed(0)
    fused, plain = Block(WIDE, 64, dropout), Block(WIDE, 64, dropout)
    with torch.no_grad():
        for name, parameter in fused.named_parameters():
            if name != "0.weight":
                parameter.uniform_(0.5, 1.5)
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(30, WIDE)
    given = [x.clone().requires_grad_() for _ in range(2)]
    ours = masked(fused)(given[0])
    assert "_Fused" in type(ours.grad_fn).__name__
    theirs = by_parts(masked(plain), given[1])
    assert (ours == 0).eq(theirs == 0).float().mean() > 0.99
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.05)
    for mine, other in zip(gradients(fused, given[0], ours), gradients(plain, given[1], theirs), strict=True):
        assert float((mine - other).norm() / other.norm()) < 0.03
    for name, value in fused.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, plain.state_dict()[name], atol=1e-2, rtol=1e-2)


def test_a_block_predicts_by_its_parts() -> None:
    block = Block(WIDE, 64, 0.5).eval()
    x = torch.randn(7, WIDE)
    assert torch.equal(block(x), by_parts(block, x))


def test_masks_in_bf16_are_those_in_float32() -> None:
    wide, narrow = (Masks(torch.Generator().manual_seed(1)) for _ in range(2))
    for _ in range(70):  # beyond the life of a pool
        a = wide.take((3, 5), 0.5, torch.device("cpu"))
        assert torch.equal(a, narrow.take((3, 5), 0.5, torch.device("cpu"), torch.bfloat16).float())


@pytest.mark.parametrize("size", [0.1, 10.0, float("nan")])
def test_clipping_is_torchs(size: float) -> None:
    ours, theirs = ([nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(5))] for _ in range(2))
    for parameters in (ours, theirs):
        for p in parameters:
            p.grad = torch.full_like(p, size)
    clip(ours, 5.0)
    torch.nn.utils.clip_grad_norm_(theirs, 5.0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, equal_nan=True)
