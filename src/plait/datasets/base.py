"""What every data set tells of itself, and how it is read from a folder."""

from __future__ import annotations

import functools
import inspect
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import pandas as pd

from plait.base import checks, outline, registry
from plait.base.errors import ConfigError, PlaitError, TableError, nearest
from plait.data.modality import Modality, Schema


@dataclass(frozen=True)
class File:
    """One file of a data set, below the folder of all data.

    Attributes:
        path: below the root, with slashes.
        checksum: SHA-256, or MD5 (32 digits) where that is what is published, of each file that is right, with blanks between
            them; empty: none is published, and anything that can be read is taken.
        size: in bytes, if it is known.
        url: where a program can download it, or the archive that holds it; None: it must be brought by hand.
        member: the name of the file within that archive (zip or tar).
        instead: files or folders that serve in its place: another published layout.
    """

    path: str
    checksum: str = ""
    size: int | None = None
    url: str | None = None
    member: str | None = None
    instead: tuple[File, ...] = ()

    @property
    def checksums(self) -> list[str]:
        """Each that is right."""
        return self.checksum.split()

    def existing(self, base: Path) -> File | None:
        """It, or what serves in its place, whichever lies below ``base``; None: neither."""
        return next((one for one in (self, *self.instead) if (base / one.path).exists()), None)


class ColumnsError(ConfigError):
    """A table has columns that its data set does not know: it is of another version."""


@dataclass(frozen=True)
class Loaded:
    """A data set in memory.

    Attributes:
        frame: one row per sample; media cells are ``zip:///archive.zip!member`` paths, bytes or arrays.
        schemas: one per target (``pairs`` where there is none); each says why the other columns are left out.
        split: column that names the official part of a row (``train``, ``valid``, ``test``), if there is one.
        folds: column that names the official fold of a row, if there is one.
        groups: column whose equal values belong on one side of any split (same recording, same video, reprint).
    """

    frame: pd.DataFrame
    schemas: Mapping[str, Schema]
    split: str | None = None
    folds: str | None = None
    groups: str | None = None

    def of(self, task: str) -> tuple[pd.DataFrame, Schema]:
        """The rows that have this target, and its schema.

        Raises:
            ConfigError: no such target; the message names the nearest one.
        """
        if task not in self.schemas:
            raise ConfigError(f"unknown target '{task}': {nearest(task, self.schemas)}")
        schema = self.schemas[task]
        if schema.target is None:
            return self.frame, schema
        return self.frame[self.frame[schema.target].notna()].reset_index(drop=True), schema


class Dataset(registry.Named, ABC):
    """One data set: where it comes from, what it may be used for, and how its files become a table.

    The files are never part of plait: they lie in a folder of the user's (argument ``root`` or ``$PLAIT_DATA``).
    """

    #: Name to print beside results, without ``(rebuilt)``.
    title: ClassVar[str]
    #: Public source, where a user can get the data.
    url: ClassVar[str]
    #: Licence of the data, as stated by the source.
    licence: ClassVar[str]
    #: Where that was read; empty: it was not verified at its source.
    licence_from: ClassVar[str] = ""
    #: Where a statement by its owner was looked for and not found, or could not be read.
    licence_sought: ClassVar[str] = ""
    #: Whom to cite.
    citation: ClassVar[str]
    #: Target -> ``classification``, ``multilabel`` or ``regression``; empty for pairs without a target.
    tasks: ClassVar[Mapping[str, str]]
    #: Target -> the metric to report first; where a class says none, the usual one of the task.
    metrics: ClassVar[Mapping[str, str]]
    #: Rows of all parts together as published, where that is one number; None: it depends on options.
    rows: ClassVar[int | None] = None
    #: Its files below the root; ``plait data fetch`` brings those that have an address.
    files: ClassVar[tuple[File, ...]] = ()
    #: The pip package that it comes in, where it is not of files below the root.
    package: ClassVar[str | None] = None
    #: A stand-in for a published data set: results are no numbers on the original.
    rebuilt: ClassVar[bool] = False
    #: Rows may be split anew. False: only the official parts keep training and test apart.
    resplit: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        """The usual metrics; and files that are damaged or of another layout are one line, whatever reads them."""
        super().__init_subclass__(**options)
        if "tasks" in cls.__dict__ and "metrics" not in cls.__dict__:
            cls.metrics = outline.usual_metrics(cls.tasks)
        if "load" in cls.__dict__:
            cls.load = _in_one_line(cls.load)  # type: ignore[method-assign]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Refuse options that are not what the annotations of ``__init__`` say."""
        given = inspect.signature(cls).bind_partial(*arguments, **options).arguments
        checks.check_call(cls.__init__, given, f"data set '{cls.__module__.rpartition('.')[2]}'")
        return super().__new__(cls)

    @abstractmethod
    def load(self, root: str | Path | None = None) -> Loaded:
        """Read the files below ``root`` (default ``$PLAIT_DATA``).

        Raises:
            TableError: no folder is given, or a file is not there; the message names the public source.
        """

    def loaded(
        self,
        frame: pd.DataFrame,
        modalities: Iterable[Modality],
        reasons: Mapping[str, str] = MappingProxyType({}),
        types: Mapping[str, str] | None = None,
        **places: str,
    ) -> Loaded:
        """The table with a schema for each of ``tasks``; the target of one is never its input.

        ``reasons``: why columns are left out; official parts and folds have theirs. ``places``: ``split``, ``folds``, ``groups``.
        """
        official = {"split": "official part", "folds": "official fold"}
        reasons = {places[key]: words for key, words in official.items() if key in places} | dict(reasons)
        if not self.tasks:
            return Loaded(frame, {"pairs": make_schema(frame, modalities, None, "classification", reasons)}, **places)
        schemas = {}
        for target, task in self.tasks.items():
            own = [replace(m, columns=tuple(c for c in m.columns if c != target)) for m in modalities]
            schemas[target] = make_schema(frame, own, target, task, reasons, types)
        return Loaded(frame, schemas, **places)

    @classmethod
    def label(cls) -> str:
        """The name to print beside results: a stand-in says that it is one."""
        return outline.dataset_label(cls)

    @classmethod
    def licence_text(cls) -> str:
        """The licence, and whether it was verified at its source.

        Example:
            >>> from plait.base import registry
            >>> registry.find("datasets", "games").licence_text()
            'not stated (not verified)'
        """
        text = outline.dataset_licence(cls)
        if cls.licence_from or not cls.licence_sought:
            return text
        return f"{text}: no statement by its owner found; looked for at {cls.licence_sought}"

    @classmethod
    def file(cls, root: str | Path | None, *parts: str) -> Path:
        """Absolute path of one file of the data set."""
        return cls._there(root, parts, Path.is_file)

    @classmethod
    def folder(cls, root: str | Path | None, *parts: str) -> Path:
        """Absolute path of one folder of the data set."""
        return cls._there(root, parts, Path.is_dir)

    @classmethod
    def _there(cls, root: str | Path | None, parts: Sequence[str], is_there: Callable[[Path], bool]) -> Path:
        base = root if root is not None else os.environ.get("PLAIT_DATA")
        if not base:
            raise TableError(
                f"data set '{cls.name()}': no folder given; set PLAIT_DATA to the folder that holds "
                f"{'/'.join(parts)}, or pass root ({cls._source()})"
            )
        path = Path(base).expanduser().absolute().joinpath(*parts)
        if not is_there(path):
            raise TableError(f"data set '{cls.name()}': {path} is not there ({cls._source()})")
        return path

    @classmethod
    def _source(cls) -> str:
        brought = f"; plait data fetch {cls.name()} brings what can be had" if any(f.url for f in cls.files) else ""
        return f"{cls.label()} comes from {cls.url}{brought}"


#: What readers of tables, arrays, archives and documents raise at a file that is not theirs.
_UNREADABLE: tuple[type[Exception], ...] = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError)
_UNREADABLE += (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error)
#: Beginnings of files by their suffix.
_MAGIC = {".npy": b"\x93NUMPY", ".npz": b"PK", ".zip": b"PK", ".gz": b"\x1f\x8b"}
_MAGIC |= {".parquet": b"PAR1", ".csd": b"\x89HDF"}


def _in_one_line(load: Callable[..., Loaded]) -> Callable[..., Loaded]:
    @functools.wraps(load)
    def loaded(self: Dataset, root: str | Path | None = None) -> Loaded:
        cause, said = None, "no rows"
        try:
            result = load(self, root)
            if len(result.frame):
                return result
        except _UNREADABLE as error:
            if isinstance(error, PlaitError) and not isinstance(error, ColumnsError):
                raise
            known = isinstance(error, ColumnsError)
            cause, said = error, str(error) if known else " ".join(f"{type(error).__name__}: {error}".split())
        raise TableError(f"data set '{self.name()}': {_damage(self, root, said)}; {self._source()}") from cause

    return loaded


def _damage(dataset: Dataset, root: str | Path | None, said: str) -> str:
    """Which of its files is not what its name says; where all are, that they are of another layout."""
    base = Path(root or os.environ.get("PLAIT_DATA") or ".").expanduser().absolute()
    for one in (file.existing(base) for file in dataset.files):
        path = base / one.path if one is not None else base
        if path.is_file() and not path.open("rb").read(8).startswith(_MAGIC.get(path.suffix, b"")):
            return f"{path} is damaged, or no {path.suffix} file (half a download?); bring it again"
        if path.is_file() and not path.stat().st_size:
            return f"{path} is empty; bring it again"
    return f"its files below {base} are of another layout than the published one, or damaged ({said[:200]}); bring them again"


def in_archive(archive: Path, members: Iterable[str]) -> list[str]:
    """Cells that name members of a zip archive.

    Example:
        >>> in_archive(Path("/data/images.zip"), ["001.jpg"])
        ['zip:///data/images.zip!001.jpg']
    """
    return [f"zip://{archive}!{member}" for member in members]


def modality(name: str, *columns: str, kind: str = "") -> Modality:
    """A modality whose kind, and whose one column, are called as it is where nothing else is said."""
    return Modality(name, kind or name, columns or (name,))


#: Pairs of texts.
TEXTS = (modality("a", kind="text"), modality("b", kind="text"))


def make_schema(
    frame: pd.DataFrame,
    modalities: Iterable[Modality],
    target: str | None,
    task: str,
    reasons: Mapping[str, str],
    types: Mapping[str, str] | None = None,
) -> Schema:
    """A schema that accounts for every column of ``frame``: used, the target, or left out for a reason.

    Raises:
        ColumnsError: a column is neither used nor explained, or one is used twice in a modality, or is the target.
    """
    modalities = tuple(modalities)
    used = [column for modality in modalities for column in modality.columns]
    left = [str(column) for column in frame.columns if column not in used and column != target]
    silent = [column for column in left if column not in reasons]
    twice = sorted({c for c in used if c == target or any(m.columns.count(c) > 1 for m in modalities)})
    if silent or twice:
        raise ColumnsError(f"schema for '{target}': columns without a reason: {silent}; columns used twice: {twice}")
    kept = {column: kind for column, kind in (types or {}).items() if column in used}
    return Schema(modalities, target, task, {column: reasons[column] for column in left}, kept)
