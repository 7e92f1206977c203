"""Files written whole or not at all: beside their place, under ``.NAME.XXXXXXXX.part``, and renamed.

Whoever writes holds a lock on its part; a part that nobody holds was left by a process that was killed, and the next one
that writes there sweeps it away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from plait.base.errors import ModelError

try:
    import fcntl
except ImportError:  # Windows: nothing can be locked there, so nothing is swept
    fcntl = None  # type: ignore[assignment]

#: Random letters and figures in the name of a part.
DIGITS = 8


class Closing:
    """What is closed when its block ends."""

    def close(self) -> None:
        """Let go of all that is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def part_file(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """An empty file beside ``path`` to write to; it takes that name when the block ends well, and vanishes otherwise."""
    place = followed(path)
    for left in left_parts(place, suffix):
        with claimed(left) as abandoned:
            if abandoned and left.is_file():
                left.unlink(missing_ok=True)
    part, held = held_part(place, suffix, lambda part: part.touch(exist_ok=False))
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
        let_go(held)


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


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def followed(path: Path) -> Path:
    """The absolute path with symbolic links resolved."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # a circle of links
        raise ModelError(f"{path}: cannot be followed ({error}); name another place") from None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block a SIGTERM that would end the process unwinds it instead, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def left_parts(place: Path, suffix: str) -> list[Path]:
    """Parts of a file or folder, of living and of dead processes."""
    if not place.parent.is_dir():
        return []
    start, size = f".{place.name}.", len(f".{place.name}.") + DIGITS + len(suffix)
    return [
        place.parent / name
        for name in map(os.path.basename, place.parent.iterdir())
        if name.startswith(start) and name.endswith(suffix) and len(name) == size
    ]


def held_part(place: Path, suffix: str, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """A new part of a file or folder, and the lock on it that ends with the process."""
    while True:
        part = place.with_name(f".{place.name}.{uuid.uuid4().hex[:DIGITS]}{suffix}")
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


def shared_folder(folder: Path) -> int | None:
    """Make a folder and hold it, as others may, so that ``claimed`` finds nobody's folder only where nobody does."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return None
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            if folder.exists() and os.path.samestat(os.fstat(held), folder.stat()):
                return held
        except OSError:  # a file system without locks
            return held
        os.close(held)


def let_go(held: int | None) -> None:
    """Give back the lock on a part."""
    if held is not None:
        os.close(held)


@contextlib.contextmanager
def claimed(left: Path) -> Iterator[bool]:
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
        let_go(held)
