"""A clumsy user: wrong names, places and targets are one clear line, and nothing of the user's is lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier, FusionRegressor
from plait.base import folders
from plait.base.errors import PlaitError, PlaitWarning
from plait.base.folders import claim_folder
from plait.cli import main
from plait.data import schema
from plait.data.table import split
from plait.store import Store
from plait.workflow.fit import fit_table
from plait.workflow.rows import split_rows
from study_tiny import study
from study_tiny import table as rows


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows(40).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [["predict", "nowhere"], ["encode"], ["classify", "--name", "a", "nowhere"], ["fit", "--target", "label"]],
)
def test_the_table_that_is_read_is_never_written_over(
    command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (place / "t.csv").read_bytes()
    (place / "again.csv").symlink_to(place / "t.csv")
    for out in ("t.csv", "again.csv"):
        said = refused(capsys, *command, place / "t.csv", "--out", place / out)
        assert "is the table that is read" in said
    assert (place / "t.csv").read_bytes() == before


@pytest.mark.parametrize(
    "command", [["predict", "nowhere"], ["encode"], ["classify", "--name", "a", "nowhere"]], ids=lambda c: c[0]
)
def test_a_file_in_a_folder_that_is_not_there_is_refused_before_anything_is_read(
    command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *command, place / "no table.csv", "--out", place / "missing" / "out.parquet")
    assert said.endswith(f"there is no folder {place / 'missing'}; make it, or name another place")


@pytest.mark.parametrize(
    "command",
    [
        *(["fit", "--target", "label"], ["align"], ["pretrain"], ["advise"], ["sensitivity"], ["explain", "nowhere"]),
        *(["export"], ["inspect"], ["demo"], ["study", "run"], ["study", "report"], ["reproduce"], ["curves"]),
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(
    command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "notes.txt").write_text("mine")
    table = [] if command == ["demo"] else [place / "no table.csv"]
    said = refused(capsys, *command, *table, "--out", place / "notes.txt" / "below" / "out.svg")
    assert f"{place / 'notes.txt'} is a file, no folder" in said
    said = refused(capsys, *command, *table, "--out", place / "new" / f"{'n' * 300}.svg")
    assert "(File name too long); name another place" in said
    assert [p.name for p in place.iterdir() if p.name != "t.csv"] == ["notes.txt"]


def test_a_picture_of_curves_is_no_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "c.svg").mkdir()
    said = refused(capsys, "curves", place / "no model", "--out", place / "c.svg")
    assert said.endswith("c.svg: is a folder; name the file to write")


@pytest.mark.parametrize("command", ["fit", "advise", "sensitivity"])
def test_a_table_s_name_that_is_too_long_for_a_folder_is_told_before_the_work(
    command: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    name = f"{'n' * 250}.csv"
    (place / "t.csv").rename(name)
    said = refused(capsys, command, name, "--target", "label")
    assert said.startswith("error: --out runs/")
    assert said.endswith("cannot be a folder (File name too long); name another place")
    assert not (place / "runs").exists()


def test_a_folder_that_may_not_be_written_is_refused_before_a_fit(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders.os, "access", lambda path, mode: not Path(path).samefile(place))
    frame = rows(40)
    with pytest.raises(PlaitError, match="cannot be written; name another place"):
        fit_table(frame, None, {"members": 1}, target="label", out=place / "m")
    with pytest.raises(PlaitError, match="cannot be written; name another place"):
        claim_folder(place / "report", ["report.html"])


def test_event_files_have_a_place_before_anything_is_trained(place: Path) -> None:
    (place / "notes.txt").write_text("mine")
    with pytest.raises(PlaitError, match="tensorboard .*notes.txt is a file, no folder"):
        FusionClassifier(tensorboard=str(place / "notes.txt" / "events")).fit(rows(40)[["size"]], rows(40)["label"])


def test_a_model_that_is_a_table_is_said_to_be_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "t.csv: is a file; expected a model folder" in refused(capsys, "predict", place / "t.csv", place / "t.csv")


def test_advice_on_nothing_leaves_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(40)[["label"]].assign(size=1).to_csv(place / "constant.csv", index=False)
    said = refused(capsys, "advise", place / "constant.csv", "--target", "label", "--out", place / "advice")
    assert "the table has no column to learn from" in said
    assert not (place / "advice").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["evaluate", "m", "t.csv", "--baselines"],
            "--baselines' requires an argument: The table that the model was fitted",
        ),
        (["fit", "t.csv", "--quality"], "--quality' requires an argument: light, balanced or best"),
        (["fit", "t.csv", "--fusion"], "(plait list fusion)"),
        (["fit", "t.csv", "--encoder"], "plait list encoders"),
        (["fit", "t.csv", "--engine"], "local, or ray"),
        (["align", "t.csv", "--stage"], "(plait list alignment)"),
    ],
)
def test_an_option_without_its_value_says_what_may_stand_there(
    command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out == f"plait {plait.__version__}\n"


def test_embeddings_go_to_a_file_of_their_own_kind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "notes.txt").write_text("mine")
    assert ".parquet or .npz" in refused(
        capsys, "encode", place / "t.csv", "--store", "none", "--out", place / "notes.txt"
    )
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("encoding", ["\udcff", "utf\x008", "nosuch"])
def test_an_encoding_that_is_none(encoding: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown encoding" in refused(capsys, "schema", place / "t.csv", "--encoding", encoding)


@pytest.mark.parametrize("options", [(), ("--test-fraction", "0")])
def test_a_group_that_is_no_column(options: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "--target",
        "label",
        "--modality",
        "text",
        "--encoder",
        "cnn_text",
        "--store",
        "none",
        "--out",
        place / "e",
    )
    said = refused(capsys, "pretrain", place / "t.csv", *given, "--group", "nosuch", *options)
    assert "no column 'nosuch' to group by" in said


@pytest.mark.parametrize("command", ["fit", "pretrain", "advise"])
def test_encoders_that_are_no_mapping(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--target", "label", "--store", "none", "--out", place / "out", "--set", "encoders=5")
    more = ("--modality", "text") if command == "pretrain" else ()
    assert "encoders" in refused(capsys, command, place / "t.csv", *given, *more)


def test_a_model_is_a_folder_with_a_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "fit", place / "t.csv", "--target", "label", "--store", "none", "--out", "/")
    assert said == "error: --out /: a model is a folder of its own; name one"


PLAIN: dict[str, Any] = {"members": 1, "epochs": 1, "width": 4, "store": "none", "progress": False}
PARTS = pd.DataFrame({"a": np.sin(np.arange(40.0)), "y": ["u", "v"] * 20})


def parts_of(frame: pd.DataFrame, words: Sequence[str | None]) -> tuple[int, list[str]]:
    """Rows that judge when a column says these words, and what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PlaitWarning)
        found = schema.infer(frame, target="y")
        _, test = split_rows(frame.assign(part=list(words)), found, 0.2, "part", None, 0)
    return len(test), [str(w.message) for w in caught]


def test_blanks_and_capitals_in_a_column_of_parts() -> None:
    rows, said = parts_of(PARTS, ["Train "] * 26 + [" TEST", "test "] * 7)
    assert rows == 14
    assert not [s for s in said if "neither" in s or "training rows, too" in s]


def test_other_words_in_a_column_of_parts_are_told() -> None:
    _, said = parts_of(PARTS, ["train"] * 20 + ["unused"] * 8 + ["test"] * 12)
    assert any("8 rows say neither train, valid nor test in 'part' ('unused'): they train" in s for s in said)


def test_test_rows_that_are_training_rows_are_told() -> None:
    _, said = parts_of(pd.concat([PARTS, PARTS], ignore_index=True), ["train"] * 40 + ["test"] * 40)
    assert any("40 of 40 test rows are training rows, too" in s for s in said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stratify": np.arange(40)}, "40 rows, each with a class of its own, leave a part"),
        ({"group": PARTS["y"]}, "40 rows in 2 groups leave a part"),
    ],
)
def test_what_leaves_a_part_empty_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PlaitError, match=said):
        split(PARTS, (0.9, 0.1), 0, **options)


def test_a_circle_of_links_holds_no_store(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PlaitError, match="cannot be followed"):
        Store(tmp_path / "loop").sizes()


def test_a_study_leaves_a_folder_of_somebody_elses_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(PlaitError, match="holds no study"):
        study(tmp_path).run(mine, engine="inline", store="none")
    assert [p.name for p in mine.iterdir()] == ["letter.txt"]


FRAME = pd.DataFrame({"a": np.sin(np.arange(30.0)), "b": np.cos(np.arange(30.0))})
SIDE = np.arange(30) % 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: FusionRegressor(**PLAIN).fit(FRAME, np.ones((30, 2))), "one number per row"),
        (lambda: FusionRegressor(**PLAIN).fit(FRAME, np.ones((30, 0))), "one number per row"),
        (lambda: FusionRegressor(**PLAIN).fit(FRAME, [10**400, 1] * 15), "beyond what a float can be"),
        (lambda: FusionClassifier(**PLAIN).fit(FRAME, SIDE, groups=np.ones((30, 2))), "one value per row"),
        (lambda: FusionClassifier(**PLAIN).fit(FRAME, SIDE, groups=[["a"]] * 30), "one value per row"),
        (lambda: FusionClassifier(**PLAIN).fit(FRAME, SIDE, test=FRAME), "pair of rows and targets"),
        (lambda: FusionClassifier(**PLAIN).fit(FRAME, SIDE, test=(FRAME, SIDE[:3])), "30 rows and 3 targets"),
    ],
)
def test_targets_groups_and_tests_of_the_wrong_shape(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(PlaitError, match=said):
        call()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_only_the_ratios_of_weights_count(scale: float) -> None:
    model = FusionClassifier(**PLAIN).fit(FRAME, SIDE, sample_weight=np.full(30, scale))
    assert np.isfinite(model.predict_proba(FRAME)).all()


def test_a_word_as_long_as_a_book_is_read_in_no_time() -> None:
    frame = pd.DataFrame({"word": ["yes" * 20_000, "no" * 30_000] * 10, "b": np.arange(20)})
    assert schema.infer(
        frame
    ).modalities  # took minutes: a pattern that looks for code went back over it again and again
