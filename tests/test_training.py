"""Known answers of the training loop, the mixture and cross-fitting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from plait.base.errors import ConfigError, PlaitError
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import trained_weights
from plait.branches.mixing import prior
from plait.branches.mixture import Mixture, patterns
from plait.encoders.scale import Scaler
from plait.networks.tasks import Classification, Multilabel, Regression, Task, restore
from plait.training.crossfit import Plan, crossfit
from plait.training.design import Design, maker, sources_of
from plait.training.loop import train
from plait.training.member import MemberLearner, Members
from plait.training.optimiser import AdamW
from plait.training.rows import Examples, Hiding, folds_of
from plait.training.settings import Training

TRAINING = Training(
    epochs=25,
    batch_size=64,
    learning_rate=5e-3,
    weight_decay=0.01,
    patience=25,
    smoothing=0.0,
    input_dropout=0.0,
    modality_dropout=Hiding(),
)
DESIGN = Design("concat", "early", 2, 32, 0.0, ("joint", "linear", "own"), 10**6, 5)


def inputs_of(**features: np.ndarray) -> Inputs:
    tokens = {k: Tokens.of_vectors(torch.tensor(v, dtype=torch.float32)) for k, v in features.items()}
    return Inputs(tokens, {}, {k: t.present for k, t in tokens.items()})


def fitted(
    inputs: Inputs, y: np.ndarray, task: Task, design: Design = DESIGN, settings: Training = TRAINING
) -> Members:
    names = list(inputs.present)
    dims = {k: t.dim for k, t in inputs.tokens.items()}
    _, make = maker(design, dims, task.out_dim, {})
    weight = torch.ones(len(y))
    examples = Examples(task, inputs, task.encode(y), weight)
    return crossfit(make, examples, Plan(names, settings, 5, 0, task.strata(y)))


def xor(n: int = 600) -> tuple[Inputs, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, n), rng.integers(0, 2, n)
    noise = rng.normal(scale=0.1, size=(2, n, 3))
    return inputs_of(a=noise[0] + (2 * a - 1)[:, None], b=noise[1] + (2 * b - 1)[:, None]), a ^ b


def accuracy(members: Members, inputs: Inputs, y: np.ndarray) -> float:
    return float((members.raw(inputs).argmax(1).numpy() == y).mean())


@pytest.mark.parametrize("depth", ["early", "middle"])
def test_xor_of_two_modalities_is_solved_by_feature_fusion(depth: str) -> None:
    inputs, y = xor()
    task = Classification((0, 1))
    assert accuracy(fitted(inputs, y, task, dataclasses.replace(DESIGN, depth=depth)), inputs, y) > 0.98


def test_xor_stays_at_chance_for_decision_averaging() -> None:
    inputs, y = xor()
    design = dataclasses.replace(DESIGN, fusion="mean", depth="decision", branches=("joint",))
    assert accuracy(fitted(inputs, y, Classification((0, 1)), design), inputs, y) < 0.65


def test_the_mixture_prefers_the_modality_that_knows() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 400)
    good = np.eye(3)[y] + rng.normal(scale=0.3, size=(400, 3))
    inputs = inputs_of(good=good, noise=rng.normal(size=(400, 200)))
    members = fitted(inputs, y, Classification((0, 1, 2)))
    weights = members.mixture.weights[("good", "noise")]
    assert weights["own:good"] > 5 * weights.get("own:noise", 0.0)  # or it was dropped
    alone = members.raw(inputs.only(["good"])).argmax(1).numpy()
    assert (alone == y).mean() > 0.9
    nothing = members.task.decode(members.raw(inputs.only([])))
    assert torch.allclose(nothing.sum(1), torch.ones(400), atol=1e-5)
    assert nothing.std(0).max() < 1e-6


def test_training_is_reproducible_and_moves_with_the_seed() -> None:
    inputs, y = xor(200)
    task = Classification((0, 1))
    first, second = (fitted(inputs, y, task).raw(inputs) for _ in range(2))
    assert torch.equal(first, second)


def test_the_optimiser_is_torchs_adamw() -> None:
    def trained(ours: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(4, 3), torch.randn(16, 4)
        own = AdamW(layer.parameters(), 0.01, 0.1, 40)
        theirs = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(40):
            theirs.zero_grad()
            theirs.param_groups[0]["lr"] = 0.01 * own.factor()
            layer(x).square().sum().backward()
            if ours:
                own.step()
            else:
                torch.nn.utils.clip_grad_norm_(layer.parameters(), 5.0)
                theirs.step()
                own.done += 1
        return layer.weight.detach()

    torch.testing.assert_close(trained(True), trained(False))


def test_each_branch_keeps_its_own_best_state() -> None:
    inputs, y = xor(200)
    task = Classification((0, 1))
    _, make = maker(DESIGN, {"a": 3, "b": 3}, 2, {})
    torch.manual_seed(0)
    model = make()
    rows = torch.arange(200)
    target, weight = task.encode(y), torch.ones(200)
    fold, generator = (rows[:150], rows[150:]), torch.Generator().manual_seed(0)
    learner = MemberLearner(model, Examples(task, inputs, target, weight), fold, TRAINING, generator)
    history = train(learner, TRAINING.epochs, TRAINING.patience).history
    held = inputs.take(rows[150:])
    for name, out in model.outputs(held).items():
        best = min(record["valid"][name] for record in history)
        assert float(task.row_loss(out, target[150:]).mean()) == pytest.approx(best, abs=1e-5)


def test_a_diverging_loss_is_named() -> None:
    _, y = xor(100)
    huge = inputs_of(a=np.full((100, 3), np.inf), b=np.zeros((100, 3)))
    with pytest.raises(PlaitError, match="diverged in epoch 0.*learning_rate"):
        fitted(huge, y, Classification((0, 1)))


def test_a_last_batch_of_one_row_is_no_trouble() -> None:
    inputs, y = xor(65)
    settings = dataclasses.replace(TRAINING, epochs=1, batch_size=13)  # 52 training rows: batches 13, 13, 13, 13
    fitted(inputs, y, Classification((0, 1)), settings=settings)
    settings = dataclasses.replace(TRAINING, epochs=1, batch_size=17)  # 52 = 3 * 17 + 1
    fitted(inputs, y, Classification((0, 1)), settings=settings)


def test_folds_cover_every_row_once_and_spread_the_classes() -> None:
    strata = np.array([0] * 50 + [1] * 48 + [2] * 2)
    folds = folds_of(strata, 5, seed=0)
    held = torch.cat([valid for _, valid in folds])
    assert sorted(held.tolist()) == list(range(100))
    for fold, valid in folds:
        assert not set(fold.tolist()) & set(valid.tolist())
        assert 8 <= int((strata[valid.numpy()] == 1).sum()) <= 11


def test_few_rows_train_without_held_out_ones() -> None:
    for fold, valid in folds_of(np.zeros(6, dtype=int), 5, seed=0):
        assert len(fold) == 6
        assert len(valid) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_patterns_are_all_subsets_for_few_modalities(count: int) -> None:
    names = ["a", "b", "c"][:count]
    assert len(patterns(names)) == 2**count - 1


def test_patterns_of_many_modalities_stay_few() -> None:
    assert len(patterns([str(i) for i in range(9)])) == 1 + 9 + 9


def test_a_pattern_never_seen_gets_weights_from_those_within_it() -> None:
    mixture = Mixture(["a", "b", "c"], {"joint": ("a", "b", "c"), "own:a": ("a",), "own:b": ("b",)})
    mixture.weights = {("a",): {"own:a": 1.0}, ("b",): {"own:b": 1.0}}
    assert mixture.weights_for(("a", "b")) == {"own:a": 0.5, "own:b": 0.5}


def test_the_mixture_fit_is_the_convex_optimum() -> None:
    generator = torch.Generator().manual_seed(0)
    task = Classification((0, 1))
    target = torch.randint(0, 2, (500,), generator=generator)
    sharp = torch.nn.functional.one_hot(target, 2) * 4.0 + torch.randn(500, 2, generator=generator) * 4
    outputs = {"joint": sharp, "linear": torch.randn(500, 2, generator=generator)}
    mixture = Mixture(["a"], {"joint": ("a",), "linear": ("a",)})
    mixture.fit_pattern(("a",), outputs, task, target, torch.ones(500))

    def loss(u: float, v: float) -> float:
        mixed = u * outputs["joint"].log_softmax(-1) + v * outputs["linear"].log_softmax(-1)
        return float(task.row_loss(mixed, target).mean()) + 2 / 500 * ((u - 0.5) ** 2 + (v - 0.5) ** 2)

    w = mixture.weights[("a",)]
    best = loss(w["joint"], w["linear"])
    grid = [loss(u, v) for u in np.linspace(0, 1.5, 16) for v in np.linspace(0, 1.5, 16)]
    assert best <= min(grid) + 1e-4
    assert Mixture.restore(mixture.state()).weights == mixture.weights


def test_width_keeps_all_members_under_the_limit() -> None:
    dims = {"text": 384, "image": 256, "tabular": 300}
    for limit in (1_000_000, 300_000):
        design, make = maker(dataclasses.replace(DESIGN, width=None, max_weights=limit), dims, 18, {})
        assert trained_weights(make()) * 5 <= limit
        assert design.width is not None


def test_unknown_branches_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'joint'"):
        dataclasses.replace(DESIGN, branches=("jiont",))
    with pytest.raises(ConfigError, match="one that sees all"):
        dataclasses.replace(DESIGN, branches=("own",))
    assert sources_of(DESIGN, ["a"]) == {"joint": ("a",), "linear": ("a",)}


# -- tasks -----------------------------------------------------------------------------------------------------------


def test_regression_decodes_to_the_unit_of_the_target() -> None:
    y = np.array([10.0, 20.0, 30.0, 100.0])
    task = Regression.learn(y, np.ones(4))
    np.testing.assert_allclose(task.decode(task.encode(y)).numpy(), y, rtol=1e-5)
    assert Regression.learn(np.full(4, 7.0), np.ones(4)).scale == 1.0


def test_tasks_survive_saving() -> None:
    for task in (Classification(("a", "b")), Multilabel((0, 1), (0.3, 0.3)), Regression(1.0, 2.0)):
        assert restore(task.name, task.state()) == task


def test_one_class_only_is_refused() -> None:
    with pytest.raises(PlaitError, match="one class only"):
        Classification.learn(np.array(["x", "x"]), np.ones(2))


def test_multilabel_thresholds_are_chosen_on_held_out_rows() -> None:
    rng = np.random.default_rng(2)
    y = (rng.random((300, 4)) < 0.25).astype(int)
    inputs = inputs_of(a=y + rng.normal(scale=0.8, size=y.shape))
    members = fitted(inputs, y, Multilabel(tuple("wxyz")))
    assert isinstance(members.task, Multilabel)
    assert 0.1 <= members.task.thresholds[0] < 0.5
    decoded = members.task.decode(members.raw(inputs)).numpy()
    assert (members.task.answer(decoded) == (decoded >= members.task.thresholds[0])).all()


def test_prior_is_the_share_of_each_class() -> None:
    target = torch.tensor([0, 0, 0, 1])
    found = torch.tensor(prior(Classification((0, 1)), target, torch.ones(4))).exp()
    assert found.tolist() == pytest.approx([0.75, 0.25])


# -- scaling ---------------------------------------------------------------------------------------------------------


def test_scaler_standardises_and_silences_constants() -> None:
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    scaler = Scaler(10).fit(Tokens.of_vectors(x))
    out = scaler(Tokens.of_vectors(x)).x[:, 0]
    assert out[:, 0].std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    assert out[:, 1].abs().max() == 0


def test_scaler_keeps_directions_of_most_variance_and_is_restored() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(400, 2, generator=generator)
    x = hidden @ torch.randn(2, 20, generator=generator) + 0.01 * torch.randn(400, 20, generator=generator)
    tokens = Tokens.of_vectors(x)
    scaler = Scaler(2).fit(tokens)
    out = scaler(tokens).x[:, 0]
    assert scaler.dim == 2
    fit = torch.linalg.lstsq(torch.cat([out, torch.ones(400, 1)], 1), hidden).solution
    assert (torch.cat([out, torch.ones(400, 1)], 1) @ fit - hidden).std() < 0.05
    assert torch.equal(Scaler.restore(scaler.state())(tokens).x, scaler(tokens).x)


def test_all_absent_is_finite() -> None:
    tokens = Tokens.of_vectors(torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
    scaler = Scaler(4).fit(tokens)
    assert torch.isfinite(scaler(tokens).pooled()).all()


def test_what_is_hidden_in_training_is_missed_less() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    strong, weak = y[:, None] + rng.normal(scale=0.3, size=(300, 3)), y[:, None] + rng.normal(scale=1.0, size=(300, 3))
    inputs, task = inputs_of(strong=strong, weak=weak), Classification((0, 1))
    design = dataclasses.replace(DESIGN, branches=("joint",))
    for fusion in ("concat", "mean"):  # trained together, and one after another
        scores = {}
        hidden = {"none": Hiding(), "strong hidden": Hiding({"strong": 0.9}), "weak shown": Hiding({}, {"weak": 0.9})}
        for name, hiding in hidden.items():
            settings = dataclasses.replace(TRAINING, modality_dropout=hiding)
            found = fitted(inputs, y, task, dataclasses.replace(design, fusion=fusion), settings)
            scores[name] = accuracy(found, inputs.only(["weak"]), y)
        assert scores["strong hidden"] > scores["none"] + 0.05, (fusion, scores)
        assert scores["weak shown"] > scores["none"] + 0.05, (fusion, scores)


def test_rows_of_one_group_are_held_out_together() -> None:
    groups = np.repeat(np.arange(20), 6)
    folds = folds_of(np.arange(120) % 3, 5, 0, groups)
    assert len(folds) == 5
    for fold, held in folds:
        assert not set(groups[fold.numpy()]) & set(groups[held.numpy()])
    assert len(folds_of(np.arange(120) % 3, 5, 0, np.repeat(np.arange(3), 40))) == 3  # no more folds than groups
    with pytest.raises(ConfigError, match="one group"):
        folds_of(np.arange(120) % 3, 5, 0, np.zeros(120))


def test_a_modality_that_only_knows_the_group_is_not_trusted() -> None:
    """One modality tells the speaker by heart, the other a little of the label: groups in the folds show which is which."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    y = np.repeat(rng.integers(0, 2, 30), 10)  # a speaker says one thing
    speaker = rng.normal(size=(30, 8))[groups] * 3 + rng.normal(scale=0.1, size=(300, 8))
    words = y[:, None] * 1.5 + rng.normal(size=(300, 3))
    new = rng.integers(0, 2, 400)
    unseen = inputs_of(speaker=rng.normal(size=(400, 8)) * 3, words=new[:, None] * 1.5 + rng.normal(size=(400, 3)))
    inputs, task, weight = inputs_of(speaker=speaker, words=words), Classification((0, 1)), torch.ones(300)
    scores = []
    for told in (None, groups):
        _, make = maker(DESIGN, {"speaker": 8, "words": 3}, 2, {})
        examples = Examples(task, inputs, task.encode(y), weight)
        found = crossfit(make, examples, Plan(["speaker", "words"], TRAINING, 5, 0, task.strata(y), told))
        scores.append(accuracy(found, unseen, new))
    assert scores[1] > scores[0] + 0.05, scores
