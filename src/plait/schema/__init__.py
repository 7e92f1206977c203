"""What each column is: modalities, their kinds, the target; inferred, edited as YAML, validated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.encoders._base import KINDS
from plait.errors import ConfigError, PlaitWarning, TableError, nearest
from plait.schema._names import name_problem

if TYPE_CHECKING:
    import pandas as pd

#: How an encoder comes by its weights.
TRAIN = ("frozen", "pretrain", "scratch", "tuned")
TASKS = ("classification", "multilabel", "regression")
#: What a tabular column may be; ``date`` may carry its format, as in ``date %d/%m/%Y``.
TYPES = ("number", "category", "boolean", "date", "list")


@dataclass(frozen=True)
class Modality:
    """One column, or a group of columns, of one kind.

    Attributes:
        name: what the modality is called everywhere: letters, digits, ``_``, ``-`` and spaces between them.
        kind: one of ``KINDS``.
        columns: the table's columns; text and code columns are joined into one string per row, media columns give a
            token each.
        encoder: a name, or a mapping ``{name: ..., option: ...}``; None takes the best installed one for the kind.
        train: ``frozen``, ``scratch``, ``pretrain`` (alone on the same task first, then with the others), or ``tuned`` (the last
            layers of a pretrained one adapted to the task, then frozen).
        root: folder or zip archive that relative paths of this modality start from; None takes the table's.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    encoder: str | Mapping[str, Any] | None = None
    train: str = "frozen"
    root: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no table could satisfy, and names that are no keys."""
        if said := name_problem(self.name, self.kind):
            raise ConfigError(f"modality {self.name!r}: {said}")
        if self.kind not in KINDS:
            raise ConfigError(f"modality '{self.name}': unknown kind '{self.kind}': {nearest(self.kind, KINDS)}")
        if self.train not in TRAIN:
            raise ConfigError(f"modality '{self.name}': unknown train '{self.train}': {nearest(self.train, TRAIN)}")
        if not self.columns:
            raise ConfigError(f"modality '{self.name}': it has no columns; name at least one")
        twice = sorted({c for c in self.columns if self.columns.count(c) > 1})
        if twice:
            raise ConfigError(f"modality '{self.name}': columns named twice: {', '.join(twice)}")

    @property
    def learns(self) -> bool:
        """Its encoder learns with the networks; a tuned one has learned before them."""
        return self.train not in ("frozen", "tuned")


@dataclass(frozen=True)
class Schema:
    """The modalities of a table, its target, and why the other columns are left out.

    Attributes:
        modalities: in the order of the table.
        target: the column to predict, or None.
        task: ``classification``, ``multilabel`` or ``regression``.
        ignored: column -> reason.
        types: tabular column -> one of ``TYPES``; a column without one is looked at when the encoder is fitted.
        root: folder or zip archive that relative paths start from, unless a modality has its own.
        notes: column -> what it was taken for and why.
        doubts: column -> what was seen and not guessed at.
    """

    modalities: tuple[Modality, ...]
    target: str | None = None
    task: str = "classification"
    ignored: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)
    doubts: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse names given twice, unknown types and tasks, and a target among the inputs."""
        names = [m.name for m in self.modalities]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError(f"modalities named twice: {', '.join(twice)}")
        if self.task not in TASKS:
            raise ConfigError(f"unknown task '{self.task}': {nearest(self.task, TASKS)}")
        for column, told in self.types.items():
            if told.partition(" ")[0] not in TYPES or (" " in told and not told.startswith("date %")):
                raise ConfigError(f"column '{column}': unknown type '{told}': {nearest(told.partition(' ')[0], TYPES)}")
        for modality in self.modalities:
            if self.target in modality.columns:
                raise ConfigError(f"modality '{modality.name}': holds the target '{self.target}'; remove it there")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a modality has, once, also where it serves in several."""
        return tuple(dict.fromkeys(c for m in self.modalities for c in m.columns))

    def types_of(self, modality: Modality) -> dict[str, str]:
        """The types of the columns of a tabular modality, as far as they are told."""
        return {c: self.types[c] for c in modality.columns if c in self.types}


def infer(frame: pd.DataFrame, target: str | None = None, root: str | None = None, task: str | None = None) -> Schema:
    """Say what each column is; what is doubtful is told in one ``PlaitWarning`` and in ``Schema.doubts``.

    Args:
        frame: the table.
        target: the column to predict.
        root: folder or zip archive that relative paths start from.
        task: what the target asks for; None looks at it.

    Raises:
        TableError: the table has no rows, a column name twice, no such target, or a target without values.
    """
    from plait.schema._infer import infer_schema  # late: it needs this module

    return infer_schema(frame, target, root, task)


def tabular_types(schema: Schema, frame: pd.DataFrame) -> dict[str, str]:
    """The type of every tabular column of a schema: the one that it names, else the one that the cells look like."""
    from plait.schema._infer import tabular_type

    columns = [c for m in schema.modalities if m.kind == "tabular" for c in m.columns]
    return {c: schema.types.get(c) or tabular_type(frame[c]) for c in columns}


def tell_unused(schema: Schema, frame: pd.DataFrame, also: Sequence[str | None] = ()) -> None:
    """Say in one ``PlaitWarning`` which columns of a table are not learned from, and why.

    Args:
        schema: what is learned from.
        frame: the table.
        also: columns that serve something else, as the groups.
    """
    used = {schema.target, *also, *(c for m in schema.modalities for c in m.columns)}
    unused = [str(c) for c in frame.columns if c not in used]
    if not unused:
        return
    reasons = [f"'{c}' ({schema.ignored.get(c, 'named nowhere in the schema')})" for c in unused]
    verb = "is" if len(unused) == 1 else "are"
    message = f"{len(unused)} of {len(frame.columns)} columns {verb} not used: {', '.join(reasons)}"
    warnings.warn(message, PlaitWarning, stacklevel=3)


def validate(schema: Schema, frame: pd.DataFrame, *, partial: bool = False, advice: str = "") -> None:
    """Check that a table has what a schema needs; columns beyond it are fine.

    Args:
        schema: what is needed.
        frame: the table.
        partial: a modality without any of its columns counts as absent.
        advice: what else can be done about a missing column, said behind the problems.

    Raises:
        TableError: all problems at once, each with its column.
    """
    from plait.schema._check import problems

    found = problems(schema, frame, partial=partial)
    if found:
        count = f"{len(found)} problems: " if len(found) > 1 else ""
        missing = advice and any(c not in frame.columns for c in schema.columns)
        raise TableError(count + "; ".join([*found, *([advice] if missing else [])]))


def absent(schema: Schema, frame: pd.DataFrame, root: str | None = None) -> np.ndarray:
    """Bool (n, M): modalities that a row has nothing of: null, empty, files that are not there; decodes nothing."""
    from plait.table._cells import absent_rows

    root = root if root is not None else schema.root
    columns = [absent_rows(frame, modality, root) for modality in schema.modalities]
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), dtype=bool)


def to_dict(schema: Schema) -> dict[str, Any]:
    """A schema as plain values, without notes and doubts."""
    from plait.schema._yaml import schema_to_dict

    return schema_to_dict(schema)


def from_dict(told: Mapping[str, Any], where: str = "schema") -> Schema:
    """A schema from plain values; unknown fields are refused.

    Raises:
        ConfigError: all problems at once.
    """
    from plait.schema._yaml import schema_from_dict

    return schema_from_dict(told, where)


def modalities_from(told: Mapping[str, Any], where: str = "modalities") -> tuple[Modality, ...]:
    """Modalities from ``name -> {kind, columns, ...}``."""
    return from_dict({"modalities": told}, where).modalities


def to_yaml(schema: Schema) -> str:
    """A schema as YAML with comments on what each column was taken for; ``from_yaml`` reads it back."""
    from plait.schema._yaml import schema_to_yaml

    return schema_to_yaml(schema)


def from_yaml(text: str, where: str = "schema") -> Schema:
    """A schema from YAML.

    Raises:
        ConfigError: not YAML, a key given twice, or an unknown field; the message names the line.
    """
    from plait.schema._yaml import schema_from_yaml

    return schema_from_yaml(text, where)
