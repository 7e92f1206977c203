"""Sequences of different length, packed so that they end together: no step is computed for a row that has not begun."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plait.tokens import Tokens


@dataclass(frozen=True)
class Steps:
    """Some rows of a batch, the longest first, step by step.

    All rows end at the last step, as sounds that are front-padded do; a row joins where it begins, so the rows of a step
    are the first ``counts[t]``.

    Attributes:
        rows: their places in the batch (B,).
        counts: rows of each step, never falling; their sum is N.
        who: (N,) row, as a place in ``rows``, of each packed step.
        frames: (N, F), zeros before a sound sets in; None without a sequence.
    """

    rows: Tensor
    counts: tuple[int, ...]
    who: Tensor
    frames: Tensor | None

    def piece(self, start: int, stop: int) -> Steps:
        """Steps ``start`` to ``stop`` alone."""
        first = sum(self.counts[:start])
        taken = slice(first, first + sum(self.counts[start:stop]))
        frames = None if self.frames is None else self.frames[taken]
        return Steps(self.rows, self.counts[start:stop], self.who[taken], frames)


def lengths(tokens: Tokens | None, rows: int, least: int) -> Tensor:
    """Steps of each row (B,): its tokens, and no fewer than ``least``."""
    if tokens is None:
        return torch.full((rows,), least)
    return tokens.mask.sum(1).clamp_min(least).cpu()


def pack(tokens: Tokens | None, rows: Tensor, steps: Tensor) -> Steps:
    """The given rows (B,), which take so many steps each (B,), falling; silence comes before a row's first token."""
    longest = int(steps[0])
    begins = longest - steps  # (B,) rising
    counts = (begins[None, :] <= torch.arange(longest)[:, None]).sum(1)  # (T,)
    device = rows.device if tokens is None else tokens.x.device
    time = torch.arange(longest).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    who = torch.arange(len(time)) - starts.repeat_interleave(counts)
    frames = None
    if tokens is not None:
        kept = tokens.take(rows.to(device))
        place = time.to(device) - longest + kept.mask.sum(1)[who.to(device)]  # below zero: silence
        # The tokens that are there, in their order, come first: masks may have holes.
        order = (~kept.mask).int().argsort(stable=True, dim=1)
        token = order[who.to(device), place.clamp_min(0)]
        found = kept.x[who.to(device), token].float()  # (N, F)
        frames = torch.where(place[:, None] >= 0, found, found.new_zeros(()))
    return Steps(rows, tuple(counts.tolist()), who.to(device), frames)
