"""Folders written whole or not at all, in which only what plait wrote is ever replaced or removed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from plait.base.documents import is_manifest, read_json
from plait.base.errors import ModelError, TableError
from plait.base.parts import DIGITS, claimed, followed, held_part, interruptible, left_parts, let_go

#: The file in which a folder keeps the names of what plait wrote there.
LIST = ".plait.json"
MODEL = "model.json"
#: What plait's commands write into a model folder: of folders that were written before there was a list, and the names that
#: nothing else may have there.
NAMES = frozenset(
    {
        *(MODEL, "weights.safetensors", "README.md", "report.html", "results.json", LIST),
        *("epoch_metrics.json", "epoch_metrics.csv"),
    }
)
#: What stands beside a place while it is written has a name that is so much longer at most.
BESIDE = 40
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD


def check_folder(folder: str | Path, kind: str = "") -> Path:
    """The place that a folder will be written to, symbolic links followed; refused where something else lies there.

    A folder is plait's own where it holds the list that plait left, or a model that plait wrote. Whatever else was put into
    it stays. Asked before the work begins.

    Args:
        folder: the place.
        kind: how the name of the kind of model begins that will lie there; a model of another kind is never replaced.

    Raises:
        ModelError: the place is no folder, a folder with files of somebody else's, or one with a model of another kind.
    """
    place = followed(Path(folder))
    try:
        there = os.path.exists(place)  # noqa: PTH110 - Path's raises on a name that is too long
        check_room(folder, place if not there or _pinned(place) else place.parent)
        if not there:
            return place
        if not place.is_dir():
            raise ModelError(f"{folder}: exists and is not a model folder; name another place or remove it")
        entries = {p.name for p in place.iterdir()} - {p.name for p in left_parts(place / place.name, ".part")}
        ours = _ours(place)  # files by their paths in the folder
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror or error}); name another place") from error
    if entries and ours is None:
        raise ModelError(
            f"{folder}: exists and is not a model folder that plait wrote (it holds {min(entries)}); nothing there is "
            "touched: name another place or remove it"
        )
    other = model_kind(place)
    if other is not None and not other.startswith(kind):
        raise ModelError(f"{folder}: holds a {other}, which would be lost; name another folder (--out), or remove it")
    theirs = sorted((entries - (ours or set())) & NAMES)
    if theirs:
        raise ModelError(
            f"{folder}: holds a {theirs[0]} that plait did not write and would have to replace; move it away first"
        )
    return place


def check_room(path: str | Path, folder: Path) -> None:
    """Refuse a path whose folder cannot be made, or not be written; asked before the work begins.

    Raises:
        ModelError: something on the way is no folder, may not be written, or has a name that is too long.
    """
    try:
        above = next(place for place in (folder, *folder.parents) if place.exists())
        if above != folder:
            _check_name(folder)
    except OSError as error:
        raise ModelError(f"{path}: cannot be a folder ({error.strerror or error}); name another place") from None
    if not above.is_dir():
        raise ModelError(f"{path}: {above} is a file, no folder; name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ModelError(f"{path}: the folder {above} cannot be written; name another place")


def check_file(path: str | Path, *, folders: bool = False) -> None:
    """Refuse a file that could not be written, before what it will hold is made; ``folders``: missing ones will be made.

    Raises:
        TableError: there is no such folder, it cannot be written, the path is a folder itself, or its name is too long.
    """
    place = Path(path).expanduser()
    try:
        _check_name(place)
        folder = place.is_dir()
    except OSError as error:
        raise TableError(f"{path}: cannot be a file ({error.strerror or error}); name another place") from None
    if folder:
        raise TableError(f"{path}: is a folder; name the file to write")
    if folders:
        check_room(path, place.absolute().parent)
        return
    if not place.parent.is_dir():
        raise TableError(f"{path}: there is no folder {place.parent}; make it, or name another place")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise TableError(f"{path}: the folder {place.parent} cannot be written; name another place")


def _check_name(place: Path) -> None:
    """Let the system refuse, by an ``OSError``, a name that leaves no room for those beside it, and of folders above it.

    It does so only in a folder that is there.
    """
    place = place.absolute()
    above = next(folder for folder in (*place.parents, place) if folder.exists())
    *folders, name = place.relative_to(above).parts or ("",)
    for each in (*folders, f"{name}{'.' * BESIDE}"):
        (above / each).exists()


def model_kind(folder: Path) -> str | None:
    """The kind of model that plait wrote into a folder; None where there is none."""
    return str(read_json((folder / MODEL).read_bytes()).get("kind")) if is_manifest(folder / MODEL) else None


@contextlib.contextmanager
def whole_folder(folder: str | Path, kind: str = "") -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block ends well, and vanishes when it does not.

    Of a folder that is there already only what plait wrote is replaced; everything else in it stays where it is. A folder
    that is not plait's is refused.

    Raises:
        ModelError: the place cannot be used or written.
    """
    target = followed(Path(folder))
    try:
        _sweep_folders(target)
        check_folder(folder, kind)
        inside = target.is_dir() and _pinned(target)
        with interruptible(), _held_folder(target / target.name if inside else target) as part:
            yield part
            _write_list(part, {*_files(part), LIST})
            (_fill if inside else _replace)(part, target)
    except OSError as error:
        place = Path(error.filename) if error.filename else target
        name = f"{place.name}: " if place.parent.name.endswith(".part") else ""
        said = f"{name}{error.strerror or error}"
        raise ModelError(f"{folder}: cannot be written ({said}); nothing was left behind") from error


def claim_folder(folder: str | Path, names: Iterable[str]) -> Path:
    """Make a folder whose files are written one by one, such as a report's; refused as ``check_files`` says."""
    names = list(names)
    place = check_files(folder, names)
    ours = _ours(place) or set()
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not ours.issuperset({*names, LIST}):
            _write_list(place, ours | {*names, LIST})
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror or error}); name another folder") from error
    return place


def check_files(folder: str | Path, names: Iterable[str]) -> Path:
    """The place of a folder that these files will be written into; nothing is made.

    Raises:
        ModelError: the place is no folder, or holds a file of that name that plait did not write.
    """
    place = followed(Path(folder))
    check_room(folder, place)
    ours = _ours(place) or set()
    for name in names:
        if (place / name).is_file() and name not in ours and not _mentions_plait(place / name):
            raise ModelError(
                f"{folder}: holds a {name} that plait did not write and would have to replace; move it away, or name "
                "another folder (--out)"
            )
    return place


def _mentions_plait(path: Path) -> bool:
    """Whether a page or a table was written by a plait that kept no list."""
    with path.open("rb") as file:
        return b"plait" in file.read(1_000_000)


def _pinned(target: Path) -> bool:
    """Whether a folder must stay the one it is: somebody works in it, or something is mounted there."""
    here = Path.cwd().resolve()
    return target == here or target in here.parents or target.is_mount()


def _ours(place: Path) -> set[str] | None:
    """Files that plait wrote into a folder, by their paths in it; None where it wrote nothing there."""
    try:
        value = read_json((place / LIST).read_bytes())
        names = value["files"] if isinstance(value, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) and _is_inside(name) for name in names):
            return set(names)
    except (OSError, ValueError, KeyError):
        pass  # no list, or none that can be read: the folder is judged by its model
    if not is_manifest(place / MODEL):
        return None
    drawn = [*place.glob("figures/*.svg"), *place.glob("tables/*.csv")]
    return {*NAMES, *(p.relative_to(place).as_posix() for p in drawn)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _write_list(place: Path, names: set[str]) -> None:
    (place / LIST).write_text(json.dumps({"files": sorted(names)}) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _held_folder(place: Path) -> Iterator[Path]:
    """A new folder beside a place, held; what is left of it at the end goes."""
    part, held = held_part(place, ".part", lambda part: part.mkdir(parents=True))
    try:
        yield part
    finally:
        if part.is_dir():
            _clear(part, place)
        let_go(held)


def _replace(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    _write_list(target, _ours(target) or {LIST})  # from here on both say what is plait's in them
    if exchange(part, target):
        _clear(part, target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:DIGITS]}.old")
    target.rename(old)
    try:
        part.rename(target)
    except OSError:
        old.rename(target)
        raise
    _clear(old, target)


def exchange(a: Path, b: Path) -> bool:
    """Let two folders change places in one step, where the system can: then there is no moment without either."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0


def _clear(old: Path, target: Path) -> None:
    """Remove a folder that was replaced or never finished; what plait did not write there goes to its place."""
    unfinished = old.suffix == ".part" and not (old / LIST).is_file()
    if not unfinished:
        _rescue(old, target, _ours(old) or set())
    shutil.rmtree(old, ignore_errors=True)


def _rescue(old: Path, target: Path, ours: set[str], above: str = "") -> None:
    for path in list(old.iterdir()):
        name = f"{above}{path.name}"
        if name in ours:
            continue
        place = target / path.name
        if path.is_dir() and not path.is_symlink() and any(each.startswith(f"{name}/") for each in ours):
            _rescue(path, place, ours, f"{name}/")
            continue
        target.mkdir(parents=True, exist_ok=True)
        number = 1
        while place.exists() or place.is_symlink():
            place, number = target / f"{path.name}.{number}", number + 1
        path.rename(place)


def _files(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]


def _fill(part: Path, target: Path) -> None:
    """Put the files into a folder that stays; the manifest last, so that a torn model is told by its digest."""
    names = sorted(_files(part), key=lambda name: (name == MODEL, name))
    gone = (_ours(target) or set()) - {*names, LIST}
    _write_list(target, {*(_ours(target) or ()), *names})
    for name in names:
        if name != LIST:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).replace(target / name)
    for name in gone:
        (target / name).unlink(missing_ok=True)
    _write_list(target, set(names))
    shutil.rmtree(part)


def _sweep_folders(target: Path) -> None:
    """Remove what killed processes left of a folder, and put back a folder that one had moved away."""
    for left in [*left_parts(target, ".old"), *left_parts(target, ".part"), *left_parts(target / target.name, ".part")]:
        with claimed(left) as abandoned:
            if not abandoned or not left.is_dir():
                continue
            if left.suffix == ".old" and not target.exists():
                left.rename(target)
            else:
                _clear(left, target)
