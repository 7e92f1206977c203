"""Files and folders written whole or not at all, in which only what plait wrote is ever replaced or removed.

Everything is written beside its place, under ``.NAME.XXXXXXXX.part``, and renamed. Whoever writes holds a lock on its part;
a part that nobody holds was left by a process that was killed, and the next one that writes there sweeps it away.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from plait.base.documents import read_json
from plait.base.errors import ModelError

try:
    import fcntl
except ImportError:  # Windows: nothing can be locked there, so nothing is swept
    fcntl = None  # type: ignore[assignment]

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
_DIGITS = 8
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD


# -- one file ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def part_file(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """An empty file beside ``path`` to write to; it takes that name when the block ends well, and vanishes otherwise."""
    place = _through(path)
    for left in _left(place, suffix):
        with _claimed(left) as abandoned:
            if abandoned and left.is_file():
                left.unlink(missing_ok=True)
    part, held = _hold(place, suffix, lambda part: part.touch(exist_ok=False))
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
        _let_go(held)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole: beside its place, flushed to the disk, then renamed."""
    try:
        with part_file(path) as part, part.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file by itself
        raise


# -- a folder ----------------------------------------------------------------------------------------------------------


def check_folder(folder: str | Path) -> Path:
    """The place that a folder will be written to, symbolic links followed; refused where something else lies there.

    A folder is plait's own where it holds the list that plait left, or a model that plait wrote. Whatever else was put into
    it stays. Asked before the work begins.

    Raises:
        ModelError: the place is no folder, or a folder with files of somebody else's.
    """
    place = _through(Path(folder))
    try:
        if not place.exists():
            return place
        if not place.is_dir():
            raise ModelError(f"{folder}: exists and is not a model folder; name another place or remove it")
        entries = {p.name for p in place.iterdir()} - {p.name for p in _left(place / place.name, ".part")}
        ours = _ours(place)  # files by their paths in the folder
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror or error}); name another place") from error
    if entries and ours is None:
        raise ModelError(
            f"{folder}: exists and is not a model folder that plait wrote (it holds {min(entries)}); nothing there is "
            "touched: name another place or remove it"
        )
    theirs = sorted((entries - (ours or set())) & NAMES)
    if theirs:
        raise ModelError(
            f"{folder}: holds a {theirs[0]} that plait did not write and would have to replace; move it away first"
        )
    return place


@contextlib.contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block ends well, and vanishes when it does not.

    Of a folder that is there already only what plait wrote is replaced; everything else in it stays where it is. A folder
    that is not plait's is refused.

    Raises:
        ModelError: the place cannot be used or written.
    """
    target = _through(Path(folder))
    try:
        _sweep_folders(target)
        check_folder(folder)
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
    """Make a folder whose files are written one by one, such as a report's; refused where one of these names is not plait's.

    Raises:
        ModelError: the place is no folder, or holds a file of that name that plait did not write.
    """
    place, names = _through(Path(folder)), list(names)
    if place.exists() and not place.is_dir():
        raise ModelError(f"{folder}: is a file; name a folder")
    ours = _ours(place) or set()
    for name in names:
        if (place / name).is_file() and name not in ours and not _mentions_plait(place / name):
            raise ModelError(
                f"{folder}: holds a {name} that plait did not write and would have to replace; move it away, or name "
                "another folder (--out)"
            )
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not ours.issuperset({*names, LIST}):
            _write_list(place, ours | {*names, LIST})
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror or error}); name another folder") from error
    return place


def _mentions_plait(path: Path) -> bool:
    """Whether a page or a table was written by a plait that kept no list."""
    with path.open("rb") as file:
        return b"plait" in file.read(1_000_000)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block a SIGTERM that would end the process unwinds it instead, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _through(path: Path) -> Path:
    """Where a path leads, symbolic links followed."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # a circle of links
        raise ModelError(f"{path}: cannot be followed ({error}); name another place") from None


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
    if not _is_model(place / MODEL):
        return None
    drawn = [*place.glob("figures/*.svg"), *place.glob("tables/*.csv")]
    return {*NAMES, *(p.relative_to(place).as_posix() for p in drawn)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_model(path: Path) -> bool:
    """Whether a file is a manifest that plait wrote, of whatever version."""
    return path.is_file() and is_manifest(path)


def _write_list(place: Path, names: set[str]) -> None:
    (place / LIST).write_text(json.dumps({"files": sorted(names)}) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _held_folder(place: Path) -> Iterator[Path]:
    """A new folder beside a place, held; what is left of it at the end goes."""
    part, held = _hold(place, ".part", lambda part: part.mkdir(parents=True))
    try:
        yield part
    finally:
        if part.is_dir():
            _clear(part, place)
        _let_go(held)


def _replace(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    _write_list(target, _ours(target) or {LIST})  # from here on both say what is plait's in them
    if _exchange(part, target):
        _clear(part, target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:_DIGITS]}.old")
    target.rename(old)
    try:
        part.rename(target)
    except OSError:
        old.rename(target)
        raise
    _clear(old, target)


def _exchange(a: Path, b: Path) -> bool:
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
    for left in [*_left(target, ".old"), *_left(target, ".part"), *_left(target / target.name, ".part")]:
        with _claimed(left) as abandoned:
            if not abandoned or not left.is_dir():
                continue
            if left.suffix == ".old" and not target.exists():
                left.rename(target)
            else:
                _clear(left, target)


# -- who holds it ------------------------------------------------------------------------------------------------------


def _left(place: Path, suffix: str) -> list[Path]:
    """Parts of a file or folder, of living and of dead processes."""
    if not place.parent.is_dir():
        return []
    start, size = f".{place.name}.", len(f".{place.name}.") + _DIGITS + len(suffix)
    return [
        place.parent / name
        for name in map(os.path.basename, place.parent.iterdir())
        if name.startswith(start) and name.endswith(suffix) and len(name) == size
    ]


def _hold(place: Path, suffix: str, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """A new part of a file or folder, and the lock on it that ends with the process."""
    while True:
        part = place.with_name(f".{place.name}.{uuid.uuid4().hex[:_DIGITS]}{suffix}")
        make(part)
        if fcntl is None:
            return part, None
        held = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # being swept before it could be locked
            os.close(held)
            continue
        except OSError:  # a file system without locks: then nothing there is swept either
            return part, held
        if part.exists():
            return part, held
        os.close(held)


def _let_go(held: int | None) -> None:
    if held is not None:
        os.close(held)


@contextlib.contextmanager
def _claimed(left: Path) -> Iterator[bool]:
    """Hold what somebody left; False where its owner lives, or where that cannot be known."""
    held = None
    try:
        if fcntl is not None:
            held = os.open(left, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        abandoned = held is not None
    except OSError:
        abandoned = False
    try:
        yield abandoned
    finally:
        _let_go(held)


def checksum(manifest: Mapping[str, Any]) -> str:
    """Hex digest of a manifest, its own checksum aside."""
    options = {k: v for k, v in manifest.items() if k != "checksum"}
    text = json.dumps(options, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_manifest(path: Path) -> bool:
    """Whether a file is the manifest of a model that plait wrote, of whatever format."""
    try:
        value = read_json(path.read_bytes())
        return (
            isinstance(value, dict)
            and isinstance(value.get("format"), int)
            and value.get("checksum") == checksum(value)
        )
    except (OSError, ValueError):
        return False
