"""A pretrained encoder as a folder: written, taken back frozen or to learn on, in Python and at the command line, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, Modality, Schema, load
from plait.base.errors import ConfigError, ModelError
from plait.cli import main
from plait.encoders.featurize import make_encoder
from plait.store import Store, model_files
from plait.training.pretrained import Pretrained, Saved, read, write
from plait.workflow.pretrain import pretrain

WORDS = ["iron", "wood", "glass"]
SCHEMA = Schema(
    (
        Modality("code", "vector", ("code",), {"name": "mlp", "width": 8}),
        Modality("name", "text", ("name",), {"name": "hashed_ngrams", "width": 16}),
        Modality("tabular", "tabular", ("size",)),
    ),
    "label",
)
QUICK: dict[str, Any] = {"members": 1, "epochs": 3, "width": 8, "progress": False}
SETTINGS = {"store": "none", "pretrain": {"epochs": 4}, "progress": False}


def table(n: int = 90, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "code": [np.eye(3)[k] + 0.3 * rng.normal(size=3) for k in kind],
            "name": [f"{WORDS[k]} thing {i % 7}" for i, k in enumerate(kind)],
            "size": rng.normal(size=n),
            "label": [WORDS[k] for k in kind],
        }
    )


FRAME = table()
OTHER = table(60, 1).assign(label=lambda f: np.where(f["label"] == "wood", "burns", "stays"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pretrained") / "code"
    pretrain(FRAME, SCHEMA, SETTINGS, modality="code", out=place)
    return place


def model(folder: Path | str, **told: Any) -> FusionClassifier:
    return FusionClassifier(
        **{"modalities": SCHEMA, "encoders": {"code": str(folder)}, "store": "none", **QUICK, **told}
    )


# -- there and back ----------------------------------------------------------------------------------------------------


def test_a_folder_gives_back_what_was_saved(folder: Path) -> None:
    saved = pretrain(FRAME, SCHEMA, SETTINGS, modality="code")
    again = read(folder)
    assert (again.kind, again.encoder.name(), again.encoder.options()) == ("vector", "mlp", saved.encoder.options())
    assert again.weights.keys() == saved.weights.keys()
    assert all(np.array_equal(again.weights[k], v) for k, v in saved.weights.items())
    assert again.encoder.fingerprint() == saved.encoder.fingerprint()
    told = again.facts
    assert told["task"] == {"name": "classification", "target": "label", "classes": sorted(WORDS)}
    assert told["record"]["epochs"] == 4
    assert told["record"]["rows"] + told["record"]["held_out_rows"] == 76  # 15 % of 90 rows are left out
    assert sorted(path.name for path in folder.iterdir()) == [
        ".plait.json",
        "README.md",
        "model.json",
        "weights.safetensors",
    ]
    assert "# mlp, pretrained for label\n" in (folder / "README.md").read_text()


def test_frozen_it_gives_the_same_tokens_as_the_network_inside(folder: Path) -> None:
    import torch

    found = model(folder).fit(FRAME, FRAME["label"])
    encoder = found.features_.encoders["code"]
    assert isinstance(encoder, Pretrained)
    saved = read(folder)
    cells = list(FRAME["code"])
    batch = {k: torch.from_numpy(v) for k, v in saved.encoder.prepare(cells).items()}
    with torch.inference_mode():
        expected = saved.module().eval()(batch).pooled()
        ours = encoder.module().eval()(batch).pooled()
    assert torch.equal(ours, expected)
    assert set(found.members_.members[0].encoders) == set()


def test_frozen_its_embeddings_are_kept_under_the_folders_content(folder: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        shutil.copytree(folder, place)
    store = tmp_path / "store"
    first = model(here, store=str(store)).fit(FRAME, FRAME["label"])
    with Store(store) as opened:
        before = {f["fingerprint"]: f["entries"] for f in opened.sizes()}
    second = model(there, store=str(store)).fit(FRAME, FRAME["label"])
    with Store(store) as opened:
        assert {f["fingerprint"]: f["entries"] for f in opened.sizes()} == before
    print_of = first.features_.encoders["code"].fingerprint()
    assert before[print_of] == len(FRAME)
    assert second.features_.encoders["code"].fingerprint() == print_of
    np.testing.assert_array_equal(first.predict_proba(FRAME), second.predict_proba(FRAME))


@pytest.mark.parametrize("regime", ["frozen", "scratch", "pretrain"])
def test_a_model_with_it_loads_when_the_folder_is_gone(folder: Path, tmp_path: Path, regime: str) -> None:
    place = tmp_path / "encoder"
    shutil.copytree(folder, place)
    found = model(place, train={"code": regime}, pretrain={"epochs": 2}).fit(FRAME, FRAME["label"])
    expected = found.predict_proba(FRAME)
    found.save(tmp_path / "m")
    shutil.rmtree(place)
    np.testing.assert_array_equal(load(tmp_path / "m").predict_proba(FRAME), expected)


def test_with_scratch_it_goes_on_from_the_saved_weights(folder: Path) -> None:
    import torch

    told = {
        "train": {"code": "scratch"},
        "epochs": 1,
        "thaw": 1,
    }  # thaw: what learned before stays as it is for one epoch
    found = model(folder, **told).fit(FRAME, FRAME["label"])
    weights = found.members_.members[0].encoders["code"].state_dict()
    assert all(torch.equal(weights[k], torch.from_numpy(v.copy())) for k, v in read(folder).weights.items())
    moved = model(folder, **{**told, "thaw": 0}).fit(FRAME, FRAME["label"])
    weights = moved.members_.members[0].encoders["code"].state_dict()
    assert not all(torch.equal(weights[k], torch.from_numpy(v.copy())) for k, v in read(folder).weights.items())


def test_it_goes_on_alone(folder: Path, tmp_path: Path) -> None:
    on = pretrain(FRAME, SCHEMA, {**SETTINGS, "encoders": {"code": str(folder)}}, modality="code", out=tmp_path / "on")
    assert on.encoder.name() == "mlp"
    first = read(folder).facts["history"]
    assert on.facts["history"][0]["train_loss"] < first[0]["train_loss"]
    assert read(tmp_path / "on").weights.keys() == read(folder).weights.keys()


def test_transfer_to_a_task_with_other_classes(folder: Path) -> None:
    for regime in ("frozen", "scratch", "pretrain"):
        found = model(folder, train={"code": regime}, pretrain={"epochs": 1}).fit(OTHER, OTHER["label"])
        assert list(found.classes_) == ["burns", "stays"]


def test_the_rows_that_fit_holds_out_are_left_out() -> None:
    from plait.workflow.rows import split_rows

    marked = FRAME.copy()
    _, test = split_rows(marked, SCHEMA, 0.15, None, None, 3)
    told = {**SETTINGS, "random_state": 3}
    clean = pretrain(marked, SCHEMA, told, modality="code")
    cells = list(marked["code"])
    for row in test:
        cells[row] = cells[row] + 100.0
    spoiled = pretrain(marked.assign(code=cells), SCHEMA, told, modality="code")
    assert all(np.array_equal(clean.weights[k], v) for k, v in spoiled.weights.items())
    everything = pretrain(marked, SCHEMA, told, modality="code", test_fraction=0)
    assert everything.facts["record"]["rows"] > clean.facts["record"]["rows"]


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_another_kind_is_refused_before_anything_runs(folder: Path) -> None:
    with pytest.raises(ConfigError, match="was trained on vector, not on text"):
        model("none", encoders={"name": str(folder), "code": "vector"}).fit(FRAME, FRAME["label"])


def test_another_width_is_refused(folder: Path) -> None:
    wide = FRAME.assign(code=[np.zeros(5)] * len(FRAME))
    with pytest.raises(ConfigError, match="cannot read this table's cells .*5 numbers; the training cells had 3"):
        model(folder).fit(wide, wide["label"])


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_flipped_byte_is_found(folder: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "e"
    shutil.copytree(folder, place)
    data = bytearray((place / name).read_bytes())
    at = data.rindex(b"4") if name == "model.json" else len(data) - 5
    data[at] ^= 1
    (place / name).write_bytes(bytes(data))
    with pytest.raises(ModelError, match="was altered|cannot be read"):
        model(place).fit(FRAME, FRAME["label"])


@pytest.mark.parametrize(
    ("name", "match"),
    [("model.json", "no model.json there"), ("weights.safetensors", "the model folder is incomplete")],
)
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str, match: str) -> None:
    place = tmp_path / "e"
    shutil.copytree(folder, place)
    (place / name).unlink()
    with pytest.raises(ModelError, match=match):
        model(place).fit(FRAME, FRAME["label"])


def test_a_cut_file_is_named(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "e"
    shutil.copytree(folder, place)
    data = (place / "weights.safetensors").read_bytes()
    (place / "weights.safetensors").write_bytes(data[:-8])
    with pytest.raises(ModelError, match="bytes, expected"):
        read(place)


def _rewritten(folder: Path, place: Path, **told: Any) -> Path:
    """The folder with other words in its manifest, whole and with a right checksum."""
    manifest, arrays = model_files.read_model(folder)
    words = {k: v for k, v in manifest.items() if k not in ("checksum", "weights", "format")}
    place.mkdir()
    model_files.write_model(place, {**words, **told}, arrays, "")
    return place


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"dim": 9}, "the weights are not of its encoder"),
        ({"kind": "Anything"}, "holds a Anything, not a pretrained encoder"),
        ({"fingerprint": "0" * 32}, "is another one than was trained"),
        ({"inner": {"name": "mpl", "options": {}, "state": {}}}, "unknown name 'mpl' in encoders: did you mean 'mlp'"),
        ({"inner": {"name": "mlp", "options": {"wide": 3}, "state": {}}}, "unknown field 'wide'"),
        ({"inner": {"name": "mlp", "state": {}}}, "does not hold together"),
    ],
)
def test_what_does_not_hold_together_is_refused(folder: Path, tmp_path: Path, told: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        read(_rewritten(folder, tmp_path / "e", **told))


def test_weights_of_another_width_are_refused(folder: Path, tmp_path: Path) -> None:
    saved = read(folder)
    wrong = {k: np.zeros((2, *v.shape[1:]), v.dtype) if k.endswith("0.weight") else v for k, v in saved.weights.items()}
    write(Saved(saved.encoder, saved.kind, wrong, saved.facts), tmp_path / "e")
    with pytest.raises(
        ModelError, match=r"the weights are not of its encoder \(blocks.0.0.weight is \(2, 3\), expected \(8, 3\)"
    ):
        read(tmp_path / "e")


def test_a_newer_format_is_refused(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "e"
    shutil.copytree(folder, place)
    manifest = json.loads((place / "model.json").read_text())
    manifest["format"] = 999
    (place / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="format 999.*upgrade plait"):
        read(place)


def test_a_fusion_model_is_no_encoder(folder: Path, tmp_path: Path) -> None:
    FusionClassifier(modalities=SCHEMA, store="none", train={"vector": "scratch"}, **QUICK).fit(
        FRAME, FRAME["label"]
    ).save(tmp_path / "m")
    with pytest.raises(ConfigError, match="holds a FusionClassifier, not an encoder"):
        model(tmp_path / "m").fit(FRAME, FRAME["label"])


def test_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model.json there; expected an encoder's name, or a folder"):
        make_encoder(Modality("x", "audio", ("x",), str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="name the folder"):
        _ = Pretrained().dim


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ModelError, match="exists and is not a model folder"):
        pretrain(FRAME, SCHEMA, SETTINGS, modality="code", out=tmp_path / "mine")


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"modality": None}, "--modality: say which one"),
        ({"modality": "cod"}, "did you mean 'code'"),
        ({"modality": "tabular"}, "'tabular' has nothing to train"),
    ],
)
def test_what_cannot_be_pretrained(told: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        pretrain(FRAME, SCHEMA, SETTINGS, **told)


# -- command line ------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_line_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, out = tmp_path / "things.csv", tmp_path / "name"
    FRAME[["name", "size", "label"]].to_csv(csv, index=False)
    schema = tmp_path / "s.yaml"
    schema.write_text(
        "modalities:\n  name: {kind: text, columns: [name]}\n  size: {kind: tabular, columns: [size]}\n"
        "settings: {pretrain: {patience: 2}}\n"
    )
    common = ["--target", "label", "--schema", schema, "--store", tmp_path / "store"]
    told = ["--modality", "name", "--encoder", "cnn_text", "--epochs", "2", "--set", "encoders.name.width=8"]
    assert run("pretrain", csv, *common, *told, "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["encoder"], found["record"]["epochs"], found["record"]["settings"]["patience"]) == ("cnn_text", 2, 2)
    assert run("pretrain", csv, *common, *told, "--out", out) == 0
    assert "(from the store)" in capsys.readouterr().out
    quick = ["--members", "1", "--epochs", "2", "--no-report", "--encoder", f"name={out}"]
    assert run("fit", csv, *common, *quick, "--out", tmp_path / "frozen", "--json") == 0
    frozen = json.loads(capsys.readouterr().out)
    assert frozen["record"]["encoders"]["name"]["name"] == "pretrained"
    on = ["--train", "name=scratch", "--set", "thaw=1", "--set", "encoder_learning_rate=0.0001", "--set", "warmup=0.2"]
    assert run("fit", csv, *common, *quick, *on, "--out", tmp_path / "on") == 0
    assert load(tmp_path / "on").schema_.modalities[0].train == "scratch"
    shutil.rmtree(out)
    assert run("predict", tmp_path / "on", csv, "--out", tmp_path / "p.csv") == 0
    assert run("fit", csv, *common, *quick, "--out", tmp_path / "gone") == 2
    assert "no model.json there" in capsys.readouterr().err


def test_mistakes_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "things.csv"
    FRAME[["name", "size", "label"]].to_csv(csv, index=False)
    assert run("fit", csv, "--target", "label", "--train", "name", "--out", tmp_path / "m") == 2
    assert "--train 'name': expected modality=regime" in capsys.readouterr().err
    schema = tmp_path / "s.yaml"
    schema.write_text("modalities: {name: {kind: text, columns: [name]}, size: {kind: tabular, columns: [size]}}")
    told = ["--target", "label", "--schema", schema, "--out", tmp_path / "m"]
    assert run("fit", csv, *told, "--train", "name=pretrian") == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err
    assert run("fit", csv, *told, "--train", "name=pretrain", "--set", "pretrain.epoch=3") == 2
    assert "pretrain: unknown field 'epoch'" in capsys.readouterr().err
    assert run("pretrain", csv, *told, "--modality", "nome") == 2
    assert "the table has no such modality: did you mean 'name'" in capsys.readouterr().err
    schema.write_text("modalities: {words: {kind: text, columns: [name]}}\nignored: {size: not ours}")
    assert run("pretrain", csv, *told, "--modality", "name") == 2
    assert "the column 'name' is a part of modality 'words': take --modality words" in capsys.readouterr().err
    assert run("pretrain", csv, *told, "--modality", "size") == 2
    assert "the column 'size' is left out: not ours" in capsys.readouterr().err


def test_an_encoder_around_another_gives_the_plain_columns_of_the_one_inside(tmp_path: Path) -> None:
    cells = pd.DataFrame({"size": [1.0, 2.5, None, 4.0], "colour": ["red", "blue", "red", None]})
    inner = make_encoder(Modality("table", "tabular", ("size", "colour"))).fit(cells)
    folder = write(Saved(inner, "tabular", {}, {"task": {}, "record": {}}), tmp_path / "e")
    around = Pretrained(folder=str(folder))
    prepared, columns = around.prepare_with_columns(cells)
    expected, plain = inner.prepare_with_columns(cells)
    assert prepared.keys() == expected.keys()
    assert columns is not None
    assert plain is not None
    assert columns.number_names == plain.number_names
    np.testing.assert_array_equal(columns.numbers, plain.numbers)
    np.testing.assert_array_equal(around.columns(cells).codes, plain.codes)  # type: ignore[union-attr]
    assert (around.dim, around.lengths(cells).tolist()) == (inner.dim, inner.lengths(cells).tolist())


def test_settings_of_a_fusion_are_refused() -> None:
    with pytest.raises(ConfigError, match="pretrain: align, depth is of a fusion, and is not used here"):
        pretrain(FRAME, SCHEMA, {**SETTINGS, "depth": "late", "align": {"code": {}}}, modality="code")
