"""What a cell says does not hang on the type, the format or the spelling that it comes in."""

from __future__ import annotations

import datetime
import itertools
import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import FusionClassifier
from plait.base.errors import PlaitWarning
from plait.data import schema, table
from plait.data.equal_rows import column_keys, merge_equal
from plait.data.parse import booleans, date_format, dates, number_style, numbers, zones
from plait.data.rows import data_hash
from plait.data.typed import plain, typed_array
from plait.data.values import nulls, text_of, texts
from plait.data.write import write_table
from plait.encoders.tabular import Tabular
from plait.workflow.fit import fit_table

N = 80
RNG = np.random.default_rng(0)


def kind_of(frame: pd.DataFrame, column: str = "c", target: str | None = None) -> tuple[str, str | None]:
    """``text``, ``number``, ... or ``ignored``; and what is doubtful."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        found = schema.infer(frame, target=target)
    doubt = found.doubts.get(column)
    if column in found.ignored:
        return "ignored", doubt
    kind = next(m.kind for m in found.modalities if column in m.columns)
    return found.types.get(column, kind), doubt


def one(cells: Any, kind: str = "") -> tuple[str, str | None]:
    return kind_of(pd.DataFrame({"c": cells, "o": [i % 3 for i in range(len(cells))]}))


# -- one value, many types ---------------------------------------------------------------------------------------------

VALUES = [2.5, None, 7.0, -3.0, 2.3, 0.1, None, 100.0] * 10
WHOLE = [2, None, 7, -3, 0, 100, None, 12] * 10


def arrow(kind: Any) -> pd.ArrowDtype:
    return pd.ArrowDtype(kind)


def number_columns() -> dict[str, pd.Series]:
    real = pd.Series(VALUES, dtype="float64")
    words = pd.Series([None if v is None else repr(v) for v in VALUES], dtype=object)
    return {
        "float64": real,
        **{name: real.astype(name) for name in ("float32", "Float64", "Float32", "double[pyarrow]", "float[pyarrow]")},
        "object": pd.Series(VALUES, dtype=object),
        "object of float32": pd.Series([None if v is None else np.float32(v) for v in VALUES], dtype=object),
        "pd.NA": pd.Series([pd.NA if v is None else v for v in VALUES], dtype=object),
        "text": words,
        "text with spaces": words.map(lambda w: w if w is None else f" {w} "),
        **{name: words.astype(name) for name in ("string", "string[pyarrow]", "category")},
        "large_string": words.astype(arrow(pa.large_string())),
        "dictionary": words.astype(arrow(pa.dictionary(pa.int32(), pa.string()))),
        "decimal": pd.Series([None if v is None else Decimal(repr(v)) for v in VALUES], dtype=object),
        "decimal[pyarrow]": pd.Series(
            [None if v is None else Decimal(repr(v)) for v in VALUES], dtype=arrow(pa.decimal128(12, 4))
        ),
        "category of floats": real.astype("category"),
        "Sparse": real.astype(pd.SparseDtype("float64", np.nan)),
    }


def whole_columns() -> dict[str, pd.Series]:
    real = pd.Series(WHOLE, dtype="Int64")
    return {
        "float64": real.astype("float64"),
        **{
            name: real.astype(name) for name in ("Int64", "Int16", "Int8", "Float32", "int64[pyarrow]", "int8[pyarrow]")
        },
        "float16": real.astype("float64").astype("float16"),
        "object": pd.Series(WHOLE, dtype=object),
        "object of floats": pd.Series([None if v is None else float(v) for v in WHOLE], dtype=object),
        "text": pd.Series([None if v is None else str(v) for v in WHOLE], dtype=object),
        "text with .0": pd.Series([None if v is None else f"{v}.0" for v in WHOLE], dtype=object),
        "decimal": pd.Series([None if v is None else Decimal(f"{v}.00") for v in WHOLE], dtype=object),
    }


def boolean_columns() -> dict[str, pd.Series]:
    cells = [True, False, None, False] * 20
    real = pd.Series(cells, dtype="boolean")
    spelled = itertools.product(
        ("True/False", "true/false", "TRUE/FALSE", "yes/no", "Y/N", "1/0", "on/off"), (object, "string")
    )
    return {
        "boolean": real,
        "object": pd.Series(cells, dtype=object),
        **{name: real.astype(name) for name in ("bool[pyarrow]", "Int64", "category", "Float64")},
        **{
            f"{pair} {dtype}": pd.Series([None if c is None else pair.split("/")[not c] for c in cells], dtype=dtype)
            for pair, dtype in spelled
        },
    }


def stamp_columns() -> dict[str, pd.Series]:
    stamps = pd.Series(pd.date_range("2021-03-01 10:30", periods=N, freq="31h"))
    return {
        "datetime64[ns]": stamps.astype("datetime64[ns]"),
        **{name: stamps.astype(name) for name in ("datetime64[s]", "datetime64[us]", "timestamp[ns][pyarrow]")},
        "object": stamps.astype(object),
        "python": pd.Series([s.to_pydatetime() for s in stamps], dtype=object),
        **{
            form: stamps.dt.strftime(form)
            for form in (
                "%Y-%m-%d %H:%M:%S",
                "%Y-%m-%dT%H:%M",
                "%d.%m.%Y %H:%M",
                "%m/%d/%Y %I:%M %p",
                "%d %b %Y %H:%M:%S",
            )
        },
        "category": stamps.dt.strftime("%Y-%m-%d %H:%M").astype("category"),
    }


COLUMNS = {
    "number": number_columns(),
    "whole": whole_columns(),
    "boolean": boolean_columns(),
    "date": stamp_columns(),
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, made in COLUMNS.items() for n in made])
def test_every_type_gives_the_same_schema_features_and_order(kind: str, name: str) -> None:
    first, cells = next(iter(COLUMNS[kind].values())), COLUMNS[kind][name]
    word = {"whole": "number"}.get(kind, kind)
    other = [f"w{i % 7}" for i in range(N)]
    type_ = one(cells)[0]
    assert type_.partition(" ")[0] == word
    reference, frame = (pd.DataFrame({"c": c, "o": other}) for c in (first, cells))
    fitted = Tabular(types={"c": type_}).fit(frame)
    expected = Tabular(types={"c": word}).fit(reference)
    assert fitted.names() == expected.names()
    np.testing.assert_array_equal(fitted.prepare(frame)["x"], expected.prepare(reference)["x"])
    if kind != "date" or type_ == "date":  # 03.04.2021 says its order only in the column that it was fitted on
        np.testing.assert_array_equal(expected.prepare(frame)["x"], expected.prepare(reference)["x"])
    np.testing.assert_array_equal(column_keys(cells, type_), column_keys(first, word))
    assert nulls(cells).tolist() == nulls(first).tolist()


@pytest.mark.parametrize("name", COLUMNS["whole"])
def test_codes_are_the_same_words(name: str) -> None:
    cells = COLUMNS["whole"][name]
    assert texts(cells).tolist() == [None if v is None else str(v) for v in WHOLE]
    assert data_hash(cells.to_frame("c")) == data_hash(pd.DataFrame({"c": COLUMNS["whole"]["text"]}))


def test_one_table_in_three_formats_is_one_model(tmp_path: Path) -> None:
    n = 90
    frame = pd.DataFrame(
        {
            "a": RNG.normal(size=n).round(3).astype("float32"),
            "b": RNG.integers(0, 9, n),
            "c": RNG.choice(["x", "y", "z"], n),
            "flag": RNG.random(n) < 0.5,
            "when": pd.date_range("2020-01-01", periods=n, freq="5D").strftime("%Y-%m-%d"),
            "tags": [["p", "q"] if i % 3 else ["q"] for i in range(n)],
        }
    )
    y = np.where(frame["a"] + (frame["c"] == "x") > 0.3, "yes", "no")
    answers = []
    for ending in ("csv", "parquet", "jsonl"):
        path = tmp_path / f"t.{ending}"
        write_table(frame, path)
        read = table.read_table(path)
        model = FusionClassifier(store="none", members=2, epochs=3, progress=False).fit(read, y)
        answers.append((model.schema_.types, model.predict_proba(read)))
    for types, found in answers[1:]:
        assert types == answers[0][0]
        np.testing.assert_array_equal(found, answers[0][1])


def test_whole_numbers_of_64_bits_stay_exact(tmp_path: Path) -> None:
    big = 2**60 + 1
    frame = pd.DataFrame({"id": pd.array([big, None, big + 1], dtype="Int64")})
    write_table(frame, tmp_path / "t.parquet")
    assert texts(table.read_table(tmp_path / "t.parquet")["id"]).tolist() == [str(big), None, str(big + 1)]
    assert text_of(10**15 + 1) == text_of(float(10**15 + 1)) == text_of(str(10**15 + 1)) == "1000000000000001"


def test_what_a_cell_says_does_not_hang_on_the_rows_before_it() -> None:
    cells = pd.Series([True, 1, "1", 1.0, False, 0, "x"] * 5, dtype=object)
    said = ["True", "1", "1", "1", "False", "0", "x"] * 5
    assert texts(cells).tolist() == said
    assert texts(cells[::-1]).tolist() == said[::-1]
    column = typed_array(cells)
    codes, values = column.codes, column.source.values
    assert [values[c] for c in codes[:4]] == [True, 1, "1", 1]
    assert codes[1] == codes[3] != codes[0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pd.Series([["a", "b"], ["b"], [], None] * 20, dtype=arrow(pa.list_(pa.string()))), "list"),
        (pd.Series([[float(i), 1.0] for i in range(N)], dtype=arrow(pa.list_(pa.float64()))), "vector"),
        (pd.Series([[i, 1] for i in range(N)], dtype=arrow(pa.list_(pa.int32()))), "vector"),
        (pd.Series([{"k": i % 3} for i in range(N)], dtype=arrow(pa.struct([("k", pa.int64())]))), "ignored"),
        (pd.Series([datetime.time(i % 24, i % 60) for i in range(N)], dtype=arrow(pa.time64("us"))), "date %H:%M:%S"),
        (pd.Series([datetime.date(2020, 1 + i % 12, 1) for i in range(N)], dtype=arrow(pa.date32())), "date"),
        (pd.Series(pd.to_timedelta([i * 977 for i in range(N)], unit="s")), "number"),
    ],
    ids=["words", "floats", "ints", "struct", "time", "date", "duration"],
)
def test_nested_and_temporal_arrow_columns(cells: pd.Series, kind: str) -> None:
    assert one(cells)[0] == kind
    plainly = pd.Series(list(plain(cells)), dtype=object)
    assert one(plainly)[0] == kind
    np.testing.assert_array_equal(column_keys(cells, kind), column_keys(plainly, kind))


def test_rows_merge_by_what_they_say() -> None:
    frame = pd.DataFrame({"n": ["1.10", "1.1", "1.1"], "k": ["a", "a", "a"]})
    y, weight = np.array(["u", "u", "v"]), np.ones(3)
    assert len(merge_equal(frame, y, weight, {"n": "number", "k": "category"})[0]) == 2
    assert len(merge_equal(frame, y, weight, {"n": "category", "k": "category"})[0]) == 3
    yes = pd.DataFrame({"b": [True, "yes", "TRUE", 1]}, dtype=object)
    assert len(merge_equal(yes, np.zeros(4), np.ones(4), {"b": "boolean"})[0]) == 1


@pytest.mark.parametrize("y", [[0.0, 1.0] * 20, ["0", "1"] * 20, np.array([0, 1] * 20, dtype=object)])
def test_the_order_of_rows_does_not_hang_on_the_type_of_the_labels(y: Any) -> None:
    frame = pd.DataFrame({"n": np.arange(40) // 2})
    found = merge_equal(frame, np.asarray(y), np.ones(40))
    expected = merge_equal(frame, np.array([0, 1] * 20), np.ones(40))
    assert found[0].equals(expected[0])
    assert [text_of(v) for v in found[1]] == [text_of(v) for v in expected[1]]


# -- numbers as people write them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["1,234.50", "999.00", "12"], [1234.5, 999, 12]),
        (["1.234,50", "3,2", "1.234"], [1234.5, 3.2, 1234]),
        (["633,26", "12", "1234"], [633.26, 12, 1234]),
        (["1.234.567", "3"], [1234567, 3]),
        (["1 234,5", "12 345"], [1234.5, 12345]),
        (["12’345.5", "7"], [12345.5, 7]),
        (["1,23,456", "12,34,567.5"], [123456, 1234567.5]),
        (["$1,234.50", "-$5", "$-7"], [1234.5, -5, -7]),
        (["EUR 5,5", "EUR 1.234,5"], [5.5, 1234.5]),
        (["5 €", "7,50 €"], [5, 7.5]),
        (["12.5%", "3%"], [12.5, 3]),
        (["−5.764", "–4", "4"], [-5.764, -4, 4]),
        (["１２", "３４．５"], [12, 34.5]),
        (["1.5k", "2.3M", "7"], [1500, 2.3e6, 7]),
        (["(1,234.50)", "2.00"], [-1234.5, 2]),
        (["5-", "6"], [-5, 6]),
        (["12.5kg", "3 kg"], [12.5, 3]),
        (["5 m/s", "7.5 m/s"], [5, 7.5]),
        (["<5.1", ">100.2", "≤7", "8"], [5.1, 100.2, 7, 8]),
        (["10-20", "30–40"], [15, 35]),
        (["1/2", "3/4", "1 1/2"], [0.5, 0.75, 1.5]),
        (["½", "1½"], [0.5, 1.5]),
        (["1:30:00", "25:10:11"], [5400, 90611]),
        (["2 days 03:00:00", "1 days 00:00:00"], [183600, 86400]),
        (["1h 30min", "2h"], [5400, 7200]),
        (["3 weeks", "2 days"], [1814400, 172800]),
        (["1e5", "2E-3"], [1e5, 2e-3]),
        (["1.234", "0.5"], [1.234, 0.5]),
        (["0,125", "0,250"], [0.125, 0.25]),
        (["1.234 kg", "5,5 kg"], [1234, 5.5]),
    ],
)
def test_numbers_in_their_spellings(words: list[str], values: list[float]) -> None:
    style = number_style(pd.Series(words))
    parsed = numbers(pd.Series(words), style)
    np.testing.assert_allclose(parsed.values, values, rtol=1e-12)
    assert not parsed.odd.any()


@pytest.mark.parametrize(
    "words", [["1_0"], ["1.2.3"], ["12,34,5"], ["0x1f"], ["1,2,3"], ["--5"], ["5²"], ["5 5"], ["(5"]]
)
def test_what_is_no_number(words: list[str]) -> None:
    assert numbers(pd.Series([*words, "7"]), number_style(pd.Series([*words, "7"]))).bad.tolist() == [True, False]


@given(st.floats(-1e6, 1e6).map(lambda v: round(v, 2)), st.sampled_from([",.", ".,", " ,", "'."]))
@settings(max_examples=60, deadline=None)
def test_any_number_comes_back_from_any_separators(value: float, marks: str) -> None:
    group, decimal = marks
    spelled = f"{value:,.2f}".replace(",", "\0").replace(".", decimal).replace("\0", group)
    column = pd.Series([spelled, f"12{decimal}50", f"1{group}234{decimal}75"])
    assert numbers(column, number_style(column)).values.tolist() == [value, 12.5, 1234.75]


@pytest.mark.parametrize(
    "new",
    [
        pd.Series([12.5, 1234.5]),
        pd.Series([12.5, 1234.5], dtype="float32"),
        pd.Series([12.5, 1234.5], dtype=object),
        pd.Series([Decimal("12.5"), Decimal("1234.5")], dtype=object),
        pd.Series([12.5, 1234.5], dtype="double[pyarrow]"),
        pd.Series(["12,50", "1.234,50"]),
    ],
    ids=["float64", "float32", "object", "decimal", "arrow", "text"],
)
def test_real_numbers_are_taken_as_they_are_whatever_the_style_of_the_fit(new: pd.Series) -> None:
    fitted = Tabular(types={"c": "number"}, bins=0).fit(pd.DataFrame({"c": ["12,50", "1.234,50", "7"]}))
    plainly = Tabular(types={"c": "number"}, bins=0).fit(pd.DataFrame({"c": [12.5, 1234.5, 7]}))
    expected = plainly.prepare(pd.DataFrame({"c": [12.5, 1234.5]}))["x"]
    np.testing.assert_array_equal(fitted.prepare(pd.DataFrame({"c": new}))["x"], expected)


@pytest.mark.parametrize(
    ("fit", "cell", "value", "said"),
    [
        (["12,50", "1,5"], "12.50", 12.5, r"1 in 'c' \(e.g. '12.50', read as 12.5; fitted on a decimal comma\)"),
        (["12.50", "1.5"], "12,50", 12.5, r"1 in 'c' \(e.g. '12,50', read as 12.5; fitted on plain numbers\)"),
        ([12.5, 1.5], "<5", 5.0, "read as 5"),
        ([12.5, 1.5], "2k", 2000.0, "read as 2000"),
        ([12.5, 1.5], "1,234", np.nan, "cells that count as missing: 1 in 'c' are infinite or no number"),
        (["5 kg", "7 kg"], "5 g", np.nan, "cells that count as missing"),
        ([0.125, 0.5], "12.5%", np.nan, "cells that count as missing"),
        ([12.5, 1.5], "10-20", np.nan, "cells that count as missing"),
    ],
)
def test_other_spellings_at_predict_are_understood_or_told(fit: list[Any], cell: str, value: float, said: str) -> None:
    encoder = Tabular(types={"c": "number"}, bins=0).fit(pd.DataFrame({"c": [*fit, None, *fit]}))
    with pytest.warns(PlaitWarning, match=said) as caught:
        found = encoder.prepare(pd.DataFrame({"c": [cell]}))["x"]
    assert len(caught) == 1
    np.testing.assert_array_equal(found, encoder.prepare(pd.DataFrame({"c": [value]}))["x"])


SPREAD = np.round(np.exp(np.random.default_rng(3).normal(6, 1.5, N)), 2)


@pytest.mark.parametrize(
    ("cells", "kind", "told"),
    [
        ([f"{v:,.2f}" for v in SPREAD], "number", "separators of thousands"),
        (
            [f"{v:.2f}".replace(".", ",") if i % 3 else f"{v:.0f}" for i, v in enumerate(SPREAD)],
            "number",
            "decimal comma",
        ),
        ([f"${v:,.2f}" for v in SPREAD], "number", "the unit '[$]' left out"),
        ([f"−{v}" for v in SPREAD], "number", "signs and digits of typesetting"),
        ([f"{v:.1f}kg" for v in SPREAD], "number", "the unit 'kg' left out"),
        ([f"<{v}" if i % 9 == 0 else f"{v}" for i, v in enumerate(SPREAD)], "number", "bounds"),
        ([f"{v / 1000:.2f}k" for v in SPREAD], "number", "k and M"),
        ([f"Rs. {v:,.2f}" for v in SPREAD], "number", "the unit 'Rs.' left out"),
        ([f"US$ {v:,.2f}" for v in SPREAD], "number", "the unit 'US[$]' left out"),
        ([f"{v:.1f} million" for v in SPREAD], "number", "k and M"),
        ([f"{v:.1f}+" for v in SPREAD], "number", "bounds"),
        ([f"{int(v)}-{int(v) + 10}" for v in SPREAD], "category", "by the middle of each range"),
        ([f"{int(v) + 1}/100" for v in SPREAD], "category", "as fractions"),
        ([f"{int(v):,}" for v in SPREAD * 1000 % 900_000 + 1000], "category", "write type 'number'"),
        ([f"{int(v)}:{i % 60:02}:00" for i, v in enumerate(SPREAD)], "number", "durations in seconds"),
        ([f"{v:.1f} {'kg' if i % 2 else 'g'}" for i, v in enumerate(SPREAD)], "category", "a mixture: 50% numbers"),
        ([f"{'$€'[i % 2]}{v}" for i, v in enumerate(SPREAD)], "category", "a mixture: 50% numbers"),
        (
            [("unknown", "TBD", "n.d.")[i % 3] if i % 9 == 0 else v for i, v in enumerate(SPREAD)],
            "number",
            "no numbers",
        ),
    ],
)
def test_no_spelling_is_dropped_without_a_word(cells: list[Any], kind: str, told: str) -> None:
    found, doubt = one(cells)
    assert found == kind
    assert doubt is not None
    assert pd.Series([doubt]).str.contains(told).all(), doubt
    frame = pd.DataFrame({"c": cells})
    encoder = Tabular(types={"c": "number"}, bins=0).fit(frame)
    if "mixture" not in told and "no numbers" not in told:  # whoever follows the CHECK loses no cell
        assert len(encoder.names()) == 1
        encoder.prepare(frame)


def test_durations_below_zero() -> None:
    seconds = [-1.5, 2.0, -90000.25, 302400.0]
    spans = pd.Series(pd.to_timedelta(seconds, unit="s"))
    plainly = [datetime.timedelta(seconds=s) for s in seconds]
    for cells in (spans, spans.astype(str), pd.Series(plainly, dtype=object), pd.Series(list(map(str, plainly)))):
        assert numbers(cells, number_style(cells)).values.tolist() == seconds
    assert numbers(pd.Series(["-01:30", "-1 days 02:00:00"]), "duration").values.tolist() == [-5400.0, -93600.0]


class Thing:
    """Prints as its own address."""


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda i: complex(i, 1), "complex numbers; give real and imaginary parts"),
        (lambda i: Thing(), "cells are Thing, of no kind that is known"),
        (lambda i: pd.Series([i, 1.0]), "cells are Series, of no kind"),
        (lambda i: len if i % 2 else max, "cells are builtin_function_or_method"),
    ],
)
def test_objects_that_say_nothing_are_left_out_by_name(make: Callable[[int], Any], said: str) -> None:
    frame = pd.DataFrame({"c": pd.Series([make(i) for i in range(N)], dtype=object), "o": np.arange(N)})
    assert said in schema.infer(frame).ignored["c"]


# -- dates as people write them ----------------------------------------------------------------------------------------

MOMENTS = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 900 * 24 * 60, N), unit="min"))
FORMS = {
    **dict.fromkeys(
        (
            *("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M+02:00", "%Y-%m-%d %H:%M CET"),
            *("%Y-%m-%d %H:%M Europe/Berlin", "%Y-%m-%dT%H:%M:%S+02:00[Europe/Berlin]", "%Y%m%dT%H%M%SZ"),
        ),
        "date",
    ),
    **dict.fromkeys(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S,%f", "%G-W%V-%u"), "date"),
    **{
        form: f"date {form}"
        for form in (
            *("%m/%d/%Y %I:%M %p", "%Y-%m-%d %I:%M %p", "%d.%m.%Y %H:%M", "%b %d, %Y %I:%M %p", "%d %b %Y %H:%M"),
            *(
                "%d/%m/%y",
                "%d.%m.%y %H:%M:%S",
                "%Y-%m",
                "%Y/%m/%d",
                "%A, %B %d, %Y",
                "%b %Y",
                "%m/%Y",
                "%H:%M",
                "%I:%M %p",
            ),
            *("%d-%b-%Y %H:%M", "%m/%d/%Y, %I:%M:%S %p", "%Y %b %d"),
        )
    },
    "%a, %d %b %Y %H:%M:%S +0100": "date %a, %d %b %Y %H:%M:%S",
}


@pytest.mark.parametrize("form", FORMS)
def test_dates_in_their_spellings(form: str) -> None:
    words = MOMENTS.dt.strftime(form)
    found, doubt = one(words.to_numpy())
    assert found == FORMS[form]
    read = dates(words, found.partition(" ")[2] or "ISO8601")
    bare = re.sub(r"( UTC|Z| CET| [+]0100|[+]02:00(\[.*)?| Europe/Berlin)$", "", form)
    expected = pd.to_datetime(MOMENTS.dt.strftime(bare), format=bare)
    np.testing.assert_allclose(read.values, (expected - pd.Timestamp(0)) / pd.Timedelta(days=1), rtol=0, atol=1e-9)
    if form == "%d/%m/%y":
        assert "two digits" in str(doubt)
    if form in ("%H:%M", "%I:%M %p"):
        assert "times of day" in str(doubt)


@pytest.mark.parametrize(
    "form",
    ["%GK%V", "%Y-%j", "%d/%m/%Y %Hh%M", "since %Y-%m-%d", "%Y_%m_%d", "%Mm %Y x", "no. %y%j"],
)
def test_a_spelling_that_is_not_read_is_told(form: str) -> None:
    found, doubt = one(MOMENTS.dt.strftime(form).to_numpy())
    assert found == "category"
    assert "they are not read in this form" in str(doubt)


@pytest.mark.parametrize(
    "cells", [["C85", "E46"], ["Boeing 737", "Airbus A320"], ["PS2", "PS3"], [f"C{i}" for i in range(12)]]
)
def test_names_with_numbers_are_told_nothing(cells: list[str]) -> None:
    assert one(np.resize(cells, N)) == ("category", None)


def test_quarters_and_weeks_are_the_days_on_which_they_begin() -> None:
    quarters = MOMENTS.dt.to_period("Q")
    begins = (quarters.dt.start_time - pd.Timestamp(0)) / pd.Timedelta(days=1)
    year, quarter = quarters.dt.year.astype(str), "Q" + quarters.dt.quarter.astype(str)
    for words in (year + quarter, year + "-" + quarter, quarter + " " + year, quarters, quarters.astype(object)):
        found, _ = one(words)
        assert found.partition(" ")[0] == "date"
        np.testing.assert_array_equal(dates(words, found.partition(" ")[2] or "ISO8601").values, begins)
    weeks = MOMENTS.dt.to_period("W")
    begins = (weeks.dt.start_time - pd.Timestamp(0)) / pd.Timedelta(days=1)
    for words in (weeks, MOMENTS.dt.strftime("%G-W%V"), MOMENTS.dt.strftime("%GW%V")):
        assert one(words)[0] == "date"
        np.testing.assert_array_equal(dates(words).values, begins)


@pytest.mark.parametrize("odd", ["unknown", "TBD", "0000-00-00", "2021-02-30", "N/A", None])
def test_a_few_odd_cells_leave_a_date_a_date(odd: str | None) -> None:
    cells = [odd if i in (7, 9) else v for i, v in enumerate(MOMENTS.dt.strftime("%Y-%m-%d"))]
    found, doubt = one(cells)
    assert found == "date"
    assert (doubt is None) == (odd in ("N/A", None))
    assert doubt is None or f"2 cells such as {odd!r} are no dates and count as missing" in doubt
    assert np.flatnonzero(np.isnan(dates(pd.Series(cells)).values)).tolist() == [7, 9]


def test_the_local_time_is_kept() -> None:
    friday = pd.Series(["2020-01-03T20:00:00-05:00", "2020-01-03 20:00:00 EST", "2020-01-03 20:00"])
    assert dates(friday).values.tolist() == [18264 + 20 / 24] * 3  # a Friday evening, everywhere
    stamps = pd.to_datetime(pd.Series(["2020-01-03 20:00"])).dt.tz_localize("America/New_York")
    assert dates(stamps).values.tolist() == [18264 + 20 / 24]
    assert dates(stamps.astype(object)).values.tolist() == [18264 + 20 / 24]
    encoder = Tabular(types={"c": "date"}).fit(pd.DataFrame({"c": stamps}))
    place = encoder.names().index("c: weekend")
    assert encoder.prepare(pd.DataFrame({"c": stamps}))["x"][0, place] == 0


@pytest.mark.parametrize(
    ("fitted", "new", "said"),
    [
        ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M+02:00", "'c' has times with a time zone, fitted without a time zone"),
        ("%Y-%m-%d %H:%M+02:00", "%Y-%m-%d %H:%M", "'c' has times without a time zone, fitted with a time zone"),
    ],
)
def test_zones_that_come_or_go_are_told(fitted: str, new: str, said: str) -> None:
    encoder = Tabular(types={"c": "date"}).fit(pd.DataFrame({"c": MOMENTS.dt.strftime(fitted)}))
    with pytest.warns(PlaitWarning, match=said):
        encoder.prepare(pd.DataFrame({"c": MOMENTS.dt.strftime(new)}))
    assert zones(MOMENTS) == "naive"
    assert zones(MOMENTS.dt.tz_localize("UTC")) == "aware"


def test_models_of_the_first_version_read_times_as_they_did() -> None:
    cells = pd.DataFrame({"c": ["2020-01-03T20:00:00-05:00", "2020-01-05T20:00:00-05:00"]})
    state = Tabular(types={"c": "date"}).fit(cells).state()
    del state["columns"][0]["zone"]
    old = Tabular(types={"c": "date"})
    old.load_state(state)
    assert old.prepare(cells)["x"][0, old.names().index("c: weekend")] == 1  # Saturday, one o'clock in UTC
    number = Tabular(types={"n": "number"}).fit(pd.DataFrame({"n": ["$1,200", "$5"]}))
    state = number.state()
    state["columns"][0]["style"] = "thousands"
    number.load_state(state)
    assert number.prepare(pd.DataFrame({"n": ["$1,200"]}))["x"][0, 0] != 0


def test_day_and_month_that_look_alike_are_told() -> None:
    assert date_format(pd.Series(["01/02/20", "03/04/20"])) == "ambiguous"
    assert date_format(pd.Series(["85/02/20", "93/04/20"])) == "%y/%m/%d"
    assert booleans(pd.Series(["Yes", "NO"])).values.tolist() == [1, 0]


# -- types that hold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("user_id", RNG.integers(1000, 2500, 6000), "code"),
        (
            "fee",
            RNG.choice([0, 0, 0, 1, 5, 10, 15, 20, 25, 50, 75, 100, 150, 200, 250, 300, 450, 1000, 2000], 6000),
            "number",
        ),
        ("amount", RNG.choice(np.unique(np.exp(RNG.normal(5, 1.3, 60)).astype(int))[:45], 6000), "number"),
        ("zip_code", RNG.choice(RNG.integers(10000, 99999, 900), 6000), "code"),
        ("seller_postcode", RNG.choice(RNG.integers(10000, 99999, 40), 6000), "code"),
        ("plz", RNG.integers(10000, 99999, 6000), "code"),
        ("set", RNG.choice([2, 3, 4, 12, 13, 14, 15, 1001, 1004, 1116, 1466, 1525], 6000), "code"),
        ("name", RNG.choice([f"{a}{b}son" for a in "klmnprst" * 20 for b in "aeiou" * 5], 6000), "category"),
        (
            "title",
            [f"name {chr(97 + i % 26)}{chr(97 + i // 26 % 26)} of {chr(97 + i % 25)}" for i in range(6000)],
            "text",
        ),
    ],
)
def test_a_column_is_taken_for_the_same_in_any_part_of_it(name: str, cells: Any, kind: str) -> None:
    cells = pd.Series(cells).sample(frac=1, random_state=0).reset_index(drop=True)
    for part in (cells, cells[:500], cells[500:3000].reset_index(drop=True)):
        assert kind_of(pd.DataFrame({name: part, "o": np.arange(len(part)) % 3}), name)[0] == kind, len(part)


@pytest.mark.parametrize("file", ["petfinder/petfinder.csv", "games/games.csv", "pokemon/pokemon.csv"])
def test_random_halves_of_real_tables_have_the_types_of_the_whole(file: str, data_root: Path) -> None:
    frame = table.read_table(data_root / file).sample(frac=1, random_state=1).reset_index(drop=True)[:4000]
    whole = {c: kind_of(frame[[c]].assign(o=np.arange(len(frame)) % 3), c)[0] for c in frame}
    half = frame[: len(frame) // 2]
    assert {c: kind_of(half[[c]].assign(o=np.arange(len(half)) % 3), c)[0] for c in frame} == whole
    assert "petfinder" not in file or whole["Fee"] == "number"


@pytest.mark.parametrize(
    ("name", "cells", "task"),
    [
        ("class", RNG.integers(0, 24, 500), "classification"),
        ("label", RNG.integers(0, 100, 500), "classification"),
        ("class_id", RNG.integers(1, 48, 500).astype(str), "classification"),
        ("y", pd.Series(RNG.integers(0, 30, 500)).astype("category"), "classification"),
        ("y", RNG.choice(["[INST]", "[SYS]", "[OUT]"], 500), "classification"),
        ("count", RNG.integers(0, 400, 500), "regression"),
        ("y", np.exp(RNG.normal(size=500)), "regression"),
        ("price", [f"{v:.2f} €".replace(".", ",") for v in np.exp(RNG.normal(5, 1, 500))], "regression"),
        ("y", [["a", "b"] if i % 2 else ["c"] for i in range(500)], "multilabel"),
    ],
)
def test_what_a_target_asks_for(name: str, cells: Any, task: str) -> None:
    frame = pd.DataFrame({name: cells, "x": np.arange(500) % 7})
    assert schema.infer(frame, target=name).task == task


# -- no column goes without a word -------------------------------------------------------------------------------------


def unused_frame() -> pd.DataFrame:
    n = 40
    return pd.DataFrame(
        {
            "id": [f"AT_{i:03}" for i in range(n)],
            "same": ["k"] * n,
            "cell": [{"k": i} for i in range(n)],
            "x": RNG.normal(size=n),
            "y": ["a", "b"] * (n // 2),
        }
    )


def test_every_fit_names_the_columns_that_it_does_not_use() -> None:
    frame = unused_frame()
    model = FusionClassifier(store="none", members=2, epochs=1, progress=False)
    said = r"3 of 4 columns are not used: 'id' \(an identifier: .*'same' \(constant: .*'cell' \(cells are dict"
    with pytest.warns(PlaitWarning, match=said) as caught:
        model.fit(frame.drop(columns="y"), frame["y"])
    assert len(caught) == 1
    found = schema.infer(frame, target="y")
    settings = {"members": 2, "epochs": 1, "store": "none", "progress": False}
    with pytest.warns(PlaitWarning, match="3 of 5 columns are not used: 'id'") as caught:
        fit_table(frame, found, settings)
    assert sum("not used" in str(w.message) for w in caught) == 1
    with pytest.warns(PlaitWarning, match=r"'extra' \(named nowhere in the schema\)"):
        fit_table(
            frame.assign(extra=1, part=["train"] * 32 + ["test"] * 8), found, settings, split={"split_column": "part"}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlaitWarning)  # whoever names the columns has decided
        model.set_params(modalities={"t": {"kind": "tabular", "columns": ["x"]}}).fit(
            frame.drop(columns="y"), frame["y"]
        )
