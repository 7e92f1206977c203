"""Several targets of one table: a model each, encodings made once, one folder, one front page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import Modality, PlaitError, PlaitWarning, Schema, fit_table, load, register
from plait.base.deadline import Deadline
from plait.base.errors import TableError
from plait.cli import main
from plait.encoders.hashed_ngrams import HashedNgrams
from plait.estimators.target_models import TargetModels, folders_of

QUICK: dict[str, Any] = {"members": 1, "epochs": 3, "width": 8, "branches": ["joint", "linear"], "progress": False}
LIGHT: dict[str, Any] = {**QUICK, "store": "none", "encoders": {"text": "hashed_ngrams"}}


def goods(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    big, warm = rng.integers(0, 2, n), rng.integers(0, 2, n)
    return pd.DataFrame(
        {
            "story": [f"a {'large' if b else 'little'} thing number {i} stands there" for i, b in enumerate(big)],
            "weight": (big * 3 + rng.normal(size=n)).round(3),
            "colour": np.where(warm, "red", "blue"),
            "label": np.where(big, "big", "small"),
            "price": (10 * big + 5 * warm + rng.normal(size=n)).round(2),
        }
    )


def run(*arguments: object) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


COMMAND = ["--encoder", "text=hashed_ngrams", "--members", "1", "--epochs", "3", "--set", "width=8", "--store", "none"]
COMMAND += ["--set", "branches=[joint,linear]"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goods") / "goods.csv"
    goods().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def folder(table: Path) -> Path:
    place = table.parent / "models"
    assert run("fit", table, "--target", "label,price", "--out", place, *COMMAND) == 0
    return place


def test_each_model_is_the_one_that_a_fit_of_its_target_alone_gives() -> None:
    frame = goods()
    both = fit_table(frame, None, LIGHT, target=["label", "price"])
    assert list(both) == ["label", "price"]
    for target, other in (("label", "price"), ("price", "label")):
        alone = fit_table(frame.drop(columns=other), None, LIGHT, target=target)
        model = both[target].model
        assert {c for m in model.schema_.modalities for c in m.columns} == {"story", "weight", "colour"}
        np.testing.assert_array_equal(model.predict(frame), alone.model.predict(frame))
        assert both[target].evaluation.score == alone.evaluation.score
        assert model.store == "none"
    assert [o.evaluation.task for o in both.values()] == ["classification", "regression"]


class Counting(HashedNgrams):
    """Kept in the store, unlike its parent, and counts what it is given."""

    cells: list[str] = []  # noqa: RUF012 - one list for all instances is the point

    stored = True

    def prepare(self, cells: Any) -> Any:
        """The same, counted."""
        type(self).cells += [str(cell) for cell in cells if cell is not None]
        return super().prepare(cells)


@pytest.fixture
def counting() -> type[Counting]:
    register("encoders", Counting)
    Counting.cells.clear()
    return Counting


def test_cells_are_encoded_once_for_all_targets(counting: type[Counting], tmp_path: Path) -> None:
    frame = goods()
    settings = {**LIGHT, "encoders": {"text": "counting"}}
    models = fit_table(frame, None, settings, target=["label", "price"], out=tmp_path / "m", report=False).model
    assert sorted(set(counting.cells)) == sorted(counting.cells) == sorted(frame["story"])
    counting.cells.clear()
    models.predict(frame)
    assert len(counting.cells) == len(frame)


def test_rows_without_one_target_are_left_out_for_it_alone() -> None:
    frame = goods()
    frame.loc[:9, "price"] = np.nan
    with pytest.warns(PlaitWarning, match="10 of 90 rows have no 'price'"):
        both = fit_table(frame, None, LIGHT, target=["label", "price"])
    rows = {t: o.evaluation.rows + o.model.record_["rows"] for t, o in both.items()}
    assert rows == {"label": 90, "price": 80}


def test_a_schema_that_names_a_target_as_an_input_is_told_of() -> None:
    parts = (Modality("text", "text", ("story",)), Modality("tabular", "tabular", ("weight", "colour", "price")))
    with pytest.warns(PlaitWarning, match="'price': a column to predict is no input"):
        both = fit_table(goods(), Schema(parts), LIGHT, target={"label": None, "price": "regression"})
    assert [m.columns for m in both["label"].model.schema_.modalities] == [("story",), ("weight", "colour")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([], "the list of targets is empty; name at least one column"),
        (["label", "label"], "target 'label' is named twice"),
        (["label", "prize"], "no column 'prize' to predict; did you mean 'price'?"),
    ],
)
def test_bad_lists_of_targets_are_one_clear_line(target: list[str], message: str) -> None:
    with pytest.raises(PlaitError, match=re.escape(message)):
        fit_table(goods(), None, LIGHT, target=target)


def test_classes_and_numbers_in_one_target_of_an_estimator_are_one_line() -> None:
    frame = goods()
    with pytest.raises(PlaitError, match="2 columns that are no flags.*several targets at once: plait fit") as raised:
        plait.FusionClassifier(store="none").fit(frame[["weight"]], frame[["label", "price"]])
    assert "\n" not in str(raised.value)


NUMBER = np.random.default_rng(0).normal(size=60)


@pytest.mark.parametrize(
    ("y", "unit"),
    [(NUMBER + 1e9, 1.0), (NUMBER * 1e-30, 1e-30), (pd.Series(pd.to_timedelta(NUMBER, unit="s")), 1.0)],
    ids=["large and varying little", "tiny", "durations in seconds"],
)
def test_numbers_of_every_size_are_learned(y: Any, unit: float) -> None:
    frame = pd.DataFrame({"n": NUMBER, "o": np.arange(60) % 7})
    model = plait.FusionRegressor(store="none", members=2, epochs=40, branches=("joint",), progress=False)
    model.fit(frame, y)
    assert model.score(frame, y) > 0.8
    assert 0.5 * unit < model.predict(frame).std() < 2 * unit


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (pd.date_range("2020", periods=60), "found dates; turn them into numbers"),
        (NUMBER + 1j, "found complex numbers"),
        ([{"a": 1}] * 60, "found dict"),
        (["a"] * 60, "found text"),
    ],
)
def test_a_regression_says_what_it_is_given_in_place_of_numbers(y: Any, said: str) -> None:
    with pytest.raises(TableError, match=f"must be numbers; {said}"):
        plait.FusionRegressor(store="none").fit(pd.DataFrame({"n": NUMBER}), y)


def test_targets_that_leave_no_column_are_refused() -> None:
    with pytest.raises(PlaitError, match="no column is left to learn from"):
        fit_table(goods()[["label", "price"]], None, LIGHT, target=["label", "price"])


def test_the_folder_answers_for_every_target(table: Path, folder: Path, tmp_path: Path) -> None:
    frame = goods()
    models = load(folder)
    assert isinstance(models, TargetModels)
    assert (list(models), len(models)) == (["label", "price"], 2)
    answers, chances = models.predict(frame), models.predict_proba(frame)
    assert list(chances) == ["label"]
    np.testing.assert_array_equal(answers["price"], load(folder / "price").predict(frame))
    again = load(models.save(tmp_path / "again")).predict(frame)
    for target in models:
        np.testing.assert_array_equal(again[target], answers[target])
    assert run("predict", folder, table, "--out", tmp_path / "p.csv", "--keep", "weight") == 0
    written = pd.read_csv(tmp_path / "p.csv")
    assert list(written) == ["weight", "label: prediction", "label: p(big)", "label: p(small)", "price: prediction"]
    np.testing.assert_allclose(written["price: prediction"], answers["price"])
    np.testing.assert_allclose(written["label: p(big)"], chances["label"][:, 0], atol=1e-6)


def test_evaluate_and_explain_have_a_section_per_target(
    table: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("evaluate", folder, table, "--json", "--no-subsets") == 0
    judged = json.loads(capsys.readouterr().out)
    assert {t: v["task"] for t, v in judged.items()} == {"label": "classification", "price": "regression"}
    assert run("evaluate", folder, table, "--no-subsets", "--held-out", "--json") == 0
    held_out = json.loads(capsys.readouterr().out)
    for target in ("label", "price"):
        kept = json.loads((folder / target / "results.json").read_text())["evaluation"]
        assert held_out[target]["metrics"] == kept["metrics"], "the rows that its fit held out"
    assert run("evaluate", folder, table, "--no-subsets") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line[:2] == "=="] == ["== label ==", "== price =="]
    monkeypatch.chdir(tmp_path)
    assert run("explain", folder, table, "--no-importance", "--out", "why") == 0
    written = capsys.readouterr()
    assert written.out.count("== ") == 2
    assert "written to why: label/modality-values.svg" in written.err
    assert {p.name for p in (tmp_path / "why").iterdir()} >= {"label", "price"}
    with pytest.raises(PlaitError, match="several targets"):
        plait.evaluate(load(folder), goods())
    with pytest.raises(PlaitError, match="several targets"):
        plait.explain(load(folder), goods())


def test_the_front_page_leads_to_each_target(folder: Path) -> None:
    pytest.importorskip("jinja2")
    page = (folder / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="([^"#]+)">([^<]+)</a>', page)
    assert links == [("label/report.html", "label"), ("price/report.html", "price")]
    assert all((folder / link).is_file() for link, _ in links)
    written = pd.read_csv(folder / "tables" / "targets.csv")
    assert written["task"].tolist() == ["classification", "regression"]
    kept = json.loads((folder / "price" / "results.json").read_text())["evaluation"]["metrics"]
    assert written["value"][1] == pytest.approx(kept["r2"]["value"])


def test_schema_prints_a_list_of_targets_that_fit_takes_back(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("schema", table, "--target", "label,price") == 0
    written = capsys.readouterr().out
    assert written.startswith("target: [label, price]\n")
    assert "price" not in written.partition("\n")[2]
    (tmp_path / "s.yaml").write_text(written)
    assert run("fit", table, "--schema", tmp_path / "s.yaml", "--out", tmp_path / "m", "--no-report", *COMMAND) == 0
    assert list(load(tmp_path / "m")) == ["label", "price"]
    capsys.readouterr()
    assert run("schema", table, "--target", "label,price", "--json") == 0
    assert json.loads(capsys.readouterr().out)["target"] == ["label", "price"]


def test_a_list_in_the_schema_file_and_tasks_by_target(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "target: [label, price]\ntask: {label: classification}\nmodalities:\n  text: {kind: text, columns: [story]}\n"
        "settings: {members: 1, epochs: 2, width: 8, branches: [joint], encoders: {text: hashed_ngrams}, store: none}\n"
    )
    assert run("fit", table, "--schema", file, "--out", tmp_path / "m", "--no-report", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["targets"]) == ["label", "price"]
    assert told["report"] is None
    assert [m["modality"] for m in told["targets"]["price"]["explanation"]["overall"]] == ["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "label", "--target", "label"], "named twice"),
        (["--target", ","], "the list of targets is empty"),
        (["--target", "lable"], "did you mean 'label'?"),
        (
            ["--target", "label,price", "--task", "prise=regression"],
            "--task prise: is no target; did you mean 'price'?",
        ),
        (["--target", "label,price", "--task", "regression"], "is not a number"),
    ],
)
def test_the_command_says_what_is_wrong_with_targets(
    options: list[str], message: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", table, *options, "--out", tmp_path / "m", *COMMAND) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "m").exists()


def test_a_folder_of_several_models_is_checked_and_replaced_whole(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match=r"holds a model per target; name one of its sub-folders \(label, price\)"):
        plait.FusionClassifier.load(folder)
    manifest = json.loads((folder / "model.json").read_text())
    manifest["targets"][0]["folder"] = "../label"
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(PlaitError, match="altered"):
        load(tmp_path)
    once = load(folder)
    once.save(tmp_path / "m")
    TargetModels({"price": once["price"]}).save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir() if p.is_dir()) == ["price"]


def test_names_of_sub_folders_are_apart_on_every_system() -> None:
    assert folders_of(["A b", "a/b", "figures", "..", "a_b"]) == {
        "A b": "A_b",
        "a/b": "a_b_2",
        "figures": "figures_2",
        "..": "target",
        "a_b": "a_b_3",
    }


def test_targets_share_what_is_left_of_a_time_budget() -> None:
    seconds = [0.0]
    budget = Deadline(2.0, 0.65, clock=lambda: seconds[0])
    assert budget.part_of(2).minutes == 1.0
    seconds[0] = 90.0
    part = budget.part_of(1)
    assert (part.minutes, part.training, part.begun) == (0.5, 0.65, 90.0)
    assert Deadline().part_of(3).minutes is None


# -- baselines beside an evaluation ------------------------------------------------------------------------------------------


def test_evaluate_fits_the_baselines_of_fit_on_a_training_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = goods(120).drop(columns="price")
    frame["part"] = ["test" if i % 4 == 0 else "train" for i in range(len(frame))]
    parts = (Modality("text", "text", ("story",)), Modality("tabular", "tabular", ("weight", "colour")))
    known = Schema(parts, target="label")
    done = fit_table(frame, known, LIGHT, split={"split_column": "part"}, out=tmp_path / "m", report=False)
    train, test = frame[frame["part"] == "train"], frame[frame["part"] == "test"]
    judged = plait.evaluate(done.model, test, baselines=train)
    assert judged.baselines is not None
    assert judged.baselines.to_dict() == done.baselines.to_dict()
    again = type(judged).from_dict(judged.to_dict()).baselines
    assert again is not None
    assert again.scores == judged.baselines.scores
    assert judged.baseline_frame.loc["linear", "value"] == judged.baselines["linear"]["accuracy"]
    gap = judged.score["value"] - judged.baselines["linear"]["accuracy"]
    assert judged.baseline_frame.loc["linear", "difference"] == pytest.approx(gap)
    for shown in (repr(judged), judged._repr_html_()):
        assert "accuracy of the baselines" in shown
        assert "majority" in shown
    bare = plait.evaluate(done.model, test)
    assert bare.baselines is None
    assert bare.baseline_frame.empty
    assert "baselines" not in repr(bare)
    with pytest.raises(TableError, match="no column 'label'"):
        plait.evaluate(done.model, test, baselines=train.drop(columns="label"))
    with pytest.raises(PlaitError, match="weight"):
        plait.evaluate(done.model, test, baselines=train.drop(columns="weight"))
    train.to_csv(tmp_path / "train.csv", index=False)
    test.to_csv(tmp_path / "test.csv", index=False)
    assert run("evaluate", tmp_path / "m", tmp_path / "test.csv", "--baselines", tmp_path / "train.csv") == 0
    out = capsys.readouterr().out
    assert "baselines, fitted on the training table" in out
    assert re.search(r"^trees +\d\.\d{3}$", out, re.MULTILINE)


def test_a_metric_of_one_task_leads_the_targets_that_have_it(tmp_path: Path) -> None:
    asked = {**LIGHT, "metric": "mae", "target_transform": "yeo-johnson", "store": str(tmp_path / "store")}
    with pytest.warns(PlaitWarning) as said:
        outcomes = fit_table(goods(), target=["label", "price"], settings=asked)
    told = [str(one.message) for one in said if "goes without" in str(one.message)]
    assert len(told) == 2
    assert all(line.startswith("target 'label' goes without: ") for line in told)
    assert "metric 'mae': is for regression" in told[0]
    assert "target_transform yeo-johnson: is for a number" in told[1]
    assert outcomes["label"].evaluation.main_metric == "accuracy"
    assert outcomes["price"].evaluation.main_metric == "mae"
    assert outcomes["price"].model.members_.task.transform == "yeo-johnson"


def test_a_metric_that_no_target_can_have_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="metric 'mae': is for regression"):
        fit_table(
            goods(), target=["label", "colour"], settings={**LIGHT, "metric": "mae", "store": str(tmp_path / "store")}
        )
    assert not (tmp_path / "store").exists()


def test_what_every_target_s_model_warns_of_a_table_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = goods().assign(colour=["red", "blue", "green"] * 30)
    fit_table(rows, target=["label", "price"], out=tmp_path / "run", settings=LIGHT, report=False)
    rows.assign(colour=["red", "blue", "grey"] * 30).to_csv(tmp_path / "new.csv", index=False)
    assert (
        run("predict", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "answers.csv", "--store", "none")
        == 0
    )
    told = [line for line in capsys.readouterr().err.splitlines() if "'grey'" in line]
    assert told == ["warning: categories that no row of the fit had count as unknown: 30 in 'colour' (e.g. 'grey')"]


def test_a_dropped_column_is_an_input_of_no_target() -> None:
    frame, column = goods(), "weight"
    both = fit_table(frame, None, {**LIGHT, "drop": [column]}, target=["label", "price"], report=False)
    for outcome in both.values():
        assert column not in outcome.model.schema_.columns
        assert outcome.model.schema_.ignored[column].endswith("left out by drop")
        assert outcome.model.drop == [column]
    with pytest.raises(PlaitError, match="drop: 'price' is to be predicted"):
        fit_table(frame, None, {**LIGHT, "drop": ["price"]}, target=["label", "price"])
    with pytest.raises(PlaitError, match="drop: the table has no column 'nowhere'"):
        fit_table(frame, None, {**LIGHT, "drop": "nowhere"}, target=["label", "price"])
