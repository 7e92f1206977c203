"""Where media cells lie: a folder, a zip archive, or a member named in full; archives are opened once."""

from __future__ import annotations

import functools
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plait.base.documents import MEMBER_BYTES
from plait.base.errors import CellError, TableError
from plait.data.remote import address_of, not_allowed

if TYPE_CHECKING:
    from plait.data.media import Blob

_MEMBER = re.compile(r"(?:zip://)?(?P<archive>[^!]+\.zip)!(?P<member>.+)", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_SERVER = re.compile(r"[/\\]{2}(?![/\\])")
_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Archive:
    """The members of one zip archive, by name."""

    def __init__(self, path: Path) -> None:
        from plait.data.media import opened_zip  # its list of members is read once, here and where they are read

        self.path = path
        try:
            members = opened_zip(str(path)).infolist()
            self.members = {i.filename: i for i in members if i.filename and not i.is_dir()}
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
            raise TableError(f"{path}: not a readable zip archive ({error})") from None
        tops = {name.partition("/")[0] for name in self.members if "/" in name}
        nested = all("/" in name for name in self.members)
        self.top = f"{tops.pop()}/" if nested and len(tops) == 1 else ""  # the folder that was packed

    @functools.cached_property
    def _spellings(self) -> Mapping[str, zipfile.ZipInfo]:
        """Members by their names in one normal form: an accent may be a letter of its own, or a mark behind it."""
        result: dict[str, zipfile.ZipInfo] = {}
        for name, member in self.members.items():
            for spelling in (name, *([] if member.flag_bits & 0x800 else [_as_utf8(name)])):
                result.setdefault(unicodedata.normalize("NFC", spelling), member)
        return result

    def _member(self, name: str) -> zipfile.ZipInfo | None:
        result = self.members.get(name) or self.members.get(self.top + name)
        if result is not None or name.isascii():
            return result
        top = unicodedata.normalize("NFC", self.top if self.top.isascii() else _as_utf8(self.top))
        name = unicodedata.normalize("NFC", name)
        return self._spellings.get(name) or self._spellings.get(top + name)

    def blob(self, name: str) -> Blob | None:
        """One member, or None when the archive has none of that name.

        Raises:
            CellError: a name that leads out of the archive; a member that is too large, a link, or under a password.
        """
        name = name.replace("\\", "/").removeprefix("./")
        where = f"{self.path}!{name}"
        if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
            raise CellError(f"{where}: a member's name must not be absolute or hold '..'")
        result = self._member(name)
        if result is None:
            return None
        if result.file_size > MEMBER_BYTES.value:
            raise CellError(f"{where}: {result.file_size:,} bytes unpacked; {MEMBER_BYTES.said}")
        if stat.S_ISLNK(result.external_attr >> 16):
            raise CellError(f"{where}: a symbolic link; name the file that it leads to")
        if result.flag_bits & 0x1:
            raise CellError(f"{where}: under a password; unpack it and name the files")
        from plait.data.media import Blob  # late: its decoders are heavy

        return Blob.of_member(str(self.path), result.filename)


def _as_utf8(name: str) -> str:
    """A member's name whose packer wrote UTF-8 and did not say so, as that of macOS does."""
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


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
    """Finds the file that a cell names, within a border.

    The border is the root: names that lead out of it (``../``, absolute ones) are refused, links within it are followed.
    Without a root whoever made the table in Python named the files, and there is no border.

    Args:
        root: the table's folder, or what ``--root`` says: a folder or a zip archive; None is the current folder.
        own: the modality's own root, itself relative to ``root`` (to the folder of it, if that is an archive).
    """

    def __init__(self, root: str | None, own: str | None = None) -> None:
        away = root is not None and address_of(root) is not None  # what was not fetched from there is not there
        self.base = Path(root or "") if away else _there(Path(root).expanduser()) if root else Path()
        self.folder = self.base.parent if self.base.is_file() else self.base
        if own is not None:
            beside = self.folder / Path(own).expanduser()
            self.base = beside if beside.exists() else _there(Path(own).expanduser())
        self.archive = open_archive(self.base) if self.base.is_file() else None
        borders = {self.folder, self.base.parent if self.archive is not None else self.base} if root or own else ()
        self._borders = [*map(os.path.abspath, borders), *map(os.path.realpath, borders)]

    def find(self, name: str) -> Blob | None:
        """The file or member that a cell names, or None when there is none.

        Raises:
            CellError: a name that is refused (an address on the network, one that leads out of the root or its archive), or
                a file that is none: a folder, a pipe, a device.
        """
        name = name.strip()
        if _MEMBER.fullmatch(name) is None and _REMOTE.match(name):
            raise not_allowed(name)
        name = name.removeprefix("file://")
        value = _MEMBER.fullmatch(name)
        if value:
            archive = self._beside(value["archive"])
            return None if archive is None else _archive_of_cell(archive).blob(value["member"])
        if self.archive is not None and not name.startswith("~") and not os.path.isabs(name):  # noqa: PTH117  # for every cell: a Path costs more
            return self.archive.blob(name)
        from plait.data.media import Blob

        result = self._beside(name, self.base if self.archive is None else self.folder)
        return None if result is None else Blob.of_file(result)

    def _beside(self, name: str, folder: Path | None = None) -> str | None:
        start = os.fspath(folder or self.folder)
        names = [name]
        names += [os.path.expanduser(name)] if name.startswith(("~/", "~\\")) else []  # noqa: PTH111
        names += [name.replace("\\", "/")] if "\\" in name else []
        if _SERVER.match(name) and self._borders and not _within(os.path.abspath(name), self._borders):  # noqa: PTH100
            raise self._refusal(name)  # not even looked for: Windows would ask that server, and tell it who asks
        path = next((path for each in names if (path := _existing(start, each)) is not None), None)
        if path is None:  # refused whether or not it is there: nothing is said of what lies outside
            path = os.path.join(start, names[-1])  # noqa: PTH118
            self._check_border(path, name)
            return None
        self._check_border(path, name)
        from plait.data.media import unusual

        problem = unusual(os.stat(path))  # noqa: PTH116
        if problem is not None:
            raise CellError(f"{name:.200}: {problem}")
        return path

    def _check_border(self, path: str, name: str) -> None:
        """Refuse a path out of the root: as it is written, and, should the root itself be a link, where it leads."""
        if not self._borders:
            return
        try:
            written = os.path.abspath(path)  # noqa: PTH100
            if _within(written, self._borders) or _within(os.path.realpath(written), self._borders):
                return
        except (OSError, ValueError):  # it holds a null: there is no such file
            return
        raise self._refusal(name)

    def _refusal(self, name: str) -> CellError:
        return CellError(
            f"{name:.200}: leads out of the root {self._borders[0]}; pass the folder that holds it as the root, "
            "or --root / (root='/') if absolute names may lead anywhere"
        )


def _within(path: str, borders: list[str]) -> bool:
    """Whether a path is one of the borders or below it; Windows takes no notice of capital letters."""
    path, folders = os.path.normcase(path), (os.path.normcase(border) for border in borders)
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def _archive_of_cell(path: str) -> Archive:
    """An archive that one cell names: a broken one is that cell's fault."""
    try:
        return open_archive(Path(path))
    except TableError as error:
        raise CellError(str(error)) from None


def _existing(folder: str, name: str) -> str | None:
    """The path, if something is there; where accents are spelt otherwise on the disk, the path as it is there."""
    path = os.path.join(folder, name)  # noqa: PTH118  # an absolute name stays as it is
    try:
        if os.path.exists(path):  # noqa: PTH110
            return path
        return None if name.isascii() else _spelt_otherwise(folder, name)
    except (OSError, ValueError):  # too long for a path, or it holds a null
        return None


def _spelt_otherwise(folder: str, name: str) -> str | None:
    path = Path(name).anchor if os.path.isabs(name) else folder  # noqa: PTH117
    for part in Path(name).parts[1 if os.path.isabs(name) else 0 :]:  # noqa: PTH117
        following = os.path.join(path, part)  # noqa: PTH118
        if not os.path.exists(following):  # noqa: PTH110
            spelling = _listed(path, os.stat(path).st_mtime_ns).get(unicodedata.normalize("NFC", part))  # noqa: PTH116
            if spelling is None:
                return None
            following = os.path.join(path, spelling)  # noqa: PTH118
        path = following
    return path


@functools.lru_cache(maxsize=64)
def _listed(folder: str, changed: int) -> Mapping[str, str]:
    """Normal form -> name on the disk, of a folder's names that are not plain ASCII."""
    return {unicodedata.normalize("NFC", n): n for n in sorted(os.listdir(folder)) if not n.isascii()}  # noqa: PTH208


def _there(path: Path) -> Path:
    if not path.exists():
        raise TableError(
            f"root {path}: no such folder or archive; pass the folder or zip that media paths start from (--root)"
        )
    if path.is_file() and not zipfile.is_zipfile(path):
        raise TableError(f"root {path}: expected a folder or a zip archive")
    return path
