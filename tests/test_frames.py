"""Tables where they lie: folders of Parquet, Arrow files, and frames of other libraries in and out of estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, FusionRegressor, evaluate, explain, fit_table, infer_schema, read_table
from plait.base.errors import TableError
from plait.data.table import frame_of, read_chunks

pa = pytest.importorskip("pyarrow")

N = 60
SETTINGS: dict[str, Any] = {"store": "none", "epochs": 3, "members": 2, "progress": False}


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.normal(size=N)
    name = np.array(["red ant", "blue bee", "grey cow"])[np.arange(N) % 3]
    return pd.DataFrame({"size": size, "name": name, "big": np.where(size > 0, "yes", "no")})


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_folder_of_parquet_is_one_table_and_its_folders_are_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    frame = rows()
    for year in (2024, 2023):
        place = tmp_path / "t" / f"year={year}"
        place.mkdir(parents=True)
        half = frame[:30] if year == 2023 else frame[30:]
        parquet.write_table(pa.table(half), place / "part-0.parquet")
    read = read_table(tmp_path / "t")
    pd.testing.assert_frame_equal(read[list(frame)], frame, check_dtype=False)
    assert read["year"].tolist() == [2023] * 30 + [2024] * 30
    chunks = list(read_chunks(tmp_path / "t", 7))
    assert max(map(len, chunks)) <= 7
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), read, check_dtype=False)


def test_files_of_a_folder_that_do_not_fit_each_other_are_one_line(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "b.parquet")
    with pytest.raises(TableError, match="not a readable folder of Parquet files") as error:
        read_table(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 junk")
    with pytest.raises(TableError, match="not a readable folder of Parquet files"):
        read_table(tmp_path)


def test_a_folder_without_parquet_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is a folder without Parquet files; name the table in it"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("ending", "stream"), [(".arrow", False), (".feather", False), (".ipc", False), (".arrows", True)]
)
def test_arrow_files_and_streams(ending: str, stream: bool, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    table = pa.table(rows())
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    pd.testing.assert_frame_equal(read_table(path), rows(), check_dtype=False)
    assert [len(chunk) for chunk in read_chunks(path, 20)] == [20, 5, 20, 5, 10]


def test_types_that_arrow_does_not_give_to_pandas_come_cell_by_cell(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    given = polars.DataFrame(
        {"tags": [["a", "b"], ["c"], None], "n": [1, None, 3], "s": [{"k": ["a"]}, None, {"k": []}]}
    )
    given.write_ipc(tmp_path / "t.arrow")  # lists of string views
    given[:0].write_ipc(tmp_path / "none.arrow")
    for frame in (frame_of(given), read_table(tmp_path / "t.arrow")):
        assert frame is not None
        assert [None if v is None else list(v) for v in frame["tags"]] == [["a", "b"], ["c"], None]
        assert frame["n"].fillna(0).tolist() == [1, 0, 3]
    assert [len(piece) for piece in read_chunks(tmp_path / "none.arrow", 2)] == [0]


def test_what_is_no_arrow_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(TableError, match="not a readable Arrow file"):
        read_table(path)


# -- frames ------------------------------------------------------------------------------------------------------------


def _polars(frame: pd.DataFrame) -> Any:
    return pytest.importorskip("polars").DataFrame(frame.to_dict("list"))


def _duckdb(frame: pd.DataFrame) -> Any:
    return pytest.importorskip("duckdb").from_df(frame)


def _narwhals(frame: pd.DataFrame) -> Any:
    return pytest.importorskip("narwhals").from_native(_polars(frame))


KINDS = {
    "polars": (_polars, "polars"),
    "duckdb": (_duckdb, "pyarrow"),
    "narwhals": (_narwhals, "pyarrow"),
    "arrow": (pa.table, "pyarrow"),
    "pandas": (lambda frame: frame, "pandas"),
}


@pytest.fixture(scope="module")
def model() -> FusionClassifier:
    frame = rows()
    return FusionClassifier(**SETTINGS).fit(frame[["size", "name"]], frame["big"])


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_come_back_in_the_callers_kind(kind: str, model: FusionClassifier) -> None:
    make, package = KINDS[kind]
    frame = rows().set_index(np.arange(N) + 7) if kind == "pandas" else rows()
    result = model.predict_frame(make(frame))
    assert type(result).__module__.partition(".")[0] == package
    read = result if kind == "pandas" else pa.table(result).to_pandas()
    assert list(read.columns) == ["prediction", "p(no)", "p(yes)"]
    assert read["prediction"].tolist() == model.predict(rows()).tolist()
    np.testing.assert_allclose(read[["p(no)", "p(yes)"]], model.predict_proba(rows()))
    if kind == "pandas":
        assert list(read.index) == list(frame.index)


@pytest.mark.parametrize("kind", ["polars", "duckdb"])
def test_other_frames_are_fitted_and_judged_like_pandas(kind: str, model: FusionClassifier) -> None:
    given = KINDS[kind][0](rows())
    again = FusionClassifier(**SETTINGS).fit(KINDS[kind][0](rows()[["size", "name"]]), rows()["big"])
    np.testing.assert_array_equal(again.predict_proba(given), model.predict_proba(rows()))
    expected = evaluate(model, rows(), bootstrap=0)
    assert evaluate(model, given, bootstrap=0).metrics == expected.metrics
    assert explain(model, given, bootstrap=0).to_dict() == explain(model, rows(), bootstrap=0).to_dict()
    assert infer_schema(given, target="big") == infer_schema(rows(), target="big")
    outcome = fit_table(given, target="big", settings=SETTINGS, report=False)
    assert outcome.evaluation.rows == 9


def test_a_polars_target_is_a_target(model: FusionClassifier) -> None:
    frame = _polars(rows())
    again = FusionClassifier(**SETTINGS).fit(frame[["size", "name"]], frame["big"])
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(rows()))
    assert again.schema_.target == "big"
    numbers = FusionRegressor(**SETTINGS).fit(frame[["name"]], frame["size"])
    assert numbers.predict_frame(frame)["prediction"].to_list() == numbers.predict(rows()).tolist()


def test_several_labels_come_back_as_lists() -> None:
    frame = rows()
    labels = [
        [name.split()[0], *(["big"] * (size > 0))] for name, size in zip(frame["name"], frame["size"], strict=True)
    ]
    model = FusionClassifier(**SETTINGS).fit(frame[["size", "name"]], labels)
    result = model.predict_frame(_polars(frame))
    said = [[c for c, on in zip(model.classes_, row, strict=True) if on] for row in model.predict(frame)]
    assert [list(row) for row in result["prediction"].to_list()] == said
