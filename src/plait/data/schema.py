"""What each column is: modalities, their kinds, the target; inferred by rules, edited as YAML, validated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.documents import read_yaml_node, value_of
from plait.base.errors import TableError, hidden, nearest, warn
from plait.data.cells import MEDIA, absent_rows, is_media, vector_of
from plait.data.column import Column, Verdict, gapped
from plait.data.dates import ISO
from plait.data.dropped import Columns, dropped_columns, is_dropped, left_out
from plait.data.media_rules import repeated
from plait.data.modality import Modality, Schema, distinct_names
from plait.data.parse import Parsed, booleans, dates, numbers, style_in
from plait.data.rules import RULES, TABULAR, code_name, items_list, shared_by_rows
from plait.data.schema_yaml import from_dict, from_yaml, modalities_from, to_dict, to_yaml
from plait.data.table import as_frame
from plait.data.text import check_once
from plait.data.typed import typed
from plait.data.values import nulls

__all__ = [
    "Modality",
    "Schema",
    "absent",
    "for_table",
    "from_dict",
    "from_yaml",
    "infer",
    "infer_task",
    "modalities_from",
    "problems",
    "tabular_type",
    "tabular_types",
    "tell_unused",
    "to_dict",
    "to_yaml",
    "validate",
]

#: Kinds whose columns are joined into one modality.
_JOINED = ("text", "code", "tabular")
_MANY = 20  # distinct whole numbers beyond which a target is a number


def infer(
    frame: pd.DataFrame,
    target: str | None = None,
    root: str | None = None,
    task: str | None = None,
    group: str | None = None,
    drop: Columns | None = None,
) -> Schema:
    """Say what each column is; what is doubtful is told in one ``PlaitWarning`` and in ``Schema.doubts``.

    Args:
        frame: the table.
        target: the column to predict.
        root: folder or zip archive that relative paths start from.
        task: what the target asks for; None looks at it.
        group: the column whose equal rows are kept together already.
        drop: columns that are no inputs, one or a list.

    Raises:
        TableError: the table has no rows, a column name twice, no such target or column, or a target without values.
        ConfigError: ``drop`` names the target, or leaves nothing to learn from.
    """
    frame = as_frame(frame)
    check_frame(frame)
    names = list(frame.columns)
    if target is not None and target not in names:
        raise TableError(f"the table has no column '{target}' to predict; {nearest(target, names)}")
    frame, dropped = typed(frame), dropped_columns(drop, names, [target])
    columns = {name: Column(frame[name], root) for name in names if name not in (target, *dropped)}
    result = {name: judge(column) for name, column in columns.items()}
    result |= repeated(frame, result, root)
    ignored = {name: v.reason for name, v in result.items() if v.kind == "ignored"}
    ignored |= {name: v.reason for name in dropped if (v := judge(Column(frame[name], root))).kind == "ignored"}
    notes = {name: v.reason for name, v in result.items() if v.kind != "ignored"}
    doubts = {name: v.doubt for name, v in result.items() if v.doubt}
    coded = [name for name, v in result.items() if v.type in ("category", "code") and not v.doubt and name != group]
    doubts |= {name: hint for name in coded if (hint := shared_by_rows(columns[name]))}
    if target is not None:
        guessed, notes[target], doubt = infer_task(frame[target])
        task = task or guessed
        doubts |= {target: doubt} if doubt else {}
    if doubts:
        said = "; ".join(f"column '{name}': {doubt}" for name, doubt in doubts.items())
        are = "is" if len(doubts) == 1 else "are"
        warn(f"{len(doubts)} of {len(names)} columns {are} doubtful: {said}")
    inferred = Schema(
        modalities=tuple(_modalities(result)),
        target=target,
        task=task or "classification",
        ignored=ignored,
        types={name: v.type for name, v in result.items() if v.type},
        root=root,
        notes=notes,
        doubts=doubts,
    )
    return left_out(inferred, drop, names)


def judge(column: Column) -> Verdict:
    """The verdict of the first rule that does not decline; the last one never does."""
    return next(verdict for rule in RULES if (verdict := rule(column)) is not None)


def tabular_type(series: pd.Series) -> str:
    """The type of a column that is tabular because somebody says so."""
    column = Column(series)
    if not column.present:
        return "category"
    return next(v.type or "category" for rule in TABULAR if (v := rule(column)) is not None)


def _modalities(result: Mapping[str, Verdict]) -> list[Modality]:
    """One modality for all text, all code and all tabular columns, one for each other column, named after it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, verdict in result.items():
        if verdict.kind != "ignored":
            groups.setdefault((verdict.kind, "" if verdict.kind in _JOINED else name), []).append(name)
    kinds = [kind for kind, _ in groups]
    wanted = []
    for kind, column in groups:
        name = kind if kinds.count(kind) == 1 else column
        wanted.append((f"{name}_{kind}" if name != kind and name in kinds else name, kind))
    names = distinct_names(wanted)
    return [Modality(n, kind, tuple(c)) for n, ((kind, _), c) in zip(names, groups.items(), strict=True)]


def warn_of_lists(target: Any) -> None:
    """Warn of texts (n,), taken for one class each, that read like several labels joined by a bar."""
    column = Column(pd.Series(target, dtype=object))
    if (listed := items_list(column)) is not None:
        example = next((v for v in column.sample if "|" in v), column.sample[0])
        warn(
            f"the target reads like several labels a row ({listed.reason}, as in {hidden(repr(example)):.40}), and is "
            "taken for one class a row; task='multilabel' parts them, task='classification' says that this is meant"
        )


def infer_task(series: pd.Series) -> tuple[str, str, str | None]:
    """The task that a target asks for, why, and what is doubtful about it.

    Raises:
        TableError: the target has no values, or is of a kind that cannot be predicted.
    """
    column = Column(series)
    where = f"target '{column.name}'"
    if not column.present:
        raise TableError(f"{where}: every cell is empty; name another column")
    if column.is_media:
        raise TableError(f"{where}: holds media, which cannot be predicted; name another column")
    listed = items_list(column)
    if listed is not None:
        return "multilabel", f"several classes per row: {listed.reason}", None
    numeric = column.numbers.share == 1.0 and series.dtype.kind != "b" and not column.style.ambiguous
    whole = column.whole is not None
    if numeric and series.dtype.name != "category" and not (whole and code_name(column)) and _is_amount(column):
        return "regression", f"a number: {column.distinct:,} distinct values", None
    doubt = None
    if 1 < column.distinct == column.present <= _MANY:
        raise TableError(
            f"{where}: each of its {column.present:,} rows has a value of its own, so there are no classes to learn; "
            "name another column"
        )
    if column.distinct > max(_MANY, 0.5 * column.present):
        doubt = f"{column.distinct:,} distinct values in {column.present:,} rows are hardly classes"
    kind = "whole numbers" if whole and column.numbers.share == 1.0 else "values"
    if numeric and not code_name(column) and _leaves_out(column):
        doubt = "whole numbers with gaps, taken for classes; if they are amounts, choose task regression"
    return "classification", f"one class per row: {column.distinct:,} distinct {kind}", doubt


def for_table(
    frame: pd.DataFrame, text: str, where: str = "schema", target: str | None = None, task: str | None = None
) -> Schema:
    """A schema from YAML with the target that is asked for, or its own; where no task is told, the column says which.

    Raises:
        ConfigError: as ``from_yaml`` does.
    """
    result = from_yaml(text, where)
    named = dict(value_of(read_yaml_node(text, where), where)).get("task")  # of the target that the file names
    target, same = target or result.target, result.target in (None, target or result.target)
    task = task or (named if same and isinstance(named, str) else None)
    if task is None and target in frame.columns:
        task, _, doubt = infer_task(frame[target])
        if doubt:
            warn(f"target '{target}' is doubtful: {doubt}")
    return dataclasses.replace(result, target=target, task=task or result.task)


def _is_amount(column: Column) -> bool:
    """Many numbers, and no codes among them: of those there are more rows than twice as many."""
    distinct = len(np.unique(column.numbers.values[~column.numbers.missing]))
    if column.whole is None:
        return distinct > _MANY // 2
    return distinct > _MANY and (distinct > 0.5 * column.present or not gapped(column))


def _leaves_out(column: Column) -> bool:
    """Whether more than a handful of whole numbers, no codes by their gaps, leave out more than half of their range."""
    if column.whole is None:
        return False
    values = np.unique(column.whole)
    return _MANY // 2 < len(values) < 0.5 * (values[-1] - values[0] + 1) and not gapped(column)


_ENOUGH = 5  # cells: fewer that are not understood are counted by the encoder, more make the wrong column


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse tables without rows or columns, and column names that are no text or given twice."""
    if not isinstance(frame, pd.DataFrame):
        raise TableError(f"expected a pandas DataFrame, found {type(frame).__name__}")
    if len(frame.columns) == 0 or len(frame) == 0:
        raise TableError(
            f"the table has {len(frame)} rows and {len(frame.columns)} columns; nothing can be learned from it"
        )
    odd = [c for c in frame.columns if not isinstance(c, str)]
    if odd:
        raise TableError(
            f"column names must be text, found {odd[0]!r}; rename with frame.columns = frame.columns.map(str)"
        )
    check_once(list(frame.columns))


def problems(schema: Schema, frame: pd.DataFrame, *, partial: bool) -> list[str]:
    """One line for each column that is missing or holds what it cannot be."""
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    result = [f"columns given more than once: {', '.join(map(repr, twice))}"] if twice else []
    lacking: dict[str, list[str]] = {}
    for modality in schema.modalities:
        gone = [c for c in modality.columns if c not in frame.columns]
        if not (partial and len(gone) == len(modality.columns)):
            for column in gone:
                lacking.setdefault(column, []).append(modality.name)
    result += _missing(lacking, frame)
    for modality in schema.modalities:
        if not twice:
            there = [c for c in modality.columns if c in frame.columns]
            result += [p for c in there if (p := _unusable(frame[c], modality, schema.types.get(c)))]
    return result


def _missing(lacking: Mapping[str, list[str]], frame: pd.DataFrame) -> list[str]:
    """One line per column that is not there; what the table has instead stands once, behind the last."""
    names, result, guessed = [str(c) for c in frame.columns], [], True
    for column, modalities in lacking.items():
        close = nearest(column, names)
        near = close.startswith("did")
        of = " and ".join(f"'{name}'" for name in modalities)
        result.append(f"column '{column}' of modality {of} is missing" + (f"; {close}" if near else ""))
        guessed = guessed and near
    if not guessed:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        result[-1] += f"; the table has: {shown or 'no columns'}"
    return result


def _unusable(series: pd.Series, modality: Modality, value: str | None) -> str | None:
    where = f"column '{series.name}' of modality '{modality.name}'"
    present = series[~nulls(series)]
    if not len(present):
        return None
    first = present.iloc[0]
    if modality.kind in MEDIA and (
        series.dtype.kind in "biufcmM" or all(isinstance(v, int | float | np.number) for v in present)
    ):
        return f"{where}: expected {modality.kind} (paths, bytes or arrays), found the number {first!r}"
    if modality.kind in ("text", "code", "tabular") and is_media(first):
        return f"{where}: expected {modality.kind}, found {type(first).__name__}"
    if modality.kind == "vector" and vector_of(first) is None and not str(first).lower().strip().endswith(".npy"):
        return f"{where}: expected vectors (lists or arrays of numbers), found {first!r:.40}"
    return _untyped(present, where, value) if modality.kind == "tabular" and value else None


def _untyped(present: pd.Series, where: str, text: str) -> str | None:
    word, _, form = text.partition(" ")
    parsed = _parse(present, word, form)
    if parsed is None or parsed.share >= 0.5 or int(parsed.bad.sum()) < _ENOUGH:
        return None
    example = present[parsed.bad].iloc[0]
    return (
        f"{where}: expected {word}s, found {int(parsed.bad.sum()):,} of {len(present):,} cells such as {example!r:.40}"
    )


def _parse(present: pd.Series, word: str, form: str) -> Parsed | None:
    if word == "number":
        return numbers(present, style_in(present))
    if word == "boolean":
        return booleans(present)
    if word == "date":
        return dates(present, form or ISO)
    return None


def tabular_types(schema: Schema, frame: pd.DataFrame) -> dict[str, str]:
    """The type of every tabular column of a schema: the one that it names, else the one that the cells look like."""
    columns = [c for m in schema.modalities if m.kind == "tabular" for c in m.columns]
    return {c: schema.types.get(c) or tabular_type(frame[c]) for c in columns}


def tell_unused(schema: Schema, frame: pd.DataFrame, also: Sequence[str | None] = ()) -> None:
    """Say in one ``PlaitWarning`` which columns of a table are not learned from, and why; but of those that ``drop`` names.

    Args:
        schema: what is learned from.
        frame: the table.
        also: columns that serve something else, as the groups.
    """
    used = {schema.target, *also, *(c for m in schema.modalities for c in m.columns)}
    unused = [str(c) for c in frame.columns if c not in used and not is_dropped(schema, c)]
    if not unused:
        return
    reasons = [f"'{c}' ({schema.ignored.get(c, 'named nowhere in the schema')})" for c in unused]
    verb = "is" if len(unused) == 1 else "are"
    warn(f"{len(unused)} of {len(frame.columns)} columns {verb} not used: {', '.join(reasons)}")


def check_columns(schema: Schema) -> None:
    """Refuse a schema without a modality: there is nothing to learn from."""
    if not schema.modalities:
        raise TableError("the table has no column to learn from: every column is constant, empty or an identifier")


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
    result = problems(schema, frame, partial=partial)
    if result:
        count = f"{len(result)} problems: " if len(result) > 1 else ""
        missing = advice and any(c not in frame.columns for c in schema.columns)
        raise TableError(count + "; ".join([*result, *([advice] if missing else [])]))


def absent(schema: Schema, frame: pd.DataFrame, root: str | None = None) -> np.ndarray:
    """Bool (n, M): modalities that a row has nothing of: null, empty, files that are not there; decodes nothing."""
    root = root if root is not None else schema.root
    columns = [absent_rows(frame, modality, root) for modality in schema.modalities]
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), dtype=bool)
