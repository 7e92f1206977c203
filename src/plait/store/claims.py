"""Who is encoding which cell: several processes share the work instead of doing it twice."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from plait.base.parts import Closing

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: nothing is claimed, so processes may do the same work, and the first to store it wins
    fcntl = None


def lock_whole(file: int, alone: bool = False) -> bool:
    """Hold an open file shared, or alone if nobody else holds it: then True, else it is held shared again."""
    if fcntl is None:
        return False
    if not alone:
        fcntl.flock(file, fcntl.LOCK_SH)
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(file, fcntl.LOCK_SH)  # a failed conversion has lost the shared lock
        return False
    return True


class Claimed:
    """The cells that this process is encoding: one locked byte each in a file, so that a killed process frees its own.

    Such locks are per process, so threads exclude each other through the set ``_mine``. The file must be opened once
    per process only: closing any descriptor of it frees all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine: set[int] = set()
        self._file: int | None = None
        self._lock = threading.Lock()

    def take(self, places: Iterable[int]) -> set[int]:
        """Claim what nobody else has claimed."""
        with self._lock:
            taken = {p for p in places if p not in self._mine and self._try(p)}
            self._mine |= taken
            return taken

    def give_back(self, places: Iterable[int]) -> None:
        """Free claimed places."""
        with self._lock:
            for place in places:
                self._mine.discard(place)
                if fcntl is not None and self._file is not None:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Free everything."""
        self._mine.clear()
        self._lock = threading.Lock()  # after a fork another thread of the parent may have held it
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try(self, place: int) -> bool:
        if fcntl is None:
            return True
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            # Held by another process; any other reason (no locks on this file system) only costs doing work twice.
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True


class Claims(Closing):
    """What one call of ``embed`` has claimed; leaving the ``with`` block frees all of it."""

    def __init__(self, claimed: Claimed | None, fingerprint: str) -> None:
        """Without ``claimed`` everything is granted."""
        self._claimed = claimed
        self._fingerprint = fingerprint.encode()
        self._held: dict[bytes, int] = {}

    def take(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of ``keys`` that nobody else is encoding right now, claimed for us."""
        if self._claimed is None:
            return list(keys)
        places = {key: self._place(key) for key in keys}
        taken = self._claimed.take(places.values())
        mine = {key: place for key, place in places.items() if place in taken}
        self._held.update(mine)
        return list(mine)

    def give_back(self, keys: Iterable[bytes]) -> None:
        """These are stored, or cannot be encoded."""
        if self._claimed is not None:
            self._claimed.give_back([self._held.pop(key) for key in keys if key in self._held])

    def _place(self, key: bytes) -> int:
        return int.from_bytes(blake2b(self._fingerprint + key, digest_size=7).digest(), "little")

    def close(self) -> None:
        """Free what is still claimed."""
        self.give_back(list(self._held))
