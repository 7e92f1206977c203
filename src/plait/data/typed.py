"""Columns that are read once: rows are selected, split and merged as usual, and what was read of a cell goes with it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Self, TypeVar, cast

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take

_T = TypeVar("_T")
_REAL = (float, np.floating, Decimal)


def plain(series: pd.Series) -> np.ndarray:
    """The cells (n,) as one canonical array, whatever type the column is kept in.

    Whole numbers and booleans stay; every float is float64 with NaN where there is none, and a narrow one is the shortest
    decimal that it stands for, so that float32 2.3 is the 2.3 of a text table; all else is ``object`` with None.

    Example:
        >>> plain(pd.Series([2.3, None], dtype="float32")).tolist()
        [2.3, nan]
        >>> plain(pd.Series(["a", None], dtype="string")).tolist()
        ['a', None]
    """
    if isinstance(series.array, TypedArray):
        return series.array.cells()
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        series = pd.Series(np.asarray(series.array))
        dtype = series.dtype
    if dtype.kind == "f" and not _is_decimal(dtype):
        return _floats(series)
    if isinstance(dtype, np.dtype) and dtype.kind in "biu":
        return np.asarray(series.to_numpy())
    if dtype.kind in "biu" and not series.isna().any():
        return np.asarray(series.to_numpy(dtype=np.bool_ if dtype.kind == "b" else None))
    if isinstance(
        dtype, pd.StringDtype
    ):  # equal cells as one object: a category would be a text of its own in every row
        codes, known = pd.factorize(series)
        return np.append(np.asarray(known.to_numpy(dtype=object)), [None])[codes]
    cells = np.array(series.astype(object).to_numpy() if dtype.name == "category" else series.to_numpy(dtype=object))
    cells[np.asarray(series.isna(), dtype=bool)] = None
    return cells


def _is_decimal(dtype: object) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("decimal")


def _floats(series: pd.Series) -> np.ndarray:
    result = np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    size = series.dtype.itemsize if hasattr(series.dtype, "itemsize") else 8
    if size >= 8:
        return result
    codes, values = pd.factorize(result)
    narrow = values.astype(np.float32 if size == 4 else np.float16)
    shortest = np.array([*(float(str(v)) for v in narrow), np.nan])
    return np.asarray(shortest[codes])


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: null, NaN, or only white space."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, _REAL) and value != value)


def _key(value: object) -> Hashable:
    """What equal cells share and others do not."""
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, int | float | Decimal | np.number):
        return ("number", float(str(value)) if isinstance(value, np.float16 | np.float32) else value)
    if isinstance(value, np.ndarray):
        content = _key(value.tolist()) if value.dtype.hasobject else value.tobytes()
        return ("array", value.dtype.str, value.shape, content)
    if isinstance(value, Mapping):
        return ("mapping", tuple(sorted((str(k), _key(v)) for k, v in value.items())))
    if isinstance(value, set | frozenset):
        return ("set", frozenset(map(_key, value)))
    if isinstance(value, list | tuple):
        return ("list", tuple(map(_key, value)))
    if isinstance(value, os.PathLike):
        return ("text", os.fspath(value))
    return (type(value).__name__, value if isinstance(value, Hashable) else id(value))


class Source:
    """The cells of a whole column, and what was read of its distinct values; selected rows point into it."""

    def __init__(self, cells: np.ndarray) -> None:
        self.cells = cells
        self._known: dict[Hashable, Any] = {}

    @functools.cached_property
    def is_text(self) -> bool:
        """Whether every cell that holds anything is a string."""
        return self.cells.dtype == object and pd.api.types.infer_dtype(self.cells, skipna=True) in ("string", "empty")

    @functools.cached_property
    def _distinct(self) -> tuple[np.ndarray, list[object]]:
        if self.cells.dtype != object or self.is_text:
            codes, result = pd.factorize(self.cells)
            values = list(result.tolist())
            blank = np.array([*(is_empty(v) for v in values), False], dtype=bool)
            return (np.where(blank[codes], -1, codes) if blank.any() else codes), values
        place: dict[Hashable, int] = {}
        values = []
        codes = np.empty(len(self.cells), dtype=np.int64)
        for i, value in enumerate(self.cells):
            key = value if type(value) is str else _key(value)
            codes[i] = -1 if is_empty(value) else place.setdefault(key, len(place))
            if codes[i] == len(values):
                values.append(value)
        return codes, values

    @property
    def codes(self) -> np.ndarray:
        """(N,) place of each cell among the distinct ``values``, -1 where it holds nothing."""
        return self._distinct[0]

    @property
    def values(self) -> list[Any]:
        """The distinct cells in order of appearance; ``1`` and ``1.0`` are one, ``True`` and ``"1"`` are others."""
        return self._distinct[1]

    @functools.cached_property
    def null(self) -> np.ndarray:
        """(N,) bool: cells that hold nothing. Media are not compared for it."""
        if self.cells.dtype != object:
            return np.asarray(pd.isna(self.cells), dtype=bool)
        if self.is_text:
            return self.codes < 0
        return np.fromiter((is_empty(v) for v in self.cells), dtype=bool, count=len(self.cells))

    def once(self, what: Hashable, read: Callable[[Sequence[Any]], _T]) -> _T:
        """What ``read`` makes of the distinct values; whoever asks for the same again is given the same."""
        if what not in self._known:
            self._known[what] = read(self.values)
        return cast(_T, self._known[what])


class TypedDtype(ExtensionDtype):
    """The type of columns that are read once; to pandas they are objects."""

    name = "typed"
    type = object
    kind = "O"
    na_value = None

    @classmethod
    def construct_array_type(cls) -> type[TypedArray]:  # type: ignore[valid-type]  # the class attribute hides the builtin
        """The array of this type."""
        return TypedArray


class TypedArray(ExtensionArray):
    """Some rows of a column that is read once."""

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self.source = source
        self.rows = rows

    @classmethod
    def of(cls, cells: np.ndarray) -> TypedArray:
        """All rows of a new column."""
        return cls(Source(cells), np.arange(len(cells)))

    def picked(self, values: np.ndarray, nothing: object) -> np.ndarray:
        """Of something that stands beside each row of the source (N,), what stands beside these rows (n,)."""
        empty = self.rows < 0
        if not empty.any():
            return np.asarray(values[self.rows])
        result = np.full(len(self.rows), nothing, dtype=values.dtype)
        result[~empty] = values[self.rows[~empty]]
        return result

    def cells(self) -> np.ndarray:
        """(n,) the cells as they are, None where there is nothing."""
        return self.picked(self.source.cells, None)

    @property
    def codes(self) -> np.ndarray:
        """(n,) place of each cell among the source's distinct values, -1 where there is nothing."""
        return self.picked(self.source.codes, -1)

    @property
    def dtype(self) -> TypedDtype:
        """The data type that pandas asks an array for."""
        return TypedDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the row numbers alone; the source is shared."""
        return int(self.rows.nbytes)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> TypedArray:
        return cls.of(plain(pd.Series(list(scalars), dtype=object)))

    @classmethod
    def _from_scalars(cls, scalars: object, *, dtype: object) -> TypedArray:
        raise TypeError("what is computed of cells has a type of its own")  # pandas then looks for it

    @classmethod
    def _from_factorized(cls, values: np.ndarray, original: TypedArray) -> TypedArray:
        return cls.of(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Any]) -> TypedArray:
        first = to_concat[0]
        if all(array.source is first.source for array in to_concat):
            return cls(first.source, np.concatenate([array.rows for array in to_concat]))
        return cls.of(np.concatenate([array.cells() for array in to_concat]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        if isinstance(item, tuple):
            item = next(part for part in item if part is not Ellipsis)
        rows = self.rows[item]
        if np.ndim(rows) == 0:
            return self.source.cells[rows] if rows >= 0 else None
        return type(self)(self.source, rows)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Other cells: from here on the column is one of its own, of which nothing is read yet."""
        cells = np.array(self.cells())
        cells[key] = np.asarray(value, dtype=object) if isinstance(value, TypedArray) else value
        self.source, self.rows = Source(cells), np.arange(len(cells))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cells().tolist())

    def __eq__(self, other: object) -> Any:
        """(n,) bool, cell by cell."""
        if isinstance(other, pd.Series | pd.Index | pd.DataFrame):
            return NotImplemented
        return np.asarray(self.cells() == (other.cells() if isinstance(other, TypedArray) else other))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.cells(), dtype=dtype or object)

    def isna(self) -> np.ndarray:
        """(n,) bool: nulls; white space is none of them to pandas."""
        return np.asarray(pd.isna(self.cells()), dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """Rows by their places; with ``allow_fill`` -1 is an empty cell."""
        return type(self)(self.source, np.asarray(take(self.rows, indices, allow_fill=allow_fill, fill_value=-1)))

    def copy(self) -> Self:
        """The same rows; the source never changes."""
        return type(self)(self.source, self.rows.copy())


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table, in which a column of texts or objects is read once, whichever rows are taken of it afterwards.

    Numbers, booleans and times that pandas holds as such stay as they are: nothing in them needs reading.

    Example:
        >>> table = typed(pd.DataFrame({"a": ["1", "2", "1"], "b": [1, 2, 3]}))
        >>> [str(dtype) for dtype in table.dtypes], table["a"].iloc[[2, 0]].tolist()
        (['typed', 'int64'], ['1', '1'])
    """
    made = {i: typed_array(frame.iloc[:, i]) for i, dtype in enumerate(frame.dtypes) if _needs_reading(dtype)}
    if not made:
        return frame
    result = frame.copy(deep=False)
    for i, array in made.items():
        result.isetitem(i, array)
    return result


def typed_array(series: pd.Series) -> TypedArray:
    """A column that is read once, of one that may be it already."""
    return series.array if isinstance(series.array, TypedArray) else TypedArray.of(plain(series))


def typed_series(series: pd.Series) -> pd.Series:
    """The same column, read once."""
    if not _needs_reading(series.dtype):
        return series
    return pd.Series(typed_array(series), index=series.index, name=series.name)


def _needs_reading(dtype: object) -> bool:
    texts = isinstance(dtype, pd.ArrowDtype) and dtype.kind == "O"
    return dtype == np.dtype(object) or isinstance(dtype, pd.StringDtype) or texts
