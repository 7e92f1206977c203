"""Tables: read, written, split, taken from other libraries, and their cells handed to encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from plait.base.documents import TABLE_ROWS
from plait.base.errors import TableError, need
from plait.base.progress import step
from plait.data.cells import cells, is_media
from plait.data.files import pieces
from plait.data.remote_cells import fetch_cells
from plait.data.row_numbers import numbered, row_numbers, whole_table
from plait.data.split import PART, VALID, split, stacked
from plait.data.typed import typed
from plait.data.values import each_once, text_of
from plait.data.values import items as parse_labels
from plait.data.write import printable, table_writer, write_table

__all__ = [
    "PART",
    "VALID",
    "as_frame",
    "cells",
    "data_hash",
    "frame_of",
    "numbered",
    "parse_labels",
    "printable",
    "read_chunks",
    "read_table",
    "row_numbers",
    "split",
    "stacked",
    "table_like",
    "table_writer",
    "typed",
    "whole_table",
    "write_chunks",
    "write_table",
]


def frame_of(table: Any) -> pd.DataFrame | None:
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


def as_frame(table: Any) -> Any:
    """A table as a DataFrame where it is one of another kind (polars, Arrow, DuckDB); all else as it is, for who checks it."""
    result = frame_of(table)
    return table if result is None else result


def table_like(table: Any, columns: Mapping[str, np.ndarray]) -> Any:
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


def _of_dicts(rows: Sequence[Any]) -> pd.DataFrame:
    odd = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise TableError(
            f"X, row {odd}: expected a dict as in the rows before, found {type(rows[odd]).__name__}; "
            "pass a list of dicts, or a DataFrame"
        )
    return pd.DataFrame(list(rows))


def _of_arrow(table: Any) -> pd.DataFrame:
    arrow = need("pyarrow", "parquet")
    try:
        read = arrow.table(table)
        names = list(read.column_names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TableError(f"columns given more than once: {', '.join(map(repr, twice))}; rename or remove them")
        result: pd.DataFrame = read.to_pandas()
    except (arrow.ArrowException, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise TableError(
            f"X: the {type(table).__name__} cannot be read as a table ({reason}); pass a pandas DataFrame"
        ) from None
    return result


_PIECE = 50_000  # rows; bounds what lies in memory twice while a file is read


def read_table(
    path: str | Path,
    encoding: str | None = None,
    remote: str | bool | Sequence[str] | None = None,
    root: str | None = None,
) -> pd.DataFrame:
    """A table from a file: CSV or TSV (cells are strings, empty ones null), JSONL, Parquet or Arrow (cells keep their types).

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl``, each also ``.gz``, ``.parquet``, ``.arrow``, ``.feather``, or a folder of Parquet
            files (``year=2024`` is a column); also an address (``https://``, ``s3://``, ``gs://``, ``az://``, ``hf://``).
        encoding: of a text table; None is UTF-8.
        remote: files that cells name may be fetched from the network: ``all``, or how their addresses begin; None: nothing is.
        root: an address that names in cells start from; None: the table's, if it has one.

    Raises:
        TableError: the file is not there, empty, larger than ``plait.base.documents`` allows, or not what its
            ending says; the message names the line.
    """
    step(f"read {Path(path).name}")
    frames = list(pieces(path, _PIECE, encoding, most=TABLE_ROWS.value))
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
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


def write_chunks(frames: Iterable[pd.DataFrame], path: str | Path) -> int:
    """Write a table piece by piece, whole or not at all; the number of rows comes back."""
    count = 0
    with table_writer(path) as write:
        for frame in frames:
            write(frame)
            count += len(frame)
    return count


def data_hash(frame: pd.DataFrame) -> str:
    """Hex digest of the names and cells of a table, whatever types the cells are kept in.

    Example:
        >>> data_hash(pd.DataFrame({"a": ["1", None]})) == data_hash(pd.DataFrame({"a": [1.0, float("nan")]}))
        True
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in frame.columns:
        digest.update(f"\x1d{name}\x1d".encode())
        digest.update(b"".join([b"%b\x1e" % cell for cell in each_once(frame[name], _cell_bytes)]))
    return digest.hexdigest()


def _cell_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return text_of(cell).encode("utf-8", "surrogatepass")
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}".encode() + (
            repr(cell.tolist()).encode() if cell.dtype == object else cell.tobytes()
        )
    if isinstance(cell, tuple | list):  # their text would shorten the arrays within
        return f"{type(cell).__name__}{len(cell)}".encode() + b"\x1f".join(_cell_bytes(part) for part in cell)
    if isinstance(cell, dict | set):
        return repr(_contents(cell)).encode()
    if is_media(cell):  # what they print as holds an address
        from plait.data.media.keys import cell_key  # late: it needs this package

        return cell_key(cell)
    return b"" if pd.isna(cell) else text_of(cell).encode()


def _contents(cell: Any) -> Any:
    """A mapping or a set in an order of its own, with media in it by what they hold; all else as it is."""
    if isinstance(cell, dict):
        return {key: _contents(value) for key, value in cell.items()}
    if isinstance(cell, set):
        return sorted(cell, key=str)
    return _cell_bytes(cell) if isinstance(cell, np.ndarray) or is_media(cell) else cell
