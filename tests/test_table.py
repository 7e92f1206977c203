from __future__ import annotations

import gzip
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.base.documents import MEMBER_BYTES
from plait.base.errors import CellError, PlaitWarning, TableError
from plait.data import table, values
from plait.data.archive import Archive
from plait.data.cells import cells as cells_of
from plait.data.equal_rows import merge_equal
from plait.data.modality import Modality
from plait.data.parse import booleans, date_format, dates, number_style, numbers
from plait.data.rows import data_hash
from plait.data.table import split, strata_of
from plait.data.values import items_of, nulls, text_of, texts
from plait.data.write import write_chunks, write_table


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- reading -----------------------------------------------------------------------------------------------------------


def test_csv_cells_are_strings_and_empty_ones_null(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", 'kind,cost,note\nNone,3,"a, b"\nNA,,"two\nlines"\n, ,x\n')
    frame = table.read_table(path)
    assert frame.to_dict(orient="list") == {
        "kind": ["None", "NA", None],
        "cost": ["3", None, None],
        "note": ["a, b", "two\nlines", "x"],
    }
    assert {str(t) for t in frame.dtypes} == {"object"}


def test_pieces_are_the_whole_and_never_change_type(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'' if i < 4 else i}\n" for i in range(10))
    path = written(tmp_path, "t.csv", "a,b\n" + rows)
    parts = list(table.read_chunks(path, 4))
    assert [len(p) for p in parts] == [4, 4, 2]
    assert {str(t) for p in parts for t in p.dtypes} == {"object"}
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), table.read_table(path))


def test_bom_gz_long_cells_blank_lines_and_unnamed_columns(tmp_path: Path) -> None:
    long = "x" * 200_000
    content = f"\ufeff,b\r\n0,{long}\r\n\r\n1,y\r\n"
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    frame = table.read_table(path)
    assert list(frame.columns) == ["Unnamed: 0", "b"]
    assert frame["b"].tolist() == [long, "y"]


def test_other_encodings_are_told_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "a,b\n1,x\n2,café\n".encode("cp1252"))
    with pytest.raises(TableError, match=r"t\.csv, line 3: not readable as utf-8; pass the encoding .*cp1252"):
        table.read_table(path)
    assert table.read_table(path, encoding="cp1252")["b"].tolist() == ["x", "café"]
    path = written(tmp_path, "u.csv", "a\né\n".encode("utf-16"))
    with pytest.raises(TableError, match="utf-16"):
        table.read_table(path)
    assert table.read_table(path, "utf-16")["a"].tolist() == ["é"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", r"t\.csv: the file is empty"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", "a,b\n1,2\n3\n", "line 3: 1 cells, expected 2"),
        ("t.csv", "a,b\n1,2,3\n", "line 2: 3 cells, expected 2"),
        ("t.csv", "a,b,a\n1,2,3\n", "columns given more than once: 'a'"),
        ("t.csv", 'a,b\n1,2\n"x,3\n4,5\n', "line 3: unexpected end of data"),
        ("t.csv", 'a,b\n"x"y,2\n', "line 2: .*quote"),
        ("t.csv", "a;b\n1;2\n", "separated by ';'"),
        ("t.csv", b"\x80 and not a table", "not readable as utf-8"),
        ("t.csv", b"\x1f\x8bxxxx", r"a gzip file; let its name end in \.gz"),
        ("t.csv", b"PK\x03\x04xx", "an Excel workbook; .* save the sheet as CSV"),
        ("t.csv", b"\xef\xbb\xbf<!DOCTYPE html>\n<p>404", "a web page"),
        ("t.jsonl", b"version https://git-lfs.github.com/spec/v1\noid 1\n", "git lfs pull"),
        ("t.csv", "a,b\n1,é\n".encode("utf-16-le"), "encoding='utf-16-le'"),
        ("t.csv", "Sales of May,,\na,b,c\n1,2,3\n", "names 1 of 3 columns; .* remove a title above it"),
        ("t.csv.gz", "junk", "cannot be read"),
        ("t.jsonl", '{"a": 1}\n[2]\n', "line 2: expected one object per line"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("t.jsonl", '{"a": 1, "a": 2}\n', "line 1: a key is given twice"),
        ("t.jsonl", "\n\n", "no rows"),
        ("t.parquet", "junk", "not a readable Parquet file"),
        ("t.xlsx", "junk", r"unknown kind of table '\.xlsx'; expected one of \.csv"),
    ],
)
def test_broken_tables_are_refused_in_one_line(tmp_path: Path, name: str, content: Any, said: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(TableError, match=said) as caught:
        table.read_table(written(tmp_path, name, content))
    assert "\n" not in str(caught.value)


def test_an_encoding_that_does_not_read_the_table_is_not_proposed_again(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not readable as cp1252; .*latin-1"):
        table.read_table(written(tmp_path, "t.csv", b"a,b\n1,\x81\n"), encoding="cp1252")


def test_names_that_look_like_a_row_are_told(tmp_path: Path) -> None:
    with pytest.warns(PlaitWarning, match=r"the columns are named 5\.1, 3, 1e3; if that is a row"):
        table.read_table(written(tmp_path, "t.csv", "5.1,3,1e3\n4.9,2,8\n"))
    with warnings.catch_warnings():  # names that pandas gives, and columns that only a comma at the end makes
        warnings.simplefilter("error")
        table.read_table(written(tmp_path, "u.csv", "0,1,2\n4.9,2,8\n"))
        table.read_table(written(tmp_path, "v.csv", "a,,\n4.9,,\n"))


def test_wrong_paths_name_the_nearest_file(tmp_path: Path) -> None:
    written(tmp_path, "cards.csv", "a\n1\n")
    with pytest.raises(TableError, match=r"no such file; did you mean 'cards\.csv'"):
        table.read_table(tmp_path / "card.csv")
    with pytest.raises(TableError, match="is a folder"):
        table.read_table(tmp_path)
    with pytest.raises(TableError, match="there is no folder"):
        table.read_table(tmp_path / "nowhere" / "cards.csv")
    with pytest.raises(TableError, match="unknown encoding 'klingon'"):
        table.read_table(tmp_path / "cards.csv", "klingon")


def test_tsv_with_and_without_quoting(tmp_path: Path) -> None:
    quoted = written(tmp_path, "q.tsv", 'a\tb\n"x\ty"\t2\n')
    assert table.read_table(quoted)["a"].tolist() == ["x\ty"]
    plain = written(tmp_path, "p.tsv", 'a\tb\n"he said\t1\nshe "too"\t2\n')
    with pytest.warns(PlaitWarning, match="quotes do not pair up"):
        frame = table.read_table(plain)
    assert frame["a"].tolist() == ['"he said', 'she "too"']


def test_jsonl_keeps_types_and_every_key(tmp_path: Path) -> None:
    path = written(tmp_path, "t.jsonl", '{"a": 1, "tags": ["x", "y"]}\n\n{"a": 2.5, "late": true}\n')
    parts = list(table.read_chunks(path, 1))
    assert [list(p.columns) for p in parts] == [["a", "tags", "late"]] * 2
    frame = table.read_table(path)
    assert frame["a"].tolist() == [1, 2.5]
    assert frame["tags"].tolist() == [["x", "y"], None]
    assert frame["late"].tolist() == [None, True]


def test_parquet_keeps_types_and_drops_the_index(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1, 2, 3], "jpg": [b"x", b"y", None], "v": [[1.0, 2.0]] * 3}, index=[7, 8, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    found = table.read_table(tmp_path / "t.parquet")
    assert list(found.columns) == ["a", "jpg", "v"]
    assert found["a"].tolist() == [1, 2, 3]
    assert found["jpg"].tolist()[:2] == [b"x", b"y"]
    assert [len(p) for p in table.read_chunks(tmp_path / "t.parquet", 2)] == [2, 1]


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.jsonl.gz", "t.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": ["x", None, 'q"u\to,te'], "n": [1.5, 2.0, float("nan")]})
    assert write_chunks([frame.iloc[:1], frame.iloc[1:]], tmp_path / name) == 3
    found = table.read_table(tmp_path / name)
    assert texts(found["a"]).tolist() == ["x", None, 'q"u\to,te']
    assert texts(found["n"]).tolist() == ["1.5", "2", None]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "old\n1\n")

    def interrupted() -> Any:
        yield pd.DataFrame({"new": [1]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_chunks(interrupted(), path)
    assert path.read_text() == "old\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(TableError, match="there is no folder"):
        write_table(frame, tmp_path / "no" / "t.csv")
    with pytest.raises(TableError, match="unknown kind of table"):
        write_table(frame, tmp_path / "t.txt")


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "t.csv", "old\n1\n")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TableError, match=r"t\.csv: cannot be written \(No space left on device\)"):
        write_table(pd.DataFrame({"new": [1]}), path)
    assert path.read_text() == "old\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_jsonl_has_no_nan(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": [np.float32(0.5), np.inf], "l": [["x"], None]}), tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert rows == [{"a": 0.5, "l": ["x"]}, {"a": None, "l": None}]


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *(("3", "3"), (3, "3"), (3.0, "3"), ("3.0", "3"), (" x ", "x"), ("007", "007"), (2.5, "2.5"), (True, "True")),
        *((np.int64(4), "4"), (np.float32(0.1), "0.1"), ("1.10", "1.10"), (1e300, "1e+300"), (["a", 1.0], "a|1")),
    ],
)
def test_one_value_has_one_text(value: Any, said: str) -> None:
    assert text_of(value) == said


def test_nulls_in_every_kind_of_column() -> None:
    column = pd.Series(["a", "", "  ", None, float("nan"), pd.NA, pd.NaT, ["x"], [], 0, False], dtype=object)
    expected = [False, True, True, True, True, True, True, False, False, False, False]
    assert nulls(column).tolist() == expected
    assert texts(pd.Series([1.0, np.nan])).tolist() == ["1", None]
    assert texts(pd.Series(["a", None, "a"], dtype="category")).tolist() == ["a", None, "a"]
    assert texts(pd.Series([1, None], dtype="Int64")).tolist() == ["1", None]


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        *(("a|b", ("a", "b")), ("a", ("a",)), (["a", "b", "a"], ("a", "b")), ("['x', 'y z']", ("x", "y z"))),
        *(('["x"]', ("x",)), ("a||b|", ("a", "b")), ({"b", "a"}, ("a", "b")), (np.array(["q"]), ("q",)), (3.0, ("3",))),
        *(("[not a list", ("[not a list",)), ("[__import__('os').getcwd()]", ("[__import__('os').getcwd()]",))),
    ],
)
def test_items_of_a_cell(cell: Any, parts: tuple[str, ...]) -> None:
    assert items_of(cell) == parts


def test_labels_of_a_target() -> None:
    assert values.items(pd.Series(["Drama|Comedy", "", "Drama"])).tolist() == [
        ("Drama", "Comedy"),
        None,
        ("Drama",),
    ]
    assert values.items(pd.Series([["a"], ["b", "c"]])).tolist() == [("a",), ("b", "c")]


def test_numbers_and_what_is_none() -> None:
    parsed = numbers(pd.Series(["1", " 2.5 ", "NA", "n/a", "?", "-", "", None, "x", "1e400", "1_0"], dtype=object))
    assert parsed.missing.tolist() == [False, False, True, True, True, True, True, True, False, False, False]
    assert parsed.bad.tolist() == [False] * 8 + [True, False, True]
    assert parsed.values[:2].tolist() == [1.0, 2.5]
    assert np.isinf(parsed.values[9])
    assert numbers(pd.Series([1, None], dtype="Int64")).values[0] == 1.0
    assert numbers(pd.Series([None, None], dtype=object)).share == 0.0


@pytest.mark.parametrize(
    ("words", "style", "values"),
    [
        (["1.5", "2"], "plain", [1.5, 2]),
        (["1,5", "2"], "comma", [1.5, 2]),
        (["1.234,5", "12"], "comma", [1234.5, 12]),
        (["1,234", "12"], "thousands", [1234, 12]),
        (["1,234.5", "0.5"], "thousands", [1234.5, 0.5]),
        (["$1,200", "$5"], "thousands unit=$", [1200, 5]),
        (["12 000", "7"], "thousands", [12000, 7]),
        (["1'000", "7"], "thousands", [1000, 7]),
    ],
)
def test_how_numbers_are_written(words: list[str], style: str, values: list[float]) -> None:
    assert number_style(pd.Series(words)) == style
    assert numbers(pd.Series(words), style).values.tolist() == values


def test_booleans_in_their_spellings() -> None:
    parsed = booleans(pd.Series(["yes", "No", "TRUE", "0", 1.0, True, None, "?", "maybe"], dtype=object))
    np.testing.assert_array_equal(parsed.values, [1, 0, 1, 0, 1, 1, np.nan, np.nan, np.nan])
    assert parsed.bad.tolist() == [False] * 8 + [True]


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["2023-08-26 06:33:37", "2023-08-26"], "ISO8601"),
        (["2023-08-26T06:33:37Z"], "ISO8601"),
        (["2023/08/26"], "%Y/%m/%d"),
        (["26 Aug 2023", "1 Sep 2023"], "%d %b %Y"),
        (["Aug 26, 2023"], "%b %d, %Y"),
        (["13/02/2020", "01/02/2020"], "%d/%m/%Y"),
        (["02/13/2020", "01/02/2020"], "%m/%d/%Y"),
        (["13.02.2020 10:30", "01.02.2020 9:05"], "%d.%m.%Y %H:%M"),
        (["03/02/2020", "01/02/2020"], "ambiguous"),
        (["13/02/2020", "02/13/2020"], None),
        (["20230826", "19991231"], "%Y%m%d"),
        (["113228", "114885"], None),
        (["red", "blue"], None),
        (["2023-13-45"], None),
    ],
)
def test_formats_of_dates(words: list[str], form: str | None) -> None:
    found = date_format(pd.Series(words))
    if words == ["2023-13-45"]:
        assert dates(pd.Series(words)).share == 0.0
    else:
        assert found == form


def test_dates_are_days_since_1970() -> None:
    assert dates(pd.Series(["1970-01-02", "1970-01-01 12:00", None, "x"])).values.tolist()[:2] == [1.0, 0.5]
    assert dates(pd.Series(["1132-02-08"])).values[0] < -300_000
    assert dates(pd.Series(pd.to_datetime(["1970-01-03"]).tz_localize("UTC"))).values.tolist() == [2.0]
    assert dates(pd.Series(["01/02/1970"]), "%d/%m/%Y").values.tolist() == [31.0]
    assert np.isnan(dates(pd.Series([None, None], dtype=object)).values).all()


# -- cells -------------------------------------------------------------------------------------------------------------


def test_text_columns_become_one_text_per_row() -> None:
    frame = pd.DataFrame({"a": ["x", None, " "], "b": ["y", "z", None], "n": [1.0, 2.0, np.nan]})
    assert cells_of(frame, Modality("text", "text", ("a", "b"))) == [["x\ny", "z", None]]
    assert cells_of(frame, Modality("text", "text", ("n",))) == [["1", "2", None]]
    with pytest.raises(TableError, match=r"column 'b'.*expected text, found bytes"):
        cells_of(pd.DataFrame({"b": [b"x"]}), Modality("text", "text", ("b",)))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder and an archive with the same two files."""
    for name in ("a.png", "b.png"):
        written(tmp_path, name, name)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("in/a.png", "a.png")
        file.writestr("in/b.png", "b.png")
    return tmp_path


def read(cell: Any) -> bytes:
    with cell.open() as file:
        return bytes(file.read())


def test_media_cells_of_every_writing(pictures: Path) -> None:
    image = Modality("image", "image", ("image",))
    at = str(pictures)
    names = [
        "a.png",
        str(pictures / "a.png"),
        "all.zip!in/a.png",
        f"zip://{pictures}/all.zip!in/a.png",
        "zip://all.zip!a.png",
    ]
    (found,) = cells_of(pd.DataFrame({"image": names}), image, at)
    assert [read(cell) for cell in found] == [b"a.png"] * 5
    array = np.zeros((2, 2, 3), dtype=np.uint8)
    pil = pytest.importorskip("PIL.Image").fromarray(array)
    told = [
        b"bytes",
        array,
        pil,
        None,
        {"bytes": b"hf", "path": "x.png"},
        {"bytes": None, "path": "b.png"},
        pictures / "b.png",
    ]
    (found,) = cells_of(pd.DataFrame({"image": told}), image, at)
    assert [read(found[i]) for i in (0, 4, 5, 6)] == [b"bytes", b"hf", b"b.png", b"b.png"]
    assert found[1] is array
    np.testing.assert_array_equal(found[2], array)
    assert found[3] is None


def test_roots_may_be_archives(pictures: Path) -> None:
    frame = pd.DataFrame({"image": ["a.png", "in/b.png"]})
    (found,) = cells_of(frame, Modality("image", "image", ("image",)), str(pictures / "all.zip"))
    assert [read(c) for c in found] == [b"a.png", b"b.png"]
    own = Modality("image", "image", ("image",), root="all.zip")
    for root in (str(pictures), str(pictures / "all.zip")):
        assert [read(c) for c in cells_of(frame, own, root)[0]] == [b"a.png", b"b.png"]
    with pytest.raises(TableError, match="--root"):
        cells_of(frame, own, str(pictures / "elsewhere"))
    with pytest.raises(TableError, match="expected a folder or a zip archive"):
        cells_of(frame, own, str(pictures / "a.png"))


def test_missing_files_are_counted_and_all_missing_is_an_error(pictures: Path) -> None:
    image = Modality("image", "image", ("image",))
    with pytest.warns(PlaitWarning, match=r"column 'image': 2 of 3 files are not there .*'x\.png'") as caught:
        (found,) = cells_of(pd.DataFrame({"image": ["a.png", "x.png", "y.png", None]}), image, str(pictures))
    assert len(caught) == 1
    assert [cell is None for cell in found] == [False, True, True, True]
    with pytest.raises(TableError, match=r"none of its 2 files is there .*--root"):
        cells_of(pd.DataFrame({"image": ["x.png", "y.png"]}), image, str(pictures))


@pytest.mark.parametrize("member", ["../a.png", "in/../../a.png", "/etc/passwd", "..\\a.png", "C:/a.png"])
def test_members_that_lead_out_of_the_archive_are_refused(pictures: Path, member: str) -> None:
    frame = pd.DataFrame({"image": ["a.png", f"zip://{pictures}/all.zip!{member}"]})
    (found,) = cells_of(frame, Modality("image", "image", ("image",)), str(pictures))
    assert read(found[0]) == b"a.png"
    with pytest.raises(CellError, match="must not be absolute or hold"):
        found[1].open()


def test_bombs_and_addresses_are_refused(pictures: Path) -> None:
    archive = Archive(pictures / "all.zip")
    archive.members["in/a.png"].file_size = MEMBER_BYTES.value + 1
    with pytest.raises(CellError, match=r"1,073,741,825 bytes unpacked"):
        archive.blob("a.png")
    with pytest.raises(
        TableError, match="none of the 2 cells of column 'image' can be used as image.*nothing is fetched"
    ):
        cells_of(
            pd.DataFrame({"image": ["http://x.y/a.png", "ftp://x/a.png"]}),
            Modality("image", "image", ("image",)),
            str(pictures),
        )
    with pytest.raises(TableError, match="not a readable zip archive"):
        Archive(written(pictures, "bad.zip", "PK junk"))


def test_media_that_are_numbers_are_refused() -> None:
    with pytest.raises(TableError, match=r"expected image .* found float 1\.5"):
        cells_of(pd.DataFrame({"image": [1.5, 2.5]}), Modality("image", "image", ("image",)))


def test_vectors_of_every_writing(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([5.0, 6.0]))
    frame = pd.DataFrame({"v": [np.array([1, 2]), [3, 4], "[0.5, 1]", "v.npy", None, np.ones((3, 2))]})
    (found,) = cells_of(frame, Modality("v", "vector", ("v",)), str(tmp_path))
    assert [None if c is None else c.tolist() for c in found] == [[1, 2], [3, 4], [0.5, 1], [5, 6], None, [[1, 1]] * 3]
    assert all(c.dtype == np.float32 for c in found if c is not None)


def test_vectors_that_do_not_fit() -> None:
    vector = Modality("v", "vector", ("v",))
    mixed = pd.DataFrame({"v": [[1.0, 2.0], [1.0], [3.0, 4.0]]})
    with pytest.raises(TableError, match=r"different widths \(1, 2\), first in row 1: 1 numbers, where most have 2"):
        cells_of(mixed, vector)
    assert [len(v) for v in cells_of(mixed, vector, whole=False)[0]] == [2, 1, 2]
    with pytest.raises(TableError, match="row 0: expected a vector"):
        cells_of(pd.DataFrame({"v": ["text", "word"]}), vector)
    with pytest.warns(PlaitWarning, match=r"1 vectors .* absent .*row 1: expected a vector"):
        (found,) = cells_of(pd.DataFrame({"v": [[1.0], "word"]}), vector)
    assert found[1] is None
    with pytest.warns(PlaitWarning, match="1 vectors .* NaN"):
        (found,) = cells_of(pd.DataFrame({"v": [[1.0, np.nan], [1.0, 2.0]]}), vector)
    assert found[0] is None


# -- split and hash ----------------------------------------------------------------------------------------------------


def test_parts_are_seeded_disjoint_and_of_the_asked_size() -> None:
    frame = pd.DataFrame({"y": np.repeat([*"abcd"], [500, 300, 198, 2])})
    parts = split(frame, (0.8, 0.05, 0.15), seed=3, stratify="y")
    assert [len(p) for p in parts] == [800, 50, 150]
    assert sorted(np.concatenate(parts)) == list(range(1000))
    again = split(frame, (0.8, 0.05, 0.15), seed=3, stratify=frame["y"])
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    other = split(frame, (0.8, 0.05, 0.15), seed=4, stratify="y")
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(parts, other, strict=True))


def test_classes_are_spread_alike_and_rare_ones_are_learned() -> None:
    y = np.array(["a"] * 100 + ["b"] * 40 + ["once"] + ["twice"] * 2)
    train, test = split(pd.DataFrame({"y": y}), (0.75, 0.25), seed=0, stratify="y")
    assert abs((y[test] == "a").sum() - 25) <= 1
    assert abs((y[test] == "b").sum() - 10) <= 1
    assert (y[train] == "once").sum() == 1
    assert (y[train] == "twice").sum() >= 1


def test_numbers_and_several_labels_are_strata() -> None:
    values = np.linspace(0.05, 99.7, 200)
    train, test = split(pd.DataFrame({"y": values}), (0.8, 0.2), seed=0, stratify="y")
    assert abs(values[test].mean() - values[train].mean()) < 8
    labels = ["common|rare" if i % 10 == 0 else "common" for i in range(100)]
    _, test = split(pd.DataFrame({"y": labels}), (0.8, 0.2), seed=0, stratify="y")
    assert sum("rare" in labels[i] for i in test) == 2


def test_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": rng.integers(0, 40, 400), "y": rng.integers(0, 2, 400)})
    parts = split(frame, (0.7, 0.3), seed=1, stratify="y", group="g")
    groups = [set(frame["g"].iloc[p]) for p in parts]
    assert not groups[0] & groups[1]
    assert abs(len(parts[1]) - 120) < 25
    with pytest.raises(TableError, match="no column 'gg'"):
        split(frame, (0.7, 0.3), seed=1, group="gg")


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.2, -0.2), ()])
def test_fractions_must_sum_to_one(fractions: tuple[float, ...]) -> None:
    with pytest.raises(TableError, match="sum to 1"):
        split(pd.DataFrame({"a": range(10)}), fractions, seed=0)


def test_too_few_rows_to_split() -> None:
    with pytest.raises(TableError, match="to be split into"):
        split(pd.DataFrame({"a": [1]}), (0.5, 0.5), seed=0)


def test_the_hash_is_of_the_content() -> None:
    frame = pd.DataFrame({"a": ["1", None], "b": [["x"], None]})
    same = pd.DataFrame({"a": [1.0, np.nan], "b": [["x"], None]}, index=[5, 6])
    assert data_hash(frame) == data_hash(same)
    assert data_hash(frame) != data_hash(frame.rename(columns={"a": "c"}))
    assert data_hash(frame) != data_hash(frame.iloc[::-1])
    assert data_hash(pd.DataFrame({"a": ["xy", ""]})) != data_hash(pd.DataFrame({"a": ["x", "y"]}))
    assert len(data_hash(pd.DataFrame({"a": [np.ones(2), b"x"]}))) == 32


def test_real_tables_are_read_whole(data_root: Path) -> None:
    frame = table.read_table(data_root / "hearthstone" / "hearthstone.csv")
    assert frame.shape == (11_905, 18)
    assert table.read_table(data_root / "pokemon" / "pokemon.csv")["type_2"].isna().sum() == 0  # "None" is a class
    (images,) = cells_of(
        frame.iloc[:50], Modality("image", "image", ("image",)), str(data_root / "hearthstone" / "images.zip")
    )
    assert read(images[0])[:2] == b"\xff\xd8"


def test_sounds_of_equal_ends_are_not_one_row() -> None:
    sounds = [np.zeros(5_000), np.r_[np.zeros(2_500), 1.0, np.zeros(2_499)]]
    frame = pd.DataFrame({"sound": pd.Series([(s, 8_000) for s in sounds], dtype=object)})
    assert len(merge_equal(frame, np.zeros(2), np.ones(2))[0]) == 2
    assert data_hash(frame.iloc[:1]) != data_hash(frame.iloc[1:])


def test_every_part_has_its_share_of_every_class_of_every_group() -> None:
    """Fifty groups of four rows, each of one class, in blocks: chance would part them otherwise."""
    frame = pd.DataFrame({"g": np.arange(200) // 4, "y": np.repeat(["a", "b", "c"], [100, 60, 40])})
    for seed in range(3):
        parts = split(frame, (0.6, 0.2, 0.2), seed=seed, stratify="y", group="g")
        counts = [frame["y"].iloc[part].value_counts().to_dict() for part in parts]
        assert counts == [{"a": 60, "b": 36, "c": 24}, *[{"a": 20, "b": 12, "c": 8}] * 2]


def test_a_rare_class_within_groups_counts_as_much_as_a_common_one() -> None:
    """Eight of forty groups hold two rare rows each among eight common ones."""
    rows = [(g, "rare" if g < 8 and i < 2 else "often") for g in range(40) for i in range(10)]
    frame = pd.DataFrame(rows, columns=["g", "y"])
    for seed in range(8):
        parts = split(frame, (0.75, 0.25), seed=seed, stratify="y", group="g")
        assert [int((frame["y"].iloc[part] == "rare").sum()) for part in parts] == [12, 4]
        assert len(parts[1]) in (90, 100, 110)


def test_groups_of_unequal_size_fill_the_parts_to_their_shares() -> None:
    sizes = [30, 20, 10, *[2] * 20]
    frame = pd.DataFrame({"g": np.repeat(np.arange(len(sizes)), sizes), "y": 0})
    for seed in range(5):
        train, test = split(frame, (0.7, 0.3), seed=seed, stratify="y", group="g")
        assert (len(train), len(test)) == (70, 30)


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    frame = pd.DataFrame({"g": ["one"] * 10 + [None] * 30, "y": 0})
    train, test = split(frame, (0.75, 0.25), seed=0, group="g")
    assert (len(train), len(test)) == (30, 10)
    inside = [set(range(10)) & set(part.tolist()) for part in (train, test)]
    assert set(map(len, inside)) == {0, 10}


def test_every_part_has_its_share_of_every_label_the_rarest_first() -> None:
    rows = ["often|seldom|rare"] * 10 + ["often|seldom"] * 30 + ["often"] * 60
    frame = pd.DataFrame({"y": rows})
    for seed in range(3):
        train, held, test = split(frame, (0.7, 0.1, 0.2), seed=seed, stratify="y")
        for part, share in ((train, 7), (held, 1), (test, 2)):
            told = [frame["y"].iloc[i] for i in part]
            assert sum("rare" in row for row in told) == share
            assert sum("seldom" in row for row in told) == 4 * share
            assert len(told) == 10 * share


@pytest.mark.parametrize("fractions", [(0.2, 0.8), (0.8, 0.2), (0.3, 0.4, 0.3)])
def test_a_class_with_one_row_goes_to_the_largest_part_wherever_it_stands(fractions: tuple[float, ...]) -> None:
    y = np.array(["many"] * 100 + [f"once {i}" for i in range(12)])
    largest = int(np.argmax(fractions))
    for seed in range(3):
        parts = split(pd.DataFrame({"y": y}), fractions, seed=seed, stratify="y")
        assert set(range(100, 112)) <= set(parts[largest].tolist())
        assert [len(part) for part in parts] == pytest.approx([112 * share for share in fractions], abs=6)


def test_numbers_with_many_values_are_spread_by_fifths() -> None:
    values = np.random.default_rng(0).permutation(np.arange(100) + 0.5)
    for seed in range(3):
        parts = split(pd.DataFrame({"y": values}), (0.6, 0.4), seed=seed, stratify="y")
        fifths = [np.bincount((values[part] // 20).astype(int)).tolist() for part in parts]
        assert fifths == [[12] * 5, [8] * 5]


@pytest.mark.parametrize(("when", "said"), [("2024-01-02", "2024-01-02"), ("2024-01-02 10:30", "2024-01-02 10:30:00")])
def test_midnight_is_a_day(when: str, said: str) -> None:
    """A column of days reads the same whether it came as days or as times at midnight."""
    assert text_of(pd.Timestamp(when)) == said


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (np.arange(20) + 0.5, list(range(20))),  # twenty values are classes
        (np.arange(25) + 0.5, [v // 5 for v in range(25)]),  # more are a number: its fifths
        (np.arange(30.0), list(range(30))),  # whole numbers are classes, however many
        ([*(np.arange(25) + 0.5), np.nan], [*(v // 5 for v in range(25)), 5]),  # a part of its own for what is missing
        (["b", "a", "b"], [0, 1, 0]),
        (["often|rare", "often", "rare|often", "often", ""], [0, 1, 0, 1, -1]),
    ],
)
def test_codes_by_which_parts_are_kept_alike(values: Any, codes: list[int]) -> None:
    assert strata_of(pd.Series(values)).tolist() == codes


def test_whole_amounts_are_spread_like_other_numbers() -> None:
    """As classes, prices that only one row has would all be learned from."""
    price = np.round(np.random.default_rng(0).lognormal(7, 1, 2000))
    train, test = split(pd.DataFrame({"price": price}), (0.8, 0.2), 0, stratify="price", task="regression")
    assert abs(np.median(price[test]) / np.median(price[train]) - 1) < 0.1
    assert abs(np.quantile(price[test], 0.9) / np.quantile(price[train], 0.9) - 1) < 0.15
    assert strata_of(pd.Series(np.arange(30.0)), "regression").tolist() == [v // 6 for v in range(30)]
