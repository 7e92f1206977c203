"""The command line as a user has it, from schema to predictions; and all that can go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from plait import read_table
from plait.base.folders import whole_folder
from plait.cli import look, main
from plait.store import Store, model_files

ENCODERS = ["--encoder", "text=hashed_ngrams", "--encoder", "image=pixel_statistics"]
QUICK = [*ENCODERS, "--members", "2", "--epochs", "8", "--set", "width=16", "--no-report"]


def run(*arguments: str | Path) -> int:
    """Exit code of a command."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def write_table(folder: Path, n: int = 80, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    warm, big = rng.integers(0, 2, n), rng.integers(0, 2, n)
    for i in range(n):
        pixels = (rng.random((24, 24, 3)) * 80 + np.array([150, 40, 40] if warm[i] else [40, 40, 150])).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.png")
    frame = pd.DataFrame(
        {
            "id": [f"row{i:04d}" for i in range(n)],
            "story": [f"this {'large' if b else 'little'} thing has the number {i} on it" for i, b in enumerate(big)],
            "weight": (big * 3 + rng.normal(size=n)).round(3),
            "material": rng.choice(["wood", "stone", "iron"], n),
            "photo": [f"photos/{i}.png" for i in range(n)],
            "label": np.array(["cs", "cb", "ws", "wb"])[2 * warm + big],
        }
    )
    frame.to_csv(folder / "things.csv", index=False)
    return folder / "things.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "things"
    assert run("fit", table, "--target", "label", "--out", folder, *QUICK) == 0
    return folder


def test_schema_prints_yaml_that_fit_takes_back(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("schema", table, "--target", "label") == 0
    told = capsys.readouterr().out
    assert "target: label" in told
    (tmp_path / "s.yaml").write_text(
        told + "settings:\n  width: 16\n  encoders: {text: hashed_ngrams, image: pixel_statistics}\n"
    )
    command = [
        "fit",
        table,
        "--schema",
        tmp_path / "s.yaml",
        "--out",
        tmp_path / "m",
        "--epochs",
        "2",
        "--no-report",
        "--json",
    ]
    assert run(*command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["record"]["width"] == 16
    assert {m["modality"] for m in found["explanation"]["overall"]} == {"text", "tabular", "image"}


def test_dropped_columns_are_no_inputs_from_fit_to_predictions(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = edited(table, tmp_path, owner=[i % 20 for i in range(80)], leak=pd.read_csv(table)["label"])
    told = ["--target", "label", "--drop", "owner,leak", "--drop", "photo"]
    assert run("fit", csv, *told, "--group", "owner", "--out", tmp_path / "m", *QUICK[:2], *QUICK[4:], "--json") == 0
    kept = json.loads((tmp_path / "m" / "model.json").read_text())
    assert kept["settings"]["drop"] == ["owner", "leak", "photo"]
    assert [*kept["schema"]["modalities"]] == ["text", "tabular"]
    assert {kept["schema"]["ignored"][name] for name in ("owner", "leak", "photo")} == {"left out by drop"}
    assert json.loads(capsys.readouterr().out)["leaks"] == []
    narrow = tmp_path / "narrow.csv"
    pd.read_csv(csv).drop(columns=["owner", "leak", "photo"]).to_csv(narrow, index=False)
    answers = []
    for place in (csv, narrow):
        assert run("predict", tmp_path / "m", place, "--out", tmp_path / "p.csv") == 0
        answers.append((tmp_path / "p.csv").read_text())
    assert answers[0] == answers[1]
    assert answers[0].startswith("id,")
    capsys.readouterr()
    assert run("schema", csv, *told) == 0
    assert "leak: left out by drop" in capsys.readouterr().out
    refused(capsys, "did you mean 'owner'", "fit", csv, "--target", "label", "--drop", "ownr")
    refused(capsys, "'label' is to be predicted", "fit", csv, "--target", "label", "--set", "drop=[label]")
    refused(capsys, "'leak' is to be predicted", "fit", csv, "--target", "label,leak", "--drop", "leak")


def test_the_report_lists_columns_that_a_schema_leaves_out_drops_or_does_not_name(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    schema = "target: label\nmodalities: {tabular: {kind: tabular, columns: [weight, material]}}\nignored: {id: ours}\n"
    (tmp_path / "s.yaml").write_text(schema)
    out = tmp_path / "m"
    quick = ["--members", "1", "--epochs", "2", "--set", "width=8"]
    assert run("fit", table, "--schema", tmp_path / "s.yaml", "--drop", "material", "--out", out, *quick) == 0
    page = re.sub(r"<[^>]+>", "|", (out / "report.html").read_text())
    section = re.sub(r"[|\s]*\|[|\s]*", "|", page.split("Columns left out")[1])
    said = "not named in the schema"
    assert section.startswith(f"|id|ours|material|left out by drop|story|{said}|photo|{said}|")


def test_the_report_page_is_written(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    command = ["fit", table, "--target", "label", "--out", tmp_path / "m", *QUICK[:-1]]
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert "held-out rows" in out
    assert "what each modality is worth" in out
    assert f"plait fit {table} --schema schema.yaml" in out
    page = (tmp_path / "m" / "report.html").read_text()
    assert "label" in page
    assert "https://" not in page.replace("https://www.w3.org", "")


def test_a_table_whose_labels_the_model_never_saw_is_judged_as_it_is(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as that of the fit, and no row's label like another's: no split of it has ever been made."""
    frame = pd.read_csv(table)
    frame.assign(label=[f"new {i}" for i in range(len(frame))]).to_csv(table.with_name("new.csv"), index=False)
    run("evaluate", model, table.with_name("new.csv"))
    assert "larger shares" not in capsys.readouterr().err


def test_a_condition_that_changes_nothing_is_refused_before_a_row_is_judged(
    table: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plait.evaluation.evaluate.evaluate", None)
    assert run("evaluate", model, table, "--condition", "white_noise:text:snr_db=3") == 2
    assert "changes image, audio, video" in capsys.readouterr().err


def test_predict_writes_every_row_whatever_the_piece(table: Path, model: Path, tmp_path: Path) -> None:
    assert run("predict", model, table, "--out", tmp_path / "p.csv", "--keep", "id") == 0
    assert run("predict", model, table, "--out", tmp_path / "q.csv", "--keep", "id", "--rows", "7") == 0
    whole, pieces = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(tmp_path / "q.csv")
    assert whole["id"].tolist() == pd.read_csv(table)["id"].tolist()
    assert whole["prediction"].tolist() == pieces["prediction"].tolist()
    chances = whole[[c for c in whole if c.startswith("p(")]].to_numpy()
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-4)


def test_predictions_begin_with_the_identifiers_that_were_left_out(table: Path, model: Path, tmp_path: Path) -> None:
    def columns(*more: str) -> list[str]:
        assert run("predict", model, table, "--out", tmp_path / "p.csv", "--no-proba", *more) == 0
        return list(pd.read_csv(tmp_path / "p.csv"))

    assert columns() == columns("--keep", "id") == ["id", "prediction"]
    assert columns("--no-ids") == ["prediction"]
    assert columns("--keep", "label") == ["id", "label", "prediction"]
    pd.read_csv(table).drop(columns="id").to_csv(tmp_path / "without.csv", index=False)
    assert run("predict", model, tmp_path / "without.csv", "--out", tmp_path / "w.csv", "--root", table.parent) == 0
    assert pd.read_csv(tmp_path / "w.csv").columns[0] == "prediction"


def test_evaluate_and_explain(table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", model, table, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert 0.5 < found["metrics"]["accuracy"]["value"] <= 1
    assert len(found["subsets"]) == 7
    assert run("evaluate", model, table) == 0
    assert "balanced_accuracy" in capsys.readouterr().out
    assert run("explain", model, table, "--json") == 0
    worth = json.loads(capsys.readouterr().out)["overall"]
    assert {w["modality"] for w in worth} == {"text", "tabular", "image"}
    assert run("explain", model, table, "--out", tmp_path / "e") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(
        f"what each modality adds to accuracy on {len(pd.read_csv(table)):,} rows (Shapley value)\n"
    )
    assert "The best constant answer has accuracy " in shown.out or "is not decided" in shown.out
    warning, written = shown.err.splitlines()
    assert warning.startswith("warning: the model learned from 68 of these 80 rows")
    assert written.startswith(f"written to {tmp_path / 'e'}: modality-values.svg, ")


def test_rows_that_a_model_learned_from_are_left_out_or_named(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads((model / "results.json").read_text())
    assert run("evaluate", model, table, "--held-out", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["metrics"] == kept["evaluation"]["metrics"]
    assert "learned from" not in shown.err
    assert run("explain", model, table, "--held-out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["overall"] == kept["explanation"]["overall"]
    codes = [run("explain", model, table, "--held-out", "--rows", row) for row in ("0,1,2,3,4,5,6,7", "80")]
    assert codes == [2, 2]
    said = capsys.readouterr().err
    assert re.search(
        r"--rows \d: the model learned from it; take one of the 12 rows that were held out \(as \d+, \d+, ", said
    )
    assert "--rows 80: the table has no such row; its rows are numbered 0 to 79" in said
    other = pd.read_csv(table).assign(weight=lambda frame: frame["weight"] + 1)
    other["photo"] = [str(table.parent / name) for name in other["photo"]]
    other.to_csv(tmp_path / "other.csv", index=False)
    assert run("evaluate", model, tmp_path / "other.csv", "--json") == 0
    assert "learned from" not in capsys.readouterr().err
    assert run("evaluate", model, tmp_path / "other.csv", "--held-out") == 2
    assert "is not the table that the model was fitted on, cell for cell" in capsys.readouterr().err


def test_a_sample_of_a_table_is_fitted_judged_and_named(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, model = read_table(table), tmp_path / "model"
    sample = read_table(table, sample=50)
    assert (sample.index.to_numpy() // 2).tolist() == list(range(40)), "one of every two neighbours"
    assert sample.equals(frame.iloc[sample.index].set_axis(sample.index))
    settings = ["--members", "1", "--epochs", "1", "--set", "branches=[linear]", "--no-report", "--store", "none"]
    assert run("fit", table, "--target", "label", "--out", model, "--sample", "50", *settings) == 0
    shown = capsys.readouterr()
    assert "40 of 80 rows, evenly spread" in shown.err
    assert "--held-out --sample 50\n" in shown.out
    assert run("evaluate", model, table, "--sample", "50", "--held-out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6
    assert run("evaluate", model, table, "--held-out", "--json") == 2, "of the whole table it does not know"
    assert run("evaluate", model, table, "--sample", "1000", "--json") == 0, "larger than the table: all of it"
    assert json.loads(capsys.readouterr().out)["rows"] == 80
    refused(capsys, "keep one of the two", "explain", model, table, "--sample", "50", "--rows", "1")
    assert run("fit", table, "--test", table, "--target", "label", "--out", model, "--sample", "50", *settings) == 0
    assert f"plait explain {model} {table}\n" in capsys.readouterr().out, (
        "the rows that judged are a table of their own"
    )


def test_a_sample_keeps_classes_that_take_turns(tmp_path: Path) -> None:
    pd.DataFrame({"y": ["cat", "dog"] * 500}).to_csv(tmp_path / "t.csv", index=False)
    for most in (1000, 999, 300, 130, 41):
        sample = read_table(tmp_path / "t.csv", sample=most)
        assert most // 2 <= len(sample) <= most
        assert 0.2 < (sample["y"] == "cat").mean() < 0.8
        assert np.diff(sample.index.to_numpy()).max() < 4 * 1000 / len(sample), "evenly spread"


def test_encode_store_and_list(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", tmp_path / "store"]
    assert run("encode", table, "--target", "label", *ENCODERS, *store, "--out", tmp_path / "e.npz", "--json") == 0
    records = {r["modality"]: r for r in json.loads(capsys.readouterr().out)}
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["text.x"].shape == (80, 1, records["text"]["width"])
    assert run("store", *store, "--json") == 0
    assert sum(e["entries"] for e in json.loads(capsys.readouterr().out)["encoders"]) >= 80
    assert run("store", *store, "--prune", "0MB") == 0
    capsys.readouterr()
    assert run("store", "--store", tmp_path / "stroe") == 2
    assert "there is no store in" in capsys.readouterr().err
    assert not (tmp_path / "stroe").exists()
    for family in ("encoders", "fusion", "networks", "datasets"):
        assert run("list", family) == 0
    assert "licence" in capsys.readouterr().out
    assert run("list", "encoders", "--json") == 0
    listed = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert listed["bge_small"]["licence"] == "weights MIT"


@pytest.mark.parametrize("store", ["store", "none"])
def test_embeddings_go_to_parquet_piece_by_piece_and_are_a_table_of_vectors(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(write_table(tmp_path), dtype=str)
    frame.loc[[3, 70], "story"] = None
    frame.to_csv(tmp_path / "things.csv", index=False)
    place = tmp_path / "store" if store == "store" else "none"
    monkeypatch.setattr("plait.workflow.rows.PIECE", 32)
    command = ["encode", tmp_path / "things.csv", "--target", "label", *ENCODERS, "--store", place]
    assert run(*command, "--out", tmp_path / "e.parquet") == 0
    monkeypatch.undo()
    assert run(*command, "--out", tmp_path / "e.npz") == 0
    vectors = pd.read_parquet(tmp_path / "e.parquet")
    with np.load(tmp_path / "e.npz") as arrays:
        assert {f"{name}.x" for name in vectors} == {name for name in arrays if name.endswith(".x")}
        for name in vectors:
            x, mask = arrays[f"{name}.x"], arrays[f"{name}.mask"]
            there = mask.any(1)
            assert (vectors[name].notna() == there).all()
            mean = x[there].sum(1) / mask[there].sum(1, keepdims=True)
            np.testing.assert_allclose(np.stack(vectors[name][there]), mean, atol=1e-6)
    assert set(vectors["text"].isna().to_numpy().nonzero()[0]) == {3, 70}
    capsys.readouterr()
    assert run("schema", tmp_path / "e.parquet") == 0
    assert "kind: vector" in capsys.readouterr().out
    before = (tmp_path / "e.parquet").read_bytes()
    (tmp_path / "photos" / "79.png").write_bytes(b"no picture")
    monkeypatch.setattr("plait.workflow.rows.PIECE", 32)
    assert run(*command, "--strict", "--out", tmp_path / "e.parquet") == 2  # at the third piece
    assert (tmp_path / "e.parquet").read_bytes() == before
    assert not list(tmp_path.glob("*.part*"))


def test_a_table_that_does_not_fit_is_encoded_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    table = write_table(tmp_path)
    command = ["encode", table, "--target", "label", *ENCODERS, "--json"]
    assert run(*command, "--store", tmp_path / "whole", "--out", tmp_path / "whole.parquet") == 0
    whole = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(look, "SAMPLE", 60)
    monkeypatch.setattr("plait.workflow.rows.PIECE", 32)
    assert run(*command, "--store", tmp_path / "pieces", "--out", tmp_path / "pieces.parquet") == 0
    told = capsys.readouterr()
    assert "40 of 80 rows, evenly spread" in told.err
    found = json.loads(told.out)
    assert [{**one, "width": 0} for one in found] == [{**one, "width": 0} for one in whole]
    one, other = (pd.read_parquet(tmp_path / f"{name}.parquet")["text"] for name in ("whole", "pieces"))
    np.testing.assert_array_equal(np.stack(one), np.stack(other))
    with Store(tmp_path / "whole") as a, Store(tmp_path / "pieces") as b:
        assert [s["entries"] for s in a.sizes()] == [s["entries"] for s in b.sizes()]


def test_what_a_sample_did_not_show_counts_as_missing_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = [str(i % 13) for i in range(200)]
    size[101] = "very large"
    pd.DataFrame({"size": size, "y": ["a", "b"] * 100}).to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(look, "SAMPLE", 60)  # every fourth row
    monkeypatch.setattr("plait.workflow.rows.PIECE", 32)
    assert run("encode", tmp_path / "t.csv", "--target", "y", "--store", "none", "--json") == 0
    told = capsys.readouterr()
    (record,) = json.loads(told.out)
    assert (record["rows"], record["absent"]) == (200, 0)
    assert "cells that count as missing: 1 in 'size'" in told.err
    assert "(e.g. 'very large')" in told.err


def test_encode_says_that_nothing_is_frozen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "target: label\ntask: classification\nmodalities:\n"
        "  text: {kind: text, columns: [text], encoder: cnn_text, train: scratch}\n"
    )
    assert run("encode", table, "--schema", tmp_path / "s.yaml", "--store", "none") == 2
    assert "nothing to encode: 'text' has train: scratch" in " ".join(capsys.readouterr().err.split())


def test_settings_have_one_name_everywhere(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "fit",
        table,
        "--target",
        "label",
        "--out",
        tmp_path / "m",
        *QUICK,
        "--depth",
        "late",
        "--set",
        "dropout=0.1",
        "--json",
    ]
    assert run(*command) == 0
    capsys.readouterr()
    settings = json.loads((tmp_path / "m" / "model.json").read_text())["settings"]
    assert (settings["depth"], settings["dropout"], settings["members"]) == ("late", 0.1, 2)


def test_import_stays_light() -> None:
    code = (
        "import sys, plait, plait.cli; plait.cli.registered(); "
        "heavy = {'torch', 'pandas', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- bad input -------------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], complaint: str, *arguments: str | Path) -> None:
    """One line that says what is wrong, and exit code 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, told
    assert complaint.lower() in told[0].lower(), told[0]


def edited(table: Path, folder: Path, **columns: object) -> Path:
    frame = pd.read_csv(table).assign(**columns)
    if not (folder / "photos").exists():  # what is linked within the table's folder is within its border
        (folder / "photos").symlink_to(table.parent / "photos")
    frame.to_csv(folder / "edited.csv", index=False)
    return folder / "edited.csv"


def test_wrong_path_names_the_nearest(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "things.csv", "fit", table.with_name("thing.csv"), "--target", "label")


def test_empty_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("")
    refused(capsys, "empty", "fit", tmp_path / "empty.csv", "--target", "label")
    (tmp_path / "head.csv").write_text("a,b,label\n")
    refused(capsys, "no rows", "fit", tmp_path / "head.csv", "--target", "label")


def test_wrong_target_names_the_nearest(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "'label'", "fit", table, "--target", "labl")


def test_one_class_only(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys,
        "one class",
        "fit",
        edited(table, tmp_path, label="same"),
        "--target",
        "label",
        "--task",
        "classification",
        *QUICK,
    )


def test_target_with_holes_and_a_rare_class(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = pd.read_csv(table)["label"].tolist()
    labels[:5] = [None] * 5
    labels[7] = "only me"
    path = edited(table, tmp_path, label=labels)
    assert run("fit", path, "--target", "label", "--out", tmp_path / "m", *QUICK) == 0
    assert "5 of 80 rows have no 'label'" in capsys.readouterr().err


def test_a_column_missing_at_predict_time(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(table, tmp_path)
    pd.read_csv(path).drop(columns="story").to_csv(path, index=False)
    refused(capsys, "story", "predict", model, path, "--out", tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    assert run("predict", model, path, "--out", tmp_path / "p.csv", "--partial") == 0
    for command in (["evaluate", "--condition", "absent:image=1", "--json"], ["explain", "--json"]):
        refused(capsys, "--partial", command[0], model, path, *command[1:])
        assert run(command[0], model, path, *command[1:], "--partial") == 0
        told = json.loads(capsys.readouterr().out)
        assert "overall" in told or told["absences"]["text"] == told["rows"]


def test_broken_pictures_are_absent_cells_or_an_error_with_strict(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (table.parent / "photos" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    photos = [str(table.parent / p) for p in pd.read_csv(table)["photo"]]
    photos[:3] = [str(tmp_path / "cut.png"), str(tmp_path / "text.png"), str(tmp_path / "gone.png")]
    path = edited(table, tmp_path, photo=photos)
    anywhere = ["--root", "/"]  # absolute names lead out of the table's folder
    assert run("predict", model, path, "--out", tmp_path / "p.csv", *anywhere) == 0
    told = capsys.readouterr().err
    assert "2 of 79 cells of 'image'" in told
    assert "gone.png" in told
    assert len(pd.read_csv(tmp_path / "p.csv")) == 80
    refused(capsys, "image", "predict", model, path, "--out", tmp_path / "q.csv", "--strict", *anywhere)
    assert not (tmp_path / "q.csv").exists()
    refused(capsys, "leads out of the root", "predict", model, path, "--out", tmp_path / "q.csv", "--strict")


def test_a_picture_of_two_gigapixels_and_a_sound_of_three_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", bomb), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    rate, size = 8_000, 3 * 3600 * 8_000 * 2
    form = (b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)
    with (tmp_path / "long.wav").open("wb") as stream:
        stream.write(struct.pack("<4sI4s4sIHHIIHH4sI", *form))
        stream.truncate(44 + size)  # a hole: it takes no room on the disk
    (tmp_path / "nothing.wav").write_bytes(b"")
    rng = np.random.default_rng(0)
    for i in range(24):
        tone = np.sin(np.arange(4_000) * (0.1 if i % 2 else 0.5)) + 0.1 * rng.normal(size=4_000)
        soundfile.write(tmp_path / f"{i}.wav", tone / 2, 8_000)
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    sounds = ["long.wav", "nothing.wav", *(f"{i}.wav" for i in range(2, 24))]
    pictures = ["0.png", "bomb.png", *(f"{i}.png" for i in range(2, 24))]
    frame = pd.DataFrame({"sound": sounds, "picture": pictures, "label": ["low", "high"] * 12})
    frame.to_csv(tmp_path / "media.csv", index=False)
    light = ["--encoder", "audio=logmel", "--encoder", "image=pixel_statistics", "--members", "1", "--epochs", "2"]
    command = ["fit", tmp_path / "media.csv", "--target", "label", *light, "--no-report"]
    assert run(*command, "--out", tmp_path / "m") == 0
    told = capsys.readouterr().err
    assert "sounds are longer than 60 s" in told
    assert "cells of 'audio' cannot be read" in told
    assert "cells of 'image' cannot be read" in told
    refused(capsys, " of 'audio': ", *command, "--out", tmp_path / "n", "--strict")
    assert not (tmp_path / "n").exists()


def test_pictures_from_an_archive_and_one_that_climbs_out(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in (table.parent / "photos").iterdir():
            archive.write(path, f"photos/{path.name}")
        archive.write(path, "../evil.png")
    assert run("predict", model, table, "--root", tmp_path / "photos.zip", "--out", tmp_path / "p.csv") == 0
    assert run("predict", model, table, "--out", tmp_path / "q.csv") == 0
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "q.csv").read_text()
    photos = ["../evil.png", *pd.read_csv(table)["photo"][1:]]
    frame = pd.read_csv(table).assign(photo=photos)
    frame.to_csv(tmp_path / "evil.csv", index=False)
    capsys.readouterr()
    run("predict", model, tmp_path / "evil.csv", "--root", tmp_path / "photos.zip", "--out", tmp_path / "r.csv")
    assert "evil.png" in capsys.readouterr().err


def test_settings_that_are_not_known(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys, "did you mean 'width'", "fit", table, "--target", "label", "--out", tmp_path / "m", "--set", "widht=3"
    )
    refused(capsys, "modality=name", "fit", table, "--target", "label", "--encoder", "minilm")
    (tmp_path / "s.yaml").write_text("target: label\nmodalitys: {}\n")
    refused(capsys, "did you mean 'modalities'", "fit", table, "--schema", tmp_path / "s.yaml")
    assert not (tmp_path / "m").exists()


def test_broken_model_folders(table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = bytearray((broken / "weights.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (broken / "weights.safetensors").write_bytes(weights)
    refused(capsys, "altered", "predict", broken, table)
    (broken / "weights.safetensors").unlink()
    refused(capsys, "incomplete", "predict", broken, table)
    refused(capsys, "no such folder", "predict", tmp_path / "nowhere", table)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from plait.cli import main
main(sys.argv[1:])
"""


def test_a_full_disk_while_saving_leaves_nothing_behind(table: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        LIMITED,
        "fit",
        str(table),
        "--target",
        "label",
        "--out",
        str(tmp_path / "m"),
        "--store",
        "none",
        *QUICK,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


WAITING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
from plait.training import crossfit, units
from plait.cli import main
real = units.train
def train(learner, epochs, patience, callbacks):
    sys.stdout.write(f"training {learner.members}\\n")  # in one piece: there may be two threads
    sys.stdout.flush()
    return real(learner, 10**9, 10**9, callbacks)  # the loop itself, which ends only when it is told to
units.train = train
crossfit.stackable = lambda *arguments: sys.argv[1] == "together"
main(sys.argv[2:])
"""


@pytest.mark.parametrize("members", ["together", "side by side"])
def test_ctrl_c_leaves_nothing_behind(members: str, table: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        WAITING,
        members,
        "fit",
        str(table),
        "--target",
        "label",
        "--out",
        str(tmp_path / "m"),
        *QUICK,
        "--members",
        "4",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            begun = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert begun == ("training 2\n" if members == "together" else "training 1\n")
    assert process.returncode == 130, told
    assert "the same command carries on" in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_columns_and_a_target_with_odd_names_work_from_schema_to_explanation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(write_table(tmp_path, 60))
    odd = {"photo": "front.image", "weight": "weight [kg]/net", "material": "what, 'of'=", "label": "the.label/x"}
    frame = frame.rename(columns=odd)
    frame["front/image"] = frame["front.image"].iloc[::-1].to_numpy()
    frame.to_csv(tmp_path / "odd.csv", index=False)
    target = ["--target", "the.label/x"]
    assert run("schema", tmp_path / "odd.csv", *target) == 0
    told = capsys.readouterr().out
    (tmp_path / "s.yaml").write_text(told)
    taught = ["--encoder", "front_image_2=cnn", "--train", "front_image_2=scratch", "--set", "fusion=gated"]
    learn = [*QUICK, *taught, "--set", "encoders.front_image_2.width=4", "--set", "encoders.front_image_2.size=16"]
    assert run("fit", tmp_path / "odd.csv", "--schema", tmp_path / "s.yaml", *learn, "--out", tmp_path / "m") == 0
    for command in ("evaluate", "explain"):
        assert run(command, tmp_path / "m", tmp_path / "odd.csv") == 0
        assert "front_image_2" in capsys.readouterr().out
    assert run("predict", tmp_path / "m", tmp_path / "odd.csv", "--out", tmp_path / "p.csv") == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == 60
    capsys.readouterr()
    (tmp_path / "s.yaml").write_text(told.replace("  front_image_2:", "  front.image:"))
    assert run("fit", tmp_path / "odd.csv", "--schema", tmp_path / "s.yaml", "--out", tmp_path / "n") == 2
    said = capsys.readouterr().err.strip()
    assert "modality 'front.image': its name holds '.'" in said
    assert len(said.splitlines()) == 1


def test_no_command_writes_into_a_model_of_another_kind(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with whole_folder(tmp_path / "m") as place:
        model_files.write_model(place, {"kind": "FusionClassifier"}, {}, "# card")
    before = sorted(path.name for path in (tmp_path / "m").iterdir())
    for command in (
        ["advise", "--target", "label"],
        ["align"],
        ["pretrain", "--target", "label", "--modality", "image"],
    ):
        assert run(command[0], table, *command[1:], "--out", tmp_path / "m") == 2
        assert "holds a FusionClassifier" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == before
