from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.base.errors import PlaitWarning
from plait.data import schema, table
from plait.data.column import Column
from plait.data.leaks import Keys, accuracy, explained, keys_of, leaks, warn
from plait.data.modality import Modality, Schema

N = 600
RNG = np.random.default_rng(0)
CLASSES = RNG.choice(["wolf", "bear", "hawk"], N, p=[0.5, 0.3, 0.2])


def found(
    columns: dict[str, Any], y: Any = CLASSES, task: str = "classification", kind: str = "tabular"
) -> dict[str, Any]:
    frame = pd.DataFrame({"y": y, **columns})
    return {leak["column"]: leak for leak in leaks(frame, Schema((Modality("m", kind, tuple(columns)),), "y", task))}


def test_a_column_that_equals_the_target() -> None:
    leak = found({"c": CLASSES, "noise": RNG.normal(size=N)})
    assert set(leak) == {"c"}
    assert leak["c"]["kind"] == "equals"
    assert leak["c"]["score"] == 1.0
    assert leak["c"]["message"].startswith("column 'c' equals the target in 100.0% of the rows")


def test_equal_whatever_the_type() -> None:
    assert found({"c": [str(v) for v in range(2)] * 300}, y=[0.0, 1.0] * 300)["c"]["kind"] == "equals"


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(CLASSES).map({"wolf": 7, "bear": 3, "hawk": 9}),
        pd.Series(CLASSES).map({"wolf": 0.0, "bear": 10.0, "hawk": 20.0}) + RNG.random(N),
        pd.Series(CLASSES).map({"wolf": None, "bear": "x", "hawk": "z"}),
        pd.Series([f"{c}{i % 4}" for i, c in enumerate(CLASSES)]),
    ],
    ids=["renamed", "ranges of a number", "missing tells", "finer"],
)
def test_a_column_that_alone_tells_the_target(column: pd.Series) -> None:
    leak = found({"c": column})["c"]
    assert leak["kind"] == "predicts"
    assert leak["score"] >= 0.99


def test_what_is_no_leak() -> None:
    noisy = np.where(RNG.random(N) < 0.9, CLASSES, RNG.choice(["wolf", "bear"], N))
    columns = {
        "mostly right": pd.Series(noisy).map({"wolf": 1, "bear": 2, "hawk": 3}),
        "own for every row": [f"k{i}" for i in range(N)],
        "empty": [None] * N,
    }
    assert found(columns) == {}


def test_the_majority_is_no_leak_but_a_rare_class_told_is() -> None:
    y = np.where(np.arange(N) % 100 == 0, "sick", "well")
    assert found({"c": RNG.integers(0, 2, N)}, y=y) == {}
    assert found({"c": (y == "sick") * 5}, y=y)["c"]["kind"] == "predicts"


def test_numbers_that_tell_a_number() -> None:
    y = RNG.normal(size=N)
    leak = found(
        {"same in cents": y * 100 + 3, "cubed": y**3, "half": y + RNG.normal(size=N), "k": RNG.choice([1, 2], N)},
        y,
        "regression",
    )
    assert set(leak) == {"same in cents", "cubed"}


def test_one_of_several_labels_told() -> None:
    rows = [[*rng_row] for rng_row in (RNG.choice([*"abc"], size=RNG.integers(1, 3), replace=False) for _ in range(N))]
    y = ["|".join(row) for row in rows]
    leak = found({"has b": ["b" in row for row in rows], "noise": RNG.integers(0, 5, N)}, y, "multilabel")
    assert set(leak) == {"has b"}
    assert "whether 'b' is among it" in leak["has b"]["message"]


def test_texts_that_name_the_class_are_told_with_the_share() -> None:
    texts = [f"A {c if i % 3 else 'thing'}, seen in the wood." for i, c in enumerate(CLASSES)]
    other = ["A wolf, a bear and a hawk meet."] * N
    leak = found({"t": texts, "all named": other}, kind="text")
    assert set(leak) == {"t"}
    assert leak["t"]["kind"] == "names"
    assert abs(leak["t"]["score"] - 2 / 3) < 0.01
    assert "67% of the rows" in leak["t"]["message"]


def test_a_name_within_a_word_is_none() -> None:
    assert found({"t": [f"{c}like creature, number {i}" for i, c in enumerate(CLASSES)]}, kind="text") == {}


def test_identifiers_that_begin_with_the_class() -> None:
    frame = pd.DataFrame(
        {"id": [f"{c[:2].upper()}_{i:03}" for i, c in enumerate(CLASSES)], "x": RNG.normal(size=N), "y": CLASSES}
    )
    inferred = schema.infer(frame, "y")
    assert "id" in inferred.ignored
    (leak,) = leaks(frame, inferred)
    assert (leak["column"], leak["kind"]) == ("id", "prefix")
    assert "it is left out; keep it so" in leak["message"]
    frame["id"] = RNG.permutation(frame["id"])
    assert leaks(frame, inferred) == []


def test_rows_without_target_few_rows_and_no_target() -> None:
    half = pd.Series(CLASSES, dtype=object).where(np.arange(N) % 2 == 0, None)
    columns = {"c": pd.Series(CLASSES).map({"wolf": 7, "bear": 3, "hawk": 9}).where(np.arange(N) % 2 == 0, 1)}
    assert found(columns, y=half)["c"]["score"] == 1.0
    frame = pd.DataFrame({"y": CLASSES, "c": CLASSES})
    wanted = Schema((Modality("m", "tabular", ("c",)),), "y")
    assert leaks(frame.iloc[:10], wanted) == []
    assert leaks(frame, Schema(wanted.modalities)) == []
    assert leaks(frame.drop(columns="y"), wanted) == []
    assert leaks(frame.assign(y="one"), wanted) == []


def test_the_same_advice_for_several_columns_is_given_once() -> None:
    texts = {c: [f"{name} seen" if i % 3 else "nothing" for i, name in enumerate(CLASSES)] for c in ("a", "b")}
    names = list(found(texts, kind="text").values())
    assert [leak["kind"] for leak in names] == ["names", "names"]
    with pytest.warns(PlaitWarning) as caught:
        warn([*names, *found({"c": CLASSES}).values()])
    text = str(caught[0].message)
    assert text.count("mask the names") == 1
    assert text.count("names the row's own class") == 2
    assert text.endswith(
        "column 'c' equals the target in 100.0% of the rows; leave it out (--drop c) unless it is known when predicting"
    )


def test_the_same_answer_every_time_and_in_any_order_of_columns() -> None:
    columns = {"a": CLASSES, "b": pd.Series(CLASSES).map({"wolf": 7, "bear": 3, "hawk": 9}), "c": RNG.normal(size=N)}
    first = found(columns)
    assert found(columns) == first
    assert found(dict(reversed(columns.items()))) == first


def test_majority_of_each_code_by_a_naive_loop() -> None:
    codes, classes = RNG.integers(-1, 4, 200), RNG.integers(0, 3, 200)
    fold = np.random.default_rng(0).permutation(200) % 2
    right = 0
    for i in range(200):
        seen = [classes[j] for j in range(200) if fold[j] != fold[i] and codes[j] == codes[i]]
        counts = np.bincount(seen, minlength=3)
        right += bool(counts[classes[i]] == counts.max() and (counts == counts.max()).nonzero()[0][-1] == classes[i])
    score, majority = accuracy(Keys(codes), classes)
    assert abs(score - right / 200) < 1e-12
    assert majority == np.bincount(classes).max() / 200


def test_the_nearest_value_answers_for_one_that_was_not_seen() -> None:
    keys = keys_of(Column(pd.Series([1.0, 2.0, 10.0, None, 4.0, 9.0])))
    assert keys.codes.tolist() == [0, 1, 4, -1, 2, 3]
    known = np.array([0, 1, 4])
    assert keys.nearest(known, np.array([2, 3, 4, 0, -1])).tolist() == [1, 2, 2, 0, -1]
    assert keys.nearest(np.array([-1, 0]), np.array([3, -1])).tolist() == [1, 0]
    assert keys.nearest(np.array([-1]), np.array([3, -1])).tolist() == [-1, 0]
    assert Keys(keys.codes).nearest(known, np.array([2, 4])).tolist() == [-1, 2]


def test_values_stay_together_whatever_their_type() -> None:
    assert keys_of(Column(pd.Series(["1", "1.0", "2", None]))).codes.tolist() == [0, 0, 1, -1]
    assert keys_of(Column(pd.Series(["b", "a", "b", None]))).codes.tolist() == [0, 1, 0, -1]


def test_variance_explained_of_a_line_and_of_noise() -> None:
    x = RNG.normal(size=400)
    assert explained(keys_of(Column(pd.Series(x))), 3 * x + 1) > 0.99
    assert explained(keys_of(Column(pd.Series(x))), RNG.normal(size=400)) < 0.1
    groups = pd.Series(RNG.choice([*"abc"], 400))
    assert explained(keys_of(Column(groups)), groups.map({"a": 1.0, "b": 5.0, "c": 2.0}).to_numpy()) > 0.999


REAL = {
    ("hearthstone/hearthstone.csv", "set"): {"id": "prefix"},
    ("hearthstone/hearthstone.csv", "race"): {},
    ("movies/movies.csv", "genres"): {"text_raw": "names", "poster_label": "names"},
    ("pokemon/pokemon.csv", "type_1"): {"egg_groups": "names", "abilities": "names", "description": "names"},
    ("mosi/mosi_text_labels.csv", "label"): {},
    ("issues/issues_train.csv", "label"): {},
}


@pytest.mark.parametrize(("name", "target"), REAL)
def test_real_tables(name: str, target: str, data_root: Path) -> None:
    frame = table.read_table(data_root / name)
    told = leaks(frame, schema.infer(frame, target))
    assert {leak["column"]: leak["kind"] for leak in told} == REAL[name, target]


def test_the_advice_names_the_option_and_what_is_dropped_is_not_told_of() -> None:
    frame = pd.DataFrame({"my class": CLASSES, "y": CLASSES})
    wanted = Schema((Modality("tabular", "tabular", ("my class",)),), "y")
    assert "leave it out (--drop 'my class') unless it is known" in leaks(frame, wanted)[0]["message"]
    ranks = pd.DataFrame({"id": range(1, N + 1), "size": RNG.normal(size=N), "y": [float(i) for i in range(N)]})
    assert [leak["column"] for leak in leaks(ranks, schema.infer(ranks, "y"))] == ["id"]
    assert leaks(ranks, schema.infer(ranks, "y", drop="id")) == []
