"""Where media cells lie: a folder, a zip archive, or a member named in full; archives are opened once."""

from __future__ import annotations

import functools
import os
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import CellError, TableError

if TYPE_CHECKING:
    from plait.media import Blob

#: A larger member is refused before it is unpacked.
LARGEST_MEMBER = 1 << 30

_MEMBER = re.compile(r"(?:zip://)?(?P<archive>[^!]+\.zip)!(?P<member>.+)", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_REMOTE = re.compile(r"(https?|ftp|s3|gs)://", re.IGNORECASE)


class Archive:
    """The members of one zip archive, by name."""

    def __init__(self, path: Path) -> None:
        """Read the archive's directory; nothing is unpacked."""
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                self.members = {i.filename: i for i in file.infolist() if not i.is_dir()}
        except (OSError, zipfile.BadZipFile) as error:
            raise TableError(f"{path}: not a readable zip archive ({error})") from None
        tops = {name.partition("/")[0] for name in self.members if "/" in name}
        nested = all("/" in name for name in self.members)
        self.top = f"{tops.pop()}/" if nested and len(tops) == 1 else ""  # the folder that was packed

    def blob(self, name: str) -> Blob | None:
        """One member, or None when the archive has none of that name.

        Raises:
            CellError: a name that leads out of the archive, or a member over 1 GiB or under a password.
        """
        name = name.replace("\\", "/").removeprefix("./")
        where = f"{self.path}!{name}"
        if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
            raise CellError(f"{where}: a member's name must not be absolute or hold '..'")
        found = self.members.get(name) or self.members.get(self.top + name)
        if found is None:
            return None
        if found.file_size > LARGEST_MEMBER:
            raise CellError(f"{where}: {found.file_size:,} bytes unpacked; at most {LARGEST_MEMBER:,} are read")
        if found.flag_bits & 0x1:
            raise CellError(f"{where}: under a password; unpack it and name the files")
        from plait.media import Blob  # late: its decoders are heavy

        return Blob.of_member(str(self.path), found.filename)


def open_archive(path: Path) -> Archive:
    """The archive at a path, read again only when the file has changed."""
    try:
        facts = path.stat()
    except OSError as error:
        raise TableError(f"{path}: no such archive ({error.strerror})") from None
    return _opened(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=16)
def _opened(path: Path, changed: int, size: int) -> Archive:
    return Archive(path)


class Place:
    """Finds the file that a cell names.

    Args:
        root: the table's folder, or what ``--root`` says: a folder or a zip archive; None is the current folder.
        own: the modality's own root, itself relative to ``root`` (to the folder of it, if that is an archive).
    """

    def __init__(self, root: str | None, own: str | None = None) -> None:
        """Check that the roots are there."""
        self.base = _there(Path(root).expanduser()) if root else Path()
        self.folder = self.base.parent if self.base.is_file() else self.base
        if own is not None:
            beside = self.folder / Path(own).expanduser()
            self.base = beside if beside.exists() else _there(Path(own).expanduser())
        self.archive = open_archive(self.base) if self.base.is_file() else None

    def find(self, name: str) -> Blob | None:
        """The file or member that a cell names, or None when there is none.

        Raises:
            CellError: a name that is refused (an address on the network, a member that leads out of its archive).
        """
        name = name.strip()
        if _REMOTE.match(name):
            raise CellError(f"{name}: nothing is fetched from the network; save it and name the file")
        told = _MEMBER.fullmatch(name)
        if told:
            archive = self._beside(told["archive"])
            return None if archive is None else open_archive(archive).blob(told["member"])
        if self.archive is not None and not name.startswith("~") and not os.path.isabs(name):  # noqa: PTH117  # for every cell: a Path costs more
            return self.archive.blob(name)
        from plait.media import Blob

        found = self._beside(name, self.base if self.archive is None else self.folder)
        return None if found is None else Blob.of_file(str(found))

    def _beside(self, name: str, folder: Path | None = None) -> Path | None:
        path = (folder or self.folder) / Path(name).expanduser()  # an absolute name stays as it is
        if not path.is_file() and "\\" in name:
            path = (folder or self.folder) / name.replace("\\", "/")
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):  # too long for a path, or it holds a null
            return None


def _there(path: Path) -> Path:
    if not path.exists():
        raise TableError(
            f"root {path}: no such folder or archive; pass the folder or zip that media paths start from (--root)"
        )
    if path.is_file() and not zipfile.is_zipfile(path):
        raise TableError(f"root {path}: expected a folder or a zip archive")
    return path
