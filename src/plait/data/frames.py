"""Tables of other libraries (polars, pyarrow, dicts) as a pandas DataFrame, names and types kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.sparse import issparse

from plait.base.errors import TableError, need


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
        raise TableError("X is a dict; expected a DataFrame, a 2-d array, or a list of dicts; pass pandas.DataFrame(X)")
    if hasattr(table, "collect") and hasattr(table, "lazy"):
        raise TableError(f"X is a lazy {type(table).__name__}; call .collect() and pass the DataFrame")
    if hasattr(table, "__arrow_c_stream__") and not isinstance(table, pd.Series):
        return _of_arrow(table)
    if hasattr(table, "__dataframe__"):
        result: pd.DataFrame = pd.api.interchange.from_dataframe(table)
        return result
    return None


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
