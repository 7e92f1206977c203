from __future__ import annotations

import string
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.base.errors import ConfigError, PlaitWarning, TableError
from plait.data import schema, table
from plait.data.dropped import REASON, left_out
from plait.data.modality import Modality, Schema, distinct_names, name_problem

N = 60
RNG = np.random.default_rng(0)


def kind_of(found: Schema, column: str = "c") -> str:
    """``text``, ``tabular:number``, ... or ``ignored``."""
    for modality in found.modalities:
        if column in modality.columns:
            return f"tabular:{found.types[column]}" if modality.kind == "tabular" else modality.kind
    assert column in found.ignored
    return "ignored"


def names(count: int, words: int = 1) -> list[str]:
    letters = list(string.ascii_lowercase)
    rng = np.random.default_rng(1)
    return [" ".join("".join(rng.choice(letters, 6)) for _ in range(words)) for _ in range(count)]


COLUMNS: list[tuple[str, Any]] = [
    ("ignored", [None] * N),
    ("ignored", ["  "] * N),
    ("ignored", ["same"] * N),
    ("ignored", [f"AT_{i:03}" for i in range(N)]),
    ("ignored", [f"{i:032x}" for i in RNG.integers(0, 2**62, N)]),
    ("ignored", list(range(N))),
    ("ignored", ["train", "test", "valid"] * 20),
    ("ignored", [{"a": 1}] * N),
    ("ignored", [[0.5] * (i % 3 + 1) for i in range(N)]),
    ("tabular:boolean", [True, False] * 30),
    ("tabular:boolean", ["yes", "no", None] * 20),
    ("tabular:boolean", ["1", None] * 30),
    ("tabular:boolean", [0.0, 1.0, np.nan] * 20),
    ("tabular:number", [str(i % 7 * 1.5) for i in range(N)]),
    ("tabular:number", [i % 9 for i in range(N)]),
    ("tabular:number", pd.array([3, None, 5, 8] * 15, dtype="Int64")),
    ("tabular:number", ["?" if i % 5 == 0 else f"{i / 7:.3f}" for i in range(N)]),
    ("tabular:number", list(range(1960, 1960 + N))),
    ("tabular:number", [10 * (i % 12) for i in range(N)]),
    ("tabular:code", [(3, 14, 1004, 1466)[i % 4] for i in range(N)]),
    ("tabular:code", [f"{i % 6:05}" for i in range(N)]),
    ("tabular:category", ["red", "green", "None"] * 20),
    ("tabular:category", pd.Categorical(["a", "b", "c"] * 20)),
    ("tabular:category", ["Strongly agree with this statement", "Neither agree nor disagree"] * 30),
    ("tabular:date", [f"2023-{i % 12 + 1:02}-{i % 28 + 1:02} 06:33:37" for i in range(N)]),
    ("tabular:date", pd.date_range("2020", periods=N, tz="UTC")),
    ("tabular:date %d/%m/%Y", [f"{i % 28 + 1:02}/{i % 12 + 1:02}/2020" for i in range(N)]),
    ("tabular:list", ["Grass|Monster", "Bug", "Monster|Bug|Field"] * 20),
    ("tabular:list", [["a", "b"], ["b"], ["c", "a"]] * 20),
    ("tabular:list", ["['a', 'b']", "['b']", "['c']"] * 20),
    ("text", names(N)),
    ("text", names(N, words=9)),
    ("text", [f"A longer cell, one of {i % 30} that come twice" for i in range(N)]),
    ("code", [f"def f{i}(x):\n    return x + {i}" for i in range(N)]),
    ("code", [f"sum(d * {i} ** i for i, d in enumerate(x[::-1]))" for i in range(N)]),
    ("image", [f"{i:03}.jpg" for i in range(N)]),
    ("image", [f"zip://all.zip!in/{i}.PNG" for i in range(N)]),
    ("image", [b"\x89PNG\r\n" + bytes([i]) for i in range(N)]),
    ("image", [{"bytes": b"\xff\xd8\xff" + bytes([i]), "path": None} for i in range(N)]),
    ("image", [np.full((4, 4, 3), i, dtype=np.uint8) for i in range(N)]),
    ("image", [np.full((4, 4), i, dtype=np.uint8) for i in range(N)]),
    ("audio", [f"{i}.wav" for i in range(N)]),
    ("audio", [b"RIFF\0\0\0\0WAVE" + bytes([i]) for i in range(N)]),
    ("audio", [(np.zeros(10), 8000)] * N),
    ("video", [f"clip {i}.mp4" for i in range(N)]),
    ("video", [np.full((3, 4, 4, 3), i, dtype=np.uint8) for i in range(N)]),
    ("vector", [np.arange(3.0) + i for i in range(N)]),
    ("vector", [[0.1, float(i)] for i in range(N)]),
    ("vector", [f"[0.1, {i}]" for i in range(N)]),
    ("vector", [np.zeros((i % 4 + 1, 5)) for i in range(N)]),
    ("vector", [f"{i}.npy" for i in range(N)]),
]


@pytest.mark.parametrize(("kind", "cells"), COLUMNS, ids=[f"{k}-{i}" for i, (k, _) in enumerate(COLUMNS)])
def test_what_a_column_is_taken_for(kind: str, cells: Any) -> None:
    found = schema.infer(pd.DataFrame({"c": cells, "other": [i % 3 for i in range(N)]}))
    assert kind_of(found) == kind
    assert found.ignored.get("c") or found.notes.get("c")


@pytest.mark.parametrize(
    ("cells", "kind", "doubt"),
    [
        ([f"{i * 997:,}" for i in range(1, N + 1)], "tabular:category", "numbers written as"),
        ([f"{i / 7:.2f}".replace(".", ",") for i in range(N)], "tabular:number", "read with a decimal comma"),
        ([f"{i % 12 + 1:02}/{i % 11 + 1:02}/2020" for i in range(N)], "tabular:category", "day and month"),
        ([str(i) if i % 2 else f"w{i % 7}" for i in range(N)], "tabular:category", "a mixture: 50% numbers"),
        ([np.inf if i == 3 else i * 0.7 for i in range(N)], "tabular:number", "1 infinite cells"),
    ],
)
def test_what_is_doubtful_is_told_and_not_guessed(cells: Any, kind: str, doubt: str) -> None:
    frame = pd.DataFrame({"c": cells, "x": [i % 3 for i in range(N)]})
    with pytest.warns(PlaitWarning, match="1 of 2 columns is doubtful: column 'c'") as caught:
        found = schema.infer(frame)
    assert len(caught) == 1
    assert kind_of(found) == kind
    assert doubt in found.doubts["c"]
    assert f"CHECK: {found.doubts['c']}" in schema.to_yaml(found)


def test_an_identifier_by_which_rows_are_kept_together_is_no_doubt() -> None:
    frame = pd.DataFrame({"owner_id": [f"r{i // 2}" for i in range(200)], "x": [i % 3 for i in range(200)]})
    with pytest.warns(PlaitWarning, match="--group owner_id"):
        schema.infer(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not schema.infer(frame, group="owner_id").doubts


def test_many_missing_columns_say_once_what_the_table_has() -> None:
    known = schema.Schema((Modality("tabular", "tabular", ("grams", "colour", "height")),))
    with pytest.raises(TableError) as caught:
        schema.validate(known, pd.DataFrame({"x": [1], "heihgt": [2]}))
    assert str(caught.value) == (
        "3 problems: column 'grams' of modality 'tabular' is missing; column 'colour' of modality 'tabular' is missing; "
        "column 'height' of modality 'tabular' is missing; did you mean 'heihgt'?; the table has: x, heihgt"
    )


def test_strings_numbers_and_floats_are_one() -> None:
    plain = pd.DataFrame({"n": [i % 9 for i in range(N)], "k": [(3, 14, 1004)[i % 3] for i in range(N)]})
    for other in (plain.astype(str), plain.astype(float), plain.astype(object)):
        assert schema.infer(other).types == schema.infer(plain).types


def test_modalities_are_joined_and_named() -> None:
    frame = pd.DataFrame(
        {
            "front": [f"{i}.jpg" for i in range(N)],
            "title": names(N, 3),
            "price": RNG.normal(size=N),
            "back": [f"{i}.jpg" for i in range(N)],
            "body": names(N, 12),
            "sound": [f"{i}.wav" for i in range(N)],
            "colour": ["red", "blue"] * 30,
        }
    )
    found = schema.infer(frame)
    assert [(m.name, m.kind, m.columns) for m in found.modalities] == [
        ("front", "image", ("front",)),
        ("text", "text", ("title", "body")),
        ("tabular", "tabular", ("price", "colour")),
        ("back", "image", ("back",)),
        ("audio", "audio", ("sound",)),
    ]
    frame = pd.DataFrame(
        {"text": [f"{i}.jpg" for i in range(N)], "b": [f"{i}.png" for i in range(N)], "c": names(N, 5)}
    )
    assert [m.name for m in schema.infer(frame).modalities] == ["text_image", "b", "text"]


def test_files_that_are_not_there_are_told_when_the_root_is_known(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["a.png", "b.png"] * 3, "x": [1, 2, 3] * 2})
    with pytest.warns(PlaitWarning, match=r"none of its first 6 files is there, as 'a.png' under .*--root"):
        assert kind_of(schema.infer(frame, root=str(tmp_path)), "image") == "image"
    (tmp_path / "b.png").write_bytes(b"")
    found = schema.infer(frame, root=str(tmp_path))
    assert found.doubts == {}
    assert found.root == str(tmp_path)
    with pytest.raises(TableError, match="no such folder or archive"):
        schema.infer(frame, root=str(tmp_path / "elsewhere"))


def test_identifiers_that_may_be_files_say_so() -> None:
    found = schema.infer(pd.DataFrame({"a": [f"x/{i}.raw" for i in range(N)], "b": [f"x{i}" for i in range(N)]}))
    assert "--root" in found.ignored["a"]
    assert "--root" not in found.ignored["b"]


def test_an_identifier_that_comes_again_may_keep_rows_together() -> None:
    cells = pd.DataFrame({"RescuerID": [f"r{i % 40}" for i in range(100)], "typeId": [i % 4 for i in range(100)]})
    with pytest.warns(PlaitWarning, match="--group RescuerID"):
        found = schema.infer(cells)
    assert set(found.doubts) == {"RescuerID"}  # four types say nothing about rows that belong together


def test_a_target_of_amounts_is_a_number_though_some_of_them_are_odd() -> None:
    fees = [0, 100, 50, 150, 200, 250, 300, 500, 400, 600] * 20 + [1, 3, 7, 11, 59, 61, 77, 99, 101, 149, 187, 349, 499]
    found = schema.infer(pd.DataFrame({"Fee": fees, "x": ["a", "b", "c"] * 71}), target="Fee")
    assert found.task == "regression"


def test_names_that_come_again_are_categories_and_others_are_text() -> None:
    titles = [f"{a} {b}" for a in ("Lead", "Senior", "Junior", "Head") for b in names(120)]
    again = RNG.choice(titles, 3000)
    assert kind_of(schema.infer(pd.DataFrame({"c": again, "other": np.arange(3000) % 3}))) == "tabular:category"
    assert kind_of(schema.infer(pd.DataFrame({"c": titles, "other": np.arange(480) % 3}))) == "text"


def test_only_identifiers_by_name_may_repeat_or_be_shuffled() -> None:
    shuffled = RNG.permutation(np.arange(500, 500 + N))
    found = schema.infer(pd.DataFrame({"imdbId": shuffled, "score": shuffled, "userId": [7, 8, 9] * 20}))
    assert kind_of(found, "imdbId") == "ignored"
    assert kind_of(found, "score") == "tabular:number"
    assert kind_of(found, "userId") == "tabular:code"


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["a", "b", "c"] * 20, "classification"),
        (["a", "b", "None"] * 20, "classification"),
        ([1, 2, 3] * 20, "classification"),
        (["0.5", "1.5"] * 30, "classification"),
        ([True, False] * 30, "classification"),
        ([str(3 + 17 * (i % 25) ** 2) for i in range(250)], "classification"),
        ([i % 40 for i in range(250)], "regression"),
        ([i / 7 for i in range(N)], "regression"),
        ([f"{i / 7:.2f}" for i in range(N)], "regression"),
        (["a|b", "b", "c|a"] * 20, "multilabel"),
        ([["a", "b"], [], ["c"]] * 20, "multilabel"),
    ],
)
def test_the_task_of_a_target(cells: Any, task: str) -> None:
    frame = pd.DataFrame({"y": cells, "x": [i % 3 for i in range(len(cells))]})
    found = schema.infer(frame, target="y")
    assert found.task == task
    assert found.target == "y"
    assert found.notes["y"]
    assert schema.infer(frame, target="y", task="regression").task == "regression"
    assert all("y" not in m.columns for m in found.modalities)


def test_targets_that_cannot_be_predicted() -> None:
    frame = pd.DataFrame({"race": ["a", "b"], "empty": [None, None], "jpg": [b"a", b"b"]})
    with pytest.raises(TableError, match="no column 'rase' to predict; did you mean 'race'"):
        schema.infer(frame, target="rase")
    with pytest.raises(TableError, match="no column ' RACE' to predict; did you mean 'race'"):
        schema.infer(frame, target=" RACE")
    with pytest.raises(TableError, match="every cell is empty"):
        schema.infer(frame, target="empty")
    with pytest.raises(TableError, match="holds media"):
        schema.infer(frame, target="jpg")
    with pytest.warns(PlaitWarning, match="60 distinct values in 60 rows are hardly classes"):
        schema.infer(pd.DataFrame({"y": names(N), "x": [1, 2] * 30}), target="y")


def test_a_target_of_few_amounts_is_told() -> None:
    fees = [0, 20, 50, 80, 100, 120, 150, 200, 250, 300, 500, 750] * 5
    with pytest.warns(PlaitWarning, match="'fee': whole numbers with gaps, taken for classes; if they are amounts"):
        assert schema.infer(pd.DataFrame({"fee": fees, "x": [1, 2] * 30}), target="fee").task == "classification"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.infer(pd.DataFrame({"y": list(range(12)) * 5, "x": [1, 2] * 30}), target="y")
        schema.infer(pd.DataFrame({"fee_class": fees, "x": [1, 2] * 30}), target="fee_class")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"a": []}), "0 rows and 1 columns"),
        (pd.DataFrame(index=[0, 1]), "2 rows and 0 columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than once: 'a'"),
        (pd.DataFrame({0: [1, 2]}), "column names must be text, found 0"),
        ([1, 2], "expected a pandas DataFrame, found list"),
    ],
)
def test_tables_that_cannot_be_used(frame: Any, said: str) -> None:
    with pytest.raises(TableError, match=said):
        schema.infer(frame)


# -- validate and absent -----------------------------------------------------------------------------------------------

WANTED = Schema(
    (
        Modality("text", "text", ("name", "body")),
        Modality("tabular", "tabular", ("cost", "when", "colour")),
        Modality("image", "image", ("picture",)),
        Modality("v", "vector", ("v",)),
    ),
    target="y",
    types={"cost": "number", "when": "date", "colour": "category"},
)
GOOD = {
    "name": ["a"] * 6,
    "body": ["b", None, "c"] * 2,
    "cost": ["1", "2", "x", None, "5", "6"],
    "when": ["2020-01-01"] * 6,
    "colour": ["red", 1, 2.0, None, "b", "c"],
    "picture": [None] * 6,
    "v": [[1.0, 2.0]] * 6,
}


def test_a_good_table_passes_with_other_types_and_columns() -> None:
    frame = pd.DataFrame(GOOD)
    schema.validate(WANTED, frame)
    schema.validate(WANTED, frame.assign(cost=[1.5] * 6, extra=0))
    schema.validate(WANTED, frame.iloc[2:3])  # one odd cell is for the encoder to count


def test_all_problems_are_named_at_once() -> None:
    bad = pd.DataFrame(
        {
            "Name": ["a"] * 6,
            "body": [b"x"] * 6,
            "cost": [f"word {i}" for i in range(6)],
            "when": ["tomorrow"] * 6,
            "colour": [1] * 6,
            "picture": [0.5] * 6,
            "v": ["x"] * 6,
        }
    )
    with pytest.raises(TableError) as caught:
        schema.validate(WANTED, bad)
    said = str(caught.value)
    assert said.startswith("6 problems: ")
    for part in (
        "column 'name' of modality 'text' is missing; did you mean 'Name'?",
        "'body' of modality 'text': expected text, found bytes",
        "'cost' of modality 'tabular': expected numbers, found 6 of 6 cells such as 'word 0'",
        "'when' of modality 'tabular': expected dates",
        "'picture' of modality 'image': expected image",
        "'v' of modality 'v': expected vectors",
    ):
        assert part in said


def test_missing_modalities_only_with_partial() -> None:
    frame = pd.DataFrame(GOOD).drop(columns=["picture"])
    with pytest.raises(TableError, match="'picture' of modality 'image' is missing; the table has: name"):
        schema.validate(WANTED, frame)
    schema.validate(WANTED, frame, partial=True)
    with pytest.raises(TableError, match="'body' of modality 'text' is missing"):
        schema.validate(WANTED, frame.drop(columns=["body"]), partial=True)


def test_who_is_absent(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not even an image")
    wanted = Schema(
        (Modality("text", "text", ("s", "t")), Modality("n", "tabular", ("n",)), Modality("i", "image", ("i",)))
    )
    frame = pd.DataFrame(
        {
            "s": [None, "", "x", None],
            "t": ["  ", "y", None, np.nan],
            "n": [np.nan, 0.0, 1.0, None],
            "i": ["a.png", "gone.png", None, b"bytes"],
        }
    )
    expected = [[True, True, False], [False, False, True], [False, False, True], [True, True, False]]
    assert schema.absent(wanted, frame, str(tmp_path)).tolist() == expected
    assert schema.absent(Schema(()), frame).shape == (4, 0)


# -- YAML --------------------------------------------------------------------------------------------------------------

EDITED = """
target: race
task: classification
root: images.zip
modalities:
  text: {kind: text, columns: [name, text], encoder: minilm}
  tabular: {kind: tabular, columns: [cost, attack, artist], types: {artist: category}}
  image: {kind: image, columns: image, root: images.zip, train: scratch, encoder: {name: cnn, width: 8}}
ignored: {id: "an identifier: every row has its own"}
"""


def test_yaml_written_by_hand() -> None:
    found = schema.from_yaml(EDITED)
    assert found == Schema(
        (
            Modality("text", "text", ("name", "text"), encoder="minilm"),
            Modality("tabular", "tabular", ("cost", "attack", "artist")),
            Modality("image", "image", ("image",), {"name": "cnn", "width": 8}, "scratch", "images.zip"),
        ),
        target="race",
        ignored={"id": "an identifier: every row has its own"},
        types={"artist": "category"},
        root="images.zip",
    )
    assert found.types_of(found.modalities[1]) == {"artist": "category"}
    assert schema.from_yaml(schema.to_yaml(found)) == found
    assert schema.from_dict(schema.to_dict(found)) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("task:", "tusk:"), r"line 3: unknown field 'tusk' \(did you mean 'task'\?\)"),
        (("encoder: minilm", "encodr: minilm"), r"line 6: modality 'text': unknown field 'encodr'"),
        (("kind: text", "kind: txt"), "unknown kind 'txt': did you mean 'text'"),
        (("train: scratch", "train: scratsch"), "unknown train"),
        (("artist: category", "artist: categry"), "column 'artist': unknown type 'categry': did you mean 'category'"),
        (("artist: category", "artst: category"), "types names 'artst'"),
        (("artist: category", "artist: date %d.%Q"), "type 'date %d.%Q': no date has '%Q'; write it as in"),
        (("task:", "setting: {}\ntask:"), r"unknown field 'setting' \(did you mean 'settings'\?\)"),
        (("columns: [cost, attack, artist]", "columns: [cost, 7]"), "line 7: .*columns must be a list of names"),
        (("columns: [name, text]", "columns: []"), "it has no columns"),
        (("columns: [name, text]", "columns: [name, race]"), "holds the target 'race'"),
        (("columns: [name, text]", "columns: [name, name]"), "columns named twice: name"),
        (("task: classification", "task: clasification"), "unknown task"),
        (("kind: text, ", ""), "line 6: modality 'text': 'kind' is missing"),
        (("target: race", "target: 5"), "line 2: target: expected text"),
        (("  text: {", "  image: {"), "line 8: the key 'image' is given twice"),
        (("target: race", "target: [race"), "not valid YAML"),
    ],
)
def test_mistakes_in_yaml_are_named_with_their_line(change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        schema.from_yaml(EDITED.replace(*change), "edited.yaml")
    assert str(caught.value).startswith("edited.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "modalities: 3",
        "modalities: {a: 3}",
        "- a",
        "modalities: {a: {kind: text}}",
        "modalities: {a: {kind: text, columns: ~}}",
        "modalities: {a: {kind: , columns: [b]}}",
    ],
)
def test_yaml_that_is_no_schema(text: str) -> None:
    with pytest.raises(ConfigError):
        schema.from_yaml(text)


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"line 2: unknown field 'targt'.*line 6: .*'encodr'"):
        schema.from_yaml(EDITED.replace("target", "targt").replace("encoder: minilm", "encodr: minilm"))


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=4, max_size=4, unique=True), WORD)
def test_any_name_survives_yaml(words: list[str], reason: str) -> None:
    first, second, third, target = words
    made = Schema(
        (Modality("no", "text", (first, second)), Modality("t 1", "tabular", (third, "a, b", "no"))),
        target=target,
        ignored={second: reason},
        types={"no": "date %d/%m/%Y"},
        root=reason,
        notes={first: reason, "no": "# x: y"},
    )
    assert schema.from_yaml(schema.to_yaml(made)) == made


def test_modalities_from_a_mapping() -> None:
    told = {"image": {"kind": "image", "columns": ["a", "b"]}}
    assert schema.modalities_from(told) == (Modality("image", "image", ("a", "b")),)
    with pytest.raises(ConfigError, match="unknown field 'colums'"):
        schema.modalities_from({"image": {"kind": "image", "colums": ["a"]}})


def test_names_of_modalities_are_unique() -> None:
    with pytest.raises(ConfigError, match="modalities named twice: a"):
        Schema((Modality("a", "text", ("x",)), Modality("a", "text", ("y",))))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("front.image", r"its name holds '\.'; expected letters, .*name it 'front_image'$"),
        ("a/b[0]", r"its name holds '/', '\[', '\]'; expected letters, .*name it 'a_b_0'$"),
        ("a+b", r"holds '\+'"),
        ("a=b", "holds '='"),
        ("a\nb", r"holds '\\n'"),
        ("a ", "its name is 'a '"),
        ("", "its name is ''; .*name it 'image'$"),
        ("...", "name it 'image'$"),
        ("type", "torch keeps for itself; name it 'type_image'$"),
        ("_modules", "torch keeps for itself"),
        (7, "must be text, found 7; quote it"),
    ],
)
def test_names_that_are_no_keys_are_refused_everywhere(name: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^modality .*: .*{said}"):
        Modality(name, "image", ("a",))
    with pytest.raises(ConfigError, match=f"^schema: modality .*: .*{said}"):
        schema.from_dict({"modalities": {name: {"kind": "image", "columns": ["a"]}}})


def test_a_name_that_is_no_key_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^edited.yaml: line 8: modality 'image\.1': its name holds '\.'"):
        schema.from_yaml(EDITED.replace("  image:", "  image.1:"), "edited.yaml")


@pytest.mark.parametrize("name", ["a", "front image", "front-image", "image_2", "Größe", "2", "_a"])
def test_usual_names_pass(name: str) -> None:
    assert Modality(name, "image", ("a",)).name == name


def test_columns_may_be_called_anything_and_modalities_get_usable_names() -> None:
    odd = ["front.image", "front_image", "front/image", "type", "...", "  ", "ärger 1"]
    frame = pd.DataFrame({column: [f"{i}.jpg" for i in range(N)] for column in odd})
    found = schema.infer(frame)
    assert [(m.name, m.columns[0]) for m in found.modalities] == [
        ("front_image_2", "front.image"),
        ("front_image", "front_image"),
        ("front_image_3", "front/image"),
        ("type_image", "type"),
        ("image", "..."),
        ("image_2", "  "),
        ("ärger 1", "ärger 1"),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=2, max_size=5, unique=True))
def test_any_columns_give_names_that_pass_and_differ(columns: list[str]) -> None:
    made = distinct_names([(column, "image") for column in columns])
    assert len(set(made)) == len(columns)
    assert all(name_problem(name) is None for name in made)
    assert all(name == column for name, column in zip(made, columns, strict=True) if name_problem(column) is None)


# -- real tables: what a thoughtful person would write -----------------------------------------------------------------

REAL = {
    "pokemon/pokemon.csv": (
        "type_1",
        "classification",
        {"text": ["name", "species", "description"], "image": ["image"]},
        {"id"},
        {"abilities": "list", "egg_groups": "list", "gender": "category", "hp": "number", "type_2": "category"},
    ),
    "hearthstone/hearthstone.csv": (
        "race",
        "classification",
        {"text": ["name", "text", "flavor"], "image": ["image"]},
        {"id"},
        {"artist": "category", "cardClass": "code", "set": "code", "health": "number", "elite": "boolean"},
    ),
    "movies/movies.csv": (
        "genres",
        "multilabel",
        {"text": ["title", "text_raw", "text"], "image": ["image"]},
        {"imdbId"},
        {"year": "number", "poster_label": "category"},
    ),
    "mosi/mosi_text_labels.csv": ("label", "regression", {"text": ["text"]}, {"id", "split"}, {"seg": "number"}),
    "issues/issues_train.csv": (
        "label",
        "classification",
        {"text": ["title", "body"]},
        set(),
        {"repo": "category", "created_at": "date"},
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables(name: str, data_root: Path) -> None:
    target, task, columns, ignored, types = REAL[name]
    found = schema.infer(table.read_table(data_root / name), target=target)
    assert found.task == task
    assert {m.name: list(m.columns) for m in found.modalities if m.kind != "tabular"} == columns
    assert set(found.ignored) == ignored
    assert {c: found.types.get(c) for c in types} == types
    assert schema.from_yaml(schema.to_yaml(found)) == found


def test_a_long_list_of_columns_is_broken_into_lines_that_read_back() -> None:
    frame = pd.DataFrame({f"column {i}, of many": [float(i), 2.5, 3.0] for i in range(30)} | {"y": ["a", "b", "a"]})
    found = schema.infer(frame, target="y")
    text = schema.to_yaml(found)
    lists = [
        line for line in text.splitlines() if "[" in line or (line.startswith("      'column") and ":" not in line)
    ]
    assert len(lists) > 5
    assert max(map(len, lists)) <= 80
    assert schema.from_yaml(text) == found


@pytest.mark.parametrize(
    ("head", "target", "task", "expected"),
    [
        ("target: price", None, None, ("price", "regression")),
        ("target: price\ntask: classification", None, None, ("price", "classification")),
        ("target: kind\ntask: classification", "price", None, ("price", "regression")),
        ("target: price\ntask: regression", "kind", None, ("kind", "classification")),
        ("task: regression", "price", None, ("price", "regression")),
        ("target: kind", None, "multilabel", ("kind", "multilabel")),
        ("target: [price, kind]\ntask: {kind: classification}", "price", None, ("price", "regression")),
        ("target: nowhere", None, None, ("nowhere", "classification")),
        ("", None, None, (None, "classification")),
    ],
)
def test_a_task_that_no_file_tells_is_inferred(
    head: str, target: str | None, task: str | None, expected: tuple[str | None, str]
) -> None:
    frame = pd.DataFrame({"size": [1.5, 2.5] * 30, "price": [i / 7 for i in range(60)], "kind": ["a", "b"] * 30})
    text = head + "\nmodalities: {tabular: {kind: tabular, columns: [size]}}\n"
    found = schema.for_table(frame, text, "s.yaml", target, task)
    assert (found.target, found.task) == expected


def test_whole_numbers_with_gaps_that_hardly_repeat_are_an_amount() -> None:
    """A balance, a fifth of them nothing: 300 values of up to 2,000 in 400 rows are no classes; 60 of them may be."""
    rng = np.random.default_rng(0)
    balance = np.where(rng.random(400) < 0.2, 0, rng.integers(1, 2000, 400))
    often = rng.choice(rng.integers(1, 2000, 60), 400)
    frame = pd.DataFrame({"size": rng.normal(size=400), "balance": balance, "often": often})
    assert schema.infer(frame, target="balance").task == "regression"
    assert schema.infer(frame, target="often").task == "classification"


# -- columns that are no inputs --------------------------------------------------------------------------------------

DROPPABLE = pd.DataFrame(
    {
        "id": [f"row{i:04d}" for i in range(N)],
        "size": RNG.normal(size=N),
        "a,b": RNG.normal(size=N),
        "copy": [str(i % 3) for i in range(N)],
        "shade": [str(i % 3) for i in range(N)],
        "y": ["p", "q"] * (N // 2),
    }
)


@pytest.mark.parametrize("drop", [["size", "copy"], "size, copy", ("copy", "size", "size")])
def test_a_dropped_column_is_no_input_and_the_reason_is_kept(drop: Any) -> None:
    found = schema.infer(DROPPABLE, "y", drop=drop)
    assert set(found.columns) == {"a,b", "shade"}
    assert found.ignored["size"] == found.ignored["copy"] == REASON
    assert not {"size", "copy"} & {*found.types, *found.notes, *found.doubts}
    assert schema.from_yaml(schema.to_yaml(found)).ignored == found.ignored
    given = left_out(schema.infer(DROPPABLE, "y"), drop, DROPPABLE.columns)
    assert (given.modalities, given.ignored) == (found.modalities, found.ignored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.tell_unused(schema.infer(DROPPABLE, "y", drop=[*found.ignored]), DROPPABLE)


def test_nothing_is_said_of_a_dropped_column_that_would_be_doubtful() -> None:
    frame = DROPPABLE.assign(odd=["1,234", "5,678"] * (N // 2))
    with pytest.warns(PlaitWarning, match="'odd'"):
        schema.infer(frame, "y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.infer(frame, "y", drop="odd")


def test_a_column_with_a_comma_in_its_name_and_an_identifier_stay_themselves() -> None:
    found = schema.infer(DROPPABLE, "y", drop=["a,b", "id"])
    assert set(found.columns) == {"size", "copy", "shade"}
    assert found.identifiers == ("id",)  # predictions still begin with it
    assert found.ignored["id"].endswith(REASON)
    assert found.ignored["a,b"] == REASON


def test_a_modality_without_any_column_left_disappears() -> None:
    given = Schema((Modality("one", "tabular", ("size",)), Modality("two", "tabular", ("shade", "copy"))), "y")
    found = left_out(given, ["size", "copy"], DROPPABLE.columns)
    assert [(m.name, m.columns) for m in found.modalities] == [("two", ("shade",))]
    assert left_out(found, ["size", "copy"], ["shade", "y"]) == found  # the table need not have them any more
    assert left_out(given, None, ()) is given


@pytest.mark.parametrize(
    ("drop", "error", "said"),
    [
        ("sise", TableError, "drop: the table has no column 'sise'; did you mean 'size'"),
        (["y"], ConfigError, "drop: 'y' is to be predicted"),
        (["size", "a,b", "copy", "shade"], ConfigError, "no column is left to learn from"),
        (3, ConfigError, "drop must be text or a list of text, found 3"),
        ([3], ConfigError, "drop must be text or a list of text"),
    ],
)
def test_what_cannot_be_dropped_is_one_clear_line(drop: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        schema.infer(DROPPABLE, "y", drop=drop)
    with pytest.raises(error, match=said):
        left_out(schema.infer(DROPPABLE, "y"), drop, DROPPABLE.columns)
