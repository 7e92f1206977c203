"""What each column is: modalities, their kinds, the target; inferred, edited as YAML, validated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.base.errors import PlaitWarning, TableError
from plait.data.modality import TASKS, TRAIN, TYPES, Modality, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TASKS",
    "TRAIN",
    "TYPES",
    "Modality",
    "Schema",
    "absent",
    "from_dict",
    "from_yaml",
    "infer",
    "modalities_from",
    "tabular_types",
    "tell_unused",
    "to_dict",
    "to_yaml",
    "validate",
]


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
    from plait.data.infer import infer_schema

    return infer_schema(frame, target, root, task)


def tabular_types(schema: Schema, frame: pd.DataFrame) -> dict[str, str]:
    """The type of every tabular column of a schema: the one that it names, else the one that the cells look like."""
    from plait.data.infer import tabular_type

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
    from plait.data.check import problems

    result = problems(schema, frame, partial=partial)
    if result:
        count = f"{len(result)} problems: " if len(result) > 1 else ""
        missing = advice and any(c not in frame.columns for c in schema.columns)
        raise TableError(count + "; ".join([*result, *([advice] if missing else [])]))


def absent(schema: Schema, frame: pd.DataFrame, root: str | None = None) -> np.ndarray:
    """Bool (n, M): modalities that a row has nothing of: null, empty, files that are not there; decodes nothing."""
    from plait.data.cells import absent_rows

    root = root if root is not None else schema.root
    columns = [absent_rows(frame, modality, root) for modality in schema.modalities]
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), dtype=bool)


def to_dict(schema: Schema) -> dict[str, Any]:
    """A schema as plain values, without notes and doubts."""
    from plait.data.schema_yaml import schema_to_dict

    return schema_to_dict(schema)


def from_dict(spec: Mapping[str, Any], where: str = "schema") -> Schema:
    """A schema from plain values; unknown fields are refused.

    Raises:
        ConfigError: all problems at once.
    """
    from plait.data.schema_yaml import schema_from_dict

    return schema_from_dict(spec, where)


def modalities_from(spec: Mapping[str, Any], where: str = "modalities") -> tuple[Modality, ...]:
    """Modalities from ``name -> {kind, columns, ...}``."""
    return from_dict({"modalities": spec}, where).modalities


def to_yaml(schema: Schema) -> str:
    """A schema as YAML with comments on what each column was taken for; ``from_yaml`` reads it back."""
    from plait.data.schema_yaml import schema_to_yaml

    return schema_to_yaml(schema)


def from_yaml(text: str, where: str = "schema") -> Schema:
    """A schema from YAML.

    Raises:
        ConfigError: not YAML, a key given twice, or an unknown field; the message names the line.
    """
    from plait.data.schema_yaml import schema_from_yaml

    return schema_from_yaml(text, where)
