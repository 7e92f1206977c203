"""Labels of any kind, by every way in: fit, predict, save, load, score, evaluate, explain, command line."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor, load
from plait.base.errors import PlaitError, PlaitWarning, TableError
from plait.cli import main
from plait.data.labels import codes_of, from_plain, label_array, to_plain, written_labels
from plait.data.targets import indicator_of
from plait.evaluation.evaluate import evaluate
from plait.evaluation.explain import explain

N = 60
LATE = np.arange(N) >= 30
QUICK: dict[str, Any] = {"store": "none", "members": 2, "epochs": 12, "progress": False, "branches": ("joint",)}
OPTIONS = ["--members", "2", "--epochs", "12", "--store", "none", "--no-report", "--checkpoint", "none"]


def features(seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(N) * 1.37, "b": np.random.default_rng(seed).normal(size=N)})


def arrow(values: Any, kind: str) -> pd.Series:
    pytest.importorskip("pyarrow")
    return pd.Series(values).astype(f"{kind}[pyarrow]")


UTC = datetime.UTC
FORMS: dict[str, Any] = {
    "bool": lambda: LATE,
    "boolean": lambda: pd.Series(LATE, dtype="boolean"),
    "Int64": lambda: pd.Series(LATE.astype(int), dtype="Int64"),
    "uint8": lambda: LATE.astype("uint8"),
    "float": lambda: LATE.astype(float),
    "category": lambda: pd.Series(np.where(LATE, "b", "a")).astype("category"),
    "category of ints": lambda: pd.Series(LATE + 5).astype("category"),
    "string": lambda: pd.Series(np.where(LATE, "1", "0"), dtype="string"),
    "arrow text": lambda: arrow(np.where(LATE, "ja", "nein"), "string"),
    "arrow int": lambda: arrow(LATE.astype(int), "int64"),
    "arrow bool": lambda: arrow(LATE, "bool"),
    "object ints": lambda: pd.Series(LATE.astype(int), dtype=object),
    "object bools": lambda: pd.Series(LATE, dtype=object),
    "ints over 64 bits": lambda: [2**70 + int(v) for v in LATE],
    "DataFrame": lambda: pd.DataFrame({"y": np.where(LATE, "b", "a")}),
    "datetime64[ns]": lambda: np.where(LATE, "2024-01-01", "2020-01-01").astype("M8[ns]"),
    "datetime64[s]": lambda: pd.Series(np.where(LATE, "2024-01-01", "2020-01-01").astype("M8[s]")),
    "date": lambda: [datetime.date(2024, 1, 1) if v else datetime.date(2020, 1, 1) for v in LATE],
    "time": lambda: [datetime.time(12, int(v)) for v in LATE],
    "timedelta": lambda: [datetime.timedelta(days=int(v)) for v in LATE],
    "aware": lambda: [datetime.datetime(2024, 1, 1, int(v), tzinfo=UTC) for v in LATE],
    "Decimal": lambda: [decimal.Decimal(int(v)) for v in LATE],
    "text and numbers": lambda: ["one" if v else 0 for v in LATE],
    "tuples": lambda: [("a", int(v)) for v in LATE],
    "tuples of two lengths": lambda: [("a",) if v else ("a", "b") for v in LATE],
    "empty text": lambda: np.where(LATE, "b", ""),
    "NUL at the end": lambda: ["a\0" if v else "a" for v in LATE],
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_a_label_of_any_kind_works_whole(name: str, tmp_path: Path) -> None:
    x, y = features(), FORMS[name]()
    given = list(y["y"]) if isinstance(y, pd.DataFrame) else list(y)
    model = FusionClassifier(**QUICK).fit(x, y)
    answers = model.predict(x)
    assert np.mean([a == b for a, b in zip(answers, given, strict=True)]) > 0.9
    assert model.score(x, y) > 0.9
    judged = evaluate(model, x, y=y["y"] if isinstance(y, pd.DataFrame) else y, bootstrap=0)
    assert judged.score["value"] == model.score(x, y)
    again = load(model.save(tmp_path / "m"))
    assert again.classes_.dtype == model.classes_.dtype
    assert list(again.classes_) == list(model.classes_)
    assert list(again.predict(x)) == list(answers)
    assert model.predict_proba(x).shape == (N, 2)
    table = prediction_table(again, x)
    assert list(table.columns[1:]) == [f"p({label})" for label in judged.classes]


def prediction_table(model: Any, x: pd.DataFrame) -> pd.DataFrame:
    from plait.cli.use import prediction_table as table

    return table(model, x, True, [])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (["caf\ud83d" if v else "b" for v in LATE], "holds half a character"),
        ([b"a" if v else b"b" for v in LATE], "labels of type bytes"),
        ([complex(1, int(v)) for v in LATE], "labels of type complex"),
        ([("a", ["b"]) if v else ("a", ["c"]) for v in LATE], "cannot be compared"),
        ([None if v else "a" for v in LATE], "nothing in 30 rows \\(the first is row 30\\)"),
        ([["a", "\ud83d"] if v else ["b"] for v in LATE], "holds half a character"),
    ],
    ids=["half an emoji", "bytes", "complex", "a list in a tuple", "holes", "half an emoji in a list"],
)
def test_what_cannot_be_a_label_is_refused_in_one_line(y: Any, said: str) -> None:
    with pytest.raises(TableError, match=said) as caught:
        FusionClassifier(**QUICK).fit(features(), y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrap", [list, pd.Series, lambda y: pd.Series(y).to_numpy()])
def test_lists_of_labels_of_any_length_are_several_labels(wrap: Any) -> None:
    y = wrap([["p", "q"] if v else ["p"] if i % 3 else [] for i, v in enumerate(LATE)])
    model = FusionClassifier(**QUICK).fit(features(), y)
    assert model.task_ == "multilabel"
    assert model.classes_.tolist() == ["p", "q"]
    assert evaluate(model, features(), y=y, bootstrap=0).rows == N
    assert model.score(features(), y) > 0.5
    with pytest.raises(TableError, match="expected one class per row"):
        FusionClassifier(task="classification", **QUICK).fit(features(), y)


def test_a_matrix_of_several_labels_holds_0_and_1() -> None:
    flags = np.c_[LATE, ~LATE].astype(int)
    named = FusionClassifier(**QUICK).fit(features(), pd.DataFrame(flags, columns=["late", "early"]))
    assert named.classes_.tolist() == ["late", "early"]
    with pytest.raises(TableError, match="row 30, column 0 holds 2"):
        FusionClassifier(task="multilabel", **QUICK).fit(features(), np.c_[LATE * 2, LATE])


# -- one value, however it is written --------------------------------------------------------------------------------------

WAYS: dict[str, Any] = {
    "int": lambda h: h.astype(int),
    "float": lambda h: h.astype(float),
    "bool": lambda h: h,
    "text": lambda h: np.where(h, "1", "0"),
    "text with .0": lambda h: np.where(h, "1.0", "0.0"),
    "true/false": lambda h: np.where(h, "true", "false"),
    "TRUE/FALSE": lambda h: np.where(h, "TRUE", "FALSE"),
    "blanks": lambda h: np.where(h, " 1", "0 "),
    "object": lambda h: h.astype(object),
    "Decimal": lambda h: [decimal.Decimal(int(v)) for v in h],
    "category": lambda h: pd.Series(h.astype(int)).astype("category"),
}


@pytest.mark.parametrize("fitted_on", ["int", "float", "bool", "text", "true/false", "TRUE/FALSE", "text with .0"])
def test_two_classes_are_judged_right_however_they_are_written(fitted_on: str) -> None:
    classes = sorted(set(np.asarray(WAYS[fitted_on](LATE)).tolist()))
    if fitted_on in ("true/false", "TRUE/FALSE"):
        assert classes[0].lower() == "false"
    for name, way in WAYS.items():
        assert codes_of(way(LATE), classes).tolist() == LATE.astype(int).tolist(), name


@pytest.mark.parametrize(
    ("classes", "values", "codes"),
    [
        (["+1", "01", "1", "1.0"], ["1.0", "1", "01", "+1", 1, 1.0], [3, 2, 1, 0, 2, 3]),
        (["a", "a ", "b"], ["a", "a ", " b", "b "], [0, 1, 2, 2]),
        ([1, 2, 10], ["01", "+2", "1e1", "3", "x", True], [0, 1, 2, -1, -1, 0]),
        (["1", "2", "3"], [3.0, np.int8(2), "1.0", 4, True], [2, 1, 0, -1, -1]),
        ([0.5, 1.5], ["0.50", decimal.Decimal("1.5"), "1,5"], [0, 1, -1]),
        (
            [datetime.date(2024, 1, 2), datetime.date(2025, 1, 1)],
            ["2024-01-02", pd.Timestamp("2025-01-01"), "3"],
            [0, 1, -1],
        ),
        (["no", "yes"], ["YES", "n", 1, False, "maybe"], [1, 0, 1, 0, -1]),
        (["no", "yes", "maybe"], ["YES", "no", True], [-1, 0, -1]),
    ],
)
def test_which_class_a_value_means(classes: Any, values: Any, codes: Any) -> None:
    assert codes_of(values, classes).tolist() == codes


def test_text_among_numbers_that_says_the_same_is_the_same_label() -> None:
    assert label_array([3, "3", 4, "4.0", "x"]).tolist() == [3, 3, 4, 4, "x"]
    assert written_labels(["0", "10", "-3"]).tolist() == [0, 10, -3]
    assert written_labels(["True", "False"]).dtype == bool
    assert written_labels(["nan", "1.0"]).tolist() == ["nan", "1.0"]
    for kept in (["1", "01"], ["true", "false"], ["1", "1.0"], ["1e3", "2"], ["+1", "0"], ["a ", "b"]):
        assert written_labels(kept).tolist() == kept


def test_labels_come_back_from_json_as_they_were() -> None:
    labels = [1, 2.5, True, "a", ("a", (1, datetime.date(2024, 1, 2))), decimal.Decimal("1.50"), datetime.time(1, 2)]
    labels += [pd.Timestamp("2024-01-01", tz="Europe/Berlin"), datetime.timedelta(hours=3)]
    back = from_plain(json.loads(json.dumps(to_plain(labels))))
    assert back == labels
    assert [type(v) for v in back] == [type(v) for v in labels]


def test_classes_that_say_the_same_are_told_of() -> None:
    with pytest.warns(PlaitWarning, match="kept apart as they are written: 'a' and 'a '"):
        model = FusionClassifier(**QUICK).fit(features(), np.where(LATE, "a", "a "))
    assert model.classes_.tolist() == ["a", "a "]


def run(*parts: Any) -> int:
    try:
        main([str(part) for part in parts])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_model_of_the_command_line_is_judged_in_python_on_any_way_of_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = features().assign(t=LATE.astype(int))
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "--target", "t", "--task", "classification", "--out", tmp_path / "m", *OPTIONS)
    model = load(tmp_path / "m")
    assert model.classes_.tolist() == [0, 1]
    assert list(model.feature_names_in_) == ["a", "b"]
    right = float((model.predict(frame) == frame["t"]).mean())
    assert right > 0.9
    worths = None
    for way in WAYS.values():
        y = way(LATE)
        assert evaluate(model, frame, y=y, subsets=False, bootstrap=0).score["value"] == right
        assert evaluate(model, frame.assign(t=y), subsets=False, bootstrap=0).score["value"] == right
        assert model.score(frame, y) == right
        found = [w["value"] for w in explain(model, frame, y=y, bootstrap=0).overall]
        worths = worths or found
        assert found == worths
        assert max(found) > 0.3
    capsys.readouterr()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", ["0/1 with a hole", "bool", "text"])
def test_the_same_labels_in_every_format_are_the_same_classes(kind: str, ending: str, tmp_path: Path) -> None:
    from plait.data.table import read_table
    from plait.data.targets import target_values, with_target
    from plait.data.write import write_table

    column = {
        "0/1 with a hole": pd.Series(LATE.astype(float)).where(np.arange(N) != 3),
        "bool": pd.Series(LATE),
        "text": pd.Series(np.where(LATE, "ja", "nein")),
    }[kind]
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
        features().assign(t=column).to_parquet(tmp_path / "t.parquet")
    else:
        write_table(features().assign(t=column), tmp_path / f"t{ending}")
    frame = read_table(tmp_path / f"t{ending}")
    if column.isna().any():
        with pytest.warns(PlaitWarning, match="1 of 60 rows have no 't'"):
            frame = with_target(frame, "t")
        assert frame.index.tolist() == [i for i in range(N) if i != 3]  # each row under its number in the table
    labels = target_values(frame["t"], "classification")
    expected = {"0/1 with a hole": [0, 1], "bool": [False, True], "text": ["ja", "nein"]}[kind]
    assert sorted(set(labels.tolist())) == expected
    if kind == "0/1 with a hole":
        assert labels.dtype.kind in "if"


# -- classes and probabilities belong together ------------------------------------------------------------------------------

CLASSES = np.array(["a", "b", "c"])[np.arange(N) % 3]


def three(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    place = np.select([CLASSES == "a", CLASSES == "b"], [0.0, 5.0], 10.0)
    return pd.DataFrame({"s": place + rng.normal(size=N), "t": rng.normal(size=N)})


@pytest.mark.parametrize("gone", ["a", "b", "c"])
@pytest.mark.parametrize("by", ["sample_weight", "class_weight"])
def test_a_class_without_weight_is_never_answered(gone: str, by: str, tmp_path: Path) -> None:
    settings, weight = dict(QUICK), None
    if by == "class_weight":
        settings["class_weight"] = {c: float(c != gone) for c in "abc"}
    else:
        weight = (gone != CLASSES).astype(float)
    with pytest.warns(
        PlaitWarning, match=f"1 of 3 classes have no row of a weight above 0 and are not learned: {gone}"
    ):
        model = FusionClassifier(**settings).fit(three(), CLASSES, sample_weight=weight)
    for each in (model, load(model.save(tmp_path / "m"))):
        p = each.predict_proba(three())
        assert each.classes_.tolist() == list("abc")
        assert p.shape == (N, 3)
        assert (p[:, "abc".index(gone)] == 0).all()
        np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-6)
        assert (each.classes_[p.argmax(1)] == each.predict(three())).all()
        table = prediction_table(each, three())
        assert (table.filter(like="p(").idxmax(axis=1).str[2:-1] == table["prediction"]).all()
    rows = gone != CLASSES
    assert model.score(three()[rows], CLASSES[rows]) > 0.9
    assert np.isfinite(model.feature_matrix(three())).all()


def test_weights_of_classes_are_found_however_they_are_written() -> None:
    rare = np.arange(N) % 6 == 0
    x = pd.DataFrame({"a": np.random.default_rng(0).normal(size=N)})
    models = [
        FusionClassifier(**QUICK, class_weight=told).fit(x, rare.astype(int))
        for told in ({1: 9.0, 0: 1.0}, {"1": 9.0, "0.0": 1.0})
    ]
    np.testing.assert_array_equal(models[0].predict_proba(x), models[1].predict_proba(x))
    plain = FusionClassifier(**QUICK).fit(x, rare.astype(int))
    assert models[0].predict_proba(x)[:, 1].mean() > plain.predict_proba(x)[:, 1].mean() + 0.1
    with pytest.raises(PlaitError, match="class_weight: 'x' is no class of the target; it has: 0, 1"):
        FusionClassifier(**QUICK, class_weight={"x": 2.0}).fit(x, rare.astype(int))
    with pytest.raises(TableError, match="at least one row must count"):
        FusionClassifier(**QUICK, class_weight={0: 0.0, 1: 0.0}).fit(x, rare.astype(int))
    with pytest.raises(TableError, match="one class only \\('1'\\) with a weight above 0"):
        FusionClassifier(**QUICK, class_weight={0: 0.0}).fit(x, rare.astype(int))


# -- numbers and rows -------------------------------------------------------------------------------------------------------


def test_a_number_is_judged_however_it_is_written() -> None:
    x = features()
    y = x["a"] * 2 + x["b"]
    model = FusionRegressor(**QUICK).fit(x, y)
    assert model.score(x, y.astype(str)) == pytest.approx(model.score(x, y))
    assert evaluate(model, x, y=y.astype(str), bootstrap=0).score["value"] == pytest.approx(model.score(x, y))
    with pytest.raises(TableError, match="row 7: 'much' is not a number"):
        model.score(x, y.astype(object).where(np.arange(N) != 7, "much"))


def test_no_rows_are_answered_by_no_rows() -> None:
    x = features().assign(t=[f"{'red' if v else 'blue'} thing number {i}" for i, v in enumerate(LATE)])
    model = FusionClassifier(**QUICK, encoders={"text": "hashed_ngrams"}).fit(x, LATE)
    assert model.predict(x[:0]).shape == (0,)
    assert model.predict(x[:0]).dtype == bool
    assert model.predict_proba(x[:0]).shape == (0, 2)
    assert prediction_table(model, x[:0]).columns.tolist() == ["prediction", "p(False)", "p(True)"]
    assert FusionRegressor(**QUICK).fit(features(), x["b"] + x["a"]).predict(features()[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["prediction", "p(True)"])
def test_a_column_of_the_answers_name_is_not_overwritten(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = FusionClassifier(**QUICK).fit(features(), LATE)
    model.save(tmp_path / "m")
    features().assign(**{name: "mine"}).to_csv(tmp_path / "t.csv", index=False)
    parts = ["predict", tmp_path / "m", tmp_path / "t.csv", "--keep", name, "--out", tmp_path / "p.csv"]
    assert run(*parts, "--store", "none") == 2
    assert f"--keep {name}: the answer has a column of that name" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_explained_rows_are_numbered_as_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from plait.data import schema
    from plait.workflow.fit import fit_table

    frame = features().assign(y=np.where(LATE, "u", "v"))
    frame.loc[[0, 7], "y"] = None
    with pytest.warns(PlaitWarning, match="2 of 60 rows"):
        outcome = fit_table(frame, schema.infer(frame, target="y"), QUICK, out=tmp_path / "m", report=False)
    rows = outcome.explanation.rows
    assert not {0, 7} & set(rows.index)
    for number, row in rows.iterrows():
        assert row["true"] == frame["y"][number]
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("explain", tmp_path / "m", tmp_path / "t.csv", "--out", tmp_path / "e", "--store", "none")
    told = pd.read_csv(tmp_path / "e" / "explained_rows.csv")
    assert told["row"].tolist() == [i for i in range(N) if i not in (0, 7)]
    assert (told["true"].to_numpy() == frame["y"][told["row"]].to_numpy()).all()
    capsys.readouterr()


def test_a_target_that_is_no_number_is_named_by_its_row_in_the_table() -> None:
    from plait.data.targets import target_values, with_target

    frame = pd.DataFrame({"y": [None, "1", "2", "much", "3"]})
    with pytest.warns(PlaitWarning, match="1 of 5 rows"):
        kept = with_target(frame, "y")
    with pytest.raises(TableError, match="target 'y', row 3: 'much' is not a number"):
        target_values(kept["y"], "regression")


@pytest.mark.parametrize(
    ("unit", "said"), [(1e300, "is 1e\\+301; .* divide all"), (1e-300, "is 1e-299; .* multiply all")]
)
def test_numbers_that_32_bits_do_not_hold_are_no_target(unit: float, said: str) -> None:
    y = np.linspace(1, 10, N) * unit
    with pytest.raises(TableError, match=said):
        FusionRegressor(**QUICK).fit(features(), y)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_as_far_apart_as_they_go_are_an_input() -> None:
    x = features().assign(far=[(-1e308, 0.0, 1e308)[i % 3] for i in range(N)])
    assert np.isfinite(FusionClassifier(**QUICK).fit(x, LATE).predict_proba(x)).all()


def test_half_an_emoji_in_a_label_of_a_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"n": i, "k": -i, "y": "caf\ud83d" if late else "b"}) for i, late in enumerate(LATE)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert run("fit", tmp_path / "t.jsonl", "--target", "y", "--out", tmp_path / "m", *OPTIONS) == 2
    assert "holds half a character" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


# -- what is taken for a label ------------------------------------------------------------------------------------------


class Word(enum.StrEnum):
    A = "aa"
    B = "bb"


class Code(enum.IntEnum):
    A = 3
    B = 4


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([Word.A, Word.B] * 20, ["aa", "bb"]),
        ([Code.A, Code.B] * 20, [3, 4]),
        (torch.arange(40) % 2, [0, 1]),
        (pd.Series(pd.to_timedelta([1, 2] * 20, unit="D")), [datetime.timedelta(days=1), datetime.timedelta(days=2)]),
    ],
)
def test_labels_are_the_same_before_and_after_saving(labels: Any, classes: list[Any], tmp_path: Path) -> None:
    x = pd.DataFrame({"a": np.arange(40) % 2 * 3.0, "b": np.random.default_rng(0).normal(size=40)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)  # a leak, of course
        model = FusionClassifier(**QUICK).fit(x, labels)
    again = load(model.save(tmp_path / "m"))
    assert model.classes_.tolist() == again.classes_.tolist() == classes
    assert [type(v) for v in model.predict(x).tolist()] == [type(v) for v in again.predict(x).tolist()]
    assert model.score(x, labels) == again.score(x, labels) > 0.9


@pytest.mark.parametrize(
    "classes", [["2020-01-01", "2021-01-01"], [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)]]
)
def test_dates_as_classes_are_found_however_a_file_writes_them(classes: list[Any]) -> None:
    values = ["2021-01-01T00:00:00.000", "2020-01-01 00:00:00", pd.Timestamp("2021-01-01"), "2022-01-01", "no date"]
    assert codes_of(values, classes).tolist() == [1, 0, 1, -1, -1]


def test_labels_that_the_model_does_not_know_are_named() -> None:
    with pytest.warns(PlaitWarning, match=r"2 of the target's labels are not among the 2 classes.*left out \(c\)"):
        assert indicator_of(["a|c", "c|b", "a"], ["a", "b"]).indicator.tolist() == [[1, 0], [0, 1], [1, 0]]
