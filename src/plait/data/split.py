"""Rows of a table split into parts: of classes alike, or by groups; and tables that are parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import TableError, nearest
from plait.data.parse import numbers
from plait.data.values import items, texts

#: What a column of parts calls the rows that choose.
VALID = ("valid", "validation", "val", "dev")
#: The column of parts that is added where the parts are tables of their own.
PART = "__part__"


def stacked(train: pd.DataFrame, **parts: pd.DataFrame | None) -> pd.DataFrame:
    """Training rows and those of other tables (``valid``, ``test``), with a column ``PART`` that says which is which.

    Raises:
        TableError: a part lacks columns that the training rows have.

    Example:
        >>> stacked(pd.DataFrame({"a": [1]}), test=pd.DataFrame({"a": [2]}))[PART].tolist()
        ['train', 'test']
    """
    there = {"train": train, **{name: part for name, part in parts.items() if part is not None}}
    for name, part in there.items():
        if missing := [str(c) for c in train.columns if c not in part.columns]:
            raise TableError(f"the {name} table lacks columns of the training table: {', '.join(missing[:8])}")
    return pd.concat([p[list(train.columns)].assign(**{PART: n}) for n, p in there.items()], ignore_index=True)


def split(
    frame: pd.DataFrame,
    fractions: Sequence[float],
    seed: int,
    stratify: str | Any | None = None,
    group: str | Any | None = None,
) -> list[np.ndarray]:
    """Positions of the rows of each part, sorted; together they are all rows.

    A class with one row goes to the largest part, so that no part is judged on what was never learned.

    Args:
        frame: the table.
        fractions: share of each part, as 0.8, 0.05, 0.15; they sum to 1.
        seed: the same seed gives the same parts.
        stratify: column or values whose classes are spread alike; numbers with many values by fifths, several labels
            by the rarest.
        group: column or values whose equal rows stay in one part.

    Example:
        >>> frame = pd.DataFrame({"y": ["a"] * 8 + ["b"] * 2})
        >>> [len(part) for part in split(frame, (0.8, 0.2), seed=0, stratify="y")]
        [8, 2]
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if len(shares) < 1 or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise TableError(f"fractions {tuple(fractions)}: expected positive shares that sum to 1")
    if len(frame) < len(shares):
        raise TableError(
            f"{len(frame)} row{'s' * (len(frame) != 1)}, to be split into {len(shares)} parts; give more rows"
        )
    rng = np.random.default_rng(seed)
    column = _column(frame, stratify, "stratify")
    strata = np.zeros(len(frame), dtype=np.int64) if column is None else strata_of(column)
    groups = _column(frame, group, "group")
    part = _by_row(strata, shares, rng) if groups is None else _by_group(strata, groups, shares, rng)
    parts = [np.flatnonzero(part == i) for i in range(len(shares))]
    if not all(len(rows) for rows in parts):
        what = f"{len(frame)} rows" if groups is None else f"{len(frame)} rows in {groups.nunique()} groups"
        if column is not None and groups is None and len(np.unique(strata)) == len(frame):
            what = f"{len(frame)} rows, each with a class of its own,"
        raise TableError(f"{what} leave a part of {tuple(fractions)} empty; take larger shares or more rows")
    return parts


def _column(frame: pd.DataFrame, value: object, what: str) -> pd.Series | None:
    if value is None:
        return None
    if isinstance(value, str):
        if value not in frame.columns:
            raise TableError(f"{what}: no column '{value}'; {nearest(value, map(str, frame.columns))}")
        return frame[value]
    array = value.to_numpy() if isinstance(value, pd.Series) else np.asarray(value)
    # An object stays one: pandas' own type of text cannot hold half a surrogate pair.
    values = pd.Series(array, dtype=object if array.dtype.kind in "OU" else None)
    if len(values) != len(frame):
        raise TableError(f"{what}: {len(values)} values for {len(frame)} rows")
    return values


def strata_of(series: pd.Series) -> np.ndarray:
    """Code (n,) by which parts are kept alike: the class, the rarest label, or the fifth of a number."""
    parsed = numbers(series)
    if parsed.share == 1.0 and len(np.unique(parsed.values[~parsed.missing])) > 20 and not _whole(parsed.values):
        edges = np.nanquantile(parsed.values, [0.2, 0.4, 0.6, 0.8])
        return np.where(parsed.missing, 5, np.searchsorted(edges, parsed.values)).astype(np.int64)
    rows = items(series)
    if any(row is not None and len(row) > 1 for row in rows):
        counts = pd.Series([item for row in rows for item in row or ()], dtype=object).value_counts().to_dict()
        rarest = [min(row, key=lambda item: (counts[item], item)) if row else None for row in rows]
        return np.asarray(pd.factorize(pd.Series(rarest, dtype=object))[0], dtype=np.int64)
    return np.asarray(pd.factorize(pd.Series(texts(series), dtype=object))[0], dtype=np.int64)


def _whole(values: np.ndarray) -> bool:
    there = values[np.isfinite(values)]
    return bool((there == np.round(there)).all())


def _by_row(strata: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Class by class; what rounding leaves over is carried to the next class, so sizes and classes both fit."""
    part = np.empty(len(strata), dtype=np.int64)
    largest = int(np.argmax(shares))
    carried = np.zeros(len(shares))
    for code in rng.permutation(np.unique(strata)):
        rows = rng.permutation(np.flatnonzero(strata == code))
        wanted = shares * len(rows) + carried
        counts = np.floor(np.clip(wanted, 0, None)).astype(np.int64)
        counts[largest] = max(counts[largest], 1)
        while counts.sum() > len(rows):
            over = np.where(counts > (np.arange(len(shares)) == largest), counts - wanted, -np.inf)
            counts[int(np.argmax(over))] -= 1
        while counts.sum() < len(rows):
            counts[int(np.argmax(wanted - counts))] += 1
        carried = wanted - counts
        part[rows] = np.repeat(np.arange(len(shares)), counts)
    return part


def _by_group(strata: np.ndarray, groups: pd.Series, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Group by group, the largest first, into the part that is furthest from its share of those classes."""
    names = texts(groups)
    alone = [f"\0{i}" if name is None else name for i, name in enumerate(names)]  # a row without a group is its own
    codes, result = pd.factorize(pd.Series(alone, dtype=object))
    if len(result) < len(shares):
        raise TableError(f"group: {len(result)} groups cannot be split into {len(shares)} parts")
    strata = np.unique(strata, return_inverse=True)[1]
    held = np.zeros((len(result), int(strata.max()) + 1))  # (G, C) rows
    np.add.at(held, (codes, strata), 1.0)
    room = shares[:, None] * held.sum(0)  # (P, C) rows that each part still lacks
    sizes = held.sum(1)
    weight = 1.0 / held.sum(0)
    order = rng.permutation(len(result))
    placed = np.empty(len(result), dtype=np.int64)
    for g in order[np.argsort(-sizes[order], kind="stable")]:
        gain = (np.minimum(held[g], np.clip(room, 0, None)) * weight).sum(1) + 1e-9 * room.sum(1) / shares
        best = int(np.argmax(gain))
        placed[g] = best
        room[best] -= held[g]
    return placed[codes]
