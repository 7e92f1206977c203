"""Contrastive losses between two sets of vectors whose equal rows belong together; all in log space, and in blocks of rows.

Rows that are known to be about one thing (``labels``) are neither positive nor negative for each other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plait.alignment._cosine import unit


@dataclass(frozen=True)
class Couples:
    """Two sets of vectors of length one (or zero) whose equal rows belong together.

    Attributes:
        temperature: scalar above zero.
        labels: (N, L) integers; rows that share a value in a column are no negatives of each other.
        fixed: the same rows as the frozen encoders see them, two sets of length one; None where no loss asks for them.
        share: of these couples in the loss of a batch.

    Shape:
        a, b: (N, D).
    """

    a: Tensor
    b: Tensor
    temperature: Tensor
    labels: Tensor | None = None
    fixed: tuple[Tensor, Tensor] | None = None
    share: float = 1.0

    def __len__(self) -> int:
        """Rows."""
        return len(self.a)

    def same(self, part: slice) -> Tensor | None:
        """(c, N) bool: other rows about the same thing as those of ``part``; None when there is no such pair."""
        if self.labels is None:
            return None
        same = torch.zeros(len(self.labels[part]), len(self), dtype=torch.bool, device=self.labels.device)
        for column in self.labels.T:
            same |= column[part, None] == column[None, :]
        same.diagonal(part.start).fill_(False)
        return same if bool(same.any()) else None


class Contrast(ABC):
    """A loss over the similarities of ``a`` (N, D) and ``b`` (N, D), divided by a temperature.

    It is a mean over rows, so it can be computed for a block of rows at a time: ``blocks`` never holds more than
    (rows, N) similarities.
    """

    #: It looks at ``Couples.fixed``.
    needs_fixed: ClassVar[bool] = False

    def __call__(
        self,
        a: Tensor,
        b: Tensor,
        temperature: Tensor,
        labels: Tensor | None = None,
        fixed: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss, a scalar; vectors may have any length (see ``Couples``)."""
        fixed = None if fixed is None else (unit(fixed[0]), unit(fixed[1]))
        couples = Couples(unit(a), unit(b), temperature, labels, fixed)
        return torch.stack(list(self.blocks(couples, max(1, len(a))))).sum()

    @abstractmethod
    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        """Terms that sum to the loss times ``share``, of so many rows each.

        Where there are several, each must be passed back as it is before the next is asked for.
        """


class InfoNCE(Contrast):
    """The plain contrastive loss: each row must find its own among all.

    Formula: L = 1/(2N) sum_i [-log softmax_j(<a_i, b_j> / t)_i - log softmax_j(<b_i, a_j> / t)_i].
    Source: van den Oord et al. 2018, arXiv 1807.03748; symmetric as in CLIP (Radford et al. 2021).

    Example:
        >>> eye = torch.eye(3)
        >>> round(float(InfoNCE()(eye, eye, torch.tensor(1.0))), 4) == round(math.log(2 + math.e) - 1, 4)
        True
    """

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        """Terms that sum to the loss, of so many rows each."""
        for start in range(0, len(couples), rows):
            part = slice(start, start + rows)
            same = couples.same(part)
            for a, b in ((couples.a, couples.b), (couples.b, couples.a)):
                logits = a[part] @ b.T / couples.temperature  # (c, N)
                own = logits.diagonal(start)
                logits = logits if same is None else logits.masked_fill(same, -math.inf)
                yield (logits.logsumexp(1) - own).sum() * (couples.share / (2 * len(couples)))


@dataclass(frozen=True)
class HardestNegatives(Contrast):
    """Each anchor (``a``) must be nearer to its own row than to the ``k`` rows that are nearest to it.

    Attributes:
        k: hardest negatives per anchor; all of them where there are fewer.
        epsilon: added to the denominator, as in the paper.

    Formula: L = 1/N sum_i -log(p_i / (p_i + sum of the k largest n_ij + epsilon)), p_i = exp(<a_i, b_i> / t), n_ij =
        exp(<a_i, b_j> / t) for j other than i; computed as logsumexp, so that no exp overflows.
    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.2.
    """

    k: int = 10
    epsilon: float = 1e-7

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        """Terms that sum to the loss, of so many rows each."""
        n = len(couples)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            logits = couples.a[part] @ couples.b.T / couples.temperature  # (c, N)
            away = torch.zeros_like(logits, dtype=torch.bool)
            away.diagonal(start).fill_(True)
            same = couples.same(part)
            away = away if same is None else away | same
            hardest = logits.masked_fill(away, -math.inf).topk(min(self.k, n - 1), dim=1).values  # (c, k)
            positive = logits.diagonal(start)[:, None]
            floor = torch.full_like(positive, math.log(self.epsilon))
            loss = torch.cat([positive, hardest, floor], 1).logsumexp(1) - positive[:, 0]
            yield loss.sum() * (couples.share / n)
