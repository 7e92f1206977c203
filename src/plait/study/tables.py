"""The tables of a study in memory, what tells one state of the data from another, and what every run needs beside them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.config import check_fields
from plait.base.errors import ConfigError, PlaitWarning, TableError
from plait.conditions.cells import content_key, contents
from plait.data import schema
from plait.data.cells import media_columns
from plait.data.labels import classes_of
from plait.data.modality import Schema
from plait.data.remote import beside
from plait.data.remote_cells import fetch_cells
from plait.data.table import PART, read_table, stacked
from plait.data.targets import Labels, target_values, with_target
from plait.datasets.base import Loaded
from plait.study.spec import DataSpec, Spec


@dataclasses.dataclass(frozen=True)
class StudyTable:
    """One table and its target.

    Attributes:
        label: ``dataset/target``.
        frame: the rows that have a target; positions in results count in it.
        parts: column that names the official part of a row; ``folds``: its fold; ``groups``: what stays together.
        resplit: rows may be split anew.
    """

    label: str
    frame: pd.DataFrame
    schema: Schema
    parts: str | None = None
    folds: str | None = None
    groups: str | None = None
    resplit: bool = True

    @property
    def task(self) -> str:
        """The task's name."""
        return self.schema.task

    @property
    def target(self) -> str:
        """The target's column."""
        return str(self.schema.target)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in the order of the schema."""
        return tuple(m.name for m in self.schema.modalities)

    @cached_property
    def y(self) -> Any:
        """The whole target: classes (n,), ``Labels``, or floats (n,)."""
        return target_values(self.frame[self.target], self.task)

    @cached_property
    def classes(self) -> list[Any] | None:
        """All classes of the table, sorted; None for a number, and for pairs."""
        if self.task == "regression" or self.schema.target is None:
            return None
        result = self.y.classes if isinstance(self.y, Labels) else classes_of(self.y)[0].tolist()
        return list(result)

    @cached_property
    def digest(self) -> str:
        """Hex digest of all cells that the study uses, the contents of files included, and of the split's columns."""
        digest = blake2b(digest_size=8)
        for modality in self.schema.modalities:
            digest.update(f"\x1d{modality.name} {modality.kind} {modality.columns}".encode())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PlaitWarning)  # whoever encodes the rows tells of missing files
                columns = contents(self.frame, modality, self.schema.root)
            for cell in (cell for column in columns for cell in column):
                digest.update(content_key(cell, unreadable=b""))  # as folders of earlier versions have it
        for name in (self.schema.target, self.parts, self.folds, self.groups):
            if name is not None:
                digest.update("\x1e".join(map(str, self.frame[name])).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def redrawn(spec: DataSpec) -> bool:
    """Each seed draws this data set anew."""
    if spec.dataset is None or "seed" in spec.options:
        return False
    variant = registry.find("datasets", spec.dataset)
    return not variant.resplit and "seed" in inspect.signature(variant).parameters


def load_table(
    spec: DataSpec,
    base: Path,
    seed: int | None = None,
    frames: Mapping[str, tuple[pd.DataFrame, Schema]] | None = None,
    schema_told: Mapping[str, object] | None = None,
    *,
    pairs: bool = False,
) -> StudyTable:
    """Read one table.

    ``schema_told``: what was inferred before, so that every process works with the same; ``pairs``: of a space: no target.
    """
    if spec.dataset is not None:
        result = _dataset(spec, base, seed)
    elif spec.frame is not None:
        result = _frame(spec, frames or {}, pairs)
    else:
        result = _table(spec, base, schema_told, pairs)
    if spec.rows is not None and spec.rows < len(result.frame):
        drawn = np.sort(np.random.default_rng(0).permutation(len(result.frame))[: spec.rows])
        result = dataclasses.replace(result, frame=result.frame.iloc[drawn].reset_index(drop=True))
    return result


def _dataset(spec: DataSpec, base: Path, seed: int | None) -> StudyTable:
    variant = registry.find("datasets", str(spec.dataset))
    options = dict(spec.options)
    if seed is not None and redrawn(spec):
        options["seed"] = seed
    check_fields(options, inspect.signature(variant).parameters, f"data set '{spec.dataset}'")
    root = None if spec.root is None else str(base / spec.root)
    loaded = _loaded(str(spec.dataset), json.dumps(options, sort_keys=True), root)
    target = spec.target or next(iter(variant.tasks), "pairs")
    label, parts = spec.name or f"{spec.dataset}/{target}", (loaded.split, loaded.folds, loaded.groups)
    return StudyTable(label, *loaded.of(target), *parts, variant.resplit)


@lru_cache(maxsize=2)
def _loaded(name: str, options: str, root: str | None) -> Loaded:
    """A data set's files, read once for all of its targets."""
    result: Loaded = registry.find("datasets", name)(**json.loads(options)).load(root)
    return result


def _frame(spec: DataSpec, frames: Mapping[str, tuple[pd.DataFrame, Schema]], pairs: bool) -> StudyTable:
    if spec.frame is None or spec.frame not in frames:
        raise ConfigError(f"data: no table '{spec.frame}' is given; given: {', '.join(frames) or 'none'}")
    frame, result = frames[spec.frame]
    frame = _fetched(spec, frame, result, spec.root).reset_index(drop=True)
    said = f"data: frame '{spec.frame}' has no target; name it beside it"
    return _whole(spec, frame, result, None if pairs else said)


def _whole(
    spec: DataSpec, frame: pd.DataFrame, schema: Schema, said: str | None, parts: str | None = None
) -> StudyTable:
    """The table of what was read; ``said`` where it has no target, or None: there need not be one."""
    target = spec.target or schema.target
    if target is None and said is None:
        return StudyTable(spec.name or f"{spec.source}/pairs", frame, schema)
    if target is None:
        raise ConfigError(said)
    schema = dataclasses.replace(schema, target=target)
    return StudyTable(spec.name or f"{spec.source}/{target}", _with_target(frame, target), schema, parts)


def _table(spec: DataSpec, base: Path, schema_told: Mapping[str, object] | None, pairs: bool) -> StudyTable:
    path = beside(base, str(spec.table))
    root = str(beside(base, spec.root)) if spec.root else None
    frame = read_table(path, None, spec.remote, root)
    if schema_told is not None:
        result = schema.from_dict(schema_told, str(path))
    elif spec.schema is not None:
        file = base / spec.schema
        if not file.is_file():
            raise ConfigError(f"{file}: there is no such schema file")
        result = schema.for_table(frame, file.read_text(encoding="utf-8"), str(file), spec.target, spec.task)
    else:
        if spec.target is None and not pairs:
            raise ConfigError(f"data: which column of {path.name} is to be predicted? expected target: NAME")
        result = schema.infer(frame, target=spec.target, root=root or str(path.parent), task=spec.task)
    frame = _fetched(spec, frame, result, root or str(path.parent))
    result = dataclasses.replace(result, root=root or result.root or str(path.parent), task=spec.task or result.task)
    if spec.test is not None:
        files = {name: beside(base, file) for name in ("valid", "test") if (file := getattr(spec, name))}
        read = {name: read_table(file, None, spec.remote, root) for name, file in files.items()}
        frame = stacked(frame, **{name: _fetched(spec, part, result, root) for name, part in read.items()})
    said = f"data: neither the study nor {spec.schema} names the target of {path.name}"
    return _whole(spec, frame, result, None if pairs else said, None if spec.test is None else PART)


def _fetched(spec: DataSpec, frame: pd.DataFrame, schema: Schema, root: str | None) -> pd.DataFrame:
    """With what cells of columns of media name by an address that may be fetched, whatever its ending."""
    return fetch_cells(frame, spec.remote, root, media_columns(schema.modalities))


def _with_target(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        result = with_target(frame, target)
    if len(result) < 10:
        raise TableError(f"{len(result)} rows have a '{target}'; a study needs at least 10")
    if result[target].astype(str).nunique() < 2:
        raise TableError(f"'{target}' is the same in all {len(result)} rows; there is nothing to learn")
    return result.reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every run of a study needs beside its own definition.

    Attributes:
        base: folder that the study's paths start from.
        schemas: position of a table -> its schema as plain values, where it was inferred.
        store: of embeddings; None is the user's.
        frames: tables in memory, for runs in this process.
    """

    spec: Spec
    base: Path
    schemas: Mapping[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    store: str | None = None
    frames: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    threads: int = 1


T = TypeVar("T")


class Latest:
    """Keeps the last few things that were made.

    Example:
        >>> kept = Latest(1)
        >>> kept.get("a", lambda: 1), kept.get("a", lambda: 2), kept.get("b", lambda: 3), kept.get("a", lambda: 4)
        (1, 1, 3, 4)
    """

    def __init__(self, count: int) -> None:
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
