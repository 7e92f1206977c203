"""What every run of a study needs beside its own definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
