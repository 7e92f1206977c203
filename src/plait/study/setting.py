"""What every run of a study needs beside its own definition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Make, Prepared
from plait.study.spec import Spec


@dataclass(frozen=True)
class Setting:
    """What every run of a study needs beside its own definition.

    Attributes:
        base: folder that the study's paths start from.
        schemas: position of a table -> its schema as plain values, where it was inferred.
        store: of embeddings; None is the user's.
        frames: tables in memory, for runs in this process.
        threads: of a worker.
    """

    spec: Spec
    base: Path
    schemas: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    store: str | None = None
    frames: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch and the libraries of numpy and scipy compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _controller().limit(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


_MB = 1_000_000


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB; None where the system does not tell."""
    return _status(str(pid), "VmRSS")


def available_mb() -> float | None:
    """Memory that new processes may take, in MB; None where the system does not tell."""
    return _read(Path("/proc/meminfo"), "MemAvailable")


def _status(process: str, field: str) -> float | None:
    return _read(Path("/proc") / process / "status", field)


def _read(path: Path, field: str) -> float | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == field:
            return round(int(rest.split()[0]) * 1024 / _MB, 1)
    return None


T = TypeVar("T")


class Latest:
    """Keeps the last few things that were made.

    Example:
        >>> kept = Latest(1)
        >>> kept.get("a", lambda: 1), kept.get("a", lambda: 2), kept.get("b", lambda: 3), kept.get("a", lambda: 4)
        (1, 1, 3, 4)
    """

    def __init__(self, count: int) -> None:
        """Keep so many."""
        self._count = count
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is known under the key, or what ``make`` gives."""
        if key not in self._kept:
            while len(self._kept) >= self._count:  # first, so that both never lie in memory at once
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        result: T = self._kept[key]
        return result

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


class SharedRows:
    """The prepared rows of one group of runs; each fit is given it (``share``)."""

    def __init__(self) -> None:
        """Nothing is prepared yet."""
        self.prepared: Prepared | None = None
        #: Test tables and what they became: see ``FusionEstimator.remembering``.
        self.seen: list[tuple[Any, Any]] = []
        #: Test rows of one modality under a condition: see ``plait.study.models``.
        self.passes: dict[tuple[str, str], Any] = {}
        #: Of baselines: encoders, scalers, training rows and test rows (by the identity of their table), scaled.
        self.features: Any = None
        self.scalers: Any = None
        self.raw: Any = None
        self.raw_test: dict[int, Any] = {}

    def __call__(self, settings: FitSettings, make: Make) -> Prepared:
        """The rows, made by the first run that asks."""
        if settings.train or any(m.train != "frozen" for m in getattr(settings.modalities, "modalities", ())):
            return make()  # an encoder that learns leaves its mark on itself
        if self.prepared is None:
            self.prepared = make()
        return self.prepared
