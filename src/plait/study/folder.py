"""A study's folder: the file, one line per finished attempt, predictions; many processes may write, any may be killed."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np

from plait.base import checks
from plait.base.checks import Natural, NonNegative
from plait.base.config import read_yaml, to_yaml
from plait.base.documents import read_json
from plait.base.errors import ConfigError, PlaitError, warn
from plait.base.parts import Closing, shared_folder, write_file
from plait.store.environment import Claimed
from plait.study.runs import digest
from plait.study.spec import Spec
from plait.training import history

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


try:
    import fcntl
except ImportError:  # Windows: two runners on one folder may then do a run twice; the later line counts
    fcntl = None  # type: ignore[assignment]

STUDY, ABOUT, RESULTS, RUNS = "study.yaml", "study.json", "results.jsonl", "runs"
CLAIMS, LOCK = "claims.lock", "write.lock"
#: Of searches before they were studies.
OLD = "journal.jsonl"
#: Raised whenever an older plait could not read what this one writes.
FORMAT = 1
#: What a study may grow by without becoming another one.
_GROWS = ("about", "source", "seeds", "budget", "claims")
_opened: set[Path] = set()


class About(Protocol):
    """What study.json says."""

    format: Natural
    name: str
    identity: str
    versions: Mapping[str, Any]
    data: Mapping[str, str]
    tables: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[Natural]
    runs: Natural
    command: str | None


class StudyFolder(Closing):
    """A folder of results. Only one runner per process may have it open: a process's claims do not hold against itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claimed: Claimed | None = None
        self._shared: int | None = None
        self._lines = LinesFile(path / RESULTS)

    # -- beginning -------------------------------------------------------------------------------------------------

    def begin(self, spec: Spec, about: Mapping[str, object]) -> None:
        """Make the folder, or make sure that it is this study's; cut a line that was torn when a process was killed."""
        real = self.path.absolute()
        if real in _opened:
            raise ConfigError(f"{self.path}: this process is running this study already")
        if self.path.is_dir():
            self._check(spec, about)  # before anything is put into a folder that is somebody else's
        try:
            with writing(self.path):
                self._shared = shared_folder(self.path)
                (self.path / RUNS).mkdir(exist_ok=True)
            with self._alone():
                self._check(spec, about)
                options = {**self.about(missing={}), "format": FORMAT, **about}
                with writing(self.path):
                    write_file(self.path / STUDY, to_yaml(spec.to_dict()).encode())
                    write_file(self.path / ABOUT, json.dumps(options, indent=1, ensure_ascii=False).encode())
                self._lines.cut_torn()
        except BaseException:
            self.close()
            raise
        _opened.add(real)
        self._claimed = Claimed(self.path / CLAIMS)

    def _check(self, spec: Spec, about: Mapping[str, Any]) -> None:
        known = self.about(missing=None)
        if known is None:
            begun = (LOCK, STUDY, ABOUT) if (self.path / LOCK).exists() else ()  # another runner is at it
            names = [p.name for p in self.path.iterdir() if not p.name.endswith(".part")]
            strange = [name for name in names if name not in (RUNS, *begun)]
            if OLD in strange:
                text = f"holds a search of plait 0.1 ({OLD}), which is not read; name another folder"
                raise ConfigError(f"{self.path}: {text}")
            if strange:
                text = f"is not empty and holds no study (found {strange[0]}); name another folder"
                raise ConfigError(f"{self.path}: {text}")
            return
        if known.get("name") != about["name"]:
            raise ConfigError(f"{self.path}: holds another study, '{known.get('name')}'; name another folder (--out)")
        if known.get("identity") != about["identity"]:
            changed = ", ".join(self._changed(spec)) or "its settings"
            raise ConfigError(
                f"{self.path}: holds '{spec.name}' as of another state of its file (changed: {changed}); "
                "name another folder (--out). Only seeds, budget, claims and words may change within a folder"
            )
        moved = [label for label, digest in known.get("data", {}).items() if about["data"].get(label, digest) != digest]
        if moved:
            raise ConfigError(
                f"{self.path}: the data {', '.join(moved)} has changed since; name another folder (--out)"
            )

    def _changed(self, spec: Spec) -> Iterator[str]:
        before, now = read_yaml(self.path / STUDY), spec.to_dict()
        kept = (key for key in dict.fromkeys([*before, *now]) if key not in _grows(spec))
        return (key for key in kept if before.get(key) != now.get(key))

    def about(self, missing: object = ConfigError) -> Any:
        """What study.json says; ``missing`` where there is none."""
        path = self.path / ABOUT
        try:
            value = read_json(path.read_bytes())
        except FileNotFoundError:
            if missing is not ConfigError:
                return missing
            text = f"holds no study (no {ABOUT}); expected the folder of plait study run"
            raise ConfigError(f"{self.path}: {text}") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as JSON ({error})") from None
        if not isinstance(value, dict) or not isinstance(value.get("format"), int) or value["format"] > FORMAT:
            raise ConfigError(f"{path}: not a study that this plait reads (format {FORMAT}); upgrade plait")
        gone = [f"{name} is missing" for name in ("name", "runs") if name not in value]
        if wrong := checks.problems(About, value) or gone:
            raise ConfigError(f"{path}: is damaged ({'; '.join(wrong)}); run the study anew in another folder")
        return value

    def note(self, **facts: Any) -> None:
        """Add facts to study.json."""
        with self._alone(), writing(self.path):
            options = {**self.about(), **facts}
            write_file(self.path / ABOUT, json.dumps(options, indent=1, ensure_ascii=False).encode())

    # -- lines -----------------------------------------------------------------------------------------------------

    def append(self, line: Mapping[str, object]) -> None:
        """Add a line, on the disk when this returns, or not at all."""
        with self._alone():
            self._lines.append(line)

    def adopt(self, lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All lines so far, with those of runs that were done elsewhere."""
        known = self.lines()
        names = {line["run"] for line in known}
        for line in lines:
            if line["run"] not in names:
                self.append(line)
        return [*known, *self.lines()]

    def lines(self) -> list[dict[str, Any]]:
        """The lines that are new since the last call; what is damaged is left out with a counted warning."""
        return self._lines.new()

    # -- claims ----------------------------------------------------------------------------------------------------

    def claim(self, run: str) -> bool:
        """Whether the run is ours now; a process that is killed frees its own."""
        assert self._claimed is not None
        return bool(self._claimed.take([_place(run)]))

    def give_back(self, run: str) -> None:
        """It is done, or will not be."""
        assert self._claimed is not None
        self._claimed.give_back([_place(run)])

    # -- what a run leaves -----------------------------------------------------------------------------------------

    def keep(self, run: str, arrays: Mapping[str, np.ndarray], epochs: list[dict[str, Any]], trace: str) -> None:
        """Write predictions, history and the trace of an error, each whole or not at all."""
        place = self.path / RUNS / run
        with writing(self.path):
            place.mkdir(parents=True, exist_ok=True)
            if arrays:
                held = io.BytesIO()
                np.savez_compressed(held, **cast(dict[str, Any], arrays))
                write_file(place / "predictions.npz", held.getvalue())
            if epochs:
                write_file(place / "epochs.jsonl", "".join(json.dumps(e) + "\n" for e in history.slim(epochs)).encode())
                history.write(place, epochs)
            if trace:
                write_file(place / "error.txt", trace.encode())

    def close(self) -> None:
        """Free all claims."""
        if self._shared is not None:
            os.close(self._shared)
            self._shared = None
        if self._claimed is not None:
            self._claimed.close()
            self._claimed = None
            _opened.discard(self.path.absolute())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time, over all processes; the system frees the lock of one that is killed."""
        with writing(self.path):
            file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def _grows(spec: Spec) -> tuple[str, ...]:
    """What may change within a folder; a search's seed is one of its settings."""
    return _GROWS if spec.search is None else tuple(name for name in _GROWS if name != "seeds")


def identity(spec: Spec) -> str:
    """Hash of what may not change within a folder."""
    fixed = {k: v for k, v in spec.to_dict().items() if k not in _grows(spec)}
    if spec.search is not None:
        fixed["search"] = {k: v for k, v in fixed["search"].items() if k not in ("trials", "storage")}
    return digest([fixed, spec.budget.trained_weights])  # the one limit that makes other models


def _place(run: str) -> int:
    return int(run, 16) >> 8  # a lock's place is a positive 64-bit number
