"""A time budget (``minutes``) and the word ``quality``."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MultiLabelBinarizer

from plait import FusionClassifier, load
from plait.base import deadline
from plait.base.deadline import Deadline
from plait.base.errors import ConfigError, PlaitWarning
from plait.cli import main
from plait.data import schema, table
from plait.encoders import defaults
from plait.encoders.hashed_ngrams import HashedNgrams
from plait.estimators.fit_settings import FitSettings
from plait.estimators.settings import FIELDS, better_encoders, of_quality
from plait.workflow.fit import fit_table

TREES = {"name": "trees", "rounds": 5}


@pytest.fixture
def rows() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=120), "kind": rng.choice(["a", "b", "c"], 120)})
    return frame, np.where((frame["size"] > 0) ^ (frame["kind"] == "a"), "yes", "no")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that gains a second whenever it is asked; the list holds what it said last."""
    said = [0.0]

    def now() -> float:
        said[0] += 1.0
        return said[0]

    monkeypatch.setattr(deadline, "now", now)
    monkeypatch.setattr(deadline, "busy", lambda: said[0])  # a machine that does nothing else
    return said


def model_of(**told: object) -> FusionClassifier:
    return FusionClassifier(**{"store": "none", "progress": False, "width": 4, "epochs": 40, "patience": 40, **told})


@pytest.mark.parametrize(("members", "branches"), [(5, ["joint"]), (3, ["joint", "trees"]), (4, ["linear", "trees"])])
def test_training_ends_within_the_budget_and_says_what_was_left_out(
    ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray], members: int, branches: list[str]
) -> None:
    model = model_of(minutes=0.5, members=members, branches=branches)
    with pytest.warns(PlaitWarning, match=r"minutes 0.5: no time was left for .*epochs after \d+ of 40"):
        model.fit(*rows)
    assert ticking[0] <= 33.0
    assert max(record["epoch"] for record in model.history_) < 39
    assert model.record_["minutes"]["given"] == 0.5
    assert any("epochs after" in one for one in model.record_["minutes"]["left_out"])
    assert set(model.predict(rows[0])) <= {"yes", "no"}


def test_members_that_were_not_begun_are_left_out(
    ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    model = model_of(minutes=0.2, members=5, branches=["joint"])
    with pytest.warns(PlaitWarning, match="2 of 5 members"):
        model.fit(*rows)
    assert model.record_["members"] == len(model.members_.members) == 3
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(rows[0]), model.predict_proba(rows[0]))


def test_trees_without_time_go_where_networks_answer_and_stop_where_nothing_else_does(
    ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray]
) -> None:
    alone = model_of(minutes=0.2, members=3, branches=[{"name": "trees", "rounds": 200}])
    with pytest.warns(PlaitWarning, match="of 3 members"):
        alone.fit(*rows)
    assert ticking[0] <= 14.0
    assert alone.predict_proba(rows[0]).shape == (120, 2)
    with pytest.warns(PlaitWarning, match="branch trees"):
        both = model_of(minutes=0.15, members=2, branches=["linear", "trees"]).fit(*rows)
    board = both.leaderboard_.set_index("branch")
    assert board.loc["trees", "left_out"] == "no time was left"


def test_a_budget_too_short_for_anything_is_refused(rows: tuple[pd.DataFrame, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match=r"minutes 1e-06: too short to train anything"):
        model_of(minutes=1e-6).fit(*rows)
    with pytest.raises(ConfigError, match="minutes must be a number above 0"):
        model_of(minutes=0).fit(*rows)


@pytest.mark.parametrize(
    ("command", "minutes", "said"),
    [
        (
            "fit",
            "0.001",
            "minutes 0.001: too short to train anything: 0 s of 0.06 s are over, and what follows training",
        ),
        ("fit", "0", "minutes must be a number above 0, found 0.0"),
        ("fit", "nan", "minutes must be a number above 0, found nan"),
        ("advise", "0", "minutes must be a number above 0, found 0.0"),
        ("advise", "nan", "minutes must be a number above 0, found nan"),
    ],
)
def test_a_command_refuses_a_budget_too_short_before_it_looks_for_the_table(
    command: str, minutes: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, str(tmp_path / "t.csv"), "--target", "label", "--minutes", minutes])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_a_fit_refuses_a_budget_too_short_before_it_works(
    ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = rows[0].assign(label=rows[1])
    found = schema.infer(frame, target="label")
    monkeypatch.setattr(FusionClassifier, "fit", lambda *_, **__: pytest.fail("began"))
    with pytest.raises(
        ConfigError, match=r"minutes 0\.03: too short to train anything: 1 s of 1\.8 s are over, and what"
    ):
        fit_table(frame, found, {"minutes": 0.03})


def test_encoding_counts_and_its_work_is_kept(ticking: list[float], tmp_path: Path) -> None:
    words = [f"word{a} word{b}" for a, b in itertools.product(range(40), range(40))]
    frame, y = pd.DataFrame({"text": words}), np.arange(1600) % 2
    told = {"modalities": {"text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"}}}
    model = model_of(minutes=0.05, branches=["linear"], **told)
    with pytest.raises(ConfigError, match=r"minutes 0.05: too short for encoding 'text': \d+ of 96 cells") as refused:
        model.fit(frame, y)
    assert "quality" not in str(refused.value), "light takes the same encoders"


def test_without_minutes_nothing_ends_and_nothing_is_said(rows: tuple[pd.DataFrame, np.ndarray]) -> None:
    model = model_of(epochs=3, members=2, branches=["linear"]).fit(*rows)
    assert "minutes" not in model.record_
    assert Deadline().left() == np.inf
    assert not Deadline().training_over()


def test_a_whole_fit_leaves_out_what_is_not_needed(ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray]) -> None:
    frame = rows[0].assign(label=rows[1])
    found = schema.infer(frame, target="label")
    settings = {"minutes": 0.5, "epochs": 40, "patience": 40, "branches": ("joint",), "members": 2, "width": 4}
    settings |= {"store": "none", "progress": False}
    with pytest.warns(PlaitWarning, match="no time was left for .*epochs after"):
        outcome = fit_table(frame, found, settings)
    assert "majority" in outcome.baselines
    assert ticking[0] <= 33.0


def test_a_command_s_budget_begins_before_its_libraries_are_loaded(
    ticking: list[float],
    rows: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows[0].assign(label=rows[1]).to_csv(tmp_path / "t.csv", index=False)

    def slowly(*given: object, **options: object) -> pd.DataFrame:
        ticking[0] += 40.0
        return rows[0].assign(label=rows[1])

    monkeypatch.setattr(table, "read_table", slowly)
    command = ["fit", str(tmp_path / "t.csv"), "--target", "label", "--out", str(tmp_path / "m"), "--store", "none"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "1"])
    assert stop.value.code == 2  # 39 of 60 seconds are for training
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "1.5", "--epochs", "400", "--no-report"])
    assert not stop.value.code
    assert "minutes 1.5: no time was left for epochs after" in capsys.readouterr().err


def test_what_follows_training_takes_longer_on_a_machine_that_does_other_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, used = [0.0], [0.0]
    monkeypatch.setattr(deadline, "busy", lambda: used[0])
    end = Deadline(1.0, 0.65, clock=lambda: clock[0], after=3.0)
    clock[0], used[0] = 20.0, 20.0
    assert (end.for_training(), end.lasting(3.0)) == (19.0, 3.0)  # up to 39 of 60 seconds
    used[0] = 2.0  # it gets a tenth of the processor
    assert (end.for_training(), end.lasting(3.0)) == (10.0, 30.0)
    with end.expecting(1.0):
        assert end.training_over()
        assert end.within(1.0)()
    with (
        end.expecting(1.0),
        pytest.raises(ConfigError, match=r"took 20 s and what follows will take 40 s, as the machine"),
    ):
        end.check_training()
    late = end.within(0.5)
    assert not late(4.0)  # an epoch of four seconds ends within the first half of ten
    assert late(5.0)
    assert end.room("the page", 3.0)
    assert not end.room("the worth of columns", 4.0)
    assert end.left_out == ["the worth of columns"]


def test_an_epoch_that_would_end_too_late_is_not_begun(
    rows: tuple[pd.DataFrame, np.ndarray], ticking: list[float]
) -> None:
    def slowly(record: object) -> None:
        ticking[0] += 10.0  # an epoch

    from plait.training.callbacks import FitCallbacks

    before = FitCallbacks.callbacks

    def followed(self: FitCallbacks, *given: object) -> object:
        return dataclasses.replace(before(self, *given), on_epoch=slowly)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitCallbacks, "callbacks", followed)
        with pytest.warns(PlaitWarning, match=r"epochs after 3 of 40"):
            model_of(minutes=0.8, members=1, branches=["joint"]).fit(*rows)  # 40.8 s for training
    assert ticking[0] <= 45.0


def test_a_part_of_a_longer_work_ends_with_it_and_leaves_the_telling_to_it(
    ticking: list[float], rows: tuple[pd.DataFrame, np.ndarray]
) -> None:
    end = Deadline(0.3)
    model = model_of(minutes=5.0, members=2, branches=["joint"]).fit(*rows, end=end)  # a warning would be an error
    assert ticking[0] <= 20.0
    assert any("epochs after" in one for one in end.left_out)
    assert model.record_["minutes"] == {"given": 0.3, "left_out": end.left_out}


def test_held_out_cells_are_encoded_after_the_time_to_train_is_over(ticking: list[float]) -> None:
    words = [f"word{a} word{b}" for a, b in itertools.product(range(40), range(40))]
    frame = pd.DataFrame({"text": words, "label": [("no", "yes")[i % 2] for i in range(1600)]})
    settings = {"minutes": 1.0, "epochs": 400, "patience": 400, "branches": ("linear",), "members": 2}
    settings |= {"store": "none", "progress": False, "encoders": {"text": "hashed_ngrams"}}
    with pytest.warns(PlaitWarning, match="no time was left for .*epochs after"):
        outcome = fit_table(frame, schema.infer(frame, target="label"), settings, split={"test_fraction": 0.5})
    assert outcome.evaluation.rows >= 200  # as many as there is time for


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_model_s_own_trees_stand_for_the_baseline(rows: tuple[pd.DataFrame, np.ndarray], task: str) -> None:
    number = rows[0]["size"] * 3 + (rows[0]["kind"] == "a")
    frame = pd.concat([rows[0].assign(label=rows[1] if task == "classification" else number)] * 3, ignore_index=True)
    frame["size"] += np.random.default_rng(1).normal(size=len(frame)) * 0.01
    settings = {"branches": ("linear", "trees"), "members": 2, "epochs": 2, "store": "none", "progress": False}
    outcome = fit_table(frame, schema.infer(frame, target="label"), settings)
    member = outcome.model.members_.members[0]
    assert "trees" in member.fitted
    metric = "log_loss" if task == "classification" else "rmse"
    before = outcome.baselines["trees"][metric]
    assert before < outcome.baselines["majority"][metric]
    changed = fit_table(frame, schema.infer(frame, target="label"), {**settings, "branches": ("linear", TREES)})
    assert changed.baselines["trees"][metric] != before


@pytest.mark.parametrize(("quality", "members"), [("light", 1), ("best", 10)])
def test_quality_sets_what_is_not_given(quality: str, members: int) -> None:
    assert of_quality(FitSettings(quality=quality)).members == members
    given = of_quality(FitSettings(quality=quality, members=3, branches=("joint",)))
    assert (given.members, given.branches) == (3, ("joint",))
    assert vars(of_quality(FitSettings())) == vars(FitSettings())


def test_a_light_model_is_saved_and_answers_the_same(
    rows: tuple[pd.DataFrame, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(quality="light", epochs=4).fit(*rows)
    assert set(model.leaderboard_["branch"]) == {"mixture", "joint", "ridge", "kernel", "trees"}
    model.save(tmp_path / "model")
    monkeypatch.setitem(FIELDS, "light", {"branches": ("own", "linear")})  # of another version
    again = load(tmp_path / "model")
    assert again.quality == "light"
    assert np.array_equal(again.predict_proba(rows[0]), model.predict_proba(rows[0]))


def test_the_best_quality_takes_larger_encoders_only_where_they_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.encoders import hub_files

    kinds = {"story": "text", "photo": "image", "table": "tabular"}
    monkeypatch.setattr(defaults, "is_installed", lambda package: True)
    monkeypatch.setattr(hub_files, "is_local", lambda model: "bge" in model)
    assert better_encoders(kinds, {}) == {"story": "bge_small"}
    assert better_encoders(kinds, {"text": "minilm"}) == {}
    monkeypatch.setattr(hub_files, "is_local", lambda model: False)
    assert better_encoders(kinds, {}) == {}


def test_an_unknown_quality_is_refused() -> None:
    with pytest.raises(ConfigError, match="quality"):
        model_of(quality="fast").fit(pd.DataFrame({"a": range(20)}), [0, 1] * 10)


def test_the_command_takes_both_and_refuses_a_budget_too_short(
    rows: tuple[pd.DataFrame, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows[0].assign(label=rows[1]).to_csv(tmp_path / "t.csv", index=False)
    command = ["fit", str(tmp_path / "t.csv"), "--target", "label", "--out", str(tmp_path / "m"), "--store", "none"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--minutes", "0.000001"])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    with pytest.raises(SystemExit) as stop:
        main([*command, "--quality", "light", "--minutes", "5", "--epochs", "2", "--no-report", "--json"])
    assert not stop.value.code
    record = json.loads(capsys.readouterr().out)["record"]
    assert record["minutes"] == {"given": 5.0, "left_out": []}
    assert record["members"] == 1


def test_trees_of_many_classes_have_as_many_rounds_as_most_allows() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": np.tile(np.arange(20.0), 20) + rng.normal(size=400) * 0.3})
    told = {"members": 1, "store": "none", "progress": False}
    for most, rounds in ((400, 24), (40, 24), (1000, 50)):
        branch = {"name": "trees", "learning_rate": 0.01, "rounds": 60, "most": most}
        model = FusionClassifier(branches=[branch], **told).fit(frame, np.tile(np.arange(20), 20))
        assert model.members_.members[0].fitted["trees"].state()[1]["rounds"] == [rounds]


@pytest.mark.parametrize("kept", [True, False])
def test_rows_that_cannot_all_be_encoded_in_time_are_sampled(
    ticking: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: bool
) -> None:
    prepare, times = HashedNgrams.prepare, Counter[str]()

    def slowly(self: HashedNgrams, cells: Sequence[str]) -> dict[str, np.ndarray]:
        ticking[0] += 0.015 * len(cells)
        times.update(cells)
        return prepare(self, cells)

    monkeypatch.setattr(HashedNgrams, "prepare", slowly)
    rng = np.random.default_rng(0)
    label = np.where(rng.random(4000) < 0.5, "no", "yes").astype(object)
    label[:10] = "rare"
    frame = pd.DataFrame({"text": [f"word{i} {y} note" for i, y in enumerate(label)], "label": label})
    settings = {"minutes": 1.0, "epochs": 2, "branches": ("linear",), "members": 1, "progress": False}
    settings |= {"store": str(tmp_path / "store") if kept else "none", "encoders": {"text": "hashed_ngrams"}}
    with pytest.warns(
        PlaitWarning, match=r"no time was left for [\d,]+ of 3,400 rows to learn from, [\d,]+ of 600 rows to"
    ):
        outcome = fit_table(frame, schema.infer(frame, target="label"), settings)
    learned = outcome.model.learned_rows_
    assert learned.shape == (3400,)
    assert 400 <= learned.sum() <= 2000
    assert 200 <= outcome.evaluation.rows < 600
    assert list(outcome.model.classes_) == ["no", "rare", "yes"]
    assert outcome.evaluation.score["value"] > 0.95
    assert sum(count > 1 for count in times.values()) <= (0 if kept else 104)  # by the clock, and then with the others
    assert ticking[0] <= 66.0


@pytest.mark.parametrize("several", [True, False])
def test_a_sample_has_rows_of_every_label(ticking: list[float], monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    prepare = HashedNgrams.prepare

    def slowly(self: HashedNgrams, cells: Sequence[str]) -> dict[str, np.ndarray]:
        ticking[0] += 0.14 * len(cells)
        return prepare(self, cells)

    monkeypatch.setattr(HashedNgrams, "prepare", slowly)
    label: list[Any] = [f"c{i % 380}" for i in range(1900)]  # 400 rows are learned from
    text = [f"note {i} of {name} words" for i, name in enumerate(label)]
    if several:
        label = [["often"] + ["rare"] * (i in (7, 700)) for i in range(1900)]
    told = {"modalities": {"text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"}}}
    model = model_of(minutes=2.0, epochs=1, members=1, branches=["linear"], **told)
    with pytest.warns(PlaitWarning, match=r"1,500 of 1,900 rows to learn from"):
        model.fit(pd.DataFrame({"text": text}), MultiLabelBinarizer().fit_transform(label) if several else label)
    learned = pd.Series(label)[model.learned_rows_].explode().nunique()
    assert learned == (2 if several else 380)


@pytest.fixture
def encoding(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still but while cells are encoded; seconds, and seconds that a cell takes."""
    clock, prepare = [0.0, 0.0], HashedNgrams.prepare

    def slowly(self: HashedNgrams, cells: Sequence[str]) -> dict[str, np.ndarray]:
        clock[0] += clock[1] * len(cells)
        return prepare(self, cells)

    monkeypatch.setattr(HashedNgrams, "prepare", slowly)
    monkeypatch.setattr(deadline, "now", lambda: clock[0])
    monkeypatch.setattr(deadline, "busy", lambda: clock[0])
    return clock


TEXT = {"text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"}}


def test_a_sample_keeps_the_shares_of_its_classes(encoding: list[float]) -> None:
    encoding[1] = 0.17
    label = np.array(["often"] * 2700 + [f"rare {i % 30}" for i in range(300)])
    frame = pd.DataFrame({"text": [f"note {i}" for i in np.random.default_rng(0).permutation(3000)]})
    model = model_of(minutes=2.0, members=2, branches=["joint"], width=16, modalities=TEXT)
    with pytest.warns(PlaitWarning, match=r"2,\d+ of 3,000 rows to learn from"):
        model.fit(frame, label)
    assert (label[model.learned_rows_] == "often").mean() < 0.5  # ten of every rare class, and then as they come
    unseen = frame[~model.learned_rows_][:100]
    often = model.predict_proba(unseen)[:, list(model.classes_).index("often")].mean()
    assert 0.75 <= often <= 0.95


def test_a_budget_is_used_for_as_many_rows_as_there_is_time_for(encoding: list[float]) -> None:
    encoding[1] = 0.015
    label = np.array(["no", "yes"] * 5000)
    frame = pd.DataFrame({"text": [f"word{i} {y} note" for i, y in enumerate(label)], "label": label})
    settings = {"minutes": 1.0, "epochs": 2, "branches": ("linear",), "members": 1, "progress": False}
    settings |= {"store": "none", "encoders": {"text": "hashed_ngrams"}}
    with pytest.warns(PlaitWarning, match=r"of 8,500 rows to learn from, [\d,]+ of 1,500 rows to judge by"):
        fit_table(frame, schema.infer(frame, target="label"), settings)
    assert 40 <= encoding[0] <= 60
