"""Tabular columns: scaled numbers, flags of categories and list items, dates, and flags for what is missing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Width, Within
from plait.base.encoder import Cells, Encoder
from plait.base.errors import PlaitWarning, TableError, nearest
from plait.base.inputs import Columns
from plait.base.tokens import Tokens
from plait.data.infer import tabular_type
from plait.data.values import nulls, text_of
from plait.encoders._tabular_base import Features, Limits
from plait.encoders._tabular_columns import features_of, restore


@dataclass(eq=False)
class Tabular(Encoder):
    """Numbers, categories, booleans, dates and lists as one vector per row; nothing in it is trained by gradient.

    Cells are the rows themselves: a DataFrame with the columns of the modality. ``"3"``, ``3`` and ``3.0`` are one
    value. A row whose columns are all empty is absent.

    Attributes:
        types: column -> ``number``, ``category``, ``boolean``, ``date`` (or ``date %d/%m/%Y``), ``list``; a column that
            is not named is looked at.
        min_count: training rows that a category or item needs for a feature of its own; rarer ones share one.
        max_categories: features of one column's categories or items at most.
        bins: steps over the quantiles of a number; 0: the scaled value alone; None: as many as the rows allow.

    Shape: rows in, (n, 1, D) out; ``names()`` says what each of the D is.
    Use when: columns hold numbers, codes, dates or short lists.
    Not when: cells are sentences or names: those are text.
    """

    kinds: ClassVar[tuple[str, ...]] = ("tabular",)
    stored: ClassVar[bool] = False

    types: Mapping[str, str] = field(default_factory=dict)
    min_count: Count = 3
    max_categories: Width = 300
    bins: Annotated[int, Within(0, 10_000)] | None = None

    def __post_init__(self) -> None:
        """Refuse limits that no table satisfies."""
        super().__post_init__()
        self._columns: list[Features] = []

    def fit(self, cells: Cells) -> Self:
        """Learn scales and vocabularies from the training rows (a DataFrame)."""
        frame = _frame(cells)
        unknown = [c for c in self.types if c not in frame.columns]
        if unknown:
            hint = nearest(unknown[0], map(str, frame.columns))
            raise TableError(f"encoder tabular: types names '{unknown[0]}', no such column; {hint}")
        limits = Limits(self.min_count, self.max_categories, self.bins)
        names = [str(c) for c in frame.columns]
        options = {name: self.types.get(name) or tabular_type(frame[name]) for name in names}
        self._columns = [features_of(frame[name], options[name], limits) for name in names]
        return self

    def prepare(self, cells: Cells) -> dict[str, np.ndarray]:
        """Features ``x`` (n, D), finite, and ``present`` (n,): rows in which any column holds anything."""
        frame = self._rows(cells)
        x = np.zeros((len(frame), self.dim), dtype=np.float32)
        present = np.zeros(len(frame), dtype=bool)
        odd: list[str] = []
        surprises: list[str] = []
        at = 0
        for column in self._columns:
            series = frame[column.name]
            result, bad, surprise = column.examine(series)
            x[:, at : at + result.shape[1]] = result
            at += result.shape[1]
            present |= ~nulls(series)
            if surprise is not None:
                surprises.append(surprise)
            if bad.any():
                example = text_of(series[bad].iloc[0])[:30]
                what = "infinite or no number" if column.type == "number" else f"no {column.type}"
                odd.append(f"{int(bad.sum()):,} in '{column.name}' are {what} (e.g. {example!r})")
        if surprises:
            warnings.warn(
                f"written in another way than when fitted: {'; '.join(surprises)}", PlaitWarning, stacklevel=2
            )
        if odd:
            warnings.warn(f"cells that count as missing: {'; '.join(odd)}", PlaitWarning, stacklevel=2)
        return {"x": x, "present": present}

    def columns(self, cells: Cells) -> Columns:
        """The values unscaled and every level of a category as a whole number; ``prepare`` warns of odd cells."""
        frame = self._rows(cells)
        coded = [column for column in self._columns if column.vocabulary]
        numbers = [np.zeros((len(frame), 0)), *(column.numbers(frame[column.name]) for column in self._columns)]
        codes = [np.zeros((len(frame), 0), np.int64), *(column.codes(frame[column.name])[:, None] for column in coded)]
        limit = np.finfo(np.float32).max
        names = [(column.name, part) for column in self._columns for part in column.number_names()]
        return Columns(
            torch.from_numpy(np.hstack(numbers).clip(-limit, limit).astype(np.float32)),
            torch.from_numpy(np.hstack(codes)),
            tuple(f"{name}: {part}" if part else name for name, part in names),
            tuple(column.name for column in coded),
            tuple(len(column.vocabulary) for column in coded),
        )

    def _rows(self, cells: Cells) -> pd.DataFrame:
        """The cells as a table that has every column of the fit."""
        frame = _frame(cells)
        gone = [c.name for c in self._columns if c.name not in frame.columns]
        if gone:
            raise TableError(f"tabular columns are missing: {', '.join(gone)}; the encoder was fitted with them")
        return frame

    def names(self) -> list[str]:
        """What each feature is, as ``cost: value`` or ``race: = Dragon``."""
        result = [f"{column.name}: {label}" for column in self._columns for label in column.labels()]
        return result or ["nothing"]  # a network needs one input

    @property
    def dim(self) -> int:
        """Number of features."""
        return len(self.names())

    def module(self) -> nn.Module:
        """The features as they are."""
        return _AsIs()

    def state(self) -> dict[str, Any]:
        """JSON values per column."""
        return {"columns": [column.state() for column in self._columns]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` gave."""
        self._columns = [restore(column) for column in cast(Sequence[Mapping[str, Any]], state["columns"])]


class _AsIs(nn.Module):
    def forward(self, prepared: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(prepared["x"].to(torch.float32), prepared["present"])


def _frame(cells: Cells) -> pd.DataFrame:
    if not isinstance(cells, pd.DataFrame):
        raise TableError(f"encoder tabular: takes the rows as a DataFrame, found {type(cells).__name__}")
    return cells
