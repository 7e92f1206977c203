"""Several targets of one table: which they are, a schema for each, and encodings that all of them share."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from plait.base.errors import ConfigError, TableError, nearest, warn
from plait.data import schema
from plait.data.modality import Schema
from plait.estimators.fit_settings import NO_STORE
from plait.estimators.targets import folders_of

#: What is expected of a list of targets.
_EXPECTED = "name at least one column (--target a,b; in YAML target: [a, b])"


def targets_of(given: str | Sequence[str] | Mapping[str, str | None] | None, frame: pd.DataFrame) -> dict[str, Any]:
    """Target -> task (None: inferred), each a column of the table and named once.

    Raises:
        ConfigError: an empty list, or a target twice.
        TableError: no such column; the nearest one is named.
    """
    names = [given] if isinstance(given, str) else list(given or ())
    if not names:
        raise ConfigError(f"the list of targets is empty; {_EXPECTED}")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"target {', '.join(map(repr, twice))} is named twice; name each column once")
    columns = [str(c) for c in frame.columns]
    unknown = [f"'{name}' to predict; {nearest(str(name), columns)}" for name in names if name not in columns]
    if unknown:
        raise TableError(f"the table has no column {', nor '.join(unknown)}")
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(names)


def schemas_of(frame: pd.DataFrame, given: Schema | None, targets: Mapping[str, str | None]) -> dict[str, Schema]:
    """A schema per target, in none of which another target is an input.

    Args:
        frame: the table.
        given: the modalities; None infers them from the columns that are no targets.
        targets: target -> task; None looks at the column.

    Raises:
        ConfigError: no modality is left.
    """
    rest = frame.drop(columns=list(targets))
    base = Schema(()) if not len(rest.columns) else schema.infer(rest) if given is None else _without(given, targets)
    if not base.modalities:
        raise ConfigError(f"no column is left to learn from beside the targets {', '.join(map(repr, targets))}")
    result = {}
    for name, task in targets.items():
        kept = base.task if given is not None and given.target == name else None
        inferred, note, doubt = schema.infer_task(frame[name])
        if doubt and (task or kept) is None:
            warn(f"target '{name}' is doubtful: {doubt}")
        notes = {**base.notes, name: note}
        result[name] = dataclasses.replace(base, target=name, task=task or kept or inferred, notes=notes)
    return result


def _without(given: Schema, targets: Mapping[str, object]) -> Schema:
    """The schema without the targets among its inputs, which is told of."""
    inputs = [c for m in given.modalities for c in m.columns if c in targets]
    if not inputs:
        return given
    names = ", ".join(map(repr, dict.fromkeys(inputs)))
    warn(f"{names}: a column to predict is no input of any target's model, and is left out of the schema's modalities")
    rest = [(m, tuple(c for c in m.columns if c not in targets)) for m in given.modalities]
    kept = tuple(dataclasses.replace(m, columns=columns) for m, columns in rest if columns)
    types = {column: kind for column, kind in given.types.items() if column not in targets}
    return dataclasses.replace(given, modalities=kept, types=types)


@contextlib.contextmanager
def settings_of_each(settings: Mapping[str, Any], targets: Sequence[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """Target -> settings by which the models share what is encoded, and each keeps its training in a folder of its own.

    Where no store is wanted, there is one that goes with the block.
    """
    with contextlib.ExitStack() as kept:
        result = {target: dict(settings) for target in targets}
        if settings.get("store") == NO_STORE:
            store = kept.enter_context(tempfile.TemporaryDirectory(prefix="plait-"))
            result = {target: {**own, "store": store} for target, own in result.items()}
        if settings.get("checkpoint") is not None:
            root, names = Path(settings["checkpoint"]), folders_of(targets)
            result = {target: {**own, "checkpoint": str(root / names[target])} for target, own in result.items()}
            kept.callback(_remove_empty, root)
        yield result


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
