"""Rows of a table: held out to judge by, and those that choose; or piece by piece through their encoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base import checks
from plait.base.errors import TableError, warn
from plait.data.equal_rows import column_keys
from plait.data.modality import Schema
from plait.data.row_numbers import numbered, whole_table
from plait.data.table import VALID, split
from plait.data.targets import Labels
from plait.data.values import text_of
from plait.encoders.featurize import Featurizer
from plait.store import Store

if TYPE_CHECKING:
    from plait.base.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class Split:
    """How rows are held out to judge by.

    Attributes:
        test_fraction: share of rows held out, spread over the classes.
        split_column: a column that says ``train`` or ``test`` instead; ``valid`` rows choose the epoch of a model that wants
            validation rows (``validation: given``) and are training rows of any other. Without it such a model gets a third as
            many validation rows as test rows.
        group: a column whose equal values stay on one side.
    """

    test_fraction: float = 0.15
    split_column: str | None = None
    group: str | None = None


def split_rows(
    frame: pd.DataFrame, table_schema: Schema, fraction: float, split_column: str | None, group: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of training and test rows."""
    groups = None if group is None else group_column(frame, group)
    if split_column is not None:
        if split_column not in frame.columns:
            raise TableError(
                f"no column '{split_column}' to split by; the table has: {', '.join(map(str, frame.columns))}"
            )
        value = _parts_of(frame[split_column])
        train, test = np.flatnonzero(value != "test"), np.flatnonzero(value == "test")
        if not len(train) or not len(test):
            shown = ", ".join(map(repr, value.unique()[:5].tolist()))
            raise TableError(f"column '{split_column}' must say 'test' for some rows and not for others; found {shown}")
        other = value[~value.isin(("test", "train", "training", *VALID))]
        if len(other):
            shown = ", ".join(map(repr, other.unique()[:5].tolist()))
            warn(f"{len(other):,} rows say neither train, valid nor test in '{split_column}' ({shown}): they train")
        _warn_of_shared(frame, table_schema, train, test)
        return train, test
    checks.number(fraction, "test_fraction", 0, 1, above=True, below=True)
    stratify = frame[table_schema.target] if table_schema.task == "classification" and group is None else None
    train, test = split(frame, (1 - fraction, fraction), seed, stratify=stratify, group=groups)
    return train, test


def _parts_of(series: pd.Series) -> pd.Series:
    """What each row says of its part, in lower case and without blanks around it."""
    return series.astype(object).map(text_of).str.lower()


def _warn_of_shared(frame: pd.DataFrame, table_schema: Schema, train: np.ndarray, test: np.ndarray) -> None:
    """Say so where half of the rows that judge are training rows as well, column for column."""
    columns = dict.fromkeys([*(c for m in table_schema.modalities for c in m.columns), str(table_schema.target)])
    keys = np.zeros(len(frame), dtype=np.uint64)
    for name in columns:
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + column_keys(frame[name], table_schema.types.get(name))
    shared = int(np.isin(keys[test], keys[train]).sum())
    if 2 * shared >= len(test):
        warn(f"{shared:,} of {len(test):,} test rows are training rows, too: the scores tell what was learned by heart")


def choosing_rows(
    frame: pd.DataFrame, table_schema: Schema, train: np.ndarray, how: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Training rows without those that choose, and these: what the column calls valid, or a drawn share."""
    column, group, share = how.split_column, how.group, how.test_fraction / 3 / (1 - how.test_fraction)
    part = frame.iloc[train].reset_index(drop=True)
    if column is None:
        groups = None if group is None else group_column(part, group)
        stratify = part[table_schema.target] if table_schema.task == "classification" and group is None else None
        left, drawn = split(part, (1 - share, share), 0, stratify=stratify, group=groups)
        return train[left], train[drawn]
    words = np.isin(_parts_of(part[column]), VALID)
    if not words.any() or words.all():
        raise TableError(
            f"validation: given, but column '{column}' says 'valid' for {int(words.sum())} of {len(words)} rows"
        )
    return train[~words], train[words]


def group_column(frame: pd.DataFrame, group: str) -> pd.Series:
    """The column to group by, if the table has it."""
    if group not in frame.columns:
        raise TableError(f"no column '{group}' to group by; the table has: {', '.join(map(str, frame.columns))}")
    return frame[group]


def part_of(target: Any, rows: np.ndarray) -> Any:
    """Some rows of a target, whichever it is."""
    return target.take(rows) if isinstance(target, Labels) else target[rows]


#: Rows that are in memory at a time.
PIECE = 16_384


def pieces_of(frame: pd.DataFrame, rows: int = PIECE) -> Iterable[pd.DataFrame]:
    """A table that is in memory, piece by piece."""
    frame = numbered(frame)
    return (frame.iloc[start : start + rows] for start in range(0, max(1, len(frame)), rows))


def encode_pieces(
    features: Featurizer,
    pieces: Iterable[pd.DataFrame],
    root: str | None,
    store: Store | None,
    *,
    strict: bool = False,
    write: Callable[[Inputs], None] | None = None,
) -> list[dict[str, Any]]:
    """Encode a table's pieces; each is let go once it is written. One record per modality comes back.

    Without a store a cell that comes again in another piece is encoded again.

    Returns:
        Per modality ``modality``, ``encoder``, ``rows``, ``absent`` (rows without a cell), ``tokens`` (of the longest cell) and
        ``width``.
    """
    seen = {name: {"rows": 0, "absent": 0, "tokens": 0, "width": 0} for name in features.encoders}
    with whole_table() as files:
        how: Any = {"strict": strict, "progress": None, "whole": False}
        encoded = ((len(piece), features.transform(files.of(piece), root, store, **how)) for piece in pieces)
        for rows, part in files.hearing(encoded):
            if write is not None:
                write(part)
            for name, count in seen.items():
                tokens = part.tokens[name]
                count["rows"] += rows
                count["absent"] += int((~part.present[name]).sum())
                count["tokens"] = max(count["tokens"], tokens.x.shape[1])
                count["width"] = tokens.dim
            del part, tokens  # before the next one is made
    return [{"modality": name, "encoder": features.encoders[name].name(), **count} for name, count in seen.items()]
