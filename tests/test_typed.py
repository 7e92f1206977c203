"""A table whose columns are read once: pandas handles it as before, and no cell is read twice."""

import copy
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier
from plait.data import numbers, schema
from plait.data.parse import dates, number_style
from plait.data.parse import numbers as as_numbers
from plait.data.rows import data_hash
from plait.data.typed import typed, typed_array
from plait.data.values import nulls, texts


@pytest.fixture
def frame() -> pd.DataFrame:
    values = {"a": ["1,5", " ", "2,5", "1,5", None], "b": [["x"], None, ["x", "y"], ["x"], 3], "n": [1.5, 2, 3, 4, 5]}
    return pd.DataFrame({k: pd.Series(v, dtype=object if k != "n" else float) for k, v in values.items()})


def test_only_what_needs_reading_is_wrapped(frame: pd.DataFrame) -> None:
    result = typed(frame)
    assert [str(dtype) for dtype in result.dtypes] == ["typed", "typed", "float64"]
    assert frame["a"].dtype == object  # the table that was given stays as it is
    assert typed(result)["a"].array is result["a"].array


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 0], [4, 1], []])
def test_rows_say_the_same_as_those_of_a_plain_table(frame: pd.DataFrame, rows: list[int]) -> None:
    whole = typed(frame)
    texts(whole["a"])
    for name in ("a", "b"):
        before, now = frame[name].iloc[rows], whole[name].iloc[rows]
        assert texts(now).tolist() == texts(before).tolist()
        assert nulls(now).tolist() == nulls(before).tolist()
        assert number_style(now) == number_style(before)
        np.testing.assert_array_equal(as_numbers(now, "comma").values, as_numbers(before, "comma").values)
        column = typed_array(now)
        codes, values = column.codes, column.source.values
        assert [values[c] if c >= 0 else None for c in codes] == [
            None if gone else v for v, gone in zip(before, nulls(before), strict=True)
        ]
    assert data_hash(whole.iloc[rows]) == data_hash(frame.iloc[rows])


def test_pandas_handles_it_as_objects(frame: pd.DataFrame) -> None:
    column = typed(frame)["a"]
    assert column.isna().tolist() == [False, False, False, False, True]
    assert (column == "1,5").tolist() == [True, False, False, True, False]
    assert column.reindex([0, 9]).tolist() == ["1,5", None]
    assert pd.concat([column.iloc[:1], column.iloc[2:3]]).tolist() == ["1,5", "2,5"]
    assert pd.concat([column.iloc[:1], typed(frame)["b"].iloc[:1]]).tolist() == ["1,5", ["x"]]
    assert column.to_numpy(dtype=object).tolist() == frame["a"].tolist()
    assert column.map(lambda cell: cell is None).sum() == 1  # of a type of its own
    assert pd.factorize(column)[0].tolist() == [0, 1, 2, 0, -1]
    assert copy.deepcopy(column).tolist() == frame["a"].tolist()
    assert column.astype(object).tolist() == frame["a"].tolist()


def test_a_cell_that_is_set_is_read_anew(frame: pd.DataFrame) -> None:
    table = typed(frame)
    as_numbers(table["a"], "comma")
    other = table.copy()
    other.loc[0, "a"] = "7,5"
    assert as_numbers(other["a"], "comma").values[0] == 7.5
    assert as_numbers(table["a"], "comma").values[0] == 1.5


def test_media_are_not_compared_to_know_whether_they_are_there() -> None:
    pictures = pd.Series([np.zeros((4, 4)), None, np.ones((4, 4))], dtype=object)
    column = typed(pd.DataFrame({"a": pictures}))["a"]
    assert nulls(column).tolist() == [False, True, False]
    assert "_distinct" not in vars(column.array.source)


def test_no_word_is_read_twice_between_schema_and_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[object] = Counter()

    def read(value: object, style: numbers.Style) -> tuple[float, bool]:
        seen[value] += 1
        return original(value, style)

    original = numbers.read
    monkeypatch.setattr("plait.data.parse.read", read)
    rng = np.random.default_rng(0)
    values = np.char.mod("%.3f", rng.normal(size=80))
    table = typed(pd.DataFrame({"size": values, "y": np.where(rng.random(80) > 0.5, "a", "b")}, dtype=object))
    found = schema.infer(table, target="y")
    model = FusionClassifier(modalities=found, store="none", epochs=1, members=1, progress=False)
    model.fit(table[["size"]].iloc[:60], table["y"].iloc[:60].tolist())
    model.predict(table[["size"]].iloc[60:])
    assert {seen[value] for value in values} == {1}


def test_dates_of_some_rows_are_those_of_the_whole() -> None:
    table = typed(pd.DataFrame({"d": ["31/01/2020", "01/02/2020", "TBD"]}, dtype=object))
    whole = dates(table["d"], "%d/%m/%Y")
    part = dates(table["d"].iloc[[2, 1]], "%d/%m/%Y")
    assert whole.values[1] - whole.values[0] == 1.0
    np.testing.assert_array_equal(part.values, whole.values[[2, 1]])
    assert part.bad.tolist() == [True, False]
