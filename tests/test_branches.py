"""Branches: the contract over the registry, trees against scikit-learn's own answers, models of them saved, mixed, refused."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SkRidge

import plait
from plait import FusionClassifier, FusionRegressor
from plait.base import registry
from plait.base.branch import FittedBranch, FoldRows, NotWorthwhile, resolve_all, suited
from plait.base.errors import ConfigError, MissingDependencyError, ModelError, PlaitWarning
from plait.base.inputs import Columns, Inputs
from plait.base.tokens import Tokens
from plait.branches import kernel as kernel_module
from plait.branches.branches import Branches
from plait.branches.growth import Pace, Seedbed, forest_of, scikit_learn
from plait.branches.kernel import NARROWNESS, Kernel
from plait.branches.mixing import HeldOut, gains, mix
from plait.branches.mixture import Mixture
from plait.branches.ridge import Ridge
from plait.branches.solved import STRENGTHS, held_out_loss
from plait.branches.trees import Trees
from plait.networks.tasks import Classification
from plait.testing.models import check_branch, example_rows

QUICK: dict[str, Any] = {"store": "none", "members": 2, "epochs": 3, "width": 8, "progress": False}
FEW = {"name": "trees", "rounds": 15}


@pytest.mark.parametrize("name", [n for n in registry.names("branches") if not registry.find("branches", n).package])
def test_every_branch_holds_the_contract(name: str) -> None:
    variant = registry.find("branches", name)
    check_branch(partial(variant, rounds=15) if name == "trees" else variant)


def test_the_contract_sees_what_is_broken() -> None:
    class Greedy(Trees):
        def outputs(self, inputs: Inputs) -> torch.Tensor:
            return super().outputs(inputs) + len(inputs)

    with pytest.raises(AssertionError, match="other rows matter"):
        check_branch(partial(registry.register("branches", Greedy), rounds=5), example_rows())


# -- trees -------------------------------------------------------------------------------------------------------------------


def matrix(rows: int, seed: int = 0) -> np.ndarray:
    """One category, three numbers, nulls in all of them."""
    rng = np.random.default_rng(seed)
    x = np.c_[rng.integers(0, 40, rows), rng.normal(size=(rows, 3))]
    x[rng.random(x.shape) < 0.2] = np.nan
    return x.astype(np.float32)


@pytest.mark.parametrize("classes", [0, 2, 4])
@pytest.mark.parametrize("nulls", [True, False])
def test_a_forest_answers_as_scikit_learn_does(classes: int, nulls: bool) -> None:
    x = matrix(500)
    if not nulls:
        x = np.nan_to_num(x)
    value = np.nan_to_num(x[:, 1]) + np.nan_to_num(x[:, 0]) % 3 + 2.0 * np.isnan(x[:, 2])
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    y = np.digitize(value, np.quantile(value, np.arange(1, classes) / classes)) if classes else value
    model = kind(max_iter=12, categorical_features=[0], max_leaf_nodes=9).fit(x, y)
    new = matrix(300, 1)  # nulls also where there were none
    out = forest_of(model, 12)(new)
    if classes:
        p = np.exp(out) / np.exp(out).sum(1, keepdims=True) if classes > 2 else 1 / (1 + np.exp(-out))
        np.testing.assert_allclose(p if classes > 2 else np.c_[1 - p, p], model.predict_proba(new), atol=1e-6)
    else:
        np.testing.assert_allclose(out[:, 0], model.predict(new), atol=1e-6)
    few = kind(max_iter=5, categorical_features=[0], max_leaf_nodes=9).fit(x, y)
    np.testing.assert_allclose(forest_of(model, 5)(new), forest_of(few, 5)(new), atol=1e-6)


def rows_of(columns: Columns, target: torch.Tensor, task: str, out_dim: int) -> FoldRows:
    n = len(columns)
    there = {"tabular": torch.ones(n, dtype=torch.bool)}
    inputs = Inputs({"tabular": Tokens.of_vectors(torch.zeros(n, 1))}, {}, there, {"tabular": columns})
    rows = torch.arange(n)
    return FoldRows(inputs, target, torch.ones(n), rows[: 2 * n // 3], rows[2 * n // 3 :], task, out_dim)


def numbers_only(*columns: np.ndarray) -> Columns:
    values = torch.from_numpy(np.stack(columns, 1).astype(np.float32))
    return Columns(values, torch.zeros(len(values), 0, dtype=torch.int64), tuple("abc"[: len(columns)]), (), ())


def codes_only(codes: np.ndarray, levels: int) -> Columns:
    return Columns(torch.zeros(len(codes), 0), torch.from_numpy(codes)[:, None], (), ("code",), (levels,))


def test_columns_of_an_encoder_are_parted_at_a_few_places_drawn_anew() -> None:
    x = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    y, even = np.sin(9 * x).sum(1), np.ones(600)

    def places(seed: int) -> list[set[float]]:
        bed = Seedbed(x, y, even, (x, y, even), 0, 1, "squared", seed, bool, encoded=1)
        forest, _ = scikit_learn(bed, Pace(60, 0.3, 8, 5, 1.0, 1.0, 255, cuts=6))
        return [
            set(forest.number[(forest.feature >= 0) & (forest.feature % 2 == column)].tolist()) for column in (0, 1)
        ]

    first, second = places(0), places(1)
    assert len(first[1]) <= 6 < len(first[0])
    assert first[1] != second[1]


@pytest.mark.parametrize(("rate", "least"), [(0.5, 1), (0.02, 41)])
def test_trees_wait_half_as_long_as_the_best_round_took_and_twenty_rounds_at_least(rate: float, least: int) -> None:
    rng = np.random.default_rng(0)
    x, held = rng.normal(size=(2, 300, 3)).astype(np.float32)
    y, z = (rows[:, 0] + rng.normal(size=300) for rows in (x, held))
    rounds: list[int] = []
    bed = Seedbed(x, y, np.ones(300), (held, z, np.ones(300)), 0, 1, "squared", 0, lambda: bool(rounds.append(1)))
    _, best = scikit_learn(bed, Pace(300, rate, 8, 5, 1.0, 1.0, 255))
    assert best >= least
    assert len(rounds) == best + max(20, -(-best // 2))


@pytest.mark.parametrize("classes", [3, 9])
def test_trees_of_a_table_grow_until_they_know_what_two_columns_say_together(classes: int) -> None:
    rng = np.random.default_rng(0)
    place, year = rng.integers(0, 25, 4000), rng.integers(0, 25, 4000)
    y = torch.from_numpy(rng.integers(0, classes, (25, 25))[place, year])
    rows = rows_of(numbers_only(place, year), y, "classification", classes)
    right = []
    for member in (0, 1):
        trees = Trees()
        trees.fit(dataclasses.replace(rows, member=member))
        right.append(float((trees.outputs(rows.inputs.take(rows.valid)).argmax(1) == y[rows.valid]).float().mean()))
    assert min(right) > 0.8  # 0.73 and 0.70 with 400 trees, 9 classes at a rate of 0.25


def test_every_other_member_has_deeper_trees_where_columns_are_few() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 3))
    y = torch.from_numpy(np.sin(3 * x[:, 0]) * x[:, 1]).float()[:, None]
    rows = rows_of(numbers_only(*x.T), y, "regression", 1)
    nodes = []
    for member in (0, 1, 2):
        trees = Trees(rounds=1)
        trees.fit(dataclasses.replace(rows, member=member))
        nodes.append(len(trees.state()[0]["forest.0.feature"]))
    assert nodes == [15, 61, 15]  # of 8 leaves and of 31


def test_categories_of_hundreds_of_levels_are_learned_by_their_targets() -> None:
    rng = np.random.default_rng(0)
    answer, codes = rng.normal(size=400), rng.integers(0, 400, 3000)
    y = torch.from_numpy(answer[codes] + rng.normal(scale=0.1, size=3000)).float()[:, None]
    rows = rows_of(codes_only(codes, 400), y, "regression", 1)
    trees = Trees(rounds=60)
    trees.fit(rows)
    out = trees.outputs(rows.inputs.take(rows.valid))
    assert float((out - y[rows.valid]).square().mean()) < 0.2  # of a variance of one


def test_an_encoding_does_not_know_its_own_target() -> None:
    """Each level has one row and the target is noise: without cross-fitting the encoding would tell it."""
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.normal(size=900)).float()[:, None]
    rows = rows_of(codes_only(rng.permutation(900), 900), y, "regression", 1)
    trees = Trees(rounds=30)
    trees.fit(rows)
    held = trees.outputs(rows.inputs.take(rows.valid))
    assert float((held - y[rows.valid]).square().mean()) < 1.2 * float(y[rows.valid].square().mean())


def test_a_class_without_a_training_row_is_not_answered() -> None:
    rows = example_rows()
    rows = dataclasses.replace(rows, out_dim=4, target=torch.where(rows.target == 1, 3, rows.target))
    trees = Trees(rounds=10)
    trees.fit(rows)
    p = trees.outputs(rows.inputs).softmax(1)
    assert float(p[:, 1].max()) < 1e-5 < float(p[:, 3].min())


def test_it_declines_what_it_cannot_take() -> None:
    rows = example_rows("multilabel")
    assert Trees().declines(rows) is None
    assert "labels" in (Trees().declines(dataclasses.replace(rows, out_dim=21)) or "")
    assert "held out" in (Trees().declines(dataclasses.replace(rows, valid=rows.valid[:0])) or "")
    learning = dataclasses.replace(rows.inputs, tokens={}, columns={})
    assert "learn" in (Trees().declines(dataclasses.replace(rows, inputs=learning)) or "")


# -- in a model --------------------------------------------------------------------------------------------------------------


def codes_table(n: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """The answer is a rule on a code that has no order, which a network must learn level by level, and a word."""
    rng = np.random.default_rng(0)
    town, size = rng.integers(0, 30, n), rng.normal(size=n)
    words = np.where(rng.random(n) < 0.5, "red wood", "blue stone")
    frame = pd.DataFrame({"town": [f"town {t}" for t in town], "size": size, "text": words})
    frame.loc[::7, "town"] = None
    return frame, np.where((town % 3 == 0) ^ (size > 0), "yes", "no")


SPLIT = {
    "tabular": {"kind": "tabular", "columns": ["town", "size"]},
    "text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"},
}


@pytest.mark.parametrize("levels", [6, 60])  # as categories alone, and by what their rows answer, too
def test_loaded_trees_take_tables_in_the_order_of_the_fit(levels: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    z, a = rng.integers(0, levels, 300), rng.integers(0, levels, 300)
    table = pd.DataFrame({"z": [f"z{i}" for i in z], "a": [f"a{i}" for i in a], "size": rng.normal(size=300)})
    of = {"later": {"kind": "tabular", "columns": ["z"]}, "earlier": {"kind": "tabular", "columns": ["a", "size"]}}
    model = plait.FusionClassifier(modalities=of, branches=["trees"], members=1, store="none")
    model.fit(table, np.where((2 * z < levels) ^ (2 * a < levels), "u", "v"))
    again = plait.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))


@pytest.mark.parametrize("branches", [("trees",), ("joint", FEW, "own")])
def test_a_model_with_trees_is_saved_and_answers_every_pattern(branches: Any, tmp_path: Path) -> None:
    frame, y = codes_table()
    model = FusionClassifier(**QUICK, modalities=SPLIT, branches=branches).fit(frame[:300], y[:300])
    assert model.score(frame[300:], y[300:]) > 0.65
    again = plait.load(model.save(tmp_path / "m"))
    for pattern, p in model.predict_subsets(frame[300:]).items():
        assert np.isfinite(p).all()
        np.testing.assert_array_equal(p, again.predict_subsets(frame[300:], [pattern])[pattern])
    assert not list((tmp_path / "m").rglob("*.pkl"))


def test_numbers_and_several_labels_are_answered_too(tmp_path: Path) -> None:
    frame, y = codes_table()
    value = frame["size"].to_numpy() * 100 + 100 * (frame["text"] == "red wood").to_numpy()
    model = FusionRegressor(**QUICK, modalities=SPLIT, branches=["trees"]).fit(frame[:300], value[:300])
    assert model.score(frame[300:], value[300:]) > 0.6
    labels = np.c_[y == "yes", frame["size"] > 0].astype(int)
    several = FusionClassifier(**QUICK, modalities=SPLIT, branches=["trees"], task="multilabel").fit(
        frame[:300], labels[:300]
    )
    assert (several.predict(frame[300:])[:, 1] == labels[300:, 1]).mean() > 0.9
    again = plait.load(several.save(tmp_path / "m"))
    np.testing.assert_array_equal(several.predict(frame), again.predict(frame))


def test_a_branch_of_ones_own_takes_part(tmp_path: Path) -> None:
    @partial(registry.register, "branches", name="nearest_mean")
    @dataclasses.dataclass(eq=False)
    class NearestMean(FittedBranch):
        """Log-odds from the distance to each class's mean."""

        sharpness: float = 1.0

        def fit(self, rows: FoldRows) -> None:
            x = self._x(rows.inputs.take(rows.fold))
            y = rows.target[rows.fold]
            self.means = torch.stack([x[y == c].mean(0) for c in range(rows.out_dim)])

        def _x(self, inputs: Inputs) -> torch.Tensor:
            return torch.cat([tokens.pooled() for tokens in inputs.tokens.values()], 1)

        def outputs(self, inputs: Inputs) -> torch.Tensor:
            return -self.sharpness * torch.cdist(self._x(inputs), self.means)

        def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            return {"means": self.means.numpy()}, {}

        def load_state(self, arrays: Any, facts: Any) -> None:
            self.means = torch.from_numpy(np.asarray(arrays["means"]))

    frame, y = codes_table(200)
    branches = ["linear", {"name": "nearest_mean", "sharpness": 2.0}]
    model = FusionClassifier(**QUICK, modalities=SPLIT, branches=branches).fit(frame, y)
    again = plait.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(model.predict_proba(frame), again.predict_proba(frame))
    check_branch(NearestMean, example_rows())


@pytest.mark.parametrize(
    ("branches", "said"),
    [
        (["jiont"], "did you mean 'joint'"),
        (["own"], "one that sees all modalities is needed"),
        (["joint", "joint"], "'joint' stands twice"),
        ([{"rounds": 3}], "which one"),
        ([{"name": "trees", "round": 3}], "unknown field 'round' .did you mean 'rounds'"),
        ([{"name": "trees", "rounds": 0}], "branch trees: rounds must be a whole number from 1, found 0"),
        ("joint", "branches must be a list"),
    ],
)
def test_what_cannot_be_meant_is_one_line(branches: Any, said: str) -> None:
    frame, y = codes_table(60)
    with pytest.raises(ConfigError, match=said) as raised:
        FusionClassifier(**QUICK, branches=branches).fit(frame, y)
    assert "\n" not in str(raised.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trees, "package", "no_such_package")
    monkeypatch.setattr(Trees, "extra", "forests")
    with pytest.raises(MissingDependencyError, match=r'no_such_package.*pip install "plait\[forests\]"'):
        resolve_all(["joint", "trees"])


def test_a_branch_that_was_asked_for_and_declines_is_told() -> None:
    frame, y = codes_table(16)
    with pytest.raises(ConfigError, match="branch 'trees' is left out: too few rows"):
        FusionClassifier(**QUICK, modalities=SPLIT, branches=[FEW]).fit(frame, y)
    with pytest.warns(PlaitWarning, match="branch 'trees' is left out: too few rows"):
        FusionClassifier(**QUICK, modalities=SPLIT, branches=["joint", FEW]).fit(frame, y)


# -- what is kept ------------------------------------------------------------------------------------------------------------


def held_out_of(n: int = 400) -> tuple[HeldOut, dict[str, tuple[str, ...]]]:
    """Two branches that each know half of the answer, and one that knows nothing."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (n,), generator=rng)
    sign = (2.0 * y - 1.0) * 2.0
    first, second, noise = (torch.randn(n, generator=rng) for _ in range(3))
    known = torch.arange(n) % 2 == 0
    scores = {"joint": sign * known + first, "own:a": sign * ~known + second, "linear": noise}
    outputs = {name: torch.stack([-score / 2, score / 2], 1) for name, score in scores.items()}
    inputs = Inputs({"a": Tokens.of_vectors(torch.zeros(n, 1))}, {}, {"a": torch.ones(n, dtype=torch.bool)})
    held = HeldOut(["a"], Classification((0, 1)), inputs, y, torch.ones(n), torch.arange(n), {("a",): outputs})
    return held, dict.fromkeys(outputs, ("a",))


def test_a_branch_that_brings_nothing_is_dropped_and_the_others_stay() -> None:
    held, sources = held_out_of()
    mixture, _ = mix(held, sources, [0.0, 0.0], 0)
    assert set(mixture.sources) == {"joint", "own:a"} == set(mixture.weights["a",])
    assert gains(held, sources, [0.0, 0.0], "joint")
    assert gains(held, sources, [0.0, 0.0], "own:a")
    assert not gains(held, sources, [0.0, 0.0], "linear")


def test_nothing_is_gained_by_a_branch_that_knows_only_the_shares_of_the_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    y = (torch.rand(400, generator=rng) < 0.1).long()
    known = [math.log(0.9), math.log(0.1)]
    score = (2.0 * y - 1.0) + torch.randn(400, generator=rng)  # alike for both classes, as if they were as many
    outputs = {"joint": torch.stack([-score, score], 1), "linear": torch.tensor(known).repeat(400, 1)}
    inputs = Inputs({"a": Tokens.of_vectors(torch.zeros(400, 1))}, {}, {"a": torch.ones(400, dtype=torch.bool)})
    held = HeldOut(["a"], Classification((0, 1)), inputs, y, torch.ones(400), torch.arange(400), {("a",): outputs})
    sources = dict.fromkeys(outputs, ("a",))
    assert not gains(held, sources, known, "linear")
    assert gains(held, sources, [0.0, 0.0], "linear")  # were the classes as many, it would be news


def test_a_branch_without_a_weight_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, y = codes_table()
    model = FusionClassifier(**QUICK, modalities=SPLIT, branches=["joint", "linear"]).fit(frame[:300], y[:300])
    names = model.modality_names_
    mixture = Mixture(names, model.members_.members[0].sources)
    mixture.set_equal()
    mixture.prior, mixture.weights[names]["linear"] = [0.0, 0.0], 0.0
    model.members_.mixture = mixture
    inputs = model._inputs(frame)
    every = mixture.combine(model.members_.outputs(inputs), inputs.present, model.members_.task)
    asked: list[str] = []
    before = Branches.branch

    def branch(self: Branches, name: str, tokens: Any) -> Any:
        asked.append(name)
        return before(self, name, tokens)

    monkeypatch.setattr(Branches, "branch", branch)
    assert np.array_equal(model._read(every), model.predict_proba(frame))  # to the bit
    assert "linear" not in asked
    model.predict_subsets(frame, [names[:1]])  # where it has a weight it is
    assert "linear" in asked


def test_the_leaderboard_says_what_stays_and_what_it_costs(tmp_path: Path) -> None:
    frame, y = codes_table()
    model = FusionClassifier(**QUICK, modalities=SPLIT).fit(frame[:300], y[:300])
    table = model.leaderboard_.set_index("branch")
    assert set(table.index) == {"mixture", "joint", "ridge", "own:tabular", "own:text", "trees"}
    assert table["loss"].is_monotonic_increasing
    kept = set(table.index[table["kept"].astype(bool)]) - {"mixture"}
    assert kept == set(model.members_.mixture.sources)
    assert (table.loc[list(kept), ["seconds", "megabytes", "weights"]] > 0).all(axis=None)
    again = plait.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(again.leaderboard_, model.leaderboard_, check_dtype=False)
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    assert "| trees |" in (tmp_path / "m" / "README.md").read_text()


def all_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rounds of all trees must show what they are worth."""
    for name in ("PILOT", "MANY_CLASSES", "NARROW"):
        monkeypatch.setattr(f"plait.branches.trees.{name}", 0)


def test_trees_of_a_table_need_not_show_early_what_they_will_be_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where networks answer well, the first rounds gain nothing, and the last ones do."""
    monkeypatch.setattr("plait.branches.trees.PILOT", 0)
    rng = np.random.default_rng(0)
    place, year = rng.integers(0, 25, 3000), rng.integers(0, 25, 3000)
    y = torch.from_numpy(rng.integers(0, 3, (25, 25))[place, year])
    asked = []
    rows = dataclasses.replace(
        rows_of(numbers_only(place, year), y, "classification", 3), promising=lambda out: bool(asked.append(len(out)))
    )
    trees = Trees(rounds=60)
    trees.fit(rows)
    assert trees.state()[1]["rounds"] == [60]
    assert not asked


def test_first_rounds_that_bring_nothing_leave_trees_out(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, y = codes_table()
    noise = np.random.default_rng(1).permutation(y)
    all_wide(monkeypatch)
    with pytest.warns(PlaitWarning, match="'trees' is left out: its first rounds brought the mixture nothing"):
        model = FusionClassifier(**QUICK, modalities=SPLIT, branches=["linear", "trees"]).fit(frame, noise)
    assert "first rounds" in model.leaderboard_.set_index("branch").loc["trees", "left_out"]
    assert all(not member.fitted for member in model.members_.members)
    model = FusionClassifier(**QUICK, modalities=SPLIT, branches=["linear", "trees"]).fit(frame, y)
    assert "trees" in model.members_.mixture.sources


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_trees_ask_once_whether_they_are_promising_and_grow_on_as_if_nobody_had(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_wide(monkeypatch)
    rows, asked = example_rows(task=task), list[torch.Tensor]()
    alone, watched, stopped = (Trees(rounds=12, learning_rate=0.4) for _ in range(3))
    alone.fit(rows)
    watched.fit(dataclasses.replace(rows, promising=lambda out: asked.append(out) or True))
    assert [tuple(out.shape) for out in asked] == [(len(rows.valid), rows.out_dim)]
    assert asked[0].isfinite().all()
    assert float(asked[0].std()) > 0
    torch.testing.assert_close(watched.outputs(rows.inputs), alone.outputs(rows.inputs), rtol=0, atol=0)
    with pytest.raises(NotWorthwhile):
        stopped.fit(dataclasses.replace(rows, promising=lambda out: False))


#: Every branch that sees all modalities alone, one that does not beside one, and the default, which is all.
SETS: list[tuple[Any, ...]] = [
    ("joint",),
    ("linear",),
    ("ridge",),
    ("linear", "own"),
    ("trees",),
    ("kernel",),
    ("joint", "ridge", "kernel", "own", "trees"),
]
SEEING_BOTH = {"joint", "kernel", "trees"}


def quick(branches: tuple[str, ...]) -> list[Any]:
    """The same with few trees."""
    return [{"name": name, "rounds": 40, "learning_rate": 0.2} if name == "trees" else name for name in branches]


def two_flags(rows: int, seed: int, noise: float) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A number and a word that are signs of two bits, and these; of the answer a share ``noise`` is drawn anew."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, rows))
    frame = pd.DataFrame({"size": 2.0 * a - 1 + rng.normal(scale=0.1, size=rows), "text": np.where(b, "red", "blue")})
    return frame, np.stack([a, b]), rng.random(rows) < noise


PARTS = {"tabular": {"kind": "tabular", "columns": ["size"]}, "text": {**SPLIT["text"]}}


@pytest.mark.parametrize("branches", SETS, ids="+".join)
def test_an_xor_is_learned_where_a_branch_sees_both_and_nothing_is_claimed_elsewhere(branches: tuple[str, ...]) -> None:
    """One modality alone says nothing of it and knows that; nothing present is the prior."""
    frame, (a, b), _ = two_flags(500, 0, 0.0)
    y = np.where(a ^ b, "yes", "no")
    settings = {**QUICK, "epochs": 14, "width": 16, "learning_rate": 0.04}
    model = FusionClassifier(**settings, modalities=PARTS, branches=quick(branches)).fit(frame[:400], y[:400])
    if SEEING_BOTH & set(branches):
        assert model.score(frame[400:], y[400:]) > 0.9
    answers = model.predict_subsets(frame[400:])
    for pattern in (("tabular",), ("text",), ()):
        p = answers[pattern].max(1)
        assert np.isfinite(p).all()
        assert p.mean() < 0.7  # it does not claim what it cannot know
    assert np.ptp(answers[()], axis=0).max() < 1e-9
    share = (y[:400] == model.classes_[1]).mean()
    assert answers[()][0, 1] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("branches", SETS, ids="+".join)
def test_what_is_absent_does_not_matter_and_answers_are_calibrated(branches: tuple[str, ...]) -> None:
    """A quarter of the answers is noise: of what is said with 0.88, 88 % are right, whatever is present."""
    frame, (a, _), drawn = two_flags(800, 1, 0.25)
    rng = np.random.default_rng(2)
    y = np.where(np.where(drawn, rng.integers(0, 2, 800), a), "yes", "no")
    frame.loc[rng.random(800) < 0.2, "text"] = None
    settings = {**QUICK, "epochs": 15, "width": 16}
    model = FusionClassifier(**settings, modalities=PARTS, branches=quick(branches)).fit(frame[:500], y[:500])
    told = frame[500:]
    assert (model.predict_proba(told.assign(text="red"))[:, 1] != model.predict_proba(told)[:, 1]).any()
    gone = model.predict_subsets(told, [["tabular"], ["text"]])
    np.testing.assert_allclose(model.predict_proba(told.assign(text=None)), gone[("tabular",)], atol=1e-6)
    assert gone[("text",)].max(1).mean() < 0.6  # of which it is no sign
    for p in (model.predict_proba(told), gone[("tabular",)]):
        right = model.classes_[p.argmax(1)] == y[500:]
        assert abs(p.max(1).mean() - right.mean()) < 0.08
    assert model.score(told, y[500:]) > 0.8  # 0.875 is all that can be known


@pytest.mark.parametrize("branches", SETS, ids="+".join)
def test_a_single_modality_is_enough(branches: tuple[str, ...]) -> None:
    frame, (a, _), _ = two_flags(300, 3, 0.0)
    y = np.where(a, "yes", "no")
    only = {"tabular": PARTS["tabular"]}
    model = FusionClassifier(**QUICK | {"epochs": 15}, modalities=only, branches=quick(branches)).fit(
        frame[:200], y[:200]
    )
    assert model.score(frame[200:], y[200:]) > 0.95
    assert np.isfinite(model.predict_proba(frame[200:].assign(size=np.nan))).all()


@pytest.mark.parametrize(("classes", "components"), [(3, 30), (9, 16)])
def test_trees_of_many_classes_see_fewer_components(classes: int, components: int) -> None:
    x = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    there = {"text": torch.ones(300, dtype=torch.bool)}
    inputs = Inputs({"text": Tokens.of_vectors(x, there["text"])}, {}, there)
    order = torch.arange(300)
    rows = FoldRows(inputs, order % classes, torch.ones(300), order[:200], order[200:], "classification", classes)
    trees = Trees(rounds=2)
    trees.fit(rows)
    assert trees.state()[0]["features.axes.text"].shape == (40, components)
    few = Trees(rounds=2, components=5)
    few.fit(rows)
    assert few.state()[0]["features.axes.text"].shape == (40, 5)


@pytest.mark.parametrize("engine", ["scikit-learn", "lightgbm"])
def test_trees_learn_where_a_column_is_empty_in_all_rows_that_they_learn_from(engine: str) -> None:
    if engine == "lightgbm":
        pytest.importorskip("lightgbm")
    size = np.random.default_rng(0).normal(size=200)
    table = pd.DataFrame({"size": size, "durability": [1.5, *[None] * 199], "kind": ["a", *[None] * 199]})
    of = {"t": {"kind": "tabular", "columns": ["size", "durability", "kind"]}}
    branches = [{"name": "trees", "engine": engine}]
    model = plait.FusionClassifier(modalities=of, branches=branches, members=2, store="none")
    right = model.fit(table, np.where(size > 0, "u", "v")).predict(table) == np.where(size > 0, "u", "v")
    assert right.mean() > 0.9


@pytest.mark.parametrize("branch", ["linear", "ridge"])
@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.7, 0.2, 0.1)])
def test_linear_alone_says_the_shares_of_classes_where_columns_say_nothing(
    shares: tuple[float, ...], branch: str
) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(150, 60)), columns=[f"c{i}" for i in range(60)])
    label = np.repeat(["a", "b", "c"][: len(shares)], [round(150 * share) for share in shares])
    model = FusionClassifier(branches=[branch], store="none", progress=False).fit(table, label)
    new = pd.DataFrame(rng.normal(size=(1000, 60)), columns=table.columns)
    p = model.predict_proba(new)
    expected = -np.sum(np.array(shares) * np.log(shares))
    assert -(np.log(p).mean(0) * shares).sum() < 1.1 * expected  # 1.7 and 1.2 times where it begins at equal shares
    assert p.mean(0) == pytest.approx(shares, abs=0.06)


@pytest.mark.parametrize("branch", ["linear", "ridge"])
def test_linear_begins_at_the_shares_of_labels_and_the_mean_of_numbers(branch: str) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(150, 60)), columns=[f"c{i}" for i in range(60)])
    given: dict[str, Any] = {"branches": [branch], "store": "none", "progress": False}
    tags = [["p"] * (i % 10 == 0) + ["q"] * (i % 5 > 0) for i in range(150)]
    new = pd.DataFrame(rng.normal(size=(1000, 60)), columns=table.columns)
    several = FusionClassifier(**given, task="multilabel").fit(table, tags).predict_proba(new)
    assert np.asarray(several).mean(0) == pytest.approx([0.1, 0.8], abs=0.08)
    number = FusionRegressor(**given).fit(table, 100 + rng.normal(size=150)).predict(new)
    assert np.mean(number) == pytest.approx(100, abs=0.3)


# -- ridge -------------------------------------------------------------------------------------------------------------------


def split_rows(x: np.ndarray, y: np.ndarray, task: str, out_dim: int, weight: np.ndarray | None = None) -> FoldRows:
    """Four fifths to learn from, the others held out."""
    tokens = Tokens.of_vectors(torch.from_numpy(x.astype(np.float32)))
    target = torch.from_numpy(y) if task == "classification" else torch.from_numpy(y.astype(np.float32))
    order, counts = torch.arange(len(x)), torch.ones(len(x)) if weight is None else torch.from_numpy(weight).float()
    inputs = Inputs({"a": tokens}, {}, {"a": tokens.present})
    return FoldRows(inputs, target, counts, order[: len(x) * 4 // 5], order[len(x) * 4 // 5 :], task, out_dim)


@pytest.mark.parametrize("columns", [6, 300])
def test_ridge_of_a_number_is_the_best_of_scikit_learns(columns: int) -> None:
    """Fewer columns than rows, and more."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(200, columns)).astype(np.float32), rng.integers(1, 4, 200).astype(float)
    y = x[:, :5].sum(1) + rng.normal(size=200)
    rows, branch = split_rows(x, y[:, None], "regression", 1, weight), Ridge()
    branch.fit(rows)
    said = []
    for strength in STRENGTHS:
        model = SkRidge(columns / strength).fit(x[:160], y[:160], sample_weight=weight[:160])
        error = np.abs(model.predict(x[160:]) - y[160:])
        loss = np.average(np.where(error < 1, 0.5 * error**2, error - 0.5), weights=weight[160:])
        said.append((loss, model.predict(x)))
    best = min(said, key=lambda one: one[0])
    assert np.argmin([loss for loss, _ in said]) not in (0, len(said) - 1) or columns == 6
    np.testing.assert_allclose(branch.outputs(rows.inputs)[:, 0], best[1], atol=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_of_classes_is_the_best_of_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(300, 40)).astype(np.float32), rng.integers(1, 4, 300).astype(float)
    y = np.digitize(x[:, :3].sum(1) + 3 * rng.normal(size=300), [0.0] if classes == 2 else [-1.0, 1.0])
    rows, branch = split_rows(x, y, "classification", classes, weight), Ridge(steps=200)
    branch.fit(rows)
    said = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength / 40, max_iter=1000).fit(x[:240], y[:240], sample_weight=weight[:240])
        p = model.predict_proba(x)
        said.append((np.average(-np.log(p[240:][np.arange(60), y[240:]]), weights=weight[240:]), p))
    best = min(said, key=lambda one: one[0])
    np.testing.assert_allclose(branch.outputs(rows.inputs).softmax(1), best[1], atol=0.01)


def test_what_two_columns_differ_by_is_found_in_few_rows() -> None:
    """Steps under dropout hold such columns back: the answer is a small part of what each says."""
    rng = np.random.default_rng(0)
    both, limit, income = rng.normal(size=(3, 320))
    frame = pd.DataFrame({"limit": both + 0.3 * limit, "income": both + 0.3 * income})
    y = 10 * (limit - income) + rng.normal(size=320)
    told: dict[str, Any] = {"store": "none", "progress": False, "random_state": 0}
    scores = {}
    for branch in ("linear", "ridge"):
        model = FusionRegressor(branches=[branch], **told).fit(frame[:240], y[:240])
        scores[branch] = model.score(frame[240:], y[240:])
    assert scores["ridge"] > 0.95
    assert scores["linear"] < scores["ridge"] - 0.03


def test_a_wide_modality_without_a_word_to_say_is_held_back() -> None:
    """One column beside 200 directions of noise: under one penalty for each feature these explain what is left of 96 rows."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=240), "v": list(rng.normal(size=(240, 200)))})
    y = frame["a"].to_numpy() + 0.3 * rng.normal(size=240)
    parts = {"a": {"kind": "tabular", "columns": ["a"]}, "v": {"kind": "vector", "columns": ["v"]}}
    model = FusionRegressor(modalities=parts, branches=["ridge"], store="none", progress=False, random_state=0)
    assert model.fit(frame[:120], y[:120]).score(frame[120:], y[120:]) > 0.8  # 0.44 under one penalty


# -- kernel ------------------------------------------------------------------------------------------------------------------


def test_kernel_of_a_number_is_the_best_of_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(250, 2)).astype(np.float32), rng.integers(1, 4, 250).astype(float)
    y = np.sin(2 * x[:, 0]) * x[:, 1] + 0.1 * rng.normal(size=250)
    rows, branch = split_rows(x, y[:, None], "regression", 1, weight), Kernel()
    branch.fit(rows)
    part = x[:200] / 2**0.5
    usual = ((part[:, None] - part) ** 2).sum(2).mean()
    mean, said = np.average(y[:200], weights=weight[:200]), list[tuple[float, np.ndarray]]()
    for narrowness in NARROWNESS:
        for strength in STRENGTHS:
            model = KernelRidge(kernel="rbf", gamma=narrowness / usual, alpha=1 / strength)
            model.fit(part, y[:200] - mean, sample_weight=weight[:200])
            out = mean + model.predict(x / 2**0.5)
            error = np.abs(out[200:] - y[200:])
            said.append((np.average(np.where(error < 1, 0.5 * error**2, error - 0.5), weights=weight[200:]), out))
    best = min(said, key=lambda one: one[0])[1]
    assert np.corrcoef(best, y)[0, 1] > 0.95
    assert np.abs(branch.outputs(rows.inputs)[:, 0].numpy() - best).mean() < 0.02  # its constant is not held back


@pytest.mark.parametrize("classes", [2, 3])
def test_kernel_finds_what_lies_inside_a_ring_and_is_calibrated(classes: int) -> None:
    """A quarter of the answers is drawn: of what is said with some probability that share is right."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, size=(900, 2))
    y = np.digitize((x**2).sum(1), [1.5, 4.0][: classes - 1])
    y = np.where(rng.random(900) < 0.25, rng.integers(0, classes, 900), y)
    rows, branch = split_rows(x, y, "classification", classes), Kernel()
    branch.fit(dataclasses.replace(rows, fold=rows.fold[:400], valid=rows.fold[400:]))
    p = branch.outputs(rows.inputs.take(rows.valid)).softmax(1)
    right = p.argmax(1).numpy() == y[720:]
    assert right.mean() > 0.68
    assert abs(float(p.max(1).values.mean()) - right.mean()) < 0.07
    line = Ridge()
    line.fit(rows)
    assert (line.outputs(rows.inputs.take(rows.valid)).argmax(1).numpy() == y[720:]).mean() < right.mean() - 0.1


def test_of_many_classes_the_kernel_is_solved_by_squares_and_still_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    centres = 2 * rng.normal(size=(24, 5))
    y = rng.integers(0, 12, 600)
    x = centres[2 * y + rng.integers(0, 2, 600)] + 0.5 * rng.normal(size=(600, 5))
    losses = {}
    for polished in (0, 10**9):
        monkeypatch.setattr("plait.branches.kernel.POLISHED", polished)
        rows, branch = split_rows(x, y, "classification", 12), Kernel()
        branch.fit(rows)
        losses[polished] = held_out_loss(rows, branch.outputs(rows.inputs.take(rows.valid)))
    assert losses[10**9] <= losses[0] < 0.6 < np.log(12)


def test_kernel_says_the_shares_where_columns_say_nothing() -> None:
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1, 2], [700, 200, 100]))
    rows, branch = split_rows(rng.normal(size=(1000, 20)), label, "classification", 3), Kernel()
    branch.fit(rows)
    p = branch.outputs(rows.inputs).softmax(1)
    assert p.mean(0).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    assert float(p.std(0).max()) < 0.1


def test_kernel_of_one_row_again_and_again_and_of_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, branch = split_rows(np.ones((40, 3)), np.arange(40) % 2, "classification", 2), Kernel()
    branch.fit(rows)
    torch.testing.assert_close(branch.outputs(rows.inputs).softmax(1), torch.full((40, 2), 0.5))
    tried = list[float]()
    before = kernel_module.by_squares
    monkeypatch.setattr(kernel_module, "by_squares", lambda *given: tried.append(0.0) or before(*given))
    drawn = split_rows(np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2, "classification", 2)
    Kernel().fit(dataclasses.replace(drawn, stop=lambda: True))
    assert len(tried) == 1
    Kernel().fit(dataclasses.replace(drawn, valid=drawn.valid[:0]))
    assert len(tried) == 2


def test_of_many_features_or_rows_the_kernel_is_left_out_unless_nothing_else_is_asked_for() -> None:
    names = ("joint", "kernel")
    assert suited(names, 1000, 100, 2, learning=False) == names
    assert suited(names, 1000, 251, 2, learning=False) == ("joint",)
    assert suited(names, 100_000, 10, 2, learning=False) == ("joint",)
    assert suited(names, 1000, 100, 2, learning=True) == ("joint",)
    assert suited(("kernel",), 1000, 251, 2, learning=False) == ("kernel",)
    assert suited(("own", "kernel"), 1000, 251, 2, learning=False) == ("own", "kernel")
    wide = {"name": "kernel", "features": 1000}
    assert suited(("joint", wide), 1000, 251, 2, learning=False) == ("joint", wide)


def test_a_kernel_whose_file_lies_is_refused() -> None:
    rows, branch = (
        split_rows(np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2, "classification", 2),
        Kernel(),
    )
    branch.fit(rows)
    arrays, facts = branch.state()
    for lie in ({"names": "a"}, {"names": [1]}, {}):
        with pytest.raises(ModelError, match="branch kernel: expected the names of modalities"):
            Kernel().load_state(arrays, lie)
    for lost in arrays:
        with pytest.raises(ModelError, match=f"branch kernel: its file lacks '{lost}', or has it in another shape"):
            Kernel().load_state({name: array for name, array in arrays.items() if name != lost}, facts)
    with pytest.raises(ModelError, match="branch kernel: its arrays do not fit each other"):
        Kernel().load_state({**arrays, "scale": arrays["scale"][:2]}, facts)
    other = split_rows(np.ones((4, 2)), np.arange(4) % 2, "classification", 2)
    with pytest.raises(ModelError, match="branch kernel: it learned other features than these"):
        branch.outputs(other.inputs)


def test_of_many_rows_and_features_or_with_encoders_that_learn_linear_takes_its_place() -> None:
    names = ("joint", "ridge", {"name": "trees", "rounds": 9})
    assert suited(names, 1000, 100, 10, learning=False) == names
    assert suited(names, 10_000, 1000, 10, learning=False) == ("joint", "linear", names[2])
    assert suited((*names, "linear"), 10_000, 1000, 10, learning=False) == ("joint", "linear", names[2])
    assert suited(names, 10, 10, 2, learning=True) == ("joint", "linear", names[2])


def test_what_takes_its_place_is_what_a_saved_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.branches.ridge.MOST", 0)
    frame, y = codes_table()
    model = FusionClassifier(**QUICK, modalities=SPLIT).fit(frame[:300], y[:300])
    monkeypatch.undo()
    assert {"linear", "ridge"} & set(model.leaderboard_["branch"]) == {"linear"}
    again = plait.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
