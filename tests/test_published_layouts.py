"""Data sets that are not here: their published layouts, made tiny."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plait.base import registry
from plait.base.errors import TableError
from plait.data.schema import validate
from plait.datasets.base import Loaded


def loaded(name: str, root: Path, **options: Any) -> Loaded:
    """Read it; every target has a schema that its rows keep."""
    found: Loaded = registry.find("datasets", name)(**options).load(root)
    for target in found.schemas:
        rows, schema = found.of(target)
        validate(schema, rows)
    return found


def kinds(found: Loaded, target: str) -> dict[str, str]:
    return {m.name: m.kind for m in found.schemas[target].modalities}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 12), (200, 10, 10)).save(path)


# -- MM-IMDb -----------------------------------------------------------------------------------------------------------


def mm_imdb(root: Path) -> Path:
    films = {
        "0000001": {"title": "One", "year": 1999, "plot": ["A plot.", "Another."], "genres": ["Drama", "News"]},
        "0000002": {"title": "Two", "plot": ["War."], "genres": ["War", "History"]},
        "0000003": {"title": "Three", "plot": ["Talk."], "genres": ["Talk-Show"]},
    }
    folder = root / "mmimdb" / "dataset"
    folder.mkdir(parents=True)
    for number, film in films.items():
        (folder / f"{number}.json").write_text(json.dumps(film))
    picture(folder / "0000001.jpeg")
    parts = {"train": ["0000001"], "dev": ["0000002"], "test": ["0000003"]}
    (root / "mmimdb" / "split.json").write_text(json.dumps(parts))
    return folder


def test_mm_imdb(tmp_path: Path) -> None:
    folder = mm_imdb(tmp_path)
    rows, _ = loaded("mm_imdb", tmp_path).of("genres")
    assert rows["genres"].tolist() == [
        "Drama",
        "War|History",
    ]  # News is none of the 23; a talk show is left without one
    assert rows["split"].tolist() == ["train", "valid"]
    assert rows["text"][0] == "A plot."
    assert rows["image"].tolist() == [str(folder / "0000001.jpeg"), None]
    (folder / "0000002.json").write_text('{"title": "Two"}')
    with pytest.raises(TableError, match="0000002.json: no film of MM-IMDb"):
        loaded("mm_imdb", tmp_path)
    (tmp_path / "mmimdb" / "split.json").write_text("[]")
    with pytest.raises(TableError, match="another version"):
        loaded("mm_imdb", tmp_path)


# -- AV-MNIST ----------------------------------------------------------------------------------------------------------


def test_av_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, rows in (("train", 10), ("test", 4)):
        for kind, shape in (("image", (rows, 784)), ("audio", (rows, 112, 112))):
            (tmp_path / "avmnist" / kind).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "avmnist" / kind / f"{part}_data.npy", rng.random(shape).astype(np.float32))
        np.save(tmp_path / "avmnist" / f"{part}_labels.npy", np.arange(rows))
    found = loaded("av_mnist", tmp_path)
    assert found.frame["split"].value_counts().to_dict() == {"train": 8, "test": 4, "valid": 2}
    assert found.frame["digit"].tolist()[:3] == ["0", "1", "2"]
    assert (found.frame["image"][0].shape, found.frame["audio"][0].shape) == ((28, 28), (112, 112))
    assert found.frame["image"][0].dtype == np.uint8
    assert found.frame["image"][0].max() > 200  # from 0..1 to 0..255
    np.save(tmp_path / "avmnist" / "test_labels.npy", np.arange(3))
    with pytest.raises(TableError, match="4 digits, 4 spectrograms, 3 labels"):
        loaded("av_mnist", tmp_path)
    np.save(tmp_path / "avmnist" / "image" / "train_data.npy", np.zeros((10, 5)))
    with pytest.raises(TableError, match="expected 28 x 28"):
        loaded("av_mnist", tmp_path)


# -- CMU-MOSI and CMU-MOSEI --------------------------------------------------------------------------------------------


def sequence(path: Path, data: Mapping[str, tuple[Any, Any]]) -> None:
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in data.items():
            group = file.create_group(f"{path.stem}/data/{video}")
            group["features"], group["intervals"] = features, np.asarray(intervals, float)
        file[path.stem].create_group("metadata")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cmu_mosi", ["Opinion_Labels", "TimestampedWords", "COVAREP", "Visual_Facet_41"]),
        ("cmu_mosei", ["Labels", "TimestampedWords", "COVAREP", "VisualFacet42"]),
    ],
)
def test_opinions(name: str, files: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name / f"{name.upper()}_{file}.csd" for file in files]
    spans = [[0.0, 2.0], [2.0, 4.0]]
    sequence(paths[0], {"one": ([[2.4], [0.0]], spans), "two": ([[-1.2]], spans[:1]), "else": ([[1.0]], spans[:1])})
    said = np.array([[b"sp"], [b"a"], [b"fine"], [b"film"]], dtype="S9")
    sequence(paths[1], {"one": (said, [[0, 1], [1, 1.5], [1.5, 2], [2.5, 3]]), "two": (said[1:2], [[0, 1]])})
    steps = np.array([[1.0, 2.0], [3.0, np.inf], [5.0, 6.0]])
    for path in paths[2:]:
        sequence(path, {"one": (steps, [[0, 1], [1, 2], [3, 4]])})
    (tmp_path / name / "folds.json").write_text(json.dumps({"train": ["one"], "valid": [], "test": ["two"]}))
    found = loaded(name, tmp_path)
    assert kinds(found, "three") == {"text": "text", "audio": "vector", "video": "vector"}
    assert found.frame["text"].tolist() == ["a fine", "film", "a"]
    assert found.frame["three"].tolist() == ["positive", "neutral", "negative"]
    assert found.frame["seven"].tolist() == ["+2", "+0", "-1"]
    assert found.frame["audio"][0].tolist() == [[1.0, 2.0], [3.0, 0.0]]  # what is no number is zero
    assert found.frame["video"][2] is None
    assert (found.split, found.groups) == ("split", "video_id")
    (tmp_path / name / "folds.json").write_text(json.dumps({"train": ["x"], "valid": [], "test": []}))
    with pytest.raises(TableError, match="no video of"):
        loaded(name, tmp_path)
    paths[0].write_bytes(b"half a download")
    with pytest.raises(TableError, match="csd is damaged, or no .csd file"):
        loaded(name, tmp_path)


# -- MuG and MulDIC ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["pkm_t1", "pkm_t2", "hs_ac", "hs_as", "hs_mr", "hs_ss", "lol_sc", "csgo_sq"])
def test_mug(table: str, tmp_path: Path) -> None:
    from plait.datasets.mug import FOLDERS

    folder = tmp_path / "mug" / FOLDERS[table]
    folder.mkdir(parents=True)
    (folder / "info.json").write_text(json.dumps({"label": "Kind", "task": "multiclass"}))
    picture(tmp_path / "a.png")
    for part in ("train", "dev", "test"):
        with zipfile.ZipFile(folder / f"{part}_images.zip", "w") as archive:
            archive.write(tmp_path / "a.png", f"{part}_images/a.png")
        cells = {"Card ID": ["x"], "Image Path": [f"{part}_images/a.png"], "Text": ["what it does, in many words"]}
        pd.DataFrame(cells | {"Cost": [3], "Sort": ["spell"], "Kind": ["fire"]}).to_csv(
            folder / f"{part}.csv", index=False
        )
    found = loaded("mug", tmp_path, table=table)
    assert kinds(found, "label") == {"text": "text", "image": "image", "tabular": "tabular"}
    assert [m.columns for m in found.schemas["label"].modalities] == [("Text",), ("image",), ("Cost", "Sort")]
    assert found.frame["split"].tolist() == ["train", "valid", "test"]
    assert found.frame["image"][1] == f"zip://{folder / 'dev_images.zip'}!dev_images/a.png"
    (folder / "info.json").write_text("{}")
    with pytest.raises(TableError, match="another version"):
        loaded("mug", tmp_path, table=table)


@pytest.mark.parametrize("project", ["vscode", "kubernetes", "flutter", "roslyn"])
def test_muldic(project: str, tmp_path: Path) -> None:
    from plait.datasets.muldic import FOLDERS

    name = FOLDERS[project]
    for part in ("train", "test"):
        for kind in ("bug", "feature"):
            folder = tmp_path / "muldic" / name / f"{part}_data"
            picture(folder / kind / "1.png")
            table = pd.DataFrame({"title": ["it fails", "again"], "code": ["x = 1", None], "label": kind})
            table.to_csv(folder / f"{name}_{part}_{kind}.csv", index=False)
    found = loaded("muldic", tmp_path, project=project)
    assert kinds(found, "label") == {"text": "text", "code": "code", "image": "image"}
    assert found.frame["label"].tolist() == ["bug", "bug", "feature", "feature"] * 2
    assert found.frame["split"].tolist() == ["train"] * 4 + ["test"] * 4
    assert found.frame["image"].notna().tolist() == [True, False] * 4
    pd.DataFrame({"title": ["x"]}).to_csv(folder / f"{name}_test_bug.csv", index=False)
    with pytest.raises(TableError, match="no column code, label"):
        loaded("muldic", tmp_path, project=project)
