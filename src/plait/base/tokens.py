"""``Tokens``: what every encoder gives and every fusion takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from plait.base import mapped


def tracing() -> bool:
    """Whether a graph is being recorded (``plait export``): then nothing may be decided by the rows at hand."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


@dataclass(frozen=True)
class Tokens:
    """A batch of token sequences of one modality.

    Absent means a mask that is False everywhere; there is no second way to say it. A vector is ``T = 1``.

    Shape:
        x: (B, T, D) features; what stands where the mask is False never matters.
        mask: (B, T) bool, True where there is a token.
    """

    x: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.x.ndim != 3 or self.mask.shape != self.x.shape[:2] or self.mask.dtype != torch.bool:
            raise ValueError(
                f"Tokens need x (B, T, D) and a bool mask (B, T), "
                f"found {tuple(self.x.shape)} and {tuple(self.mask.shape)} {self.mask.dtype}"
            )

    @classmethod
    def of_vectors(cls, x: Tensor, present: Tensor | None = None) -> Tokens:
        """Tokens of one vector per row: x (B, D), present (B,) bool."""
        mask = torch.ones(x.shape[0], dtype=torch.bool, device=x.device) if present is None else present
        return cls(x[:, None, :], mask[:, None])

    def __len__(self) -> int:
        return len(self.x)

    @property
    def dim(self) -> int:
        """Width D."""
        return self.x.shape[-1]

    @cached_property
    def present(self) -> Tensor:
        """(B,) bool: rows with at least one token."""
        return self.mask.any(1)

    def pooled(self) -> Tensor:
        """Mean over the tokens that are there, zeros for absent rows: (B, D); computed once."""
        return self._pooled

    @cached_property
    def _pooled(self) -> Tensor:
        if self.x.shape[1] == 1:  # the common case, kept free of copies
            if tracing():
                return self.x[:, 0].masked_fill(~self.mask, 0.0)
            absent = (~self.mask[:, 0]).nonzero()[:, 0]
            return self.x[:, 0].index_fill(0, absent, 0.0) if len(absent) else self.x[:, 0]  # a quarter of masked_fill
        weight = self.mask.unsqueeze(-1).to(self.x.dtype)  # (B, T, 1)
        total = self.x.masked_fill(~self.mask.unsqueeze(-1), 0.0).sum(1)  # (B, D)
        return total / weight.sum(1).clamp_min(1.0)

    @cached_property
    def narrowed(self) -> Tokens:
        """The same tokens in bf16; rounded once, however many trainings want them."""
        if not mapped.is_mapped(self.x):
            return Tokens(self.x.bfloat16(), self.mask)
        result = mapped.zeros(self.x.shape, torch.bfloat16, limit=0)
        for rows in mapped.blocks(self.x):
            result[rows] = self.x[rows].bfloat16()
            mapped.release(result)
        return Tokens(result, self.mask)

    def take(self, rows: Tensor) -> Tokens:
        """The given rows (indices or a bool mask)."""
        if rows.dtype == torch.bool:
            return Tokens(self.x[rows], self.mask[rows])
        if mapped.is_mapped(self.x) and len(rows) * self.x[:1].nbytes > mapped.USUAL:
            return self._taken_to_file(rows)
        return Tokens(mapped.select(self.x, rows), self.mask.index_select(0, rows))  # four times faster than x[rows]

    def _taken_to_file(self, rows: Tensor) -> Tokens:
        result = mapped.zeros((len(rows), *self.x.shape[1:]), self.x.dtype, limit=0)
        for block in mapped.blocks(result):
            result[block] = mapped.select(self.x, rows[block])
        return Tokens(result, self.mask.index_select(0, rows))

    def absent_where(self, absent: Tensor) -> Tokens:
        """The same tokens with the rows in ``absent`` (B,) masked out."""
        return Tokens(self.x, self.mask & ~absent[:, None])

    def with_zeros(self) -> Tokens:
        """A token of zeros for each absent row, as if it were present (Task-specific pre-trained encoders, section 6.1.3)."""
        mask = torch.cat([self.mask[:, :1] | ~self.present[:, None], self.mask[:, 1:]], 1)
        return Tokens(self.x.masked_fill(~self.mask.unsqueeze(-1), 0.0), mask)

    def to(self, device: torch.device | str) -> Tokens:
        """On another device."""
        return Tokens(self.x.to(device), self.mask.to(device))


def of_one_length(mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows (b,) that have equally many tokens, and the columns (T,) that they fill, the longest first.

    Computed group by group nothing is padded, and a row's numbers do not depend on the rows beside it.

    Example:
        >>> mask = torch.tensor([[True, False], [True, True], [True, False]])
        >>> [(rows.tolist(), columns.tolist()) for rows, columns in of_one_length(mask)]
        [([1], [True, True]), ([0, 2], [True, False])]
    """
    lengths = mask.sum(1)
    groups = [(lengths == length).nonzero()[:, 0] for length in sorted(set(lengths.tolist()), reverse=True)]
    return [(rows, mask[rows].any(0)) for rows in groups]


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Rows of several batches one after another, padded to the longest T."""
    longest = max(p.x.shape[1] for p in parts)
    padded = [torch.nn.functional.pad(p.x, (0, 0, 0, longest - p.x.shape[1])) for p in parts]
    masks = [torch.nn.functional.pad(p.mask, (0, longest - p.mask.shape[1])) for p in parts]
    return Tokens(torch.cat(padded), torch.cat(masks))
