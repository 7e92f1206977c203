"""Windows and macOS, as far as they can be played here: no locks, other slashes, letters, ends of lines, spawned processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait.base import machine
from plait.base.errors import CellError
from plait.cli import main
from plait.data import schema
from plait.data.archive import Place
from plait.data.table import read_table
from plait.estimators.target_models import folders_of
from plait.store import Store
from study_tiny import SCHEMA, TOLD, table

#: What Windows lacks; read by Python at its start.
LESS = """
import os, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("fork", "geteuid", "getuid", "O_NONBLOCK"):
    delattr(os, name)
"""
ALL = """
import sys, plait.base.parts, plait.store.environment
from plait.cli import main
assert plait.base.parts.fcntl is plait.store.environment.fcntl is None
small = ["--members", "1", "--epochs", "2", "--set", "width=8", "--set", "branches=[joint]", "--store", "store"]
for arguments in (
    ["fit", "tiny.csv", "--schema", "tiny.yaml", "--out", "m", "--no-report", *small],
    ["fit", "tiny.csv", "--schema", "tiny.yaml", "--out", "m", "--no-report", *small],
    ["predict", "m", "tiny.csv", "--out", "p.csv"],
    ["study", "run", "study.yaml", "--out", "s", "--engine", "inline", "--store", "store"],
):
    try:
        main(arguments)
    except SystemExit as stop:
        assert not stop.code, arguments
"""


def test_without_what_windows_lacks_all_main_jobs_are_done(tmp_path: Path) -> None:
    (tmp_path / "less").mkdir()
    (tmp_path / "less" / "sitecustomize.py").write_text(LESS)
    table().to_csv(tmp_path / "tiny.csv", index=False, lineterminator="\r\n")
    (tmp_path / "tiny.yaml").write_bytes(SCHEMA.replace("\n", "\r\n").encode())
    study = {**TOLD, "grid": {"depth": ["early"]}}
    (tmp_path / "study.yaml").write_bytes(json.dumps(study, indent=1).replace("\n", "\r\n").encode())
    paths = [str(tmp_path / "less"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", ALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(table())
    lines = (tmp_path / "s" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done", "done"]
    names = [p.name for p in tmp_path.rglob("*") if "__pycache__" not in p.parts]
    assert not [name for name in names if name.endswith((".part", ".old")) or set(name) & set('<>:"|?*\\')]


def test_a_process_that_was_spawned_shares_the_store(tmp_path: Path) -> None:
    """As Windows and macOS start processes: nothing is inherited, the store is opened by its path."""
    with Store(tmp_path) as store:
        store.put_many("e", {bytes(16): np.ones((1, 2))}, "toy")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_both, (store,)) == [1.0, 2.0]
        (other,) = store.get_many("e", [bytes([1]) * 16])
        assert other is not None
        assert other.tolist() == [[2.0, 2.0]]


def _both(store: Store) -> list[float]:
    store.put_many("e", {bytes([1]) * 16: np.full((1, 2), 2.0)}, "toy")
    found = store.get_many("e", [bytes(16), bytes([1]) * 16])
    return [float(array[0, 0]) for array in found if array is not None]


# -- names of files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Photos" / "sub").mkdir(parents=True)
    (tmp_path / "Photos" / "sub" / "a.png").write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    return tmp_path / "Photos"


@pytest.mark.parametrize("name", ["sub\\a.png", ".\\sub\\a.png", "sub/a.png", "sub\\..\\sub\\a.png"])
def test_the_slashes_of_windows_are_slashes(name: str, root: Path) -> None:
    found = Place(str(root)).find(name)
    assert found is not None
    assert found.size == 1


@pytest.mark.parametrize(
    "name", ["..\\outside.png", "sub\\..\\..\\outside.png", "\\\\server\\share\\a.png", "//server/share/a.png"]
)
def test_the_slashes_of_windows_lead_out_no_more_than_others(name: str, root: Path) -> None:
    with pytest.raises(CellError, match="leads out of the root"):
        Place(str(root)).find(name)


def test_names_that_windows_keeps_for_itself_are_no_folders() -> None:
    assert folders_of(["aux", "Con", "com1", "price"]) == {
        "aux": "aux_2",
        "Con": "Con_2",
        "com1": "com1_2",
        "price": "price",
    }


def test_a_drive_is_no_folder_here_and_no_address(root: Path) -> None:
    assert Place(str(root)).find("C:\\photos\\a.png") is None
    names = [f"C:\\photos\\{i}.png" for i in range(24)]
    with pytest.warns(match="none of its first 20 files is there"):
        found = schema.infer(pd.DataFrame({"photo": names}), root=str(root))
    assert [m.kind for m in found.modalities] == ["image"]


def test_another_computer_is_not_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Windows sends the user's name where a name such as ``\\server\share\a.png`` is so much as looked for."""
    asked: list[str] = []
    usual = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: asked.append(str(path)) or usual(path))
    for name in ("\\\\server\\share\\a.png", "//server/share/a.png", "/\\server/a.png"):
        with pytest.raises(CellError):
            Place(str(root)).find(name)
    assert not [path for path in asked if "server" in path]


def test_where_capital_letters_do_not_count_they_lead_nowhere_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shouted = str(root / "sub" / "a.png").upper()
    with pytest.raises(CellError, match="leads out of the root"):
        Place(str(root)).find(shouted)
    monkeypatch.setattr(os.path, "normcase", str.lower)
    assert Place(str(root)).find(shouted) is None  # within the root; that it is not there is this disk's word


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_lines_may_end_as_windows_ends_them(name: str, tmp_path: Path) -> None:
    texts = {
        "t.csv": "a,b\n1,x\n2,y z\n",
        "t.tsv": "a\tb\n1\tx\n2\ty z\n",
        "t.jsonl": '{"a":1,"b":"x"}\n{"a":2,"b":"y z"}\n',
    }
    frames = []
    for end in ("\n", "\r\n"):
        (tmp_path / name).write_bytes(texts[name].replace("\n", end).encode())
        frames.append(read_table(tmp_path / name))
    pd.testing.assert_frame_equal(*frames)
    assert frames[1]["b"].tolist() == ["x", "y z"]


# -- what the system tells ----------------------------------------------------------------------------------------------


def test_memory_is_told_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: _no_proc(self) or usual(self, *a, **k))
    monkeypatch.setattr(Path, "write_text", lambda self, *a, **k: _no_proc(self))
    machine.reset_peak()
    linux = machine.process_mb()
    assert machine.peak_mb() == pytest.approx(linux, rel=0.05)
    assert machine.resident_mb(os.getpid()) is None
    assert machine.available_mb() is None
    monkeypatch.setattr(sys, "platform", "darwin")  # which counts bytes, not thousands of them
    assert machine.process_mb() == pytest.approx(linux / 1024, rel=0.25)


def _no_proc(path: Path) -> None:
    if path.parts[1:2] == ("proc",):
        raise FileNotFoundError(2, "No such file or directory", str(path))


def test_the_command_line_speaks_utf_8_to_a_console_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    (tmp_path / "t.csv").write_text("größe,日\n" + "".join(f"{i},w{i}\n" for i in range(12)), encoding="utf-8")
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "cp1252", "strict"))  # as a console of Windows
    with pytest.raises(SystemExit) as stop:
        main(["schema", str(tmp_path / "t.csv")])
    sys.stdout.flush()
    assert not stop.value.code
    assert "größe".encode("cp1252") in out.getvalue()
    assert b"\\u65e5" in out.getvalue()
