"""Tabular columns: scaled numbers, flags of categories and list items, dates, and flags for what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Width, Within
from plait.base.encoder import Cells, Encoder
from plait.base.errors import TableError, nearest, warn
from plait.base.inputs import Columns
from plait.base.tokens import Tokens
from plait.data.column import Column
from plait.data.schema import tabular_type
from plait.data.values import text_of
from plait.encoders.tabular_numbers import Features, Limits, Number, View
from plait.encoders.tabular_words import Category, Spelling, features_of, restore

#: Share of new categories up to which nothing is said of a column with rare ones.
USUAL_NEW = 0.05


@dataclass(eq=False)
class Tabular(Encoder):
    """Numbers, categories, booleans, dates and lists as one vector per row; nothing in it is trained by gradient.

    Cells are the rows themselves: a DataFrame with the columns of the modality. ``"3"``, ``3`` and ``3.0`` are one
    value. A row whose columns are all empty is absent.

    Attributes:
        types: column -> ``number``, ``category``, ``code`` (a number and a category at once, as postal codes are),
            ``ordinal`` (or ``ordinal low < medium < high``), ``boolean``, ``date`` (or ``date %d/%m/%Y``), ``list``; a
            column that is not named is looked at.
        min_count: training rows that a category or item needs for a feature of its own; rarer ones share one.
        max_categories: features of one column's categories or items at most.
        bins: steps over the quantiles of a number; 0: the scaled value alone; None: as many as the rows allow.
        ngrams: components of the letter groups of a category that has many spellings (companies, job titles); 0: none.

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
    ngrams: Annotated[int, Within(0, 1000)] = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        #: What each column became, in order, once it is fitted.
        self.features: list[Features] = []

    def options(self) -> dict[str, Any]:
        """The options as JSON values; ``ngrams`` only where it is set, as models of the first version have none."""
        options = super().options()
        return {k: v for k, v in options.items() if k != "ngrams" or v != type(self).ngrams}

    def fit(self, cells: Cells) -> Self:
        """Learn scales and vocabularies from the training rows (a DataFrame)."""
        frame = _frame(cells)
        unknown = [c for c in self.types if c not in frame.columns]
        if unknown:
            hint = nearest(unknown[0], map(str, frame.columns))
            raise TableError(f"encoder tabular: types names '{unknown[0]}', no such column; {hint}")
        limits = Limits(self.min_count, self.max_categories, self.bins, self.ngrams)
        types = {name: self.types.get(str(name)) or tabular_type(frame[name]) for name in frame.columns}
        self.features = [f for name, type_ in types.items() for f in features_of(Column(frame[name]), type_, limits)]
        return self

    def prepare(self, cells: Cells) -> dict[str, np.ndarray]:
        """Features ``x`` (n, D), finite, and ``present`` (n,): rows in which any column holds anything."""
        return self._arrays(self._read(cells))

    def columns(self, cells: Cells) -> Columns:
        """Values unscaled, every level of a category as a whole number; ``prepare`` warns of odd cells."""
        return self._plain(self._read(cells))

    def prepare_with_columns(self, cells: Cells) -> tuple[dict[str, np.ndarray], Columns]:
        """Both; every cell is read once."""
        reading = self._read(cells)
        return self._arrays(reading), self._plain(reading)

    def unseen(self, frame: pd.DataFrame) -> list[str]:
        """Of each column of categories with some that the fit had not seen: how many cells hold one, and which, for example."""
        # Codes are read as numbers, names by their letters, too: of these a new one is not unknown.
        read = {f.name for f in self.features if isinstance(f, Number | Spelling)}
        said = []
        for feature in self.features:
            if not isinstance(feature, Category) or feature.name in read or feature.name not in frame.columns:
                continue
            new = feature.unseen(column := Column(frame[feature.name]))
            most = USUAL_NEW * column.present if feature.other else 0  # where many are rare, some are always new
            if new is not None and new.sum() > most:
                said.append(
                    f"{int(new.sum()):,} in '{feature.name}' (e.g. {text_of(column.series[new].iloc[0])[:30]!r})"
                )
        return said

    def _read(self, cells: Cells) -> _Reading:
        frame = _frame(cells)
        gone = sorted({f.name for f in self.features if f.name not in frame.columns})
        if gone:
            raise TableError(f"tabular columns are missing: {', '.join(gone)}; the encoder was fitted with them")
        columns = {f.name: Column(frame[f.name]) for f in self.features}
        return _Reading(len(frame), columns, [(f, f.view(columns[f.name])) for f in self.features])

    def _arrays(self, reading: _Reading) -> dict[str, np.ndarray]:
        _warn(reading)
        x, at = np.zeros((reading.rows, self.dim), dtype=np.float32), 0
        for _, view in reading.views:
            x[:, at : at + view.features.shape[1]] = view.features
            at += view.features.shape[1]
        gone = [column.gone for column in reading.columns.values()]
        present = ~np.all(gone, axis=0) if gone else np.zeros(reading.rows, dtype=bool)
        return {"x": x, "present": present}

    def _plain(self, reading: _Reading) -> Columns:
        numbers = [np.zeros((reading.rows, 0)), *(v.numbers for _, v in reading.views if v.numbers is not None)]
        codes = [v.codes for _, v in reading.views if v.codes is not None]
        coded = [f for f in self.features if f.vocabulary]
        limit = np.finfo(np.float32).max
        names = [(f.name, part) for f in self.features for part in f.number_names()]
        return Columns(
            torch.from_numpy(np.hstack(numbers).clip(-limit, limit).astype(np.float32)),
            torch.from_numpy(np.stack(codes, axis=1) if codes else np.zeros((reading.rows, 0), np.int64)),
            tuple(f"{name}: {part}" if part else name for name, part in names),
            tuple(f.name for f in coded),
            tuple(len(f.vocabulary) for f in coded),
        )

    def names(self) -> list[str]:
        """What each feature is, as ``cost: value`` or ``race: = Dragon``."""
        result = [f"{feature.name}: {label}" for feature in self.features for label in feature.labels()]
        return result or ["nothing"]  # a network needs one input

    @property
    def dim(self) -> int:
        return len(self.names())

    def module(self) -> nn.Module:
        return _AsIs()

    def state(self) -> dict[str, Any]:
        states = [feature.state() for feature in self.features]
        arrays = {f"{i}.{k}": v for i, s in enumerate(states) for k, v in s.items() if isinstance(v, np.ndarray)}
        return {"columns": [{k: v for k, v in s.items() if not isinstance(v, np.ndarray)} for s in states], **arrays}

    def load_state(self, state: Mapping[str, Any]) -> None:
        states = [dict(column) for column in cast(Sequence[Mapping[str, Any]], state["columns"])]
        for key, array in state.items():
            if key != "columns":
                place, _, field_name = key.partition(".")
                states[int(place)][field_name] = array
        self.features = [restore(column) for column in states]


class _Reading(NamedTuple):
    """The rows as every feature sees them."""

    rows: int
    columns: dict[str, Column]
    views: list[tuple[Features, View]]


def _warn(reading: _Reading) -> None:
    """Say which cells were not understood, and which are written otherwise than in the fit."""
    surprises = [view.surprise for _, view in reading.views if view.surprise is not None]
    if surprises:
        warn(f"written in another way than when fitted: {'; '.join(surprises)}")
    odd = []
    for feature, view in reading.views:
        if view.bad is not None and view.bad.any():
            example = text_of(reading.columns[feature.name].series[view.bad].iloc[0])[:30]
            what = "infinite or no number" if feature.type == "number" else f"no {feature.type}"
            odd.append(f"{int(view.bad.sum()):,} in '{feature.name}' are {what} (e.g. {example!r})")
    if odd:
        warn(f"cells that count as missing: {'; '.join(odd)}")


class _AsIs(nn.Module):
    def forward(self, prepared: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(prepared["x"].to(torch.float32), prepared["present"])


def _frame(cells: Cells) -> pd.DataFrame:
    if not isinstance(cells, pd.DataFrame):
        raise TableError(f"encoder tabular: takes the rows as a DataFrame, found {type(cells).__name__}")
    return cells
