"""Bases of conditions by what they change: signals, texts or rows; random numbers follow from the rows' content."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from plait.base import checks
from plait.base.errors import CellError, PlaitWarning
from plait.conditions.base import Condition
from plait.data.cells import MEDIA, _text_column, cells
from plait.data.media.given import Changed, cell_key
from plait.data.values import texts

if TYPE_CHECKING:
    from plait.data.modality import Modality, Schema


def column_of(cells: Iterable[object]) -> np.ndarray:
    """Cells of any type as one object array (n,)."""
    listed = list(cells)
    column = np.empty(len(listed), dtype=object)
    for i, cell in enumerate(listed):  # at once, numpy would make one array of equal arrays
        column[i] = cell
    return column


def row_keys(frame: pd.DataFrame, schema: Schema, root: str | None) -> list[bytes]:
    """A key of 16 bytes per row from the content of its modalities; row number, target and file paths do not count."""
    digests = [blake2b(digest_size=16) for _ in range(len(frame))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)  # whoever encodes the rows tells of missing files
        for modality in schema.modalities:
            there = set(modality.columns) <= set(frame.columns)
            for column in contents(frame, modality, root) if there else ():
                for digest, cell in zip(digests, column, strict=True):
                    digest.update(content_key(cell))
    return [digest.digest() for digest in digests]


def contents(frame: pd.DataFrame, modality: Modality, root: str | None) -> list[list[object]]:
    """The cells of a modality by column: what decodes to signals as it stands, everything else as text."""
    if modality.kind in (*MEDIA, "vector"):
        return cells(frame, modality, root)
    return [list(texts(frame[column])) for column in modality.columns]


def content_key(cell: object, unreadable: bytes = b"+") -> bytes:
    """What tells the content of a cell from others, absent ones included; a changed cell's is that of its source.

    ``unreadable``: what the key of a cell without content begins with.
    """
    if cell is None:
        return b"-"
    cell = cell.source if isinstance(cell, Changed) else cell
    try:
        return b"+" + cell_key(cell)
    except CellError:  # it has no content; what it is called will do
        return unreadable + cell_key(str(getattr(cell, "where", type(cell).__name__)))


@dataclasses.dataclass(kw_only=True)
class SignalCondition(Condition):
    """A condition on pictures, films or sounds, as they come out of their files."""

    #: Other options that say the strength -> how: one of them or the strength is given, else it is ``usual``.
    ways: ClassVar[Mapping[str, Callable[[float], float]]] = {}
    usual: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Compute the strength from whichever option was given."""
        given = [way for way in self.ways if getattr(self, way) is not None]
        if not (isinstance(self.strength, float) and math.isnan(self.strength)):
            given.append("strength")
        if self.ways and len(given) > 1:
            raise self.refusal(given[0], f"the only way that it is given ({' and '.join(given)} are given)")
        for way in given if self.ways and "strength" not in given else ():
            checks.refuse(checks.problems(type(self), {way: getattr(self, way)}), f"condition {self.name()}")
            self.strength = self.ways[way](getattr(self, way))
        if self.ways and not given:
            self.strength = self.usual
        super().__post_init__()

    def options(self) -> dict[str, Any]:
        """The strength in the form in which it was given."""
        result = super().options()
        if any(getattr(self, way) is not None for way in self.ways):
            result.pop("strength", None)
        return result

    def at(self, strength: float) -> Self:
        """The same condition, with the same noise, at another strength."""
        return self._replaced(strength=strength, **dict.fromkeys(self.ways))

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """Every present cell as a ``Changed``; a file that is not there is absent."""
        change = copy.copy(self)  # what is set on this one later must not reach the cells
        change.fingerprint()  # fails now, not in the middle of encoding, when the clips that it needs are not there
        result = {}
        for modality in chosen:
            for column in modality.columns:
                groups = cells(frame, dataclasses.replace(modality, columns=(column,)), root)
                rows = ([Changed(c, change) for c in row if c is not None] for row in zip(*groups, strict=True))
                result[column] = column_of(row if len(row) > 1 else next(iter(row), None) for row in rows)
        return result

    @abstractmethod
    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The new signal, float32: of pictures (..., H, W, 3) in 0..1 without a rate, of a sound (n,) at ``rate`` Hz."""


@dataclasses.dataclass(kw_only=True)
class TextCondition(Condition):
    """A condition on written words. A text never loses its last sign: nothing at all would be absence."""

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """Every present cell as its changed text; cells without one stay the very same."""
        return {column: self._column(frame[column], modality) for modality in chosen for column in modality.columns}

    def _column(self, series: pd.Series, modality: Modality) -> np.ndarray:
        known: dict[str, str] = {}
        result = _text_column(series, modality)
        for text in result:
            if text is not None and text not in known:
                new = self.changed(text, self.generator(cell_key(text)))
                known[text] = new if new.strip() else text
        return column_of(cell if text is None else known[text] for cell, text in zip(series, result, strict=True))

    @abstractmethod
    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The new text of one cell."""


@dataclasses.dataclass(kw_only=True)
class RowCondition(Condition):
    """A condition on single values, which say too little to be the source of randomness: the whole row is."""

    def fit(self, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> Self:
        """Learn the values of the training rows' columns."""
        self._learned = self._learn(frame, schema)
        return self

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """The columns with new values; without ``fit`` they are drawn after these rows, and a warning says so."""
        learned = self._learned
        if learned is None:
            self.warn_unfitted(len(frame))
            learned = self._learn(frame, schema)
        generators = [self.generator(key) for key in row_keys(frame, schema, root)]
        result = {}
        for modality in chosen:
            drawn = [self._drawn(generator, len(modality.columns)) for generator in generators]
            for place, column in enumerate(modality.columns):
                if column in learned:
                    values = np.array([d[place] for d in drawn])
                    result[column] = self._changed(frame[column], learned[column], values)
        return result

    def _learn(self, frame: pd.DataFrame, schema: Schema) -> dict[str, object]:
        columns = [(m, c) for m in self.targets(schema) for c in m.columns if c in frame.columns]
        learned = {c: self._learn_column(frame[c], schema.types_of(m).get(c)) for m, c in columns}
        return {c: value for c, value in learned.items() if value is not None}

    @abstractmethod
    def _learn_column(self, series: pd.Series, value: str | None) -> object:
        """What is learned from one training column; None leaves the column as it is."""

    @abstractmethod
    def _drawn(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Random numbers of one row, the first axis for the columns of a modality."""

    @abstractmethod
    def _changed(self, series: pd.Series, learned: Any, drawn: np.ndarray) -> Any:
        """The new column (n cells)."""
