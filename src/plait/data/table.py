"""Tables: read, taken from other libraries, and split into parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from plait.base.documents import TABLE_ROWS
from plait.base.errors import TableError, nearest, need, reason
from plait.base.progress import step
from plait.data.files import frame_of_arrow, pieces
from plait.data.parse import numbers
from plait.data.remote_cells import fetch_cells
from plait.data.row_numbers import numbered, row_numbers
from plait.data.text import check_once
from plait.data.values import items, texts


def frame_of(table: object) -> pd.DataFrame | None:
    """A table as a DataFrame, or None where it is no table with names (an array, a list of lists).

    Taken are pandas, whatever speaks Arrow's stream protocol (polars, pyarrow, DuckDB results) or the DataFrame interchange
    protocol, and a list of dicts, one per row.

    Raises:
        TableError: a lazy table, dicts beside something else, or columns that pandas has no type for.

    Example:
        >>> frame_of([{"a": 1, "b": "x"}, {"a": 2}])["a"].tolist(), frame_of([[1, 2]]) is None
        ([1, 2], True)
    """
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, Sequence) and len(table) and isinstance(table[0], Mapping):
        return _of_dicts(table)
    if issparse(table):  # some of them are dicts
        return None
    if isinstance(table, Mapping):
        raise TableError(
            "X is a dict; expected a DataFrame, a 2-d array, or a list of dicts; pass [X] for one row, pandas.DataFrame(X) for "
            "columns"
        )
    if hasattr(table, "collect") and hasattr(table, "lazy"):
        raise TableError(f"X is a lazy {type(table).__name__}; call .collect() and pass the DataFrame")
    if hasattr(table, "__arrow_c_stream__") and not isinstance(table, pd.Series):
        return _of_arrow(table)
    if hasattr(table, "__dataframe__"):
        result: pd.DataFrame = pd.api.interchange.from_dataframe(table)
        return result
    return None


def as_frame(table: object) -> Any:
    """A table as a DataFrame where it is one of another kind (polars, Arrow, DuckDB); all else as it is, for who checks it."""
    result = frame_of(table)
    return table if result is None else result


def table_like(table: object, columns: Mapping[str, np.ndarray]) -> Any:
    """Columns as a table of the kind of another one: pandas with its index, polars, else pyarrow; of an array pandas.

    Example:
        >>> table_like(pd.DataFrame({"a": [1, 2]}, index=[7, 9]), {"b": np.array([3, 4])})["b"].to_dict()
        {7: 3, 9: 4}
    """
    if isinstance(table, pd.DataFrame):
        return pd.DataFrame(dict(columns), index=table.index)
    plain = {name: values.tolist() for name, values in columns.items()}
    if type(table).__module__.partition(".")[0] == "polars":
        return need("polars", "parquet").DataFrame(plain)
    if hasattr(table, "__arrow_c_stream__"):
        return need("pyarrow", "parquet").table(plain)
    return pd.DataFrame(dict(columns))


def _of_dicts(rows: Sequence[object]) -> pd.DataFrame:
    odd = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise TableError(
            f"X, row {odd}: expected a dict as in the rows before, found {type(rows[odd]).__name__}; "
            "pass a list of dicts, or a DataFrame"
        )
    return pd.DataFrame(list(rows))


def _of_arrow(table: object) -> pd.DataFrame:
    arrow = need("pyarrow", "parquet")
    try:
        read = arrow.table(table)
        check_once(read.column_names)
        result = frame_of_arrow(read)
    except (arrow.ArrowException, TypeError, AttributeError) as error:
        kind = type(table).__name__
        raise TableError(
            f"X: the {kind} cannot be read as a table ({reason(error)}); pass a pandas DataFrame"
        ) from None
    return result


_PIECE = 50_000  # rows; bounds what lies in memory twice while a file is read


def read_table(
    path: str | Path,
    encoding: str | None = None,
    remote: str | bool | Sequence[str] | None = None,
    root: str | None = None,
    sample: int | None = None,
) -> pd.DataFrame:
    """A table from a file: CSV or TSV (cells are strings, empty ones null), JSONL, Parquet or Arrow (cells keep their types).

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl``, each also ``.gz``, ``.parquet``, ``.arrow``, ``.feather``, or a folder of Parquet
            files (``year=2024`` is a column); also an address (``https://``, ``s3://``, ``gs://``, ``az://``, ``hf://``).
        encoding: of a text table; None is UTF-8.
        remote: files that cells name may be fetched from the network: ``all``, or how their addresses begin; None: nothing is.
        root: an address that names in cells start from; None: the table's, if it has one.
        sample: of a larger table so many rows at most, and half as many at least, evenly spread; None: all.

    Raises:
        TableError: the file is not there, empty, larger than ``plait.base.documents`` allows, or not what its
            ending says; the message names the line.
    """
    if sample is not None:
        return read_sample(path, sample, encoding, remote, root)[0]
    step(f"read {Path(path).name}")
    frames = list(pieces(path, _PIECE, encoding, most=TABLE_ROWS.value))
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    del frames
    if (
        arrow := sys.modules.get("pyarrow")
    ) is not None:  # which keeps what it no longer needs: 340 MB of a million rows
        arrow.default_memory_pool().release_unused()
    return fetch_cells(frame, remote, root or str(Path(path).parent))


def read_chunks(
    path: str | Path,
    rows: int,
    encoding: str | None = None,
    remote: str | bool | Sequence[str] | None = None,
    root: str | None = None,
) -> Iterator[pd.DataFrame]:
    """The same table in pieces of at most ``rows`` rows: it need not fit into memory; one without rows is one empty piece.

    Each piece carries the row numbers of the whole (see ``row_numbers``).
    """
    first = 0
    for piece in pieces(path, rows, encoding, empty=True):
        yield numbered(fetch_cells(piece, remote, root or str(Path(path).parent)), first)
        first += len(piece)


def read_sample(
    path: str | Path,
    rows: int,
    encoding: str | None = None,
    remote: str | bool | Sequence[str] | None = None,
    root: str | None = None,
) -> tuple[pd.DataFrame, int]:
    """Rows spread evenly over a table that need not fit into memory, and how many it has; of at most ``rows`` all.

    Of a larger table one row of every two, every four and so on, between a half of ``rows`` and all; they carry their row
    numbers. Which one differs from group to group: classes that take turns all stay.
    """
    kept: list[pd.DataFrame] = []
    halvings, total = 0, 0
    step(f"read {Path(path).name}")
    for piece in pieces(path, _PIECE, encoding):
        piece, total = numbered(piece, total), total + len(piece)
        kept.append(piece[_drawn(row_numbers(piece), halvings)])
        while sum(map(len, kept)) > rows:
            halvings += 1
            kept = [part[_drawn(row_numbers(part), halvings)] for part in kept]
    frame = kept[0] if len(kept) == 1 else pd.concat(kept)
    return fetch_cells(frame, remote, root or str(Path(path).parent)), total


def _drawn(numbers: np.ndarray, halvings: int) -> np.ndarray:
    """Which rows stay after so many halvings: of every two neighbours that stayed before, one, by a coin of their own."""
    stay = np.ones(len(numbers), dtype=bool)
    for level in range(halvings):
        pair = (numbers >> (level + 1)).astype(np.uint64) * np.uint64(64) + np.uint64(level)
        mixed = pair * np.uint64(0x9E3779B97F4A7C15)  # splitmix64, of which one bit is the coin
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        stay &= ((numbers >> level) & 1) == (mixed >> np.uint64(63)).astype(np.int64)
    return stay


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
    task: str | None = None,
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
        task: what is asked of ``stratify``; of a ``regression`` whole numbers are spread by fifths, too. None: they are classes.

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
    strata = np.zeros(len(frame), dtype=np.int64) if column is None else strata_of(column, task)
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


def strata_of(series: pd.Series, task: str | None = None) -> np.ndarray:
    """Code (n,) by which parts are kept alike: the class, the rarest label, or the fifth of a number.

    Whole numbers are classes unless the ``task`` is regression: a price of its own would never be in a test part.
    """
    parsed = numbers(series)
    amount = task == "regression" or not _whole(parsed.values)
    if parsed.share == 1.0 and len(np.unique(parsed.values[~parsed.missing])) > 20 and amount:
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
