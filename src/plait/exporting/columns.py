"""The tabular encoder as a graph: columns in, one array each; features for networks and plain columns for trees out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.base.inputs import Columns
from plait.base.tokens import Tokens
from plait.data.column import Column
from plait.data.values import items_of, mapped, text_of
from plait.encoders.tabular import Tabular
from plait.encoders.tabular_numbers import Boolean, Date, Features, Number
from plait.encoders.tabular_words import Category, List, Rank, Spelling
from plait.exporting.onnx_file import InputSpec, present_input

P = TypeVar("P", bound=Features)
#: (features, numbers, codes) of one column's part, as networks and trees see them; None: trees see nothing of it.
Parts = tuple[Tensor, Tensor | None, Tensor | None]
_YEAR, _WEEK = 365.2425, 7.0


class TableGraph(nn.Module):
    """A fitted ``Tabular`` encoder: its inputs by name -> tokens (n, 1, D), plain columns, present (n,).

    Categories are codes: the place among the levels that the JSON beside the file lists, -1 for another word, -2 for nothing.
    """

    def __init__(self, name: str, encoder: Tabular) -> None:
        """``name``: of the modality."""
        super().__init__()
        self.name = name
        self.parts = encoder.features
        self.graphs = nn.ModuleList([_graph(part, self.parts) for part in self.parts])
        coded = [part for part in self.parts if part.vocabulary]
        self.code_names = tuple(part.name for part in coded)
        self.levels = tuple(len(part.vocabulary) for part in coded)

    def input_name(self, part: Features) -> str:
        """The input that a part of a column reads; parts that read the same share it."""
        return f"{self.name}.{part.name}{_suffix(part, self.parts)}"

    def specs(self) -> list[InputSpec]:
        """One per column, two where a column is a number and a category at once, and whether the row has the table at all."""
        result: dict[str, InputSpec] = {}
        for part in self.parts:
            name = self.input_name(part)
            result.setdefault(name, _spec(name, part))
        return [*result.values(), present_input(self.name)]

    def forward(self, given: Mapping[str, Tensor]) -> tuple[Tokens, Columns, Tensor]:
        """From the inputs of ``specs``."""
        present = given[f"{self.name}.present"]
        made = [graph(given[self.input_name(part)]) for part, graph in zip(self.parts, self.graphs, strict=True)]
        x = torch.cat([features.float() for features, _, _ in made], 1) if made else present[:, None].float() * 0
        rows = [x[:, :0]]
        numbers = torch.cat([*rows, *(number.float() for _, number, _ in made if number is not None)], 1)
        codes = [code for _, _, code in made if code is not None]
        stacked = torch.stack(codes, 1) if codes else x[:, :0].long()
        limit = float(np.finfo(np.float32).max)
        columns = Columns(numbers.clamp(-limit, limit), stacked, (), self.code_names, self.levels)
        return Tokens.of_vectors(x, present), columns.absent_where(~present), present

    def feed(self, frame: pd.DataFrame, present: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of these rows."""
        first = {self.input_name(part): part for part in reversed(self.parts)}  # a category's spelling reads its levels
        result = {name: _fed(part, Column(frame[part.name])) for name, part in first.items()}
        return {**result, f"{self.name}.present": present}


def _suffix(part: Features, parts: Sequence[Features]) -> str:
    """What tells the inputs of one column apart: its category, or its order, beside the number."""
    kinds = {type(other) for other in parts if other.name == part.name}
    if isinstance(part, Category | Spelling) and kinds - {Category, Spelling}:
        return ".level"
    return ""


def _spec(name: str, part: Features) -> InputSpec:
    if isinstance(part, Category | Spelling):
        said = "the place of the cell among the levels, as text without spaces at its ends; -1: another one, -2: empty"
        levels = list(part.vocabulary) if isinstance(part, Category) else []
        return InputSpec(name, "int64", ("rows",), said, {"levels": levels, "range": [-2, len(levels)]})
    if isinstance(part, Rank):
        said = "the place of the cell in the order, whatever its case; -1: not in it, or empty"
        return InputSpec(name, "int64", ("rows",), said, {"order": list(part.order), "range": [-1, len(part.order)]})
    if isinstance(part, List):
        said = "1 for each item that the cell holds, the last place for any other item, then how many there are; empty cells: NaN"
        return InputSpec(name, "float32", ("rows", len(part.levels) + 2), said, {"items": list(part.levels)})
    words = {"boolean": "1 for yes, 0 for no", "date": "days since 1970-01-01, with the time of day as a fraction"}
    return InputSpec(name, "float64", ("rows",), f"{words.get(part.type, 'the number')}; NaN where the cell is empty")


def _fed(part: Features, column: Column) -> np.ndarray:
    """One input of these rows, as ``_spec`` says."""
    if isinstance(part, Category):
        return _codes(part, column)
    view = part.view(column)
    assert view.numbers is not None
    if isinstance(part, Rank):
        return np.asarray(np.where(np.isnan(view.numbers[:, 0]), -1, view.numbers[:, 0]).astype(np.int64))
    if isinstance(part, List):
        rows = mapped(column.series, items_of)
        count = np.array([np.nan if row is None else len(row) for row in rows]).reshape(-1, 1)
        flags = np.where(np.isnan(count), np.nan, view.features[:, : len(part.levels) + 1])
        return np.hstack([flags, count]).astype(np.float32)
    return np.asarray(view.numbers[:, 0], np.float64)


def _codes(part: Category, column: Column) -> np.ndarray:
    place = {level: i for i, level in enumerate(part.vocabulary)}
    words = [text_of(cell) if not gone else "" for cell, gone in zip(column.series, column.gone, strict=True)]
    return np.array([place.get(word, -1) if word else -2 for word in words], dtype=np.int64)


def _graph(part: Features, parts: Sequence[Features]) -> nn.Module:
    if isinstance(part, Category | Spelling):
        levels = next(p.vocabulary for p in parts if isinstance(p, Category) and p.name == part.name)
        return _Levels(part, levels)
    return next(graph(part) for kind, graph in _GRAPHS if isinstance(part, kind))


class _Levels(nn.Module):
    """Looked up by code: flags of a category, or the components of its spelling."""

    features: Tensor
    numbers: Tensor

    def __init__(self, part: Features, levels: Sequence[str]) -> None:
        super().__init__()
        column = Column(pd.Series([*levels, None], name=part.name, dtype=object))
        view = part.view(column)
        other = np.zeros((1, view.features.shape[1]), np.float32)
        if isinstance(part, Category) and part.other:
            other[0, len(part.levels)] = 1.0
        self.many, self.coded = len(levels), isinstance(part, Category)
        # Behind the levels: nothing, then another word.
        self.register_buffer("features", torch.from_numpy(np.vstack([view.features, other]).astype(np.float32)))
        numbers = np.zeros((self.many + 2, 0)) if view.numbers is None else np.vstack([view.numbers, other])
        self.register_buffer("numbers", torch.from_numpy(numbers.astype(np.float32)))

    def forward(self, codes: Tensor) -> Parts:
        place = torch.where(
            codes == -2, self.many, torch.where(codes < 0, self.many + 1, codes.clamp(max=self.many - 1))
        )
        if self.coded:
            return self.features[place], None, codes.clamp_min(-1)
        return self.features[place], self.numbers[place], None


def _soft_clip(z: Tensor, limit: float = 3.0) -> Tensor:
    z = z.clamp(-1e9, 1e9)
    return z / torch.sqrt(1.0 + (z / limit) * (z / limit))


def _known(x: Tensor) -> tuple[Tensor, Tensor]:
    """Where a value is missing, and numbers with NaN there alone: infinity is none."""
    gone = torch.isnan(x) | torch.isinf(x)
    return gone, torch.where(gone, torch.full_like(x, float("nan")), x)


class _PartGraph(nn.Module, Generic[P]):
    def __init__(self, part: P) -> None:
        super().__init__()
        self.part = part


class _NumberGraph(_PartGraph[Number]):
    def forward(self, x: Tensor) -> Parts:
        part = self.part
        gone, known = _known(x)
        filled = torch.where(gone, torch.full_like(x, part.centre), x)
        features = [_soft_clip((filled - part.centre) * part.scale)[:, None]]
        if part.edges:
            edges = torch.tensor(part.edges, dtype=torch.float64)
            inside = filled.clamp(part.edges[0], part.edges[-1])[:, None]
            features.append(((inside - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0.0, 1.0))
        if part.missing:
            features.append(gone[:, None].double())
        return torch.cat(features, 1), known[:, None], None


class _BooleanGraph(_PartGraph[Boolean]):
    def forward(self, x: Tensor) -> Parts:
        gone, known = _known(x)
        value = torch.where(gone, torch.zeros_like(x), 2.0 * x - 1.0)[:, None]
        features = torch.cat([value, gone[:, None].double()], 1) if self.part.missing else value
        return features, known[:, None], None


class _RankGraph(_PartGraph[Rank]):
    def forward(self, ranks: Tensor) -> Parts:
        x = ranks.double()
        gone = ranks < 0
        scaled = torch.where(gone, torch.zeros_like(x), 2.0 * x / (len(self.part.order) - 1) - 1.0)
        return scaled[:, None], torch.where(gone, torch.full_like(x, float("nan")), x)[:, None], None


class _ListGraph(_PartGraph[List]):
    def forward(self, x: Tensor) -> Parts:
        gone = torch.isnan(x[:, -1:])
        filled = torch.where(gone, torch.zeros_like(x), x)
        flags, count = filled[:, :-1], filled[:, -1:]
        features = [flags, (count / self.part.most).clamp(max=2.0), *([gone.float()] if self.part.missing else [])]
        numbers = torch.where(gone, torch.full_like(flags[:, :1], float("nan")), torch.cat([flags[:, :-1], count], 1))
        return torch.cat(features, 1), numbers, None


class _DateGraph(_PartGraph[Date]):
    def forward(self, x: Tensor) -> Parts:
        part = self.part
        gone, _ = _known(x)
        days = torch.where(gone, torch.full_like(x, part.centre), x)
        columns = [_soft_clip((days - part.centre) * part.scale)]
        for length in (_YEAR, _WEEK, *([1.0] if part.clock else [])):
            angle = 2 * np.pi * (days / length - torch.floor(days / length))
            columns += [torch.sin(angle), torch.sin(angle + np.pi / 2)]
        whole = torch.floor(days)
        weekday = _rest(whole + 3, 7)
        columns.append((weekday >= 5).double())
        there = torch.where(gone[:, None], torch.zeros_like(days)[:, None], torch.stack(columns, 1))
        features = torch.cat([there, gone[:, None].double()], 1) if part.missing else there
        calendar = [days, _month(whole), weekday, *([(days - whole) * 24] if part.clock else [])]
        numbers = torch.where(gone[:, None], torch.full_like(days, float("nan"))[:, None], torch.stack(calendar, 1))
        return features, numbers, None


def _rest(x: Tensor, length: float) -> Tensor:
    return x - torch.floor(x / length) * length


def _month(days: Tensor) -> Tensor:
    """Month from 1 of whole days since 1970-01-01 (Hinnant, chrono-compatible low-level date algorithms)."""
    era_day = _rest(days + 719468, 146097)
    year = torch.floor(
        (era_day - torch.floor(era_day / 1460) + torch.floor(era_day / 36524) - torch.floor(era_day / 146096)) / 365
    )
    day = era_day - (365 * year + torch.floor(year / 4) - torch.floor(year / 100))
    month = torch.floor((5 * day + 2) / 153)
    return torch.where(month < 10, month + 3, month - 9)


_GRAPHS: Sequence[tuple[type[Features], Callable[[Any], nn.Module]]] = (
    *((Number, _NumberGraph), (Boolean, _BooleanGraph), (Date, _DateGraph)),
    *((Rank, _RankGraph), (List, _ListGraph)),
)
