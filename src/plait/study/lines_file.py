"""A file of one JSON object per line that is only ever added to: durable, and whole after any crash."""

from __future__ import annotations

import errno
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from plait.base import checks
from plait.base.checks import Natural, NonNegative
from plait.base.documents import read_json
from plait.base.errors import ConfigError, PlaitError, warn

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BLOCK = 65536


class DiskFullError(PlaitError):
    """Nothing more can be written; what was is whole."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with writing into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"{folder}: the disk is full; what was finished is kept. Free some space, then the same command goes on"
            ) from error
        raise ConfigError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error


class Line(Protocol):
    """What a line of the results says of a run; every one that is read is held to it."""

    run: str
    status: Literal["done", "failed", "stopped"]
    reason: str | None
    dataset: str
    task: str
    classes: Sequence[str] | None
    variant: str
    settings: Mapping[str, Any]
    subset: Sequence[str]
    modalities: Sequence[str]
    train_condition: str
    seed: Natural
    split: Natural
    train_rows: Natural | None
    test_rows: Natural | None
    evaluations: Sequence[Mapping[str, Any]]
    seconds: Mapping[str, NonNegative]
    memory: Mapping[str, Any]
    weights: Mapping[str, Natural | None]


class Evaluation(Protocol):
    """What a line says of one evaluation of a run that is done."""

    condition: str
    present: Sequence[str]
    metrics: Mapping[str, float | None]
    axes: Mapping[str, Any]


_NEEDED = {"run", "status", "dataset", "task", "variant", "settings", "subset", "train_condition", "seed", "split"}
_JUDGED = {"condition", "present", "metrics"}


class LinesFile:
    """Lines of results.jsonl. Whoever writes must hold the folder's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def append(self, line: Mapping[str, object]) -> None:
        """Add a line, on the disk when this returns, or not at all."""
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._opened() as (file, end):
            try:
                if os.write(file, data) < len(data):
                    raise OSError(errno.ENOSPC, "no space left", str(self._path))
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise

    def cut_torn(self) -> None:
        """Take away a last line that was torn when its writer was killed."""
        if self._path.exists():
            with self._opened():
                pass

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """The file, and where its last whole line ends."""
        with writing(self._path.parent):
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                yield file, _whole(file)
            finally:
                os.close(file)

    def new(self) -> list[dict[str, Any]]:
        """The lines that are new since the last call; what is damaged is left out with a counted warning."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        parsed = [_parsed(raw) for raw in whole.splitlines()]
        result = [line for line in parsed if line is not None]
        if len(result) < len(parsed):
            count = len(parsed) - len(result)
            said = f"{count} damaged line{'s are' if count > 1 else ' is'} left out; what they told is done again"
            warn(f"{self._path}: {said}")
        return result


def _whole(file: int) -> int:
    """Cut a last line without its end; where the file ends then."""
    end = start = os.fstat(file).st_size
    if not end or os.pread(file, 1, end - 1) == b"\n":
        return end
    while start > 0:
        step = min(_BLOCK, start)
        result = os.pread(file, step, start - step).rfind(b"\n")
        start -= step
        if result >= 0:
            start += result + 1
            break
    os.ftruncate(file, start)
    return start


def _parsed(raw: bytes) -> dict[str, object] | None:
    try:
        line = read_json(raw)
    except ValueError:
        return None
    if not isinstance(line, dict) or not set(line) >= _NEEDED or checks.problems(Line, line):
        return None
    value = line.get("evaluations", [] if line["status"] != "done" else None)
    if value is None or any(checks.problems(Evaluation, one) or not set(one) >= _JUDGED for one in value):
        return None
    return line


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays that a run left, checked: numbers, and finite ones."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            result = {name: np.asarray(archive[name]) for name in archive.files}
        wrong = [n for n, a in result.items() if a.dtype.kind not in "biuf" or not np.isfinite(a).all()]
        if wrong:
            raise ValueError(f"'{wrong[0]}' holds what is no number")
        return result
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: is damaged ({said}); remove the run's folder and its line, and run it again"
        ) from None
