"""Losses, weights, folds, scaling and mixture against answers worked out by hand or a second way."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from plait import FusionClassifier, FusionRegressor
from plait.base.errors import ConfigError, TableError
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.branches.mixing import HeldOut, prior, with_thresholds
from plait.branches.mixture import Mixture, comparable, patterns
from plait.data.labels import codes_of
from plait.encoders.scale import Scaler
from plait.networks.base import Dropout, Linear, Masks, Norm, depth_number
from plait.networks.fusion import FusionNetwork
from plait.networks.linear import LinearNetwork
from plait.networks.tasks import Classification, Multilabel, Regression, Task, task_class
from plait.training.checkpoint import Checkpoint
from plait.training.crossfit import Plan, crossfit
from plait.training.design import Design, maker
from plait.training.loop import BestState, Callbacks, Learner, StatePart, train
from plait.training.member import MemberLearner
from plait.training.optimiser import LIMIT, AdamW
from plait.training.rows import Examples, Hiding, batch_edges, folds_of
from plait.training.settings import Training
from plait.training.stacked import StackedLearner

TWO = Classification((0, 1))
#: One batch, nothing dropped: the first epoch's training loss is that of the weights as they were made.
SETTINGS = Training(
    epochs=3,
    batch_size=1000,
    learning_rate=5e-3,
    weight_decay=0.0,
    patience=50,
    smoothing=0.0,
    input_dropout=0.0,
    modality_dropout=Hiding(),
)
DESIGN = Design("concat", "early", 1, 8, 0.0, ("joint", "linear", "own"), 10**6, 5)


def inputs_of(present: Mapping[str, np.ndarray] | None = None, **features: np.ndarray) -> Inputs:
    tokens = {}
    for name, x in features.items():
        there = torch.from_numpy((present or {}).get(name, np.ones(len(x), bool)))
        tokens[name] = Tokens.of_vectors(torch.tensor(x, dtype=torch.float32), there)
    return Inputs(tokens, {}, {name: t.present for name, t in tokens.items()})


def random_inputs(rows: int, absent: float = 0.0) -> Inputs:
    rng = np.random.default_rng(0)
    present = {"a": np.ones(rows, bool), "b": rng.random(rows) >= absent}
    return inputs_of(present, a=rng.normal(size=(rows, 4)), b=rng.normal(size=(rows, 3)))


def members(inputs: Inputs, out_dim: int, count: int = 1, design: Design = DESIGN) -> list[Branches]:
    torch.manual_seed(0)
    _, make = maker(design, {k: t.dim for k, t in inputs.tokens.items()}, out_dim, {})
    models = []
    for _ in range(count):
        models.append(make())
        for name, network in models[-1].networks.items():
            for parameter in network.parameters() if name == "linear" else ():
                torch.nn.init.normal_(parameter, std=0.1)  # it begins at zero, where every loss is the same
    return models


def trained(
    way: str,
    inputs: Inputs,
    target: torch.Tensor,
    settings: Training,
    task: Task = TWO,
    weight: torch.Tensor | None = None,
    folds: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    callbacks: Callbacks | None = None,
    design: Design = DESIGN,
) -> tuple[list[Branches], list[dict[str, Any]]]:
    """One network trained alone, or three in a stack: the networks, and the records of all."""
    rows = torch.arange(len(inputs))
    weight = torch.ones(len(inputs)) if weight is None else weight
    folds = folds or [(rows[: len(rows) // 2], rows[len(rows) // 2 :])] * 3
    models = members(inputs, task.out_dim, 1 if way == "alone" else len(folds), design)
    generator = torch.Generator().manual_seed(0)
    examples = Examples(task, inputs, target, weight)
    learner: Learner[torch.Tensor] = (
        MemberLearner(models[0], examples, folds[0], settings, generator)
        if way == "alone"
        else StackedLearner(models, examples, folds, settings, generator)
    )
    history = train(learner, settings.epochs, settings.patience, callbacks).history
    return models, [{"member": 0, **record} for record in history]


BOTH_WAYS = pytest.mark.parametrize("way", ["alone", "stacked"])


# -- losses ------------------------------------------------------------------------------------------------------------


def test_label_smoothing_of_one_class_in_numbers() -> None:
    out = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 3/4 and 1/4
    found = TWO.row_loss(out, torch.tensor([0]), 0.2)
    assert found.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), abs=1e-6)
    assert TWO.row_loss(out, torch.tensor([0])).item() == pytest.approx(-math.log(0.75), abs=1e-6)
    out, target = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 4
    expected = functional.cross_entropy(out, target, label_smoothing=0.3, reduction="none")
    torch.testing.assert_close(Classification((0, 1, 2, 3)).row_loss(out, target, 0.3), expected)


def test_label_smoothing_of_several_labels_in_numbers() -> None:
    out = torch.full((2, 2), math.log(3.0))  # 3/4 for each label: of the first row one is there, of the second both
    found = Multilabel((0, 1)).row_loss(out, torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.2)
    there = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    gone = -0.1 * math.log(0.75) - 0.9 * math.log(0.25)
    assert found.tolist() == pytest.approx([(there + gone) / 2, there], abs=1e-6)


def test_the_loss_of_numbers_is_square_near_and_straight_far() -> None:
    out, target = torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1)
    assert Regression().row_loss(out, target).tolist() == pytest.approx([0.125, 2.5])


@BOTH_WAYS
def test_training_smooths_and_weighs_and_judging_only_weighs(way: str) -> None:
    inputs, target = random_inputs(40), torch.arange(40) % 2
    weight = torch.linspace(0.2, 3.0, 40)
    out = members(inputs, 2)[0].outputs(inputs)["linear"]
    rows = functional.cross_entropy(out[:20], target[:20], label_smoothing=0.25, reduction="none")
    expected = float((rows * weight[:20]).sum() / weight[:20].sum())
    settings = dataclasses.replace(SETTINGS, smoothing=0.25, epochs=1)
    models, records = trained(way, inputs, target, settings, weight=weight)
    judged = {}
    assert records[0]["train"]["linear"] == pytest.approx(expected, abs=1e-5)
    for name, out in models[0].outputs(inputs).items():
        rows = functional.cross_entropy(out[20:], target[20:], reduction="none")
        judged[name] = float((rows * weight[20:]).sum() / weight[20:].sum())
    assert records[0]["valid"] == pytest.approx(judged, abs=1e-5)
    assert records[0]["valid_loss"] == pytest.approx(np.mean(list(judged.values())), abs=1e-5)


@BOTH_WAYS
def test_held_out_losses_are_those_of_the_held_out_rows_alone(way: str) -> None:
    """Members that hold out fewer rows than others are filled up with row 0, which must not count."""
    inputs, target = random_inputs(47, absent=0.3), torch.arange(47) % 2
    inputs.tokens["a"].x[0] = 1e4
    rows = torch.arange(1, 47)
    folds = [(rows[:30], rows[size:]) for size in (30, 36, 41)]
    naive: list[dict[str, float]] = []

    def score(member: int, model: Branches) -> dict[str, Any]:
        held, y = inputs.take(folds[member][1]), target[folds[member][1]]
        naive.append({})
        for name, out in model.outputs(held).items():
            seen = [i for i in range(len(y)) if any(held.present[m][i] for m in model.sources[name])]
            losses = [-float(out[i].log_softmax(0)[y[i]]) for i in seen]
            naive[-1][name] = sum(losses) / len(losses)
        return {}

    _, records = trained(way, inputs, target, SETTINGS, folds=folds, callbacks=Callbacks(score=score))
    assert len(naive) == len(records) == (3 if way == "alone" else 9)
    for record, losses in zip(records, naive, strict=True):
        assert record["valid"] == pytest.approx(losses, rel=1e-4)


@BOTH_WAYS
def test_what_is_hidden_is_hidden_from_branches_over_several_modalities_only(way: str) -> None:
    """The first training loss is taken before anything is learned: only hiding can change it."""
    inputs, target = random_inputs(60), torch.arange(60) % 2
    hiding = dataclasses.replace(SETTINGS, epochs=1, modality_dropout=Hiding({"a": 0.5, "b": 0.5}))
    seen = trained(way, inputs, target, dataclasses.replace(SETTINGS, epochs=1))[1][0]["train"]
    hidden = trained(way, inputs, target, hiding)[1][0]["train"]
    assert {"joint", "linear", "own:a", "own:b"} == set(seen)
    for name in seen:
        same = hidden[name] == pytest.approx(seen[name], abs=1e-5)
        assert same == name.startswith("own:"), name


def test_gradients_of_each_member_are_held_below_the_limit_apart() -> None:
    inputs, target = random_inputs(30), torch.arange(30) % 2
    fold, examples = (torch.arange(20), torch.arange(20, 30)), Examples(TWO, inputs, target, torch.ones(30))
    stack = StackedLearner(members(inputs, 2, 3), examples, [fold] * 3, SETTINGS, torch.Generator())
    before = []
    for place, parameter in enumerate(stack.branches.parameters()):
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
        before.append(gradient.clone())
        parameter.grad = gradient
    long = torch.tensor([100.0, 0.01, 1.0])  # members' gradients, of norms far above and below the limit
    for parameter, given in zip(stack.branches.parameters(), before, strict=True):
        given *= long.view(-1, *[1] * (given.ndim - 1))
        parameter.grad = given.clone()
    norms = torch.stack([g.flatten(1).square().sum(1) for g in before]).sum(0).sqrt()
    assert norms[0] > 10 * LIMIT
    assert norms[1] < LIMIT / 10
    stack._clip()
    for parameter, given in zip(stack.branches.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad[0], given[0] * LIMIT / norms[0])
        torch.testing.assert_close(parameter.grad[1], given[1])
        torch.testing.assert_close(parameter.grad[2], given[2] * min(1.0, float(LIMIT / norms[2])))


@BOTH_WAYS
def test_it_stops_exactly_patience_epochs_after_the_last_branch_was_best(way: str) -> None:
    rng = np.random.default_rng(0)
    inputs, target = random_inputs(60), torch.from_numpy(rng.integers(0, 2, 60))  # labels that cannot be learned
    settings = dataclasses.replace(SETTINGS, epochs=80, patience=3, learning_rate=0.02)
    _, records = trained(way, inputs, target, settings)
    last = []
    for member in {r["member"] for r in records}:
        mine = [r["valid"] for r in records if r["member"] == member]
        for name in mine[0]:
            losses, best = [epoch[name] for epoch in mine], 0
            for epoch, loss in enumerate(losses):
                best = epoch if loss < losses[best] - 1e-6 else best
            last.append(best)
    assert 3 < max(r["epoch"] for r in records) < 79
    assert max(r["epoch"] for r in records) == max(last) + 3


def test_patience_is_counted_from_the_best_epoch() -> None:
    best, done = BestState([StatePart.of(torch.nn.Linear(2, 2), ["joint"])]), []
    for epoch, loss in enumerate((1.0, 0.5, 0.7, 0.6, 0.5, 0.4)):
        best.offer({"joint": torch.tensor(loss)}, epoch)
        done.append(best.done(epoch, 3))
    assert done == [False, False, False, False, True, False]  # epoch 4 is the third after epoch 1


@BOTH_WAYS
def test_what_had_stopped_early_trains_no_more_when_it_is_taken_up(
    way: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda self, ended=False: True)
    rng = np.random.default_rng(0)
    inputs, target = random_inputs(60), torch.from_numpy(rng.integers(0, 2, 60))
    settings = dataclasses.replace(SETTINGS, epochs=80, patience=2, learning_rate=0.02)
    first, records = trained(
        way, inputs, target, settings, callbacks=Callbacks(checkpoint=Checkpoint(tmp_path / "unit"))
    )
    assert max(r["epoch"] for r in records) < 79
    scored: list[int] = []
    watch = Callbacks(score=lambda member, model: scored.append(member) or {}, checkpoint=Checkpoint(tmp_path / "unit"))
    again, same = trained(way, inputs, target, settings, callbacks=watch)
    assert scored == []
    assert [r["valid"] for r in same] == [r["valid"] for r in records]
    for one, other in zip(first, again, strict=True):
        for name, out in one.outputs(inputs).items():
            torch.testing.assert_close(other.outputs(inputs)[name], out)


# -- steps -------------------------------------------------------------------------------------------------------------


def test_the_rate_rises_in_steps_and_falls_as_half_a_cosine() -> None:
    optimiser = AdamW([torch.nn.Parameter(torch.ones(1))], 1.0, 0.0, 20, warmup=0.2)
    found = []
    for optimiser.done in range(21):
        found.append(optimiser.factor())
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])  # four of twenty steps
    assert found[8] == pytest.approx(0.5 + 0.5 * math.sqrt(0.5))  # a quarter of the way down
    assert (found[12], found[20]) == pytest.approx((0.5, 0.0))
    assert AdamW([], 1.0, 0.0, 3).factor() == 1.0  # at least one step of warm-up: already at the peak


@BOTH_WAYS
def test_the_rate_falls_to_nothing_over_all_steps_of_all_epochs(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[float] = []
    step = AdamW.step

    def noted(self: AdamW, *told: Any) -> None:
        factors.append(self.factor())
        step(self, *told)

    monkeypatch.setattr(AdamW, "step", noted)
    settings = dataclasses.replace(SETTINGS, epochs=4, batch_size=8, warmup=0.25)
    _, records = trained(way, random_inputs(40), torch.arange(40) % 2, settings)
    assert all(record["batches"] == {"train": 3, "valid": 1} for record in records)  # 8, 8 and 4 rows
    assert factors[:4] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])  # three of twelve steps rise
    assert factors[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 9)) for i in range(1, 9)])


@pytest.mark.parametrize(
    ("rows", "size", "edges"),
    [
        (9, 4, [0, 4, 9]),
        (10, 4, [0, 4, 8, 10]),
        (13, 4, [0, 4, 8, 13]),
        (8, 4, [0, 4, 8]),
        (5, 4, [0, 5]),
        (2, 1, [0, 2]),
        (1, 4, [0, 1]),
        (4, 9, [0, 4]),
    ],
)
def test_a_last_batch_of_one_row_joins_the_one_before(rows: int, size: int, edges: list[int]) -> None:
    assert batch_edges(rows, size) == edges


CPU = torch.device("cpu")


def test_masks_drop_the_share_asked_for_and_keep_the_mean() -> None:
    for chance in (0.25, 0.5):
        mask = Masks(torch.Generator().manual_seed(0)).take((1000, 1000), chance, CPU)
        assert sorted(set(mask.flatten().tolist())) == pytest.approx([0.0, 1 / (1 - chance)])
        assert (mask == 0).float().mean().item() == pytest.approx(chance, abs=0.0015)
        assert mask.mean().item() == pytest.approx(1.0, abs=0.003)
    masks = Masks(torch.Generator().manual_seed(0))
    first, second = (masks.take((50, 20), 0.5, CPU).clone() for _ in range(2))
    assert not torch.equal(first, second)
    wide, narrow = (
        Masks(torch.Generator().manual_seed(0)).take((9, 9), 0.3, CPU, t) for t in (torch.float, torch.bfloat16)
    )
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(wide.bfloat16(), narrow)


def test_a_pool_holds_four_masks_and_is_drawn_anew_after_sixty_four() -> None:
    masks = Masks(torch.Generator().manual_seed(0))
    masks.take((10, 10), 0.5, CPU)
    ((chance, size, left, before),) = masks.state()
    assert (chance, size, left) == (0.5, 400, 63)
    for _ in range(63):
        masks.take((10, 10), 0.5, CPU)
    assert masks.state()[0][1:3] == (400, 0)
    assert torch.equal(masks.state()[0][3], before)
    masks.take((10, 10), 0.5, CPU)
    assert masks.state()[0][1:3] == (400, 63)
    assert not torch.equal(masks.state()[0][3], before)
    masks.take((10, 11), 0.5, CPU)  # too large for the pool
    assert masks.state()[0][1:3] == (440, 63)
    masks.take((5,), 0.5, CPU)
    assert masks.state()[0][1:3] == (440, 62)


def test_units_are_dropped_in_training_and_only_with_masks_to_take_from() -> None:
    x, layer = torch.ones(50, 40), Dropout(0.5)
    assert torch.equal(layer(x), x)
    layer.masks = Masks(torch.Generator().manual_seed(0))
    assert set(layer(x).flatten().tolist()) == {0.0, 2.0}
    mask, scale = layer.drawn(x.shape, CPU)
    assert mask is not None
    assert scale == mask.max() == 2.0
    assert torch.equal(layer.eval()(x), x)
    assert layer.drawn(x.shape, CPU) == (None, 1.0)
    never = Dropout(0.0)
    never.masks = layer.masks
    assert torch.equal(never.train()(x), x)


@BOTH_WAYS
def test_features_are_dropped_as_they_enter_every_branch(way: str) -> None:
    inputs, target = random_inputs(400), torch.arange(400) % 2
    once = dataclasses.replace(SETTINGS, epochs=1)
    seen = trained(way, inputs, target, once)[1][0]
    dropped = trained(way, inputs, target, dataclasses.replace(once, input_dropout=0.5))[1][0]
    for name, loss in seen["train"].items():
        assert dropped["train"][name] != pytest.approx(loss, abs=1e-5)
    assert dropped["valid"].keys() == seen["valid"].keys()


@BOTH_WAYS
def test_units_are_dropped_while_it_trains_from_what_has_blocks(way: str) -> None:
    inputs, target = random_inputs(60), torch.arange(60) % 2
    once = dataclasses.replace(SETTINGS, epochs=1)
    plain = trained(way, inputs, target, once)[1][0]["train"]
    dropped = trained(way, inputs, target, once, design=dataclasses.replace(DESIGN, dropout=0.5))[1][0]["train"]
    for name, loss in plain.items():
        assert (dropped[name] == pytest.approx(loss, abs=1e-5)) == (name == "linear"), name


@BOTH_WAYS
def test_what_is_always_hidden_counts_as_absent(way: str) -> None:
    inputs, target = random_inputs(60), torch.arange(60) % 2
    once = dataclasses.replace(SETTINGS, epochs=1)
    for name, left in (("a", "b"), ("b", "a")):
        hidden = trained(way, inputs, target, dataclasses.replace(once, modality_dropout=Hiding({name: 1.0})))[1][0]
        without = trained(way, inputs.only([left]), target, once)[1][0]
        for branch in ("joint", "linear", f"own:{left}"):
            assert hidden["train"][branch] == pytest.approx(without["train"][branch], abs=1e-5)


@pytest.mark.parametrize(("rows", "learns"), [(1, False), (2, True)])
def test_a_branch_over_one_modality_learns_where_two_rows_have_it(rows: int, learns: bool) -> None:
    inputs, target = random_inputs(40), torch.arange(40) % 2
    there = torch.arange(40) < rows
    tokens = {**inputs.tokens, "b": inputs.tokens["b"].absent_where(~there)}
    inputs = Inputs(tokens, {}, {name: t.present for name, t in tokens.items()})
    _, records = trained("alone", inputs, target, dataclasses.replace(SETTINGS, epochs=1))
    assert ("own:b" in records[0]["train"]) == learns
    assert "own:a" in records[0]["train"]


@BOTH_WAYS
def test_what_absent_rows_hold_changes_nothing(way: str) -> None:
    target = torch.arange(60) % 2
    found = []
    for garbage in (0.0, 1e6):
        inputs = random_inputs(60, absent=0.4)
        inputs.tokens["b"].x[~inputs.present["b"]] = garbage
        _, records = trained(way, inputs, target, dataclasses.replace(SETTINGS, epochs=2))
        found.append([r["train"] | {f"held {k}": v for k, v in r["valid"].items()} for r in records])
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(("fusion", "sizes"), [("concat", [3, 2]), ("gated", [1] * 5)])
def test_members_are_trained_in_two_stacks_or_one_by_one_and_all_of_them(fusion: str, sizes: list[int]) -> None:
    inputs, y = random_inputs(60), np.arange(60) % 2
    _, make = maker(dataclasses.replace(DESIGN, fusion=fusion), {"a": 4, "b": 3}, 2, {})
    steps: list[int] = []
    begun: list[tuple[int, float, list[int]]] = []

    def before(model: Branches, number: int, fold: torch.Tensor, valid: torch.Tensor) -> None:
        weights = sum(float(p.detach().abs().sum()) for p in model.parameters())
        begun.append((number, weights, sorted(fold.tolist() + valid.tolist())))

    settings = dataclasses.replace(SETTINGS, batch_size=64)
    examples = Examples(TWO, inputs, TWO.encode(y), torch.ones(60))
    found = crossfit(make, examples, Plan(["a", "b"], settings, 5, 0, y), steps.append, before)
    # Every epoch of a stack, for all of its members, and at its end what was left of its share.
    assert sorted(steps) == sorted(sizes * 3 + [0] * len(sizes))
    assert {(r["member"], r["epoch"]) for r in found.history} == {(m, e) for m in range(5) for e in range(3)}
    assert [number for number, _, _ in begun] == [0, 1, 2, 3, 4]
    assert len({weights for _, weights, _ in begun}) == 5  # each begins elsewhere
    assert all(rows == list(range(60)) for _, _, rows in begun)
    total: dict[str, torch.Tensor] = {}
    for member in found.members:
        for name, out in member.outputs(inputs).items():
            total[name] = total.get(name, torch.zeros_like(out)) + out / 5
    torch.testing.assert_close(found.raw(inputs), found.mixture.combine(total, inputs.present, TWO))


@BOTH_WAYS
def test_without_held_out_rows_it_trains_to_the_end_and_the_last_state_stays(way: str) -> None:
    inputs, target = random_inputs(40), torch.arange(40) % 2
    everything, nothing = torch.arange(40), torch.arange(0)
    told: list[dict[str, Any]] = []
    outputs: list[torch.Tensor] = []

    def score(member: int, model: Branches) -> dict[str, Any]:
        outputs.append(model.outputs(inputs)["joint"])
        return {"seen": member}

    settings = dataclasses.replace(SETTINGS, patience=1, epochs=4, learning_rate=0.05)
    watch = Callbacks(score=score, on_epoch=lambda record: told.append(dict(record)))
    clock = time.perf_counter()
    models, records = trained(way, inputs, target, settings, folds=[(everything, nothing)] * 3, callbacks=watch)
    passed = time.perf_counter() - clock
    assert [(r["epoch"], r["member"]) for r in records] == [(e, m) for e in range(4) for m in range(len(models))]
    torch.testing.assert_close(models[-1].outputs(inputs)["joint"], outputs[-1])
    assert len(told) == len(records)
    for record, heard in zip(records, told, strict=True):
        assert heard.items() <= record.items()
        assert "valid" not in record
        assert record["metrics"] == {"seen": record["member"]}
        assert record["batches"] == {"train": 1}
        assert record["train_loss"] == pytest.approx(sum(record["train"].values()) / 4)
    assert 0 < sum(r["seconds"]["train"] for r in records) <= passed


@BOTH_WAYS
def test_what_was_stopped_between_epochs_goes_on_to_the_same_numbers(
    way: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda self, ended=False: True)
    inputs, target = random_inputs(60), torch.arange(60) % 2
    settings = dataclasses.replace(SETTINGS, epochs=5, batch_size=8, input_dropout=0.2)
    whole, records = trained(way, inputs, target, settings)
    unit = Callbacks(checkpoint=Checkpoint(tmp_path / "unit"))
    _, begun = trained(way, inputs, target, settings, callbacks=dataclasses.replace(unit, stopped=lambda: True))
    assert {r["epoch"] for r in begun} == {0}
    again, gone_on = trained(way, inputs, target, settings, callbacks=unit)
    assert [(r["member"], r["epoch"], r["train"], r["valid"]) for r in gone_on] == [
        (r["member"], r["epoch"], r["train"], r["valid"]) for r in records
    ]
    for one, other in zip(whole, again, strict=True):
        for name, out in one.outputs(inputs).items():
            assert torch.equal(other.outputs(inputs)[name], out)


def test_nothing_is_dropped_from_a_network_once_it_is_trained() -> None:
    inputs, target = random_inputs(40), torch.arange(40) % 2
    (model,) = members(inputs, 2, design=dataclasses.replace(DESIGN, dropout=0.5))
    rows, generator = torch.arange(40), torch.Generator().manual_seed(0)
    examples = Examples(TWO, inputs, target, torch.ones(40))
    train(MemberLearner(model, examples, (rows[:20], rows[20:]), SETTINGS, generator), SETTINGS.epochs, 3)
    parts = [part for part in model.modules() if isinstance(part, Dropout)]
    assert parts
    assert all(part.masks is None for part in parts)


# -- networks ----------------------------------------------------------------------------------------------------------


def block_of(block: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """A block in evaluation, written out."""
    linear, norm = (next(p for p in block.modules() if isinstance(p, kind)) for kind in (torch.nn.Linear, Norm))
    weight, bias, gain, shift = (t.detach().numpy() for t in (linear.weight, linear.bias, norm.weight, norm.bias))
    h = x @ weight.T + bias
    h = (h - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + 1e-5) * gain + shift
    return np.maximum(h, 0.0)


@pytest.mark.parametrize(
    ("depth", "own", "joint"), [(0, 0, 3), (1, 1, 2), (2, 2, 1), (3, 3, 1), ("middle", 1, 2), ("decision", 3, 0)]
)
def test_a_network_is_its_own_blocks_the_fusion_the_joint_blocks_and_the_head(
    depth: str | int, own: int, joint: int
) -> None:
    torch.manual_seed(0)
    fusion = "mean" if depth == "decision" else "concat"
    network = FusionNetwork({"b": 4, "a": 3}, 2, fusion=fusion, depth=depth, layers=3, width=6).eval()
    for norm in (part for part in network.modules() if isinstance(part, Norm)):
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            torch.nn.init.normal_(tensor)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    x = {"a": np.random.default_rng(0).normal(size=(5, 3)), "b": np.random.default_rng(1).normal(size=(5, 4))}
    parts = {}
    for name, layers in network.own.items():
        blocks = [part for part in layers if not isinstance(part, torch.nn.Linear)]
        assert len(blocks) == own
        parts[name] = x[name]
        for block in blocks:
            parts[name] = block_of(block, parts[name])
        for head in (part for part in layers if isinstance(part, torch.nn.Linear)):
            parts[name] = parts[name] @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    assert len(network.joint) == joint
    h = np.concatenate([parts["a"], parts["b"]], 1) if fusion == "concat" else (parts["a"] + parts["b"]) / 2
    for block in network.joint:
        h = block_of(block, h)
    if depth != "decision":
        h = h @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()
    tokens = {name: Tokens.of_vectors(torch.tensor(v, dtype=torch.float32)) for name, v in x.items()}
    np.testing.assert_allclose(network(tokens).detach().numpy(), h, atol=1e-5)


def test_a_linear_network_adds_what_is_present() -> None:
    network = LinearNetwork({"b": 2, "a": 3}, 2)
    assert all(not parameter.any() for parameter in network.parameters())  # it begins at zero
    torch.nn.init.normal_(network.linear.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.linear.bias, generator=torch.Generator().manual_seed(1))
    x = {"a": torch.randn(4, 3), "b": torch.randn(4, 2)}
    there = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    out = network({name: Tokens.of_vectors(x[name], there[name]) for name in x})
    weight = {"a": network.linear.weight[:, :3], "b": network.linear.weight[:, 3:]}
    for row in range(4):
        expected = network.linear.bias.clone()
        for name in x:
            expected = expected + (weight[name] @ x[name][row] if there[name][row] else 0.0)
        torch.testing.assert_close(out[row], expected)


def test_networks_have_the_sizes_that_they_say() -> None:
    network = FusionNetwork({"a": 3}, 2)
    assert [block[0].out_features for block in network.joint] == [128, 128]
    assert {part.chance for part in network.modules() if isinstance(part, Dropout)} == {0.3}
    assert [narrow.narrow for narrow in (Linear(64, 128), Linear(64, 127))] == [True, False]
    assert [depth_number(d, 3) for d in ("early", "middle", "late", "decision", 0, 3)] == [0, 1, 3, 3, 0, 3]
    for wrong in ("half", -1, 4, True, 1.5):
        with pytest.raises(ConfigError, match="depth"):
            depth_number(wrong, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False])
def test_features_that_wait_in_bf16_are_multiplied_in_float32_where_that_is_exact(training: bool) -> None:
    layer, x = Linear(4, 3).train(training), torch.randn(5, 4).bfloat16()
    out = layer(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, x.float() @ layer.weight.T + layer.bias)
    torch.testing.assert_close(layer(x.float()), out)


def test_a_norm_over_one_row_goes_by_what_it_remembers() -> None:
    norm = Norm(3).train()
    torch.nn.init.constant_(norm.running_mean, 2.0)
    torch.nn.init.constant_(norm.running_var, 4.0)
    torch.testing.assert_close(norm(torch.full((1, 3), 6.0)), torch.full((1, 3), 2.0), atol=1e-4, rtol=0)
    assert norm.running_mean.tolist() == [2.0] * 3
    two = norm(torch.tensor([[1.0] * 3, [3.0] * 3]))
    torch.testing.assert_close(two, torch.tensor([[-1.0] * 3, [1.0] * 3]), atol=1e-4, rtol=0)


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_prior_counts_rows_by_their_weights() -> None:
    weight = torch.tensor([1.0, 1.0, 1.0, 6.0])
    shares = torch.tensor(prior(TWO, torch.tensor([0, 0, 0, 1]), weight)).exp()
    assert shares.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert prior(Regression(), torch.tensor([[0.0], [0.0], [3.0], [6.0]]), weight) == pytest.approx([39 / 9])
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    found = torch.tensor(prior(Multilabel((0, 1)), labels, weight)).sigmoid()
    assert found.tolist() == pytest.approx([3 / 9, 7 / 9], abs=1e-5)
    never = torch.tensor(prior(Classification((0, 1, 2)), torch.tensor([0, 0, 0, 1]), weight)).exp()
    assert never[2].item() == pytest.approx(1e-6)


def test_mean_and_scale_of_a_number_count_rows_by_their_weights() -> None:
    task = Regression.learn(np.array([0.0, 4.0]), np.array([1.0, 3.0]))
    assert (task.mean, task.scale) == pytest.approx((3.0, math.sqrt(3.0)))
    assert task.encode(np.array([3.0, 3.0 + math.sqrt(3.0)])).flatten().tolist() == pytest.approx([0.0, 1.0])
    assert Regression.learn(np.array([5.0, 5.0]), np.ones(2)).scale == 1.0
    assert Regression() == Regression(0.0, 1.0)  # the number itself
    tiny = Regression.learn(np.array([1.0, 1.0 + 2e-8]), np.ones(2)).scale
    assert tiny == pytest.approx(1e-8, rel=0.01)  # small, but more than rounding


def fields(n: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"size": rng.normal(size=n), "text": [f"word{i % 7} {i}" for i in range(n)]}), rng.random(n)


QUICK: dict[str, Any] = {
    "epochs": 1,
    "width": 8,
    "store": "none",
    "progress": False,
    "encoders": {"text": "hashed_ngrams"},
    "modalities": {
        "tabular": {"kind": "tabular", "columns": ["size"]},
        "text": {"kind": "text", "columns": ["text"]},
    },
}


def test_a_row_of_which_nothing_is_known_is_answered_by_the_weighted_rows() -> None:
    """The share of each class, or the mean, counts rows by ``sample_weight``."""
    frame, draw = fields()
    nothing = pd.DataFrame({"size": [np.nan], "text": [None]})
    y = np.where(np.arange(60) < 20, "x", "y")
    weight = np.where(y == "x", 4.0, 1.0)  # 80 of x, 40 of y
    model = FusionClassifier(**QUICK).fit(frame, y, sample_weight=weight)
    assert model.predict_proba(nothing)[0].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-4)
    value = 10 + 100 * draw
    numbers = FusionRegressor(**QUICK).fit(frame, value, sample_weight=weight)
    assert numbers.predict(nothing)[0] == pytest.approx(np.average(value, weights=weight), rel=1e-4)
    plain = FusionClassifier(**QUICK).fit(frame, y)
    assert plain.predict_proba(nothing)[0].tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-4)


def test_a_label_is_told_from_its_threshold_on() -> None:
    probabilities = np.array([[0.5, 0.25, 0.249]])
    assert Multilabel((0, 1, 2)).answer(probabilities).tolist() == [[1, 0, 0]]
    assert Multilabel((0, 1, 2), (0.25,) * 3).answer(probabilities).tolist() == [[1, 1, 0]]


def test_what_a_task_does_not_know_is_refused() -> None:
    assert codes_of([0, 7], TWO.classes).tolist() == [0, -1]  # a miss wherever it is scored
    with pytest.raises(TableError, match=r"needs 2 indicator columns, found shape \(4, 3\)"):
        Multilabel((0, 1)).encode(np.zeros((4, 3)))
    with pytest.raises(TableError, match="unknown task 'regresion'"):
        task_class("regresion")


def test_strata_of_several_labels_are_the_rarest_one_of_each_row() -> None:
    y = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 1, 0]])  # label 1 three times, 0 and 2 once
    assert Multilabel((0, 1, 2)).strata(y).tolist() == [0, 1, 3, 2]


def test_strata_of_a_number_are_its_fifths() -> None:
    y = np.random.default_rng(0).permutation(100).astype(float)
    strata = Regression().strata(y)
    assert np.bincount(strata).tolist() == [20] * 5
    assert all(strata[y == v] == v // 20 for v in range(100))


# -- folds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_every_fold_has_its_share_of_every_class(grouped: bool) -> None:
    strata = np.repeat([0, 1, 2], [200, 100, 50])  # classes lie one after another, groups of five within them
    groups = np.arange(350) // 5 if grouped else None
    for seed in range(3):
        for fold, held in folds_of(strata, 5, seed, groups):
            assert np.bincount(strata[held.numpy()]).tolist() == [40, 20, 10]
            assert np.bincount(strata[fold.numpy()]).tolist() == [160, 80, 40]


def test_classes_too_rare_for_every_fold_are_dealt_out_together() -> None:
    strata = np.repeat(np.arange(12), [60, *[1] * 11][:12])  # eleven classes of one row
    shares = [int((strata[held.numpy()] > 0).sum()) for _, held in folds_of(strata, 5, 0)]
    assert sorted(shares) == [2, 2, 2, 2, 3]
    five = np.repeat(np.arange(6), [60, *[1] * 5])  # one for each fold
    assert [int((five[held.numpy()] > 0).sum()) for _, held in folds_of(five, 5, 0)] == [1] * 5
    enough = np.repeat([0, 1, 2], [60, 5, 5])  # one of each for each fold: not rare
    for _, held in folds_of(enough, 5, 0):
        assert np.bincount(enough[held.numpy()]).tolist() == [12, 1, 1]
    few = np.repeat([0, 1, 2], [60, 1, 2])  # fewer of them than folds: with the largest class
    assert sorted(len(held) for _, held in folds_of(few, 5, 0)) == [12, 12, 13, 13, 13]


@pytest.mark.parametrize(("rows", "held"), [(19, 0), (20, 20)])
def test_rows_are_held_out_from_four_for_each_fold_on(rows: int, held: int) -> None:
    assert sum(len(valid) for _, valid in folds_of(np.zeros(rows, int), 5, 0)) == held


@pytest.mark.parametrize(("given", "made", "size"), [(3, 3, 20), (5, 5, 20), (8, 8, 12.5), (1, 1, 20)])
def test_there_are_five_folds_at_least_and_as_many_members_as_asked(given: int, made: int, size: float) -> None:
    folds = folds_of(np.arange(100) % 2, given, 0)
    assert len(folds) == made
    assert all(abs(len(valid) - size) <= 1 and len(fold) + len(valid) == 100 for fold, valid in folds)
    assert len(folds_of(np.zeros(6, int), given, 0)) == min(given, 3)


@pytest.mark.parametrize(("rows", "learned"), [(9, False), (10, True)])
def test_a_pattern_learns_its_weights_from_ten_rows_on(rows: int, learned: bool) -> None:
    inputs = random_inputs(60)
    there = torch.arange(60) < rows
    tokens = {**inputs.tokens, "b": inputs.tokens["b"].absent_where(~there)}
    inputs = Inputs(tokens, {}, {name: t.present for name, t in tokens.items()})
    y = np.arange(60) % 2
    _, make = maker(DESIGN, {"a": 4, "b": 3}, 2, {})
    examples = Examples(TWO, inputs, TWO.encode(y), torch.ones(60))
    found = crossfit(make, examples, Plan(["a", "b"], SETTINGS, 5, 0, y)).mixture
    weights = found.weights["a", "b"]
    assert set(weights) == set(found.sources) <= {"joint", "linear", "own:a", "own:b"}  # what brings nothing is dropped
    assert (list(weights.values()) != [1 / len(weights)] * len(weights)) == learned
    assert sum(found.weights["a",].values()) != pytest.approx(1.0, abs=1e-6)  # 60 rows: learned


class _Sure:
    """A mixture whose answer is what the one branch says."""

    names = ("a",)

    def combine(self, outputs: Mapping[str, torch.Tensor], present: object, task: Task) -> torch.Tensor:
        return outputs["joint"]


@pytest.mark.parametrize(
    ("right", "wrong", "chosen"),
    [
        (0.35, 0.19, 0.2),  # between the two, the first of the grid that parts them
        (0.35, 0.33, 0.34),  # every two hundredths
        (0.5, 0.4999, 0.5),  # a threshold is reached by what is equal to it
        (0.05, 0.05, 0.1),  # nothing is ever told: all thresholds are as good, the first stays
        (0.9, 0.59, 0.6),  # the last of the grid
    ],
)
def test_the_threshold_is_the_first_of_the_grid_with_the_best_f1(right: float, wrong: float, chosen: float) -> None:
    task = Multilabel((0, 1))
    target = torch.tensor([[1.0, 0.0]] * 6)
    out = torch.logit(torch.tensor([[right, wrong]] * 6, dtype=torch.float64)).float()
    inputs = inputs_of(a=np.zeros((6, 1)))
    mixture: Any = _Sure()
    held_out = HeldOut(["a"], task, inputs, target, torch.ones(6), torch.arange(6), {("a",): {"joint": out}})
    found = with_thresholds(mixture, held_out)
    assert isinstance(found, Multilabel)
    assert found.thresholds == pytest.approx((chosen, chosen), abs=1e-6)


# -- scaling -----------------------------------------------------------------------------------------------------------


def scaled(x: Any, components: int = 100) -> np.ndarray:
    tokens = Tokens.of_vectors(torch.tensor(np.asarray(x), dtype=torch.float32))
    return Scaler(components).fit(tokens)(tokens).x[:, 0].numpy()


def test_a_constant_far_from_zero_is_silent_and_what_moves_there_is_not() -> None:
    rng = np.random.default_rng(0)
    jitter = 1e6 + rng.choice([-0.0625, 0.0, 0.0625], 200)  # no more than float32 can tell apart
    moves = 1e6 + 1000 * rng.normal(size=200)
    small = 1e-3 * rng.normal(size=200)
    out = scaled(np.stack([np.full(200, 1e6), jitter, moves, small], 1))
    assert (out[:, :2] == 0).all()
    assert out[:, 2:].std(0) == pytest.approx([1.0, 1.0], abs=1e-2)
    assert out[:, 2:].mean(0) == pytest.approx([0.0, 0.0], abs=1e-2)


def test_wild_values_are_held_within_ten_deviations() -> None:
    tokens = Tokens.of_vectors(torch.tensor([[-1.0], [1.0]]))  # mean 0, deviation 1
    scaler = Scaler(4).fit(tokens)
    wild = Tokens.of_vectors(torch.tensor([[-1e9], [-9.5], [0.5], [9.5], [50.0]]))
    assert scaler(wild).x[:, 0, 0].tolist() == pytest.approx([-10.0, -9.5, 0.5, 9.5, 10.0])


def test_directions_are_those_of_the_standardised_features() -> None:
    """Two features that go together outweigh one of a thousand times their size."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=500)
    out = scaled(np.stack([1000 * rng.normal(size=500), 5 + shared, 1 - 0.01 * shared], 1), 1)
    assert out.shape == (500, 1)
    assert abs(np.corrcoef(out[:, 0], shared)[0, 1]) > 0.99


@pytest.mark.parametrize(("components", "shared"), [(1, 1.0), (3, 1.0), (11, 0.0)])
def test_reduced_features_have_a_mean_variance_of_one_the_strongest_first(components: int, shared: float) -> None:
    """Where features share nothing, directions differ by chance alone, and some are below the mean."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(400, 3)) * [3.0, 2.0, 1.0]
    x = shared * hidden @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(400, 12))
    out = scaled(x, components)
    assert out.var(0).mean() == pytest.approx(1.0, abs=1e-4)
    assert (np.diff(out.var(0)) <= 0).all()
    standard = (x - x.mean(0)) / x.std(0)
    values, vectors = np.linalg.eigh(standard.T @ standard / 400)
    assert out.var(0) == pytest.approx(values[::-1][:components] / values[::-1][:components].mean(), rel=1e-3)
    for place in range(components):
        axis = vectors[:, -1 - place]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])  # the largest entry is above zero
        assert np.corrcoef(standard @ axis, out[:, place])[0, 1] == pytest.approx(1.0, abs=1e-3)


def test_of_many_rows_directions_come_from_evenly_spread_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 5)) @ rng.normal(size=(5, 5))
    x[1::3, 0], x[2::3, 0] = 50.0, -50.0  # what the rows between say, for which covariances have no need
    scaler = Scaler(2).fit(Tokens.of_vectors(torch.tensor(x, dtype=torch.float32)))
    part = ((x - x.mean(0)) / x.std(0))[::3]  # 3,000 of them: at most 4,096
    _, vectors = np.linalg.eigh(part.T @ part)
    assert scaler.axes is not None
    axes = scaler.axes.numpy()
    cosines = np.abs((axes * vectors[:, :-3:-1]).sum(0)) / np.linalg.norm(axes, axis=0)
    assert cosines == pytest.approx([1.0, 1.0], abs=1e-3)


def test_absent_rows_and_masked_tokens_are_not_counted() -> None:
    x = torch.tensor([[[1.0], [100.0]], [[3.0], [5.0]], [[7.0], [7.0]]])
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    scaler = Scaler(4).fit(Tokens(x, mask))
    assert scaler.mean.tolist() == [3.0]  # of 1, 3 and 5
    assert scaler.scale.tolist() == pytest.approx([1 / math.sqrt(8 / 3)])


@pytest.mark.parametrize(("width", "components", "dim"), [(4, 4, 4), (4, 3, 3), (4, 9, 4)])
def test_only_what_is_wider_is_reduced(width: int, components: int, dim: int) -> None:
    x = torch.randn(30, width, generator=torch.Generator().manual_seed(0))
    scaler = Scaler(components).fit(Tokens.of_vectors(x))
    assert scaler.dim == dim
    assert (scaler.axes is None) == (dim == width)
    assert Scaler.restore(scaler.state()).dim == dim


# -- mixture -----------------------------------------------------------------------------------------------------------


def outputs_of(share: float, told: float, rows: int = 10_000) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Rows whose class 0 is right in ``share`` of them, and a branch that always says so with the probability ``told``."""
    target = (torch.arange(rows) >= round(share * rows)).long()
    return {"joint": torch.tensor([[math.log(told / (1 - told)), 0.0]]).repeat(rows, 1)}, target


@pytest.mark.parametrize(("told", "weight"), [(0.75, 2.0), (0.9, 1.0), (81 / 82, 0.5)])
def test_branches_that_say_too_little_are_sharpened_and_those_that_say_too_much_are_softened(
    told: float, weight: float
) -> None:
    """Odds are raised to the power of the weight: of 3 to 1, of 9 to 1, of 81 to 1, where 9 to 1 is right."""
    outputs, target = outputs_of(0.9, told)
    expected = {2.0: math.log(9) / math.log(3), 1.0: 1.0, 0.5: 0.5}[weight]
    mixture = Mixture(["a"], {"joint": ("a",)})
    mixture.fit_pattern(("a",), outputs, TWO, target, torch.ones(len(target)))
    assert mixture.weights["a",]["joint"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("rows", "weight"), [(4, 0.9), (16, 0.75), (400, 0.135 / 0.26)])
def test_the_pull_to_the_mean_is_two_over_the_rows(rows: int, weight: float) -> None:
    """Loss 1/2 (w / 2 - 1 / 4)^2 and pull 2 / n (w - 1)^2: w = (1 / 8 + 4 / n) / (1 / 4 + 4 / n)."""
    mixture = Mixture(["a"], {"joint": ("a",)})
    outputs = {"joint": torch.full((rows, 1), 0.5)}
    mixture.fit_pattern(("a",), outputs, Regression(), torch.full((rows, 1), 0.25), torch.ones(rows))
    assert mixture.weights["a",]["joint"] == pytest.approx(weight, abs=1e-4)


def test_rows_count_by_their_weights_and_no_branch_below_nothing() -> None:
    """Loss 3/8 (w - 1)^2 + 1/8 w^2, pull of one for two rows (w - 1)^2: w = 2.75 / 3."""
    mixture = Mixture(["a"], {"joint": ("a",)})
    target, weight = torch.tensor([[1.0], [0.0]]), torch.tensor([3.0, 1.0])
    mixture.fit_pattern(("a",), {"joint": torch.ones(2, 1)}, Regression(), target, weight)
    assert mixture.weights["a",]["joint"] == pytest.approx(2.75 / 3, abs=1e-4)
    many, ones = torch.full((5000, 1), -1.0), torch.ones(5000, 1)  # the opposite of what is right
    mixture.fit_pattern(("a",), {"joint": many}, Regression(), ones, torch.ones(5000))
    assert mixture.weights["a",]["joint"] == pytest.approx(0.0, abs=1e-6)


def test_up_to_five_modalities_every_pattern_has_weights() -> None:
    five, six = list("abcde"), list("abcdef")
    assert len(patterns(five)) == len(set(patterns(five))) == 31
    assert patterns(five)[0] == tuple(five)
    found = patterns(six)
    assert found[0] == tuple(six)
    assert sorted(found[1:7]) == sorted(tuple(n for n in six if n != gone) for gone in six)
    assert found[7:] == [(n,) for n in six]


def test_for_an_unseen_pattern_those_of_several_modalities_within_it_are_averaged() -> None:
    sources = {"joint": tuple("abcd"), "own:a": ("a",), "own:b": ("b",), "own:c": ("c",)}
    mixture = Mixture(list("abcd"), sources)
    mixture.weights = {
        ("a", "b"): {"joint": 0.6, "own:a": 0.4},
        ("b", "c"): {"joint": 0.2, "own:b": 0.4, "own:c": 1.0},
        ("c", "d"): {"joint": 9.0},  # not within
        ("a",): {"own:a": 7.0},  # one alone: only where there is nothing else
        ("c",): {"own:c": 5.0},
    }
    assert mixture.weights_for(("a", "b", "c")) == pytest.approx(
        {"joint": 0.4, "own:a": 0.2, "own:b": 0.2, "own:c": 0.5}
    )
    assert mixture.weights_for(("a", "c")) == pytest.approx({"own:a": 3.5, "own:c": 2.5})
    assert mixture.weights_for(("a", "b")) == {"joint": 0.6, "own:a": 0.4}
    assert mixture.weights_for(("a", "b", "d")) == {"joint": 0.6, "own:a": 0.4}


def test_outputs_are_pooled_as_log_probabilities_and_others_held_in_bounds() -> None:
    share = torch.tensor([0.2, 0.8])
    mixture = Mixture(["a", "b"], {"own:a": ("a",), "own:b": ("b",)}, share.log().tolist())
    mixture.weights = {("a", "b"): {"own:a": 2.0, "own:b": 0.5}, ("a",): {"own:a": 1.0}, ("b",): {"own:b": 1.0}}
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.4, 0.6])
    outputs = {"own:a": p.log().repeat(4, 1) + 3.0, "own:b": q.log().repeat(4, 1) - 7.0}  # what is added says nothing
    there = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    found = TWO.decode(mixture.combine(outputs, there, TWO))
    both = p**2 * q**0.5 / share**1.5
    torch.testing.assert_close(found, torch.stack([both / both.sum(), p, q, share]))
    assert comparable(torch.tensor([[-99.0, 2.0, 99.0]]), Multilabel((0, 1, 2))).tolist() == [[-30.0, 2.0, 30.0]]


def test_what_is_rare_stays_as_rare_however_far_outputs_are_stretched() -> None:
    """A branch says nothing but the classes' shares: whatever its weight, so does the mixture."""
    share = torch.tensor([0.9, 0.1])
    mixture = Mixture(["a"], {"linear": ("a",)}, share.log().tolist())
    mixture.weights = {("a",): {"linear": 3.0}}
    outputs, there = {"linear": share.log().repeat(2, 1)}, {"a": torch.tensor([True, True])}
    torch.testing.assert_close(TWO.decode(mixture.combine(outputs, there, TWO)), share.repeat(2, 1))
    again = Mixture.restore(mixture.state())
    assert (again.centred, again.prior) == (True, mixture.prior)
    before = Mixture.restore({k: v for k, v in mixture.state().items() if k != "centred"})
    found = TWO.decode(before.combine(outputs, there, TWO))
    torch.testing.assert_close(found, (share**3 / (share**3).sum()).repeat(2, 1))
    for_a_while = {k: v for k, v in mixture.state().items() if k != "centred"} | {"centre": mixture.prior}
    assert Mixture.restore(for_a_while).centred


def test_without_held_out_rows_all_branches_of_a_pattern_count_alike() -> None:
    mixture = Mixture(["a", "b"], {"joint": ("a", "b"), "own:a": ("a",), "own:b": ("b",)})
    mixture.set_equal()
    third = pytest.approx(1 / 3)
    assert mixture.weights == {
        ("a", "b"): {"joint": third, "own:a": third, "own:b": third},
        ("a",): {"joint": 0.5, "own:a": 0.5},
        ("b",): {"joint": 0.5, "own:b": 0.5},
    }
