"""From a table to its schema: every column by the first rule that does not decline, the target by its values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from plait.base.errors import PlaitWarning, TableError, nearest
from plait.data.check import check_frame
from plait.data.column import Column, Verdict, gapped
from plait.data.media_rules import repeated
from plait.data.modality import Modality, Schema, distinct_names
from plait.data.rules import RULES, TABULAR, code_name, items_list, shared_by_rows
from plait.data.typed import typed

#: Kinds whose columns are joined into one modality.
_JOINED = ("text", "code", "tabular")
_MANY = 20  # distinct whole numbers beyond which a target is a number


def infer_schema(frame: pd.DataFrame, target: str | None, root: str | None, task: str | None) -> Schema:
    """See ``plait.data.schema.infer``."""
    check_frame(frame)
    names = list(frame.columns)
    if target is not None and target not in names:
        raise TableError(f"the table has no column '{target}' to predict; {nearest(target, names)}")
    frame = typed(frame)
    columns = {name: Column(frame[name], root) for name in names if name != target}
    result = {name: judge(column) for name, column in columns.items()}
    result |= repeated(frame, result, root)
    notes = {name: v.reason for name, v in result.items() if v.kind != "ignored"}
    doubts = {name: v.doubt for name, v in result.items() if v.doubt}
    coded = [name for name, v in result.items() if v.type in ("category", "code") and not v.doubt]
    doubts |= {name: hint for name in coded if (hint := shared_by_rows(columns[name]))}
    if target is not None:
        guessed, notes[target], doubt = infer_task(frame[target])
        task = task or guessed
        doubts |= {target: doubt} if doubt else {}
    if doubts:
        said = "; ".join(f"column '{name}': {doubt}" for name, doubt in doubts.items())
        are = "is" if len(doubts) == 1 else "are"
        warnings.warn(f"{len(doubts)} of {len(names)} columns {are} doubtful: {said}", PlaitWarning, stacklevel=3)
    return Schema(
        modalities=tuple(_modalities(result)),
        target=target,
        task=task or "classification",
        ignored={name: v.reason for name, v in result.items() if v.kind == "ignored"},
        types={name: v.type for name, v in result.items() if v.type},
        root=root,
        notes=notes,
        doubts=doubts,
    )


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
    return "classification", f"one class per row: {column.distinct:,} distinct {kind}", doubt


def _is_amount(column: Column) -> bool:
    """Many numbers, and no codes among them."""
    distinct = len(np.unique(column.numbers.values[~column.numbers.missing]))
    if column.whole is None:
        return distinct > _MANY // 2
    return distinct > _MANY and not gapped(column)
