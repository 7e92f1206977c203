"""The bytes of one media cell: in memory, in a file, or in a member of a zip archive."""

from __future__ import annotations

import functools
import hashlib
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from plait.base.errors import CellError, hidden

#: Larger members of an archive are read piece by piece instead of being held in memory.
_WHOLE = 64 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True)
class Blob:
    """Bytes of one media cell, wherever they lie; nothing is read before it is asked for.

    Example:
        >>> blob = Blob.of_bytes(b"abc")
        >>> blob.size, blob.digest().hex()[:8]
        (3, 'cf4ab791')
    """

    path: str | None = None
    member: str | None = None
    data: bytes | None = field(default=None, repr=False)
    problem: str | None = None
    address: str | None = None  # where it was fetched from

    def __str__(self) -> str:
        return repr(self) if self.address is None else hidden(self.address)

    @classmethod
    def broken(cls, problem: str) -> Blob:
        """A cell that cannot be read, and why: whoever opens it gets that as a ``CellError``."""
        return cls(problem=problem)

    @classmethod
    def of_bytes(cls, data: bytes) -> Blob:
        """Bytes that are already in memory."""
        return cls(data=bytes(data))

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> Blob:
        """A file."""
        return cls(path=os.fspath(path))

    @classmethod
    def of_member(cls, archive_path: str | os.PathLike[str], member: str) -> Blob:
        """A member of a zip archive.

        Raises:
            CellError: the member's name points out of the archive (``../``, an absolute path).
        """
        parts = PurePosixPath(member.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
            raise CellError(f"{os.fspath(archive_path)}: the member name '{member}' points out of the archive")
        return cls(path=os.fspath(archive_path), member=member)

    @property
    def where(self) -> str:
        """What messages call it."""
        if self.problem is not None:
            return self.problem
        if self.address is not None:
            return hidden(self.address)
        if self.path is None:
            return f"{len(self.data or b'')} bytes in memory"
        return self.path if self.member is None else f"{self.member} in {self.path}"

    @property
    def size(self) -> int:
        """Bytes of the content."""
        self._check()
        if self.path is None:
            return len(self.data or b"")
        with _reading(self.where):
            if self.member is None:
                return Path(self.path).stat().st_size
            return opened_zip(self.path).getinfo(self.member).file_size

    def open(self) -> BinaryIO:
        """A seekable stream of the content; close it."""
        self._check()
        if self.path is None:
            return io.BytesIO(self.data or b"")
        with _reading(self.where):
            if self.member is None:
                return _open_plain(self.path)
            archive = opened_zip(self.path)
            if archive.getinfo(self.member).file_size <= _WHOLE:
                return io.BytesIO(archive.read(self.member))
            return cast(BinaryIO, archive.open(self.member))

    def _check(self) -> None:
        if self.problem is not None:
            raise CellError(self.problem)

    def digest(self) -> bytes:
        """16-byte blake2b of the content: what the cell is known by in the store."""
        digest = hashlib.blake2b(digest_size=16)
        with self.open() as stream, _reading(self.where):
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return digest.digest()


def unusual(status: os.stat_result) -> str | None:
    """Why a file is not read: only plain ones come to an end for certain; a pipe, a device or ``/proc/kmsg`` may not."""
    if stat.S_ISDIR(status.st_mode):
        return "it is a folder"
    if not stat.S_ISREG(status.st_mode):
        return "it is a pipe, a socket or a device; only regular files are read"
    return "it is a file of the running system, not of a disk" if status.st_dev in _system_devices() else None


@functools.lru_cache(maxsize=1)
def _system_devices() -> frozenset[int]:
    """Devices of what the kernel shows as files: regular to ``stat``, and still some of them never end."""
    mounts = [os.stat(place).st_dev for place in ("/proc", "/sys") if Path(place).is_dir()]  # noqa: PTH116
    return frozenset(mounts) - {os.stat("/").st_dev}  # noqa: PTH116


def _open_plain(path: str) -> BinaryIO:
    """Open a regular file; looked at before, as opening a device may do something, and after, as it may have changed."""
    if problem := unusual(os.stat(path)):  # noqa: PTH116
        raise OSError(problem)
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if problem := unusual(os.fstat(number)):
        os.close(number)
        raise OSError(problem)
    return os.fdopen(number, "rb")


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn every way of failing to read into a CellError that says where."""
    try:
        yield
    except FileNotFoundError as error:
        raise CellError(f"{where}: there is no such file") from error
    except KeyError as error:
        raise CellError(f"{where}: there is no such member in the archive") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OverflowError) as error:
        raise CellError(f"{where}: cannot be read ({error})") from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile says so of encrypted members and odd compression
        raise CellError(f"{where}: cannot be read from the archive ({error})") from error
    except ValueError as error:  # a path with a null byte
        raise CellError(f"{where!r}: not a usable path ({error})") from error


def opened_zip(path: str) -> zipfile.ZipFile:
    """The opened archive; opened again when the file has changed or the process is a fork."""
    status = os.stat(path)  # noqa: PTH116  # for every cell: a Path costs more than the call
    return _opened(path, os.getpid(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _opened(path: str, pid: int, changed: int, size: int) -> zipfile.ZipFile:
    # A forked child would share the parent's file offset, hence the process in the key.
    return zipfile.ZipFile(path)


class Altered(ABC):
    """A cell whose signal is changed once it is decoded (``Changed``), as decoders and keys see it.

    Attributes:
        origin: the cell as it was.
    """

    origin: Any

    @property
    def path(self) -> str | None:
        """The file that the content lies in, if it lies in one."""
        return getattr(self.origin, "path", None)

    @abstractmethod
    def digest(self) -> bytes:
        """16 bytes of the content and of the change."""

    @abstractmethod
    def of(self, signal: np.ndarray, rate: int | None = None) -> np.ndarray:
        """The changed signal of the decoded one."""
