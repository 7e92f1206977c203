"""Folders and files written whole: only what plait wrote is ever removed, and what a kill left is mended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from plait.base import folders, parts
from plait.base.errors import ModelError, PlaitError
from plait.base.folders import check_folder, whole_folder
from plait.base.parts import write_file
from plait.store import model_files


def save(folder: Path | str, word: str = "new", *, page: bool = True) -> None:
    with whole_folder(folder) as place:
        model_files.write_model(place, {"kind": word}, {"w": np.ones(3)}, "# card\n")
        if page:
            (place / "figures").mkdir()
            (place / "figures" / "a.svg").write_text(word)


def kind(folder: Path) -> str:
    return str(model_files.read_model(folder)[0]["kind"])


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        {"model.json": '{"tfjs": "model"}', "thesis.txt": "three years"},
        {"model.json": '{"format": 1, "checksum": "0"}'},
        {"model.json": "[" * 100_000},
        {".plait.json": "{}", "thesis.txt": "three years"},
        {".plait.json": '{"files": ["../../x"]}', "thesis.txt": "three years"},
        {"photo.jpg": "x"},
    ],
)
def test_somebody_elses_folder_is_refused_and_untouched(tmp_path: Path, content: dict[str, str]) -> None:
    (tmp_path / "m").mkdir()
    for name, text in content.items():
        (tmp_path / "m" / name).write_text(text)
    with pytest.raises(ModelError, match="not a model folder that plait wrote"):
        check_folder(tmp_path / "m")
    with pytest.raises(ModelError, match="not a model folder that plait wrote"):
        save(tmp_path / "m")
    assert {p.name: p.read_text() for p in (tmp_path / "m").iterdir()} == content
    assert names(tmp_path) == ["m"]


def test_a_model_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "m", "Fusion") as place:
        model_files.write_model(place, {"kind": "FusionClassifier"}, {}, "# card")
    with pytest.raises(ModelError, match="holds a FusionClassifier, which would be lost"):
        folders.check_folder(tmp_path / "m", "ModalityAligner")
    with pytest.raises(ModelError, match="FusionClassifier"), whole_folder(tmp_path / "m", "Pretrained"):
        pass
    assert kind(tmp_path / "m") == "FusionClassifier"
    folders.check_folder(tmp_path / "m", "Fusion")  # a regression may take a classifier's place
    folders.check_folder(tmp_path / "new", "ModalityAligner")


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "of an older plait"])
def test_what_a_user_put_into_a_model_folder_stays(tmp_path: Path, listed: bool) -> None:
    save(tmp_path / "m", "old")
    if not listed:
        (tmp_path / "m" / folders.LIST).unlink()
    (tmp_path / "m" / "predictions.csv").write_text("mine")
    (tmp_path / "m" / "figures" / "mine.png").write_text("mine")
    (tmp_path / "m" / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "notes" / "deep" / "a.txt").write_text("mine")
    (tmp_path / "m" / "link").symlink_to("nowhere")
    save(tmp_path / "m", "new", page=False)
    assert kind(tmp_path / "m") == "new"
    assert (tmp_path / "m" / "predictions.csv").read_text() == "mine"
    assert (tmp_path / "m" / "figures" / "mine.png").read_text() == "mine"
    assert (tmp_path / "m" / "notes" / "deep" / "a.txt").read_text() == "mine"
    assert (tmp_path / "m" / "link").is_symlink()
    assert not (tmp_path / "m" / "figures" / "a.svg").exists()  # plait wrote it, and the new model has none
    assert names(tmp_path) == ["m"]


def test_a_file_in_the_way_of_plaits_own_is_named_before_the_work(tmp_path: Path) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / "results.json").write_text("mine")
    with pytest.raises(ModelError, match=r"holds a results\.json that plait did not write"):
        check_folder(tmp_path / "m")


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    save(tmp_path / "v1", "old")
    (tmp_path / "current").symlink_to("v1")
    (tmp_path / "next").symlink_to("v2")
    save(tmp_path / "current")
    save(tmp_path / "next")
    assert (tmp_path / "current").is_symlink()
    assert kind(tmp_path / "v1") == "new"
    assert (tmp_path / "next").is_symlink()
    assert kind(tmp_path / "v2") == "new"
    table = tmp_path / "latest.txt"
    table.symlink_to("real.txt")
    write_file(table, b"x")
    assert table.is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"x"


@pytest.mark.parametrize("begun", [False, True], ids=["empty", "a model with a user's file"])
@pytest.mark.parametrize("out", [".", "", "../m"])
def test_the_working_folder_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, out: str
) -> None:
    place = tmp_path / "m"
    place.mkdir()
    if begun:
        save(place, "old")
        (place / "mine.txt").write_text("mine")
    monkeypatch.chdir(place)
    before = place.stat().st_ino
    save(out)
    assert place.stat().st_ino == before
    assert Path.cwd() == place.resolve()
    assert kind(place) == "new"
    expected = [folders.LIST, "README.md", "figures", "model.json", "weights.safetensors"]
    assert names(place) == sorted([*expected, *(["mine.txt"] if begun else [])])
    save(out, page=False)
    assert not (place / "figures" / "a.svg").exists()
    assert names(tmp_path) == ["m"]


def in_a_child(code: str, *arguments: str) -> int:
    modules = "from plait.base import folders, parts\nfrom plait.store import model_files as persist"
    told = f"import os, signal, sys\nfrom pathlib import Path\n{modules}\n{code}"
    return subprocess.run([sys.executable, "-c", told, *arguments], check=False, capture_output=True).returncode


SAVE = """
with persist.whole_folder(sys.argv[1]) as place:
    (place / "model.json").write_text("half")
    {deed}
"""


def test_a_kill_leaves_nothing_that_the_next_save_does_not_sweep(tmp_path: Path) -> None:
    save(tmp_path / "m", "old")
    for _ in range(2):
        assert in_a_child(SAVE.format(deed="os.kill(os.getpid(), signal.SIGKILL)"), str(tmp_path / "m")) == -9
    assert len(names(tmp_path)) == 2  # the second sweeps what the first left
    assert kind(tmp_path / "m") == "old"
    (tmp_path / ".m.0123abcd.part").mkdir()  # as an older plait left it
    (tmp_path / ".m.notes.part").mkdir()  # not a part of ours
    save(tmp_path / "m")
    assert names(tmp_path) == [".m.notes.part", "m"]


def test_a_part_whose_owner_lives_is_left_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "m") as place:
        model_files.write_model(place, {"kind": "first"}, {}, "# card\n")
        save(tmp_path / "m", "second")
        assert place.is_dir()
    assert kind(tmp_path / "m") == "first"


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    deed = "os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    assert in_a_child(SAVE.format(deed=deed), str(tmp_path / "m")) == 128 + signal.SIGTERM
    assert names(tmp_path) == []


def test_a_save_leaves_the_signal_as_it_was(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    save(tmp_path / "m")
    assert signal.getsignal(signal.SIGTERM) == before
    other = threading.Thread(target=save, args=(tmp_path / "n",))  # only the main thread may ask for signals
    other.start()
    other.join()
    assert kind(tmp_path / "n") == "new"


KILLED = """
real = Path.rename
def rename(self, target):
    done = real(self, target)
    if os.fspath(target).endswith(".old"):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Path.rename = rename
folders.exchange = lambda a, b: False  # as on a system that has none
with persist.whole_folder(sys.argv[1]) as place:
    persist.write_model(place, {"kind": "second"}, {}, "# card")
"""


def test_there_is_a_model_at_every_moment(tmp_path: Path) -> None:
    save(tmp_path / "m", "first")
    code = KILLED.replace("folders.exchange = lambda a, b: False  # as on a system that has none\n", "")
    assert in_a_child(code, str(tmp_path / "m")) == (0 if sys.platform.startswith("linux") else -9)
    if sys.platform.startswith("linux"):
        assert kind(tmp_path / "m") == "second"


def test_a_kill_between_two_renames_is_mended_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path / "m", "first")
    (tmp_path / "m" / "mine.txt").write_text("mine")
    assert in_a_child(KILLED, str(tmp_path / "m")) == -9
    assert not (tmp_path / "m").exists()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "m"):
        raise RuntimeError  # a save that fails mends it too
    assert kind(tmp_path / "m") == "first"
    save(tmp_path / "m", "third")
    assert kind(tmp_path / "m") == "third"
    assert (tmp_path / "m" / "mine.txt").read_text() == "mine"
    assert names(tmp_path) == ["m"]


@pytest.mark.parametrize("suffix", [".part", ".csv.gz"])
def test_parts_of_files_are_swept(tmp_path: Path, suffix: str) -> None:
    code = "with parts.part_file(Path(sys.argv[1]), sys.argv[2]) as part: os.kill(os.getpid(), signal.SIGKILL)"
    assert in_a_child(code, str(tmp_path / "a.csv"), suffix) == -9
    assert len(names(tmp_path)) == 1
    with parts.part_file(tmp_path / "a.csv", suffix) as part:
        part.write_text("x")
        with parts.part_file(tmp_path / "a.csv", suffix) as other:
            other.write_text("y")
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "x"


def test_a_report_folder_takes_only_its_own_pages(tmp_path: Path) -> None:
    folders.claim_folder(tmp_path / "r", ["report.html"])
    (tmp_path / "r" / "report.html").write_text("ours")
    folders.claim_folder(tmp_path / "r", ["report.html"])
    (tmp_path / "r" / "report.md").write_text("mine")
    with pytest.raises(ModelError, match=r"holds a report\.md that plait did not write"):
        folders.claim_folder(tmp_path / "r", ["report.html", "report.md"])
    (tmp_path / "r" / "report.md").write_text("written by plait 0.1.0")  # an older one kept no list
    folders.claim_folder(tmp_path / "r", ["report.html", "report.md"])
    assert json.loads((tmp_path / "r" / folders.LIST).read_text()) == {
        "files": [folders.LIST, "report.html", "report.md"]
    }


@pytest.mark.skipif(sys.platform == "win32", reason="there a name that is too long is no error before it is made")
@pytest.mark.parametrize("longer", [0, 200])
def test_a_name_that_is_too_long_is_refused_before_the_work(longer: int, tmp_path: Path) -> None:
    name = "n" * (230 + longer)  # what stands beside it while it is written has a longer one
    for refuse in (check_folder, folders.check_file, lambda place: folders.check_room(place, place)):
        with pytest.raises(PlaitError, match=f"{name}: cannot be .*too long.*; name another place"):
            refuse(tmp_path / name)
    with pytest.raises(PlaitError, match="too long"):
        folders.claim_folder(tmp_path / name, [])
    with pytest.raises(PlaitError, match="too long"):
        save(tmp_path / name)
    with pytest.raises(PlaitError, match="too long"):
        check_folder(tmp_path / ("n" * 300) / "m")
    for refuse in (check_folder, lambda place: folders.check_room(place, place)):  # where the folder is not there yet
        with pytest.raises(PlaitError, match=f"{name}: cannot be a folder .*too long"):
            refuse(tmp_path / "new" / name)
    with pytest.raises(PlaitError, match="cannot be a file .*too long"):
        folders.check_file(tmp_path / "new" / f"{name}.svg", folders=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["a file", "a circle"])
def test_a_place_that_is_no_folder(tmp_path: Path, place: str) -> None:
    path = tmp_path / "m"
    path.write_text("x") if place == "a file" else path.symlink_to("m")
    with pytest.raises(PlaitError, match="m"):
        save(path)
    with pytest.raises(PlaitError, match="m"):
        folders.claim_folder(path, [])
    assert names(tmp_path) == ["m"]


def test_a_mounted_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "m", "old")
    before = (tmp_path / "m").stat().st_ino
    monkeypatch.setattr(Path, "is_mount", lambda self: True)
    save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_ino == before
    assert kind(tmp_path / "m") == "new"
