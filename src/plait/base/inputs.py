"""All rows of a table as a network takes them, in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from plait.base.tokens import Tokens


@dataclasses.dataclass(frozen=True)
class SharedCells(Mapping[str, Tensor]):
    """Prepared rows as arrays (n, ...) by name, gathered when asked for: a cell that many rows hold is kept once.

    Attributes:
        arrays: (m + 1, ...) each, of the distinct cells; the last is zeros, for absent rows.
        place: (n,) where each row's cell is.
    """

    arrays: Mapping[str, Tensor]
    place: Tensor

    def __getitem__(self, name: str) -> Tensor:
        """One array, row by row."""
        return self.arrays[name].index_select(0, self.place)

    def __iter__(self) -> Iterator[str]:
        """Names of the arrays."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self.arrays)

    @property
    def present(self) -> Tensor:
        """(n,) bool."""
        return self.place < len(next(iter(self.arrays.values()))) - 1

    def take(self, rows: Tensor) -> SharedCells:
        """The given rows."""
        return SharedCells(self.arrays, self.place[rows])

    def to(self, device: torch.device | str) -> SharedCells:
        """On another device."""
        return SharedCells({k: v.to(device) for k, v in self.arrays.items()}, self.place.to(device))


@dataclasses.dataclass(frozen=True)
class Inputs:
    """All rows as a network takes them.

    Attributes:
        tokens: of frozen modalities.
        prepared: of modalities that learn: arrays whose first axis is the row, equal cells shared, and ``present`` beside.
        present: (n,) bool of every modality.
    """

    tokens: Mapping[str, Tokens]
    prepared: Mapping[str, Mapping[str, Tensor]]
    present: Mapping[str, Tensor]

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.present.values())))

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(iter(self.present.values())).device

    def take(self, rows: Tensor) -> Inputs:
        """The given rows."""
        return Inputs(
            {k: v.take(rows) for k, v in self.tokens.items()},
            {
                k: v.take(rows) if isinstance(v, SharedCells) else {n: t[rows] for n, t in v.items()}
                for k, v in self.prepared.items()
            },
            {k: v[rows] for k, v in self.present.items()},
        )

    def only(self, names: Iterable[str]) -> Inputs:
        """The same rows with every other modality absent."""
        kept = set(names)
        gone = {k: v if k in kept else torch.zeros_like(v) for k, v in self.present.items()}
        return dataclasses.replace(self, present=gone).masked()

    def masked(self) -> Inputs:
        """Tokens masked wherever ``present`` is False."""
        return dataclasses.replace(self, tokens={k: v.absent_where(~self.present[k]) for k, v in self.tokens.items()})

    def to(self, device: torch.device | str) -> Inputs:
        """On another device."""
        return Inputs(
            {k: v.to(device) for k, v in self.tokens.items()},
            {
                k: v.to(device) if isinstance(v, SharedCells) else {n: t.to(device) for n, t in v.items()}
                for k, v in self.prepared.items()
            },
            {k: v.to(device) for k, v in self.present.items()},
        )


def together(parts: Mapping[str, Inputs]) -> Inputs:
    """One table's rows, each modality taken from its own pass."""
    return Inputs(
        {m: inputs.tokens[m] for m, inputs in parts.items() if m in inputs.tokens},
        {m: inputs.prepared[m] for m, inputs in parts.items() if m in inputs.prepared},
        {m: inputs.present[m] for m, inputs in parts.items()},
    )


def all_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset, the empty one first, small before large, each in the given order.

    Example:
        >>> all_subsets(("a", "b"))
        [(), ('a',), ('b',), ('a', 'b')]
    """
    return [chosen for size in range(len(modalities) + 1) for chosen in combinations(modalities, size)]
