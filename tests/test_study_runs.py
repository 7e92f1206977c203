"""Runs: rows, names, what neighbours share, and what is judged."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier
from plait.base.errors import TableError
from plait.base.inputs import Inputs, subsets_of
from plait.conditions.parse import parse
from plait.data.modality import Modality, Schema
from plait.evaluation.baselines import Baseline
from plait.study import Results, conditions, splits
from plait.study.engine import Executor
from plait.study.models import SharedRows
from plait.study.predicting import assembled
from plait.study.runs import Run, Schedule
from plait.study.spec import SplitSpec
from plait.study.tables import Setting, StudyTable
from study_tiny import study, values


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> StudyTable:
    return study(tmp_path_factory.mktemp("study")).tables[0, None]


def test_a_table_with_an_unreadable_cell_is_the_one_that_older_folders_name() -> None:
    frame = pd.DataFrame({"image": ["https://example.org/a.png", None], "y": ["yes", "no"]})
    schema = Schema((Modality("image", "image", ("image",)),), target="y")
    assert StudyTable("t", frame, schema).digest == "119e538515d193a9"  # as written by 0.1.0


# -- splits ------------------------------------------------------------------------------------------------------------

SPLITS = [
    SplitSpec(),
    SplitSpec(group="owner"),
    SplitSpec("kfold", folds=3),
    SplitSpec("kfold", folds=3, group="owner"),
    SplitSpec("repeated", times=2),
    SplitSpec("time", column="day", fractions=(0.7, 0.3)),
]


@pytest.mark.parametrize("spec", SPLITS, ids=str)
def test_parts_are_apart_seeded_and_together_all(spec: SplitSpec, one: StudyTable) -> None:
    for index in range(splits.count(one, spec)):
        train, test = splits.rows_of(one, spec, 0, index)
        again = splits.rows_of(one, spec, 0, index)
        assert np.array_equal(train, again[0])
        assert np.array_equal(test, again[1])
        if spec.kind != "kfold":
            assert sorted([*train, *test]) == list(range(len(one.frame)))
        assert not set(train) & set(test)
        if spec.group == "owner":
            assert not set(one.frame["owner"][train]) & set(one.frame["owner"][test])


def test_folds_cover_every_row_once_and_seeds_differ(one: StudyTable) -> None:
    spec = SplitSpec("kfold", folds=3)
    tested = [row for index in range(3) for row in splits.rows_of(one, spec, 0, index)[1]]
    assert sorted(tested) == list(range(len(one.frame)))
    assert not np.array_equal(splits.rows_of(one, spec, 0, 0)[1], splits.rows_of(one, spec, 1, 0)[1])
    repeated = SplitSpec("repeated", times=2)
    assert not np.array_equal(splits.rows_of(one, repeated, 0, 0)[1], splits.rows_of(one, repeated, 0, 1)[1])


def test_the_latest_rows_are_tested_and_none_of_their_time_is_learned(one: StudyTable) -> None:
    train, test = splits.rows_of(one, SplitSpec("time", column="day", fractions=(0.7, 0.3)), 0, 0)
    assert one.frame["day"].astype(int)[train].max() < one.frame["day"].astype(int)[test].min()


def test_official_parts_and_folds(one: StudyTable) -> None:
    frame = one.frame.assign(part=["test" if i % 3 == 0 else "train" for i in range(len(one.frame))])
    parts = StudyTable("t", frame, one.schema, parts="part", resplit=False)
    _, test = splits.rows_of(parts, SplitSpec("official"), 0, 0)
    assert test.tolist() == list(range(0, len(frame), 3))
    folded = StudyTable("t", frame, one.schema, folds="owner")
    assert splits.count(folded, SplitSpec("official")) == 12
    with pytest.raises(TableError, match="official"):
        splits.rows_of(parts, SplitSpec(), 0, 0)


# -- names and order -----------------------------------------------------------------------------------------------------


def test_names_are_unique_stable_and_say_what_defines_a_run(tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "modalities": {"subsets": "all"},
        "conditions": {"train": ["clean", {"absent": {"text": 0.5}}]},
    }
    first = study(tmp_path, **told)
    names = [run.name for run in first.runs]
    assert len(set(names)) == len(names) == 2 * 2 * 2 * 3
    assert names == [run.name for run in study(tmp_path, **told).runs]
    more = {run.name for run in study(tmp_path, **told, seeds=3).runs}
    assert set(names) < more  # a seed more leaves the others as they are
    for changes in ({"metrics": ["accuracy"]}, {"model": {"members": 1}}, {"split": "kfold"}):
        assert not set(names) & {run.name for run in study(tmp_path, **{**told, **changes}).runs}
    frame = pd.read_csv(tmp_path / "tiny.csv")
    frame.loc[0, "size"] += 1
    frame.to_csv(tmp_path / "tiny.csv", index=False)
    assert not set(names) & {run.name for run in study(tmp_path, **told).runs}
    assert Run.from_dict(first.runs[0].to_dict()) == first.runs[0]


def test_seeds_come_first_and_neighbours_share_rows(tmp_path: Path) -> None:
    runs = study(tmp_path, modalities={"subsets": "singles"}).runs
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    groups = [share for share, _ in itertools.groupby(run.share for run in runs)]
    assert len(groups) == len(set(groups)) == 6


def test_a_worker_stays_with_its_group_and_helps_out_at_the_end(tmp_path: Path) -> None:
    runs = study(tmp_path, grid={"depth": ["early", "late", 1]}).runs
    schedule = Schedule(runs)
    taken = [schedule.next(0), schedule.next(1), schedule.next(0), schedule.next(1), schedule.next(0)]
    shares = [run.share for run in taken if run is not None]
    assert shares[0] == shares[2] == shares[4] != shares[1] == shares[3]
    last = schedule.next(0)
    assert last is not None
    assert last.share == shares[1]
    assert schedule.next(0) is schedule.next(1) is None


# -- judging ---------------------------------------------------------------------------------------------------------------


def test_absence_put_together_from_patterns_is_absence_in_the_table(one: StudyTable) -> None:
    x = one.frame[["size", "weight", "text"]]
    model = FusionClassifier(modalities=one.schema, members=1, epochs=2, store="none", progress=False).fit(x, one.y)
    condition = parse({"absent": {"text": 0.5, "tabular": 0.3}})
    outputs = model.predict_subsets(x, subsets_of(("tabular", "text")))
    gone = conditions.lost([condition], x, one.schema, None)
    assert 0 < gone["text"].sum() < len(x)
    found = assembled(outputs, gone, ("tabular", "text"))
    np.testing.assert_allclose(found, model.predict_proba(condition.apply(x, one.schema)), atol=1e-6)


def test_a_run_gives_the_same_alone_and_among_neighbours(tmp_path: Path) -> None:
    one = study(tmp_path, conditions={"test": ["clean", "typos:0.5"]}, present="all")
    setting = Setting(one.spec, one.base)
    together = Executor(setting)
    for run in [run for run in one.runs if run.seed == 0]:
        shared, alone = together.run(run), Executor(setting).run(run)
        assert shared.line["evaluations"] == alone.line["evaluations"]
        for name, array in alone.arrays.items():
            np.testing.assert_array_equal(shared.arrays[name], array)


def test_a_run_is_what_the_estimator_gives(tmp_path: Path) -> None:
    one = study(tmp_path, present="all")
    table, run = one.tables[0, None], one.runs[0]
    found = Executor(Setting(one.spec, one.base)).run(run)
    train, test = splits.rows_of(table, one.spec.split, run.seed, run.split)
    x = table.frame[["size", "weight", "text"]]
    model = FusionClassifier(modalities=table.schema, random_state=run.seed, **run.model).fit(
        x.iloc[train], table.y[train]
    )
    outputs = model.predict_subsets(x.iloc[test].reset_index(drop=True))
    for number, told in enumerate(found.line["evaluations"]):
        np.testing.assert_allclose(found.arrays[f"output_{number}"], outputs[tuple(told["present"])], atol=1e-6)
    right = model.labels == list(table.classes or ())
    assert right
    full = found.line["evaluations"][-1]
    assert full["present"] == ["tabular", "text"]
    assert full["metrics"]["accuracy"] == pytest.approx((model.predict(x.iloc[test]) == table.y[test]).mean())


def test_every_condition_and_pattern_is_one_evaluation(tmp_path: Path) -> None:
    rates = {"absent": {"text": [0.5, 1.0]}}
    one = study(tmp_path, conditions={"test": ["clean", rates, "typos:0.5"]}, present="all", seeds=1)
    found = one.run(tmp_path / "out", engine="inline").frame
    told = set(zip(found["condition"], found["present"], strict=True))
    patterns = {"tabular", "text", "tabular+text"}
    assert told == {
        *(("clean", pattern) for pattern in patterns),
        *(("typos:strength=0.5", pattern) for pattern in patterns),
        ("absent:text=0.5", "tabular+text"),
        ("absent:text=1", "tabular+text"),
    }
    place = {"metric": "accuracy", "variant": "depth=early"}
    value = found.set_index(["metric", "variant", "condition", "present"])["value"]
    gone = value[(*place.values(), "absent:text=1", "tabular+text")]
    assert gone == value[(*place.values(), "clean", "tabular")]
    assert value[(*place.values(), "typos:strength=0.5", "tabular")] == value[(*place.values(), "clean", "tabular")]
    axes = found[found["condition"] == "absent:text=0.5"][["axis.kind", "axis.modality", "axis.strength"]].iloc[0]
    assert axes.tolist() == ["absent", "text", 0.5]


def test_two_factors_have_a_strength_each() -> None:
    told = conditions.axes(parse({"absent": {"text": 0.5, "image": 1.0}}))
    assert told == {"kind": "absent", "text": 0.5, "image": 1.0}


def test_training_conditions_and_subsets_make_models_of_their_own(tmp_path: Path) -> None:
    told: dict[str, Any] = {"modalities": {"subsets": "singles"}, "seeds": 1, "grid": None}
    one = study(tmp_path, conditions={"train": ["clean", {"absent": {"text": 0.9}}]}, **told)
    runs = one.run(tmp_path / "out", engine="inline").runs
    assert (runs["status"] == "done").all()
    assert sorted(runs["subset"].unique()) == ["tabular", "tabular+text", "text"]
    assert sorted(runs["train_condition"].unique()) == ["absent:text=0.9", "clean"]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_baselines_learn_and_stand_absence(task: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 120))
    target: Any = {"classification": np.where(a > 0, "x", "y"), "regression": 3 * a + b}.get(task)
    if task == "multilabel":
        target = [
            "|".join(n for n, v in (("p", p > 0), ("q", q > 0)) if v) or "none" for p, q in zip(a, b, strict=True)
        ]
    pd.DataFrame({"a": a, "b": b, "words": [WORD[int(v > 0)] for v in b], "y": target}).to_csv(tmp_path / "t.csv")
    schema = (
        f"target: y\ntask: {task}\nmodalities:\n  n: {{kind: tabular, columns: [a, b]}}\n"
        "  t: {kind: text, columns: [words], encoder: hashed_ngrams}\nignored: {'': no}\n"
    )
    (tmp_path / "t.yaml").write_text(schema)
    told: dict[str, Any] = {"grid": None, "seeds": 1, "metrics": None, "model": {}, "present": "all"}
    ours = {"members": 1, "epochs": 2, "width": 8}
    variants = {"linear": {"estimator": "linear"}, "majority": {"estimator": "majority"}, "ours": ours}
    data = {"table": "t.csv", "schema": "t.yaml"}
    results = study(tmp_path, data=data, variants=variants, **told).run(tmp_path / "out", engine="inline")
    assert results.status()["failed"] == 0, results.status()["reasons"]
    main = {"classification": "accuracy", "multilabel": "f1_samples", "regression": "r2"}[task]
    found = results.frame[results.frame["metric"] == main].set_index(["variant", "present"])["value"]
    assert found["linear", "n+t"] > 0.8 > found["majority", "n+t"]
    assert found["linear", "n+t"] > found["linear", "t"]
    if task == "multilabel":
        assert all(results.predictions(line["run"]).threshold is not None for line in results.lines)


def test_baselines_stand_beside_a_grid_once_and_their_absence_is_said(tmp_path: Path) -> None:
    told: dict[str, Any] = {"grid": {"depth": ["early", "late"]}, "variants": {"linear": {"estimator": "linear"}}}
    one = study(tmp_path, baselines=True, exclude=[{"estimator": "linear", "depth": "late"}], **told)
    names = ["linear depth=early", "trees", "single", "majority"]
    assert [v.label for v in one.variants] == names
    assert [v.model["estimator"] for v in one.variants] == ["linear", *names[1:]]
    assert one.subject.lacks() == ""
    assert "baselines: true" in study(tmp_path, grid=told["grid"]).subject.lacks()


WORD = ("red apple", "blue sky")


def test_a_class_that_training_lacks_keeps_its_place(tmp_path: Path) -> None:
    frame = pd.read_csv(study(tmp_path).base / "tiny.csv")
    frame.loc[frame.index[-1], "label"] = "never seen"
    frame.to_csv(tmp_path / "tiny.csv", index=False)
    split = {"kind": "time", "column": "day", "fractions": [0.7, 0.3]}
    variants = {"ours": {}, "linear": {"estimator": "linear"}}
    results = study(tmp_path, split=split, grid=None, variants=variants, seeds=1).run(tmp_path / "out", engine="inline")
    assert results.status()["done"] == 2
    for line in results.lines:
        found = results.predictions(line["run"])
        assert line["classes"] == ["neg", "never seen", "pos"]
        assert found.output.shape == (27, 3)
        assert (found.output[:, 1] == 0).all()
        assert found.target[-1] == 1


def test_a_majority_of_numbers_is_their_mean() -> None:
    rows = Inputs({}, {}, {"a": torch.ones(2, dtype=torch.bool)})
    model = Baseline("majority", "regression").fit(rows, np.array([1.0, 3.0]))
    assert model.outputs(rows, [("a",)])["a",].tolist() == [2.0, 2.0]


def test_results_open_as_tables(tmp_path: Path) -> None:
    ran = study(tmp_path, seeds=1).run(tmp_path / "out", engine="inline", command="plait study run tiny.yaml")
    opened = Results.open(tmp_path / "out")
    pd.testing.assert_frame_equal(values(ran), values(opened))
    assert opened.about["command"] == "plait study run tiny.yaml"
    assert set(opened.runs.columns) >= {
        "run",
        "status",
        "subset",
        "fit_seconds",
        "peak_mb",
        "trained_weights",
        "set.depth",
    }
    first = opened.lines[0]["run"]
    assert opened.epochs(first)["epoch"].tolist() == [0, 1] or len(opened.epochs(first)) == 2
    told = opened.predictions(first)
    assert told.output.shape == (len(told.rows), 2)
    accuracy = (told.output.argmax(1) == told.target).mean()
    value = opened.frame[(opened.frame["run"] == first) & (opened.frame["metric"] == "accuracy")]["value"].item()
    assert accuracy == pytest.approx(value)
    assert opened.summary().iloc[0]["runs"] == 1


def test_a_summary_is_in_the_order_of_the_study_whichever_run_was_done_first(tmp_path: Path) -> None:
    ran = study(tmp_path, seeds=1, modalities={"subsets": "singles"}).run(tmp_path / "out", engine="inline")
    turned = Results(ran.folder, ran.about, ran.spec, ran.lines[::-1])
    assert turned.summary().to_dict() == ran.summary().to_dict()
    labels = [variant.label for variant in study(tmp_path).variants]
    subsets = list(dict.fromkeys(ran.summary()["subset"]))
    assert ran.summary()["variant"].tolist() == labels * len(subsets)


def test_the_total_of_a_run_is_the_time_that_passed(tmp_path: Path) -> None:
    one = study(tmp_path)
    executor = Executor(Setting(one.spec, one.base))
    clock = time.perf_counter()
    for run in one.runs[:2]:
        seconds = executor.run(run).line["seconds"]
        assert {"total", "fit", "test", "encode"} <= set(seconds)
        assert 0 < seconds["fit"] + seconds["test"] <= seconds["total"] + 0.002  # rounded
        passed, clock = time.perf_counter() - clock, time.perf_counter()
        assert seconds["total"] <= passed + 0.001


@pytest.mark.parametrize("spec", [SplitSpec(), SplitSpec(group="owner"), SplitSpec("kfold", folds=3)], ids=str)
def test_every_part_has_its_share_of_every_class(spec: SplitSpec, one: StudyTable) -> None:
    label = one.frame["label"].to_numpy()
    whole = (label == "pos").mean()
    for index in range(splits.count(one, spec)):
        for rows in splits.rows_of(one, spec, 0, index):
            slack = 1.0 if spec.group is None else 5.0  # rows: a group has seven or eight
            assert abs((label[rows] == "pos").sum() - whole * len(rows)) <= slack


def test_folds_of_groups_have_their_share_of_every_class(one: StudyTable) -> None:
    frame = pd.DataFrame({"label": np.repeat(["a", "b", "c"], [60, 30, 30]), "owner": np.arange(120) // 5, "size": 1.0})
    table = dataclasses.replace(one, frame=frame)
    for index in range(3):
        _, test = splits.rows_of(table, SplitSpec("kfold", folds=3, group="owner"), 0, index)
        assert frame["label"].iloc[test].value_counts().to_dict() == {"a": 20, "b": 10, "c": 10}


def test_a_sample_that_a_budget_of_time_left_room_for_is_not_shared() -> None:
    rows, settings = SharedRows(), FusionClassifier(minutes=1.0).settings()
    sample, whole = (SimpleNamespace(row_index=np.array(index)) for index in ([0, -1, 1], [0, 1, 2]))
    given: list[Any] = [rows(settings, lambda made=made: made) for made in (sample, whole, sample)]
    assert given == [sample, whole, whole]


def test_models_of_a_study_and_baselines_drop_columns(tmp_path: Path) -> None:
    variants = {"all": {}, "few": {"drop": ["size"]}, "plain": {"drop": "size", "estimator": "linear"}}
    told: dict[str, Any] = {"grid": None, "variants": variants, "seeds": 1}
    scores = []
    for name, change in (("as it is", {}), ("size is noise", {"size": np.arange(90) % 7})):
        (tmp_path / name).mkdir()
        dropped = study(tmp_path / name, modalities={"subsets": [["tabular"], ["text"]]}, **told)
        table = pd.read_csv(tmp_path / name / "tiny.csv").assign(**change)
        table.to_csv(tmp_path / name / "tiny.csv", index=False)
        assert not dropped.check()
        lines = dropped.run(tmp_path / name / "s", engine="inline").lines
        assert {line["status"] for line in lines} == {"done"}
        scores.append({(r["variant"], *r["subset"]): r["evaluations"][0]["metrics"]["log_loss"] for r in lines})
    differ = {key for key, value in scores[0].items() if value != scores[1][key]}
    assert differ == {("all", "tabular")}  # whatever the dropped column holds
    assert len(scores[0]) == 6
