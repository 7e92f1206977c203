"""Which row of the user's table a message is about, and what is said of a table that comes in pieces.

Row numbers count data rows from 0, as ``frame.iloc`` does; a header is no row. They travel as the frame's index, under a name
of ours, so that rows may be left out, merged, split or reordered on the way: messages name what the user gave.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from plait.base.errors import PlaitWarning, TableError, warn

#: Name of an index that holds row numbers.
_NAME = "plait: row of the table given"
_FIGURES = re.compile(r"\d[\d,.]*")
_Part = TypeVar("_Part")


def numbered(frame: pd.DataFrame, first: int = 0) -> pd.DataFrame:
    """The same rows with their numbers as index; a frame that has them keeps them.

    Example:
        >>> row_numbers(numbered(pd.DataFrame({"a": [5, 6, 7]}, index=[9, 9, 9])).iloc[[2, 0]]).tolist()
        [2, 0]
    """
    if frame.index.name == _NAME:
        return frame
    return frame.set_axis(pd.RangeIndex(first, first + len(frame), name=_NAME), axis=0)


def row_numbers(rows: pd.DataFrame | pd.Series) -> np.ndarray:
    """The number of each row (n,); of rows that were never numbered, their positions."""
    if rows.index.name == _NAME:
        return rows.index.to_numpy(dtype=np.int64)
    return np.arange(len(rows))


@dataclass
class NamedFiles:
    """Files that the pieces of a table name, by column and first row of the piece: (named, not there, example)."""

    pieces: dict[str, dict[int, tuple[int, int, str]]] = field(default_factory=dict)
    _said: dict[str, tuple[str, int]] = field(default_factory=dict)

    def hearing(self, parts: Iterable[_Part]) -> Iterator[_Part]:
        """The same parts; what warnings say anew of each, but for its numbers, is kept and told once."""
        parts = iter(parts)
        while True:
            caught: list[warnings.WarningMessage] = []
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", PlaitWarning)
                    part = next(parts, self)
            finally:  # also where this piece fails
                self._keep(caught)
            if part is self:
                return
            yield part  # type: ignore[misc]  # not the mark of the end
            del part  # before the next one is made

    def _keep(self, caught: Iterable[warnings.WarningMessage]) -> None:
        heard = set()  # the models of several targets say the same of a piece
        for one in caught:
            if not issubclass(one.category, PlaitWarning):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
                continue
            text = str(one.message)
            first, count = self._said.get(key := _FIGURES.sub("#", text.partition("e.g. ")[0]), (text, 0))
            self._said[key] = first, count + (key not in heard)
            heard.add(key)

    def take(self, other: NamedFiles) -> None:
        """What other pieces named."""
        for column, pieces in other.pieces.items():
            self.pieces.setdefault(column, {}).update(pieces)

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same rows; their missing files are counted here, and nothing is said of them: it travels with the rows."""
        frame = frame.copy(deep=False)
        frame.attrs[_NAME] = self
        return frame

    def __deepcopy__(self, known: object) -> NamedFiles:
        """The same one: pandas copies what travels with rows that are selected."""
        return self

    def add(self, piece: pd.Series, named: int, missing: int, example: str) -> None:
        """So many files of a piece, and how many of them are not there; rows that are read again count once."""
        numbers = row_numbers(piece)
        self.pieces.setdefault(str(piece.name), {})[int(numbers[0]) if len(numbers) else 0] = (named, missing, example)

    def tell(self, *, refuse: bool) -> None:
        """Warn of each column's missing files, or ``refuse`` the table; and of what the pieces were warned of."""
        for text, count in self._said.values():
            more = f"; likewise in {count - 1:,} more piece{'s' * (count > 2)} of the table"
            warn(text if count == 1 else f"{text}{more}")
        for column, pieces in self.pieces.items():
            named = sum(piece[0] for piece in pieces.values())
            missing = sum(piece[1] for piece in pieces.values())
            if missing:
                example = next(piece[2] for piece in pieces.values() if piece[1])
                tell_missing(column, named, missing, example, refuse=refuse)


@contextmanager
def whole_table() -> Iterator[NamedFiles]:
    """Within the block pieces of one table are read, marked by ``of``; missing files are told of or refused once, at its end.

    Where a later piece fails, what was to be said of the others is said all the same.
    """
    files = NamedFiles()
    try:
        yield files
    except BaseException:
        files.tell(refuse=False)
        raise
    files.tell(refuse=True)


def missing_files_of(series: pd.Series, named: int, missing: int, example: str, *, refuse: bool) -> None:
    """Say that files of a column are not there; ``refuse``: the column is the whole table's, so all missing is an error."""
    files = series.attrs.get(_NAME)
    if isinstance(files, NamedFiles):
        files.add(series, named, missing, example)
    elif missing:
        tell_missing(str(series.name), named, missing, example, refuse=refuse)


def tell_missing(column: str, named: int, missing: int, example: str, *, refuse: bool) -> None:
    """One warning that counts a column's missing files, or an error where none is there."""
    if refuse and 1 < named == missing:
        raise TableError(
            f"column '{column}': none of its {named:,} files is there ({example}); "
            "pass the folder or zip archive that they lie in (--root)"
        )
    warn(f"column '{column}': {missing:,} of {named:,} files are not there and count as absent ({example})")
