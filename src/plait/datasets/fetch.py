"""Bring a data set's files into a folder: what is here, what could be had and how, and the download itself."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from plait.base import progress, registry
from plait.base.errors import CellError, ConfigError, TableError, need
from plait.base.parts import part_file, sha256_of
from plait.data.web import CHUNK, Again, Patience, ask, check_web, shown, tried
from plait.datasets.base import Dataset, File

#: Seconds without a byte after which a download is given up (what has come is kept).
TIMEOUT = 60
#: Hex digits of an MD5.
_MD5 = 32
#: Downloads that are not whole yet lie here, below the root.
DOWNLOADS = ".downloads"


@dataclass(frozen=True)
class State:
    """What there is of one data set.

    Attributes:
        label: to print beside results.
        state: ``here``, ``could be fetched``, ``by hand``, ``by pip``, ``incomplete`` (a file is missing) or ``other files``
            (a checksum differs).
        megabytes: of its files, as far as they are known.
        licence: as the source states it.
        licence_from: where that was read; empty: it was not verified.
        licence_sought: where it was looked for in vain.
        source: where it comes from.
        missing: files that are not there.
    """

    name: str
    label: str
    state: Literal["here", "could be fetched", "by hand", "by pip", "incomplete", "other files"]
    megabytes: float | None
    licence: str
    licence_from: str
    licence_sought: str
    source: str
    missing: tuple[str, ...]


def listed(root: str | Path | None = None, check: bool = False) -> list[State]:
    """Every data set by name, and whether its files lie below ``root`` (default ``$PLAIT_DATA``).

    ``check``: read the files and compare their checksums, too.
    """
    return [_state(registry.find("datasets", name), root, check) for name in registry.names("datasets")]


def _state(variant: type[Dataset], root: str | Path | None, check: bool) -> State:
    base = _root(root, needed=False)
    facts = (variant.licence, variant.licence_from, variant.licence_sought, variant.url)
    if variant.package:
        here = importlib.util.find_spec(variant.package.replace("-", "_")) is not None
        return State(variant.name(), variant.label(), "here" if here else "by pip", None, *facts, ())
    there = {file: None if base is None else file.existing(base) for file in variant.files}
    missing = tuple(file.path for file, here in there.items() if here is None)
    fetchable = bool(variant.files) and all(file.url for file, here in there.items() if here is None)
    if variant.files and not missing:
        same = not check or all(_is_right(base / here.path, here) for here in there.values() if here and base)
        state = "here" if same else "other files"
    elif any(there.values()) and not fetchable:
        state = "incomplete"
    else:
        state = "could be fetched" if fetchable else "by hand"
    sizes = [one.size for file, here in there.items() if (one := here or file).size]
    size = round(sum(sizes) / 1e6, 1) if sizes else None
    return State(variant.name(), variant.label(), state, size, *facts, missing)  # type: ignore[arg-type]


def fetch(name: str, root: str | Path | None = None, *, accept_licence: bool = False) -> list[Path]:
    """Download what is missing of a data set; a download that was cut goes on where it stopped.

    Args:
        name: of the data set.
        root: the folder of all data (default ``$PLAIT_DATA``); made where it is not there.
        accept_licence: you have read the licence (``plait data list``) and accept it.

    Returns:
        The data set's files.

    Raises:
        ConfigError: the licence is not accepted, or no folder is given.
        TableError: the data set must be brought by hand, or a file cannot be had: not there, cut, another checksum or size.

    Example:
        >>> fetch("petfinder", "/tmp/data", accept_licence=True)
        Traceback (most recent call last):
        ...
        plait.base.errors.TableError: data set 'petfinder': petfinder/petfinder.csv cannot be downloaded by a program; \
bring it by hand from https://www.kaggle.com/competitions/petfinder-adoption-prediction into /tmp/data
    """
    variant = registry.find("datasets", name)
    if variant.package:
        need(variant.package.replace("-", "_"), "demo")
        return []
    base = _root(root)
    missing = [file for file in variant.files if file.existing(base) is None]
    by_hand = [file.path for file in missing if not file.url] or ([] if variant.files else ["its files"])
    if by_hand:
        more = f" and {len(by_hand) - 3} more" if len(by_hand) > 3 else ""
        raise TableError(
            f"data set '{name}': {', '.join(by_hand[:3])}{more} cannot be downloaded by a program; bring it by hand from "
            f"{variant.url} into {base}"
        )
    if missing and not accept_licence:
        raise ConfigError(
            f"data set '{name}': its licence is not accepted ({variant.licence_text()}; {variant.url}); read it, then "
            "--accept-licence (accept_licence=True)"
        )
    for file in missing:
        _bring(name, file, base)
    for archive in {str(file.url).rpartition("/")[2] for file in missing if file.member}:
        (base / DOWNLOADS / archive).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (base / DOWNLOADS).rmdir()  # only when nothing is left in it
    return [base / (file.existing(base) or file).path for file in variant.files]


def _root(root: str | Path | None, needed: bool = True) -> Path:
    given = root if root is not None else os.environ.get("PLAIT_DATA")
    if not given and needed:
        raise ConfigError("no folder for data: name one (--root), or set PLAIT_DATA")
    return Path(given).expanduser().absolute() if given else None  # type: ignore[return-value]


def _bring(name: str, file: File, base: Path) -> None:
    """Download one file, or the archive that it lies in, and put it in its place once it is whole and right."""
    url, place, downloads = str(file.url), base / file.path, base / DOWNLOADS
    staged = downloads / file.path.replace("/", "-")
    got = downloads / url.rpartition("/")[2] if file.member else staged
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        downloads.mkdir(parents=True, exist_ok=True)
        if not got.is_file():
            _download(name, url, got, None if file.member else file.size)
        if file.member:
            _unpack(name, got, file.member, staged)
        if not _is_right(staged, file):
            result = _digest(staged, file.checksums[0])
            staged.unlink()
            got.unlink(missing_ok=True)
            raise TableError(
                f"data set '{name}': {url}: the checksum of {file.path} is {result[:12]}..., expected "
                f"{file.checksums[0][:12]}...: it was changed at its source or on the way; nothing was kept"
            )
        staged.replace(place)
    except OSError as error:
        raise TableError(f"data set '{name}': {place}: cannot be written ({error.strerror or error})") from error


def _download(name: str, url: str, place: Path, size: int | None) -> None:
    """Write what lies at ``url`` to ``place``; what came of it before stays in ``place``.part and is not asked for again."""
    part, mark = place.with_name(f"{place.name}.part"), place.with_name(f"{place.name}.mark")
    patience = Patience(f"no byte came for {TIMEOUT} s", step=TIMEOUT)
    try:
        tried(lambda: _go_on(url, part, mark, size, patience), patience)
    except Again as problem:
        kept = part.stat().st_size if part.is_file() else 0
        raise TableError(
            f"data set '{name}': {url}: the download stopped ({problem}); {kept} bytes are kept, the same command goes on"
        ) from None
    except CellError as error:
        part.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)
        raise TableError(f"data set '{name}': {error}; try later, or bring the file by hand") from None
    mark.unlink(missing_ok=True)
    part.replace(place)


def _go_on(url: str, part: Path, mark: Path, size: int | None, patience: Patience) -> None:
    """Ask for what ``part`` lacks, or for all of it where the file has another ``mark`` now."""
    begun = part.stat().st_size if part.is_file() and mark.is_file() else 0
    headers = {"Range": f"bytes={begun}-", "If-Range": mark.read_text("utf-8")} if begun else {}
    reply = ask(url, check_web, headers, patience)
    assert reply is not None  # only asked whether it has changed, a server says that it has not
    begun = begun if reply.goes_on else 0
    mark.write_text(reply.etag or reply.modified or "", "utf-8")
    total = size if reply.size is None else begun + reply.size
    with part.open("ab" if begun else "wb") as out, progress.track(total, f"fetch {part.stem}", "bytes") as bar:
        bar.advance(begun)
        for chunk in reply.chunks:
            out.write(chunk)
            bar.advance(len(chunk))
            if size is not None and out.tell() > size:
                raise CellError(f"{shown(url)}: more than the {size} bytes expected; nothing was kept")
        came = out.tell()
    if total and came < total:
        raise Again(f"{came} of {total} bytes came")


def _unpack(name: str, archive: Path, member: str, place: Path) -> None:
    """Write one member of a zip or tar archive to ``place``, whole or not at all."""
    try:
        with _opened(archive, member) as inside, part_file(place) as part, part.open("wb") as out:
            while chunk := inside.read(CHUNK):
                out.write(chunk)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise TableError(
            f"data set '{name}': {archive.name}: holds no readable {member} ({error}); it was removed: fetch it again, or "
            "its layout is of another version"
        ) from None


@contextlib.contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as whole, whole.open(member) as inside:
            yield inside
        return
    with tarfile.open(archive) as packed:
        result = packed.extractfile(member)
        if result is None:
            raise KeyError(f"{member} is no file")
        yield result


def _is_right(place: Path, file: File) -> bool:
    return not file.checksums or any(_digest(place, one) == one for one in file.checksums)


def _digest(place: Path, like: str) -> str:
    """A file's SHA-256, or its MD5 where that is what it is compared with."""
    if len(like) != _MD5:
        return sha256_of(place)
    with place.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
