"""All rows of a table as a network takes them, in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from plait.base.tokens import Tokens, concatenate


@dataclasses.dataclass(frozen=True)
class SharedCells(Mapping[str, Tensor]):
    """Prepared rows as arrays (n, ...) by name, gathered when asked for: a cell that many rows hold is kept once.

    Attributes:
        arrays: (m + 1, ...) each, of the distinct cells; the last is zeros, for absent rows.
        place: (n,) where each row's cell is.
        cells: the distinct cells themselves, where a model is to learn from them drawn anew.
        draw: prepares cells with random numbers of a generator; None: nothing in them is random.
    """

    arrays: Mapping[str, Tensor]
    place: Tensor
    cells: Sequence[Any] = ()
    draw: Callable[[Sequence[Any], np.random.Generator], Mapping[str, np.ndarray]] | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name].index_select(0, self.place)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def present(self) -> Tensor:
        """(n,) bool."""
        return self.place < len(next(iter(self.arrays.values()))) - 1

    def take(self, rows: Tensor) -> SharedCells:
        """The given rows."""
        return dataclasses.replace(self, place=self.place[rows])

    def to(self, device: torch.device | str) -> SharedCells:
        """On another device."""
        arrays = {k: v.to(device) for k, v in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays, place=self.place.to(device))

    def redrawn(self, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The rows' arrays, each row's random numbers its own and new; as they are where nothing is random."""
        if self.draw is None:
            return self
        numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        present = self.present
        drawn = self.draw([self.cells[place] for place in self.place[present].tolist()], numbers)
        result = {}
        for name, array in drawn.items():
            whole = np.zeros((len(present), *array.shape[1:]), array.dtype)  # zeros: absent rows
            whole[present.numpy()] = array
            result[name] = torch.from_numpy(whole)
        return result


@dataclasses.dataclass(frozen=True)
class Columns:
    """The plain view of a table's columns, as trees take them: numbers as they are, categories as whole numbers.

    Attributes:
        numbers: (n, k) float32, unscaled, NaN for null.
        codes: (n, c) int64, the level of each category from 0 on; -1 for null or a level that was never seen.
        number_names: k names.
        code_names: c names.
        levels: how many levels each of the c categories has.
    """

    numbers: Tensor
    codes: Tensor
    number_names: tuple[str, ...]
    code_names: tuple[str, ...]
    levels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Tensor) -> Columns:
        """The given rows."""
        return dataclasses.replace(self, numbers=self.numbers[rows], codes=self.codes[rows])

    def to(self, device: torch.device | str) -> Columns:
        """On another device."""
        return dataclasses.replace(self, numbers=self.numbers.to(device), codes=self.codes.to(device))

    def absent_where(self, absent: Tensor) -> Columns:
        """Nothing known of the rows where ``absent`` (n,) is True."""
        numbers = self.numbers.masked_fill(absent[:, None], float("nan"))
        return dataclasses.replace(self, numbers=numbers, codes=self.codes.masked_fill(absent[:, None], -1))


class Comparison(Protocol):
    """Compares two modalities, row by row."""

    @property
    def parts(self) -> tuple[str, str]:
        """The two modalities."""

    @property
    def dim(self) -> int:
        """Width of what it gives."""

    def __call__(self, tokens: Mapping[str, Tokens]) -> Tokens:
        """From the tokens of both; absent where one of them is."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """All rows as a network takes them.

    Attributes:
        tokens: of frozen modalities.
        prepared: of modalities that learn: arrays whose first axis is the row, equal cells shared, and ``present`` beside.
        present: (n,) bool of every modality.
        columns: the plain view of modalities that have one (tables), beside their tokens.
        pairs: what compares two modalities, by name; nothing comes of those of which a part is not there.
        words: modality -> how many of its features, the last ones, count words; the others are its encoder's.
    """

    tokens: Mapping[str, Tokens]
    prepared: Mapping[str, Mapping[str, Tensor]]
    present: Mapping[str, Tensor]
    columns: Mapping[str, Columns] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    words: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @cached_property
    def compared(self) -> Mapping[str, Tokens]:
        """What ``pairs`` give for these rows."""
        return {name: pair(self.tokens) for name, pair in self.pairs.items() if set(pair.parts) <= set(self.tokens)}

    def unfolded(self) -> Inputs:
        """The same rows, in which what ``pairs`` give stands beside the modalities."""
        if not self.pairs:  # the usual one: nothing is copied
            return self
        present = {name: tokens.present for name, tokens in self.compared.items()}
        both = {**self.tokens, **self.compared}, {**self.present, **present}
        return dataclasses.replace(self, tokens=both[0], present=both[1], pairs={})

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    @property
    def device(self) -> torch.device:
        """The device that holds the tensors."""
        return next(iter(self.present.values())).device

    def take(self, rows: Tensor) -> Inputs:
        """The given rows."""
        return self._each(lambda part: part[rows] if isinstance(part, Tensor) else part.take(rows))

    def _each(self, change: Callable[[Any], Any]) -> Inputs:
        """The same change to every array, and to what holds several."""
        prepared = {
            k: change(v) if isinstance(v, SharedCells) else {n: change(t) for n, t in v.items()}
            for k, v in self.prepared.items()
        }
        tokens, present, columns = (
            {k: change(v) for k, v in part.items()} for part in (self.tokens, self.present, self.columns)
        )
        return dataclasses.replace(self, tokens=tokens, prepared=prepared, present=present, columns=columns)

    def redrawn(self, generator: torch.Generator) -> Inputs:
        """The same rows, what is to be drawn anew for each of them drawn."""
        prepared = {k: v.redrawn(generator) if isinstance(v, SharedCells) else v for k, v in self.prepared.items()}
        return dataclasses.replace(self, prepared=prepared)

    def only(self, names: Iterable[str]) -> Inputs:
        """The same rows with every other modality absent."""
        kept = set(names)
        gone = {k: v if k in kept else torch.zeros_like(v) for k, v in self.present.items()}
        return dataclasses.replace(self, present=gone).masked()

    def masked(self) -> Inputs:
        """Tokens and columns masked wherever ``present`` is False."""
        return dataclasses.replace(
            self,
            tokens={k: v.absent_where(~self.present[k]) for k, v in self.tokens.items()},
            columns={k: v.absent_where(~self.present[k]) for k, v in self.columns.items()},
        )

    def to(self, device: torch.device | str) -> Inputs:
        """On another device, unfolded."""
        return self.unfolded()._each(lambda part: part.to(device))


def followed_by(first: Inputs, second: Inputs) -> Inputs:
    """The rows of two tables one after another, both from the same encoders."""
    return Inputs(
        {k: concatenate([v, second.tokens[k]]) for k, v in first.tokens.items()},
        {k: _one_after_another(v, second.prepared[k]) for k, v in first.prepared.items()},
        {k: torch.cat([v, second.present[k]]) for k, v in first.present.items()},
        {k: columns_together([v, second.columns[k]]) for k, v in first.columns.items()},
        first.pairs,
        first.words,
    )


def columns_together(parts: Sequence[Columns]) -> Columns:
    """The plain views of rows that follow each other."""
    numbers, codes = (torch.cat([getattr(part, name) for part in parts]) for name in ("numbers", "codes"))
    return dataclasses.replace(parts[0], numbers=numbers, codes=codes)


def _one_after_another(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Prepared rows; of shared cells the zeros for absent rows, which come last, are kept once.

    What only rows to learn from have (the anchors of a joint alignment) is zero for those that follow: it is not there.
    """
    if not (isinstance(first, SharedCells) and isinstance(second, SharedCells)):
        rows = len(next(iter(second.values())))
        return {
            name: _stacked(part, second[name] if name in second else part.new_zeros(rows, *part.shape[1:]))
            for name, part in first.items()
        }
    before = len(next(iter(first.arrays.values()))) - 1
    last = before + len(next(iter(second.arrays.values()))) - 1
    place = torch.where(first.place == before, last, first.place)
    arrays = {name: _stacked(array[:-1], second.arrays[name]) for name, array in first.arrays.items()}
    return dataclasses.replace(first, arrays=arrays, place=torch.cat([place, second.place + before]))


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Rows after rows, the shorter ones (of sequences of another length) filled with zeros at the end."""
    if first.shape[1:] == second.shape[1:]:
        return torch.cat([first, second])
    sides = [max(a, b) for a, b in zip(first.shape[1:], second.shape[1:], strict=True)]
    result = first.new_zeros(len(first) + len(second), *sides)
    for start, part in ((0, first), (len(first), second)):
        result[(slice(start, start + len(part)), *(slice(side) for side in part.shape[1:]))] = part
    return result


def together(parts: Mapping[str, Inputs]) -> Inputs:
    """One table's rows, each modality taken from its own pass."""
    pairs = {name: pair for inputs in parts.values() for name, pair in inputs.pairs.items()}
    return Inputs(
        {m: inputs.tokens[m] for m, inputs in parts.items() if m in inputs.tokens},
        {m: inputs.prepared[m] for m, inputs in parts.items() if m in inputs.prepared},
        {m: inputs.present[m] for m, inputs in parts.items()},
        {m: inputs.columns[m] for m, inputs in parts.items() if m in inputs.columns},
        pairs,
        {m: inputs.words[m] for m, inputs in parts.items() if m in inputs.words},
    )


def subsets_of(names: Sequence[str], sizes: Iterable[int] | None = None) -> list[tuple[str, ...]]:
    """Every subset of these sizes, one size after the other, each in the given order; None: all, the empty one first.

    Example:
        >>> subsets_of(("a", "b")), subsets_of(("a", "b", "c"), (3, 1))
        ([(), ('a',), ('b',), ('a', 'b')], [('a', 'b', 'c'), ('a',), ('b',), ('c',)])
    """
    return [kept for size in (range(len(names) + 1) if sizes is None else sizes) for kept in combinations(names, size)]
