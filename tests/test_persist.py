from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait import load
from plait.base.errors import ModelError
from plait.base.folders import whole_folder
from plait.store import model_files


def write(folder: Path) -> Path:
    with whole_folder(folder) as place:
        model_files.write_model(place, {"kind": "Test"}, {"w": np.arange(6.0).reshape(2, 3)}, "# card\n")
    return folder


def test_round_trip(tmp_path: Path) -> None:
    manifest, arrays = model_files.read_model(write(tmp_path / "m"))
    assert manifest["kind"] == "Test"
    assert manifest["format"] == model_files.FORMAT
    np.testing.assert_array_equal(arrays["w"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("name", [model_files.MANIFEST, model_files.WEIGHTS])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_found(tmp_path: Path, name: str, place: float) -> None:
    path = write(tmp_path / "m") / name
    data = bytearray(path.read_bytes())
    spot = int(len(data) * place)
    while name == model_files.MANIFEST and chr(data[spot]).isspace():
        spot += 1
    data[spot] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=name):
        model_files.read_model(tmp_path / "m")


@pytest.mark.parametrize("name", [model_files.MANIFEST, model_files.WEIGHTS])
def test_a_missing_or_short_file_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "m") / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=name):
        model_files.read_model(tmp_path / "m")
    path.unlink()
    with pytest.raises(ModelError, match="model"):
        model_files.read_model(tmp_path / "m")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m") / model_files.MANIFEST
    told = json.loads(path.read_text())
    told["format"] = 99
    path.write_text(json.dumps(told))
    with pytest.raises(ModelError, match="format 99.*upgrade"):
        model_files.read_model(tmp_path / "m")


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        model_files.read_model(tmp_path / "nowhere")


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing was left behind"), whole_folder(tmp_path / "m") as place:
        (place / "part").write_text("x")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "m"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_replaced_and_anything_else_refused(tmp_path: Path) -> None:
    write(tmp_path / "m")
    write(tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(ModelError, match="not a model folder"):
        write(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_an_interrupted_replacement_keeps_the_old_model(tmp_path: Path) -> None:
    write(tmp_path / "m")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "m") as place:
        (place / model_files.MANIFEST).write_text("{}")
        raise RuntimeError
    assert model_files.read_model(tmp_path / "m")[0]["kind"] == "Test"


# -- models of earlier versions ------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.filterwarnings("ignore:categories that no row of the fit had:plait.PlaitWarning")  # Rome
@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in GOLDEN.glob("*/rows.json")), ids=lambda folder: folder.name
)
def test_models_of_every_format_are_loaded_and_answer_as_they_did(folder: Path) -> None:
    """Folders that a release wrote stay for ever: what it answered then is written beside them."""
    told = json.loads((folder / "rows.json").read_text())
    rows = pd.DataFrame(told["rows"])
    assert len(rows) == len(told["values"]) == 5
    classifier, regressor = load(folder / "classifier"), load(folder / "regressor")
    np.testing.assert_allclose(classifier.predict_proba(rows), told["probabilities"], atol=1e-4)
    assert classifier.predict(rows).tolist() == told["labels"]
    np.testing.assert_allclose(regressor.predict(rows), told["values"], rtol=1e-4)


def test_sums_over_weights_and_manifest_are_of_sixteen_bytes(tmp_path: Path) -> None:
    """A shorter or another one would refuse every folder that is out there."""
    golden = json.loads((GOLDEN / "format-1" / "classifier" / model_files.MANIFEST).read_text())
    written = json.loads((write(tmp_path / "m") / model_files.MANIFEST).read_text())
    weights = (tmp_path / "m" / model_files.WEIGHTS).read_bytes()
    assert written["weights"] == {"bytes": len(weights), "digest": hashlib.blake2b(weights, digest_size=16).hexdigest()}
    assert len(written["checksum"]) == len(golden["checksum"]) == 32
