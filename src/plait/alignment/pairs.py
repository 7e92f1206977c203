"""Rows of two or more modalities of one thing, in memory: what a stage learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plait.base.errors import TableError

#: Fewer rows than this are not split: a handful of held-out rows would decide at random.
ENOUGH = 50
#: What a network is given of one modality: ``{"x": features (n, D)}``, or what its encoder prepared.
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pairs:
    """Rows with the modalities of one thing each.

    Attributes:
        x: modality -> its batch; what absent rows hold never matters.
        present: modality -> (n,) bool.
        cell: modality -> (n,) integers, equal where the cells are equal.
        thing: (n,) integers, equal where rows are about one thing (five captions of one photograph).
    """

    x: Mapping[str, Batch]
    present: Mapping[str, Tensor]
    cell: Mapping[str, Tensor]
    thing: Tensor

    @classmethod
    def of(
        cls, x: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None, thing: Tensor | None = None
    ) -> Pairs:
        """From features (n, D) of each modality; equal features are equal cells."""
        n = len(next(iter(x.values())))
        there = {name: torch.ones(n, dtype=torch.bool) for name in x} | dict(present or {})
        clean = {name: f.masked_fill(~there[name][:, None], 0.0) for name, f in x.items()}
        cell = {name: numbered(f) for name, f in clean.items()}
        thing = torch.arange(n) if thing is None else thing
        return cls({name: {"x": f} for name, f in clean.items()}, there, cell, thing)

    def __len__(self) -> int:
        """Rows."""
        return len(self.thing)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.x)

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality's features; 0 where it has none but what its encoder prepared."""
        return {name: batch["x"].shape[-1] if set(batch) == {"x"} else 0 for name, batch in self.x.items()}

    def take(self, rows: Tensor) -> Pairs:
        """The given rows (indices or a bool mask)."""
        return Pairs(
            {name: {k: t[rows] for k, t in batch.items()} for name, batch in self.x.items()},
            {name: there[rows] for name, there in self.present.items()},
            {name: cell[rows] for name, cell in self.cell.items()},
            self.thing[rows],
        )

    def both(self, a: str, b: str) -> Tensor:
        """(n,) bool: rows that have both."""
        return self.present[a] & self.present[b]

    def labels(self, a: str, b: str, rows: Tensor) -> Tensor:
        """(N, 3) for the chosen rows: those that share a thing, a cell of ``a`` or of ``b`` are no negatives."""
        return torch.stack([self.thing[rows], self.cell[a][rows], self.cell[b][rows]], 1)

    def split(
        self, share: float, values: Sequence[tuple[str, str]], generator: torch.Generator
    ) -> tuple[Pairs, Pairs | None]:
        """Rows to learn from and rows to judge by: a thing is on one side only; None where there is too little to judge by."""
        things = torch.unique(self.thing)
        count = round(len(things) * share)
        if len(self) < ENOUGH or count < 2 or len(things) - count < 2:
            return self, None
        held = torch.isin(self.thing, things[torch.randperm(len(things), generator=generator)[:count]])
        judged = self.take(held)
        if not any(int(judged.both(a, b).sum()) > 1 for a, b in values):
            return self, None
        return self.take(~held), judged

    def check(self, values: Sequence[tuple[str, str]]) -> None:
        """Refuse pairs from which nothing can be learned.

        Raises:
            TableError: fewer than two rows have both modalities, or all their cells are the same.
        """
        for a, b in values:
            rows = self.both(a, b)
            count = int(rows.sum())
            if count < 2:
                raise TableError(f"alignment of '{a}' with '{b}': {count} rows have both; at least two are needed")
            for name in (a, b):
                if len(torch.unique(self.cell[name][rows])) < 2:
                    raise TableError(
                        f"alignment of '{a}' with '{b}': all {count} cells of '{name}' are the same; "
                        "there is nothing to tell apart"
                    )
            if len(torch.unique(self.thing[rows])) < 2:
                raise TableError(f"alignment of '{a}' with '{b}': all {count} rows are about one thing")


def numbered(*arrays: Tensor) -> Tensor:
    """(n,) integers, equal where the rows of all arrays (n, ...) are equal to the bit."""
    rows = [np.ascontiguousarray(array.numpy()).reshape(len(array), -1) for array in arrays]
    seen: dict[bytes, int] = {}
    result = []
    for place in range(len(rows[0])):
        digest = hashlib.blake2b(b"".join(part[place].tobytes() for part in rows), digest_size=16).digest()
        result.append(seen.setdefault(digest, len(seen)))
    return torch.tensor(result, dtype=torch.int64)
