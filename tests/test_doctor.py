"""``plait doctor``, and the completion of commands in a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plait.base.machine import fast_dtype
from plait.cli import main
from plait.encoders.defaults import default_encoder
from plait.store import Store
from plait.workflow.doctor import advice, doctor


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("PLAIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PLAIT_REMOTE", str(tmp_path / "none-yet"))
    monkeypatch.setenv("PLAIT_SECRET_TOKEN", "hush")
    Store().close()
    return doctor()


def test_it_says_what_is_there(found: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {each["kind"]: each["default"] for each in found["encoders"]}["text"] == default_encoder("text")
    assert all(each["default"] in each["ready"] for each in found["encoders"])
    assert found["processor"]["encodes in"] in str(fast_dtype())
    places = {place["what"]: place for place in found["places"]}
    assert places["store of embeddings"]["path"] == str(tmp_path / "store")
    assert places["store of embeddings"]["bytes"] > 0
    assert not places["fetched files"]["there"]
    assert not (tmp_path / "none-yet").exists()  # it only looks
    assert run("doctor", "--json") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["extras"] == found["extras"]
    assert "hush" not in printed
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert str(tmp_path / "store") in text
    assert "(not there yet)" in text


def test_extras_name_what_is_missing(found: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    extras = {each["extra"]: each for each in found["extras"]}
    assert "dev" not in extras
    if "parquet" in extras:
        assert extras["parquet"]["ready"] == ("pyarrow" in extras["parquet"]["here"])
        version = __import__("importlib.metadata").metadata.version

        def without(name: str) -> str:
            if name == "pyarrow":
                raise __import__("importlib.metadata").metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr("importlib.metadata.version", without)
        assert {e["extra"]: e["missing"] for e in doctor()["extras"]}["parquet"] == ["pyarrow"]


def test_advice_names_a_full_disk_and_a_weak_encoder() -> None:
    place = {"what": "store of embeddings", "path": "/s", "free": 1 << 20, "writable": False}
    encoders = [{"kind": "image", "default": "pixel_statistics"}, {"kind": "tabular", "default": "tabular"}]
    said = advice({"encoders": encoders, "places": [place]})
    assert len(said) == 3
    assert "plait[image]" in said[0]
    assert "0.0 GB free" in said[1]
    assert "cannot be written" in said[2]


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_a_shell_completes_commands_and_options() -> None:
    words = {"plait ev": "evaluate", "plait fit t.csv --tar": "--target"}
    for typed, expected in words.items():
        environment = os.environ | {
            "_PLAIT_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        }
        code = "import sys; sys.argv[0] = 'plait'; from plait.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert expected in done.stdout.split(), done.stderr
