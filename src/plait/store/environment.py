"""One LMDB environment per folder and process, and who encodes which cell: processes share the work."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import lmdb

from plait.base.errors import StoreError
from plait.base.parts import Closing

try:
    import fcntl
except ImportError:  # Windows: nothing is claimed, so processes may do the same work, and the first to store it wins
    fcntl = None  # type: ignore[assignment]


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
        digests = {key: blake2b(self._fingerprint + key, digest_size=7).digest() for key in keys}
        places = {key: int.from_bytes(digest, "little") for key, digest in digests.items()}
        taken = self._claimed.take(places.values())
        mine = {key: place for key, place in places.items() if place in taken}
        self._held.update(mine)
        return list(mine)

    def give_back(self, keys: Iterable[bytes]) -> None:
        """These are stored, or cannot be encoded."""
        if self._claimed is not None:
            self._claimed.give_back([self._held.pop(key) for key in keys if key in self._held])

    def close(self) -> None:
        """Free what is still claimed."""
        self.give_back(list(self._held))


T = TypeVar("T")

#: Bytes of address space that a store begins with; doubled whenever they are used up.
INITIAL_MAP = 1 << 28
#: Read transactions of all threads of all processes together.
MAX_READERS = 512
#: Disk that LMDB's lock file and first pages need; on a full disk their mapping would end the process with a bus error.
FIRST_PAGES = 1 << 20

_DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)  # a short write is reported as EIO by LMDB
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_shared: dict[str, Environment] = {}
_registry = threading.RLock()


class Environment:
    """What the stores of one folder share in this process; all they do holds ``lock``, as a growing map ends the others' work."""

    def __init__(self, folder: Path) -> None:
        """Use ``open_shared`` instead."""
        self.folder = folder
        self.data = folder / "data.mdb"
        self.lock = threading.RLock()
        self.users = 0
        self.claimed = Claimed(folder / "claims.lock")
        self._opened: lmdb.Environment | None = None
        self._presence: int | None = None

    def write(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """Run ``work`` in a write transaction and commit; it may be run again from the start when the map grows."""
        return self.read(work, write=True)

    def read(self, work: Callable[[lmdb.Transaction], T], *, buffers: bool = False, write: bool = False) -> T:
        """Run ``work`` in a read transaction; what it returns must not point into the map."""
        with self.lock, self._named("written" if write else "read"):
            crowded = False
            while True:
                opened = self._open()
                try:
                    with opened.begin(buffers=True) if buffers else opened.begin(write=write) as txn:
                        return work(txn)
                except lmdb.MapFullError:
                    opened.set_mapsize(2 * opened.info()["map_size"])
                except lmdb.MapResizedError:  # another process has grown it
                    opened.set_mapsize(0)
                except lmdb.ReadersFullError:
                    if crowded or not opened.reader_check():
                        raise
                    crowded = True

    def live_bytes(self) -> int:
        """Bytes of the pages in use: what the data file would have after ``compact``."""
        with self.lock, self._named("read"):
            stat = self._open().stat()
            return stat["psize"] * (2 + stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])

    def disk_bytes(self) -> int:
        """Size of the data file."""
        return self.data.stat().st_size if self.data.exists() else 0

    def compact(self) -> bool:
        """Give the space of removed entries back to the disk; False when another process has the store open."""
        with self.lock, self._named("written"):
            if shutil.disk_usage(self.folder).free < self.live_bytes() + FIRST_PAGES:
                return False
            self._open()
            self.close()
            if self._presence is None or not lock_whole(self._presence, alone=True):
                return False
            try:
                self._replace_by_copy()
            finally:
                self.close()
                lock_whole(self._presence)
            return True

    def _replace_by_copy(self) -> None:
        copy = self.folder / "compacted"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        self._open().copy(str(copy), compact=True)
        self.close()
        with (copy / "data.mdb").open("rb") as file:
            os.fsync(file.fileno())
        (copy / "data.mdb").replace(self.data)
        shutil.rmtree(copy, ignore_errors=True)

    def _open(self) -> lmdb.Environment:
        if self._opened is None and self._read_only():
            # Nobody can write there, so there is nothing to lock, and no file to lock it by.
            opened = lmdb.open(str(self.folder), readonly=True, lock=False, create=False)
            if self.disk_bytes() < (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]:
                opened.close()
                raise self.damaged("its file was cut short")
            self._opened = opened
        elif self._opened is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "lock.mdb").exists() and shutil.disk_usage(self.folder).free < FIRST_PAGES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._presence is None:
                self._presence = os.open(self.folder / "open.lock", os.O_RDWR | os.O_CREAT, 0o644)
                lock_whole(self._presence)
            self._opened = self._opened_whole()
            self._opened.reader_check()  # frees what killed processes left
            self._reach_end(self._opened)
        return self._opened

    def _read_only(self) -> bool:
        """Whether it is filled and lies where we may not write: on a read-only mount, in another user's folder."""
        return self.data.is_file() and not (os.access(self.folder, os.W_OK) and os.access(self.data, os.W_OK))

    def _opened_whole(self) -> lmdb.Environment:
        """Open it; another process may make it grow between LMDB's look at its size and its first transaction."""
        for _ in range(100):
            try:
                # Without metasync a power cut may undo the last commit, nothing worse.
                return lmdb.open(str(self.folder), map_size=INITIAL_MAP, metasync=False, max_readers=MAX_READERS)
            except lmdb.MapResizedError:
                continue
        raise StoreError(f"the store in {self.folder} grows faster than it can be opened; try again")

    def _reach_end(self, opened: lmdb.Environment) -> None:
        """Make the file as long as LMDB believes: reading behind the end of a truncated one would end the process."""
        last = opened.info()["last_pgno"]
        if self.disk_bytes() >= (last + 1) * opened.stat()["psize"]:
            return
        with opened.begin(write=True):  # nobody else makes it longer meanwhile
            needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
            if self.disk_bytes() < needed:
                os.truncate(self.data, needed)  # zeros: LMDB or the record's checksum finds them damaged

    def close(self) -> None:
        """Close LMDB's environment; the next operation opens it again."""
        with self.lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def leave(self) -> None:
        """Close everything, the files that tell other processes of this one too."""
        with self.lock:
            self.close()
            self.claimed.close()
            if self._presence is not None:
                os.close(self._presence)
                self._presence = None

    def after_fork(self) -> None:
        """In a child: drop what the parent opened; it held ``lock`` while it forked, so nothing was under way."""
        self.leave()
        self.lock = threading.RLock()

    @contextlib.contextmanager
    def _named(self, verb: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (*_DAMAGED, ValueError) as error:
            self.close()
            raise self.damaged(str(error)) from error
        except (lmdb.Error, OSError) as error:
            self.close()  # after a failed write LMDB refuses everything until it is opened again
            verb = verb if os.path.isfile(self.data) else "made"  # noqa: PTH113 - Path's raises on a name that is too long
            raise StoreError(f"the store in {self.folder} cannot be {verb}: {_advice(error)}") from error

    def damaged(self, result: str) -> StoreError:
        """The error to raise when something was read that plait cannot have written."""
        return StoreError(
            f"the store in {self.folder} is damaged ({result}): it only saves time, so delete {self.data} "
            "and the next run fills it again"
        )


def _advice(error: Exception) -> str:
    code: int = getattr(error, "errno", None) or getattr(error, "code", None) or 0
    reason = os.strerror(code) if code > 0 else str(error)
    if code in _FULL:
        return (
            f"{reason}, the disk is full or failing; make room there or name a folder on another disk (--store, PLAIT_STORE), "
            "and run again: it continues where it stopped"
        )
    if code in _FORBIDDEN:
        return f"{reason}; name a folder that you may write to (--store, PLAIT_STORE), or do without (--store none)"
    return f"{reason}; check that folder, name another one (--store, PLAIT_STORE), or do without (--store none)"


def open_shared(folder: Path) -> Environment:
    """The environment of ``folder`` in this process; give it back with ``release``."""
    try:
        real = folder.resolve()
    except (OSError, RuntimeError) as error:  # a circle of links
        raise StoreError(f"the store in {folder} cannot be followed ({error}); name another folder") from None
    with _registry:
        environment = _shared.setdefault(str(real), Environment(real))
        environment.users += 1
        return environment


def release(environment: Environment) -> None:
    """One user less; the last one closes it."""
    with _registry:
        environment.users -= 1
        if environment.users == 0:
            environment.leave()
            _shared.pop(str(environment.folder), None)


def _before_fork() -> None:
    _registry.acquire()
    for environment in _shared.values():
        environment.lock.acquire()


def _after_in_parent() -> None:
    for environment in _shared.values():
        environment.lock.release()
    _registry.release()


def _after_in_child() -> None:
    global _registry
    for environment in _shared.values():
        environment.after_fork()
    _registry = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
