"""Members trained together are the members trained one after another."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.networks.base import Masks
from plait.networks.fusion import FusionNetwork
from plait.networks.linear import LinearNetwork
from plait.networks.tasks import Classification, Multilabel, Regression, Task
from plait.training import stacked
from plait.training.design import Design, maker
from plait.training.loop import BestState, StatePart, train
from plait.training.member import MemberLearner
from plait.training.rows import Examples, Hiding, folds_of
from plait.training.settings import Training
from plait.training.stacked import StackedBranch, StackedLearner, stackable

#: One batch per epoch, nothing random but the order of rows within it: both ways must give the same numbers.
SETTINGS = Training(
    epochs=6,
    batch_size=64,
    learning_rate=5e-3,
    weight_decay=0.1,
    patience=6,
    smoothing=0.1,
    input_dropout=0.0,
    modality_dropout=Hiding(),
)
DESIGN = Design("concat", "early", 2, 8, 0.0, ("joint", "linear", "own"), 10**6, 5)
ROWS = 80
#: A bias before a norm has no gradient but rounding, which Adam makes a step of: what the norm remembers drifts a little.
DRIFT = 1e-2


def rows(absent: float) -> Inputs:
    rng = np.random.default_rng(0)
    tokens = {}
    for name, width in (("text", 5), ("image", 7), ("tabular", 3)):
        x = torch.tensor(rng.normal(size=(ROWS, 2, width)), dtype=torch.float32)
        there = torch.tensor(rng.random(ROWS) >= (0.0 if name == "tabular" else absent))
        tokens[name] = Tokens(x, there[:, None].expand(ROWS, 2).contiguous())
    return Inputs(tokens, {}, {name: t.present for name, t in tokens.items()})


def target(task: Task) -> torch.Tensor:
    rng = np.random.default_rng(1)
    if isinstance(task, Classification):
        return torch.from_numpy(np.arange(ROWS) % 3)
    if isinstance(task, Multilabel):
        return torch.tensor(rng.integers(0, 2, (ROWS, 3)), dtype=torch.float32)
    return torch.tensor(rng.normal(size=(ROWS, 1)), dtype=torch.float32)


def members(inputs: Inputs, task: Task, count: int = 5) -> list[Branches]:
    torch.manual_seed(0)
    _, make = maker(DESIGN, {k: t.dim for k, t in inputs.tokens.items()}, task.out_dim, {})
    return [make() for _ in range(count)]


TASKS = [
    Classification((0, 1, 2)),
    Multilabel.learn(np.eye(3, dtype=int)[np.arange(ROWS) % 3], np.ones(ROWS)),
    Regression.learn(np.random.default_rng(1).normal(size=ROWS), np.ones(ROWS)),
]


@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_together_is_one_after_another(task: Task, absent: float) -> None:
    inputs, y = rows(absent), target(task)
    weight = torch.linspace(0.5, 1.5, ROWS)
    folds = folds_of(np.arange(ROWS) % 3, 5, 0)
    assert len({len(fold) for fold, _ in folds}) == 1
    together = members(inputs, task)
    apart = copy.deepcopy(together)
    assert stackable(together, folds, SETTINGS)
    examples = Examples(task, inputs, y, weight)
    stack = StackedLearner(together, examples, folds, SETTINGS, torch.Generator().manual_seed(0))
    history = train(stack, SETTINGS.epochs, SETTINGS.patience).history
    compared = 0
    for number, fold in enumerate(folds):
        learner = MemberLearner(apart[number], examples, fold, SETTINGS, torch.Generator().manual_seed(0))
        records = train(learner, SETTINGS.epochs, SETTINGS.patience).history
        mine = [r for r in history if r["member"] == number]
        for one, other in zip(mine, records, strict=True):
            assert one["train"] == pytest.approx(other["train"], abs=2e-4)
            assert one["valid"] == pytest.approx(other["valid"], abs=DRIFT)
        for name, out in apart[number].outputs(inputs).items():
            if best_epoch(mine, name) != best_epoch(records, name):
                continue  # two epochs as good as each other
            compared += 1
            assert float((together[number].outputs(inputs)[name] - out).abs().mean()) < 3 * DRIFT, (number, name)
    assert compared >= 20


def best_epoch(records: list[dict[str, Any]], branch: str) -> int:
    return min(range(len(records)), key=lambda i: float(records[i]["valid"][branch]))


def test_each_member_and_branch_keeps_its_own_best_epoch() -> None:
    task, inputs = TASKS[0], rows(0.2)
    folds = folds_of(np.arange(ROWS) % 3, 5, 0)
    settings = dataclasses.replace(SETTINGS, epochs=60, learning_rate=0.05, patience=4, weight_decay=0.0)
    found = members(inputs, task)
    y, generator = target(task), torch.Generator().manual_seed(0)
    stack = StackedLearner(found, Examples(task, inputs, y, torch.ones(ROWS)), folds, settings, generator)
    history = train(stack, settings.epochs, settings.patience).history
    for number, (_, valid) in enumerate(folds):
        held = inputs.take(valid)
        for name, out in found[number].outputs(held).items():
            sees = found[number].sees(name, held.present)
            loss = float((task.row_loss(out, y[valid]) * sees).sum() / sees.sum())
            best = min(r["valid"][name] for r in history if r["member"] == number)
            assert loss == pytest.approx(best, rel=0.02), (number, name)
    epochs = {r["epoch"] for r in history}
    assert max(epochs) < 59  # patience ends it: every branch of every member has passed its best


def test_what_is_more_than_blocks_is_not_stacked() -> None:
    task, inputs = TASKS[0], rows(0.0)
    folds = folds_of(np.arange(ROWS) % 3, 5, 0)
    dims = {k: t.dim for k, t in inputs.tokens.items()}
    for change in ({"depth": "late"}, {"fusion": "mean"}, {"fusion": {"name": "concat", "absence": "zeros"}}):
        _, make = maker(dataclasses.replace(DESIGN, **change), dims, task.out_dim, {})
        assert not stackable([make() for _ in range(5)], folds, SETTINGS), change
    assert not stackable(members(inputs, task, 1), folds[:1], SETTINGS)
    assert not stackable(members(inputs, task), folds, dataclasses.replace(SETTINGS, batch_size=512))


@pytest.mark.parametrize("present", ["all", "some", "one", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_a_stacked_branch_is_the_network_of_each_member(present: str, training: bool) -> None:
    """Outputs, and what the norms remember, against each member's own network over the rows that it has."""
    torch.manual_seed(0)
    networks = [FusionNetwork({"a": 5}, 3, layers=2, width=6, dropout=0.0) for _ in range(3)]
    for network in networks:
        for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm1d)):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    x = torch.randn(3, 7, 5) * 2 + 1
    there = {
        "all": torch.ones(3, 7, dtype=torch.bool),
        "some": torch.rand(3, 7) < 0.6,
        "one": torch.arange(7).expand(3, 7) == 4,
        "none": torch.zeros(3, 7, dtype=torch.bool),
    }[present]
    branch = StackedBranch(networks).train(training)
    alone = [copy.deepcopy(network).train(training) for network in networks]
    out = branch(x, None if present == "all" else there, None)
    assert torch.isfinite(out).all()
    branch.give_back(networks)
    for member, (network, written) in enumerate(zip(alone, networks, strict=True)):
        rows = there[member]
        if present in ("all", "some") or not training:  # a norm over one row has nothing to go by
            expected = network({"a": Tokens.of_vectors(x[member][rows])})
            torch.testing.assert_close(out[member][rows], expected, atol=1e-5, rtol=1e-4)
        for name, value in network.state_dict().items():
            if "num_batches" not in name:
                torch.testing.assert_close(written.state_dict()[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_units_of_a_stacked_branch_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    networks = [FusionNetwork({"a": 4}, 2, layers=1, width=50, dropout=0.5) for _ in range(2)]
    branch, x = StackedBranch(networks), torch.randn(2, 9, 4)
    assert branch.dropout == 0.5
    plain = branch(x, None, None)
    dropped = branch(x, None, Masks(torch.Generator().manual_seed(0)))
    again = branch(x, None, Masks(torch.Generator().manual_seed(0)))
    assert torch.equal(dropped, again)
    assert not torch.allclose(dropped, plain, atol=1e-3)
    assert (dropped - plain).abs().mean() < 3 * plain.abs().mean()  # what is left is doubled, so the size stays
    assert StackedBranch([LinearNetwork({"a": 4}, 2)]).dropout == 0.0


@pytest.mark.parametrize(("size", "together"), [(256, True), (257, False)])
def test_members_are_stacked_up_to_a_size_and_from_two_rows_on(size: int, together: bool) -> None:
    task, inputs = TASKS[0], rows(0.0)
    folds = [(torch.arange(40), torch.arange(40, 80))] * 4
    settings = dataclasses.replace(SETTINGS, batch_size=size)  # four times 256 are the largest
    assert stackable(members(inputs, task, 4), folds, settings) == together
    few = [*folds[:3], (torch.arange(1), torch.arange(40, 80))]
    assert not stackable(members(inputs, task, 4), few, SETTINGS)
    assert stackable(members(inputs, task, 4), [*folds[:3], (torch.arange(2), torch.arange(9))], SETTINGS)


@pytest.mark.parametrize(
    ("width", "dtype", "exact"), [(64, "bfloat16", False), (63, "bfloat16", True), (64, "float32", True)]
)
def test_products_of_4096_weights_on_are_in_bf16_where_there_is_such_a_product(
    width: int, dtype: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "fast_dtype", lambda device: getattr(torch, dtype))
    torch.manual_seed(0)
    networks = [LinearNetwork({"a": 64}, width) for _ in range(2)]
    for network in networks:
        torch.nn.init.normal_(network.linear.weight)
    branch, x = StackedBranch(networks), torch.randn(2, 5, 64)
    expected = torch.stack([x[i] @ n.linear.weight.T + n.linear.bias for i, n in enumerate(networks)])
    assert torch.allclose(branch(x, None, None), expected, atol=1e-4) == exact
    assert torch.allclose(branch.eval()(x, None, None), expected, atol=1e-4)  # predictions are exact


def test_a_state_is_better_by_more_than_rounding_and_patience_is_counted_from_it() -> None:
    branch = StackedBranch([LinearNetwork({"a": 2}, 2) for _ in range(2)])
    best, done = BestState([StatePart(["linear"], branch.arrays)], 2), []
    for epoch, (one, other) in enumerate([(1.0, 1.0), (0.5, 1.0), (0.5, 1.0), (0.5 - 1e-7, 1.0), (0.6, 1.0)]):
        best.offer({"linear": torch.tensor([one, other])}, epoch)
        done.append(best.done(epoch, 3))
    assert best.epoch.tolist() == [[1.0, 0.0]]
    assert done == [False, False, False, False, True]  # epoch 4 is the third after epoch 1
