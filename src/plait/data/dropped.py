"""Columns that are no inputs although the table has them: what ``drop`` names is taken out of a schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from plait.base import checks
from plait.base.errors import ConfigError, TableError, nearest
from plait.data.modality import IDENTIFIER, Schema

#: One column, or several.
Columns = str | Sequence[str]
#: Why such a column is left out, as schemas and reports say it, behind that it is an identifier.
REASON = "left out by drop"


def named(values: Iterable[str], columns: Collection[str]) -> list[str]:
    """Names of columns one by one; several in one text stand with commas between them, unless a column is called so.

    Example:
        >>> named(["id, mass", "a,b"], {"id", "mass", "a,b"})
        ['id', 'mass', 'a,b']
    """
    parts = [part for value in values for part in ([value] if value in columns else value.split(","))]
    return [part if part in columns else part.strip() for part in parts if part.strip()]


def dropped_columns(drop: Columns | None, columns: Iterable[object], targets: Iterable[str | None] = ()) -> list[str]:
    """The columns that ``drop`` names, each once.

    Args:
        drop: what was given.
        columns: those that there are.
        targets: columns to predict, which are no inputs anyway.

    Raises:
        ConfigError: no names, or a target among them.
        TableError: no such column; the nearest one is named.
    """
    if drop is not None and (wrong := checks.problem(drop, Columns)):
        raise ConfigError(f"drop {wrong}")
    known = [str(column) for column in columns]
    result = list(dict.fromkeys(named([drop] if isinstance(drop, str) else drop or (), known)))
    if unknown := [f"'{name}'; {nearest(name, known)}" for name in result if name not in known]:
        raise TableError(f"drop: the table has no column {', nor '.join(unknown)}")
    if asked := [repr(name) for name in targets if name in result]:
        raise ConfigError(f"drop: {', '.join(asked)} is to be predicted and no input anyway; take it out of drop")
    return result


def without(schema: Schema, columns: Collection[str]) -> Schema:
    """The schema without some columns among its inputs; a modality that has no others disappears."""
    rest = [(m, tuple(c for c in m.columns if c not in columns)) for m in schema.modalities]

    def kept(values: Mapping[str, str]) -> dict[str, str]:
        return {column: value for column, value in values.items() if column not in columns}

    return dataclasses.replace(
        schema,
        modalities=tuple(dataclasses.replace(m, columns=inner) for m, inner in rest if inner),
        types=kept(schema.types),
        notes=kept(schema.notes),
        doubts=kept(schema.doubts),
    )


def left_out(schema: Schema, drop: Columns | None, columns: Iterable[object]) -> Schema:
    """The schema without what ``drop`` names, of a table with these columns; the schema says that they are left out.

    A column that the schema leaves out already need not be in the table.

    Raises:
        ConfigError: nothing is left to learn from, or the target is named.
        TableError: no such column.
    """
    names = dropped_columns(drop, dict.fromkeys([*map(str, columns), *schema.ignored]), [schema.target])
    if not names:
        return schema
    result = without(schema, names)
    if not result.modalities:
        raise ConfigError(
            f"drop: without {', '.join(map(repr, names))} no column is left to learn from; leave out fewer"
        )
    known = {name for name in names if name in schema.identifiers}
    reasons = {name: f"{IDENTIFIER}, {REASON}" if name in known else REASON for name in names}
    return dataclasses.replace(result, ignored={**schema.ignored, **reasons})


def is_dropped(schema: Schema, column: str) -> bool:
    """Whether a column is left out because ``drop`` names it."""
    return schema.ignored.get(column, "").endswith(REASON)
