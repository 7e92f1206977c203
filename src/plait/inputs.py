"""All rows of a table as a network takes them, in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from plait.tokens import Tokens


@dataclasses.dataclass(frozen=True)
class Inputs:
    """All rows as a network takes them.

    Attributes:
        tokens: of frozen modalities.
        prepared: of modalities that learn: arrays whose first axis is the row, and ``present`` beside them.
        present: (n,) bool of every modality.
    """

    tokens: Mapping[str, Tokens]
    prepared: Mapping[str, Mapping[str, Tensor]]
    present: Mapping[str, Tensor]

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.present.values())))

    def take(self, rows: Tensor) -> Inputs:
        """The given rows."""
        return Inputs(
            {k: v.take(rows) for k, v in self.tokens.items()},
            {k: {n: t[rows] for n, t in v.items()} for k, v in self.prepared.items()},
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
            {k: {n: t.to(device) for n, t in v.items()} for k, v in self.prepared.items()},
            {k: v.to(device) for k, v in self.present.items()},
        )
