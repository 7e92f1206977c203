"""What every run of a study needs beside its own definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

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
