"""Whether a table has what a schema needs."""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd

from plait.base.errors import TableError
from plait.data.cells import MEDIA, is_media, vector_of
from plait.data.dates import ISO
from plait.data.modality import Modality, Schema
from plait.data.parse import Parsed, booleans, dates, numbers, style_in
from plait.data.values import nulls

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
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise TableError(f"columns given more than once: {', '.join(map(repr, twice))}; rename or remove them")


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
    result += [_missing(column, names, frame) for column, names in lacking.items()]
    for modality in schema.modalities:
        if not twice:
            there = [c for c in modality.columns if c in frame.columns]
            result += [p for c in there if (p := _unusable(frame[c], modality, schema.types.get(c)))]
    return result


def _missing(column: str, modalities: list[str], frame: pd.DataFrame) -> str:
    names = [str(c) for c in frame.columns]
    close = difflib.get_close_matches(column, names, n=1)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean '{close[0]}'?" if close else f"the table has: {shown}"
    of = " and ".join(f"'{name}'" for name in modalities)
    return f"column '{column}' of modality {of} is missing; {hint}"


def _unusable(series: pd.Series, modality: Modality, value: str | None) -> str | None:
    where = f"column '{series.name}' of modality '{modality.name}'"
    present = series[~nulls(series)]
    if not len(present):
        return None
    first = present.iloc[0]
    if modality.kind in MEDIA and (series.dtype.kind in "biufcmM" or all(map(_is_number, present))):
        return f"{where}: expected {modality.kind} (paths, bytes or arrays), found the number {first!r}"
    if modality.kind in ("text", "code", "tabular") and is_media(first):
        return f"{where}: expected {modality.kind}, found {type(first).__name__}"
    if modality.kind == "vector" and vector_of(first) is None and not str(first).lower().strip().endswith(".npy"):
        return f"{where}: expected vectors (lists or arrays of numbers), found {first!r:.40}"
    return _untyped(present, where, value) if modality.kind == "tabular" and value else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


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
