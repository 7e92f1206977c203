"""Contrastive losses between two sets of vectors whose equal rows belong together; all in log space, and in blocks of rows.

Rows that are known to be about one thing (``labels``) are left out, or positives for each other, as a loss is asked for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from plait.alignment.network import unit


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


@dataclass(frozen=True, kw_only=True)
class Contrast(ABC):
    """A loss over the similarities of ``a`` (N, D) and ``b`` (N, D), divided by a temperature.

    It is a mean over rows, so it can be computed for a block of rows at a time: ``blocks`` never holds more than
    (rows, N) similarities.

    Attributes:
        same: what other rows about the same thing are: ``left_out``, ``positives``, or ``negatives`` like any other.
    """

    same: Literal["left_out", "positives", "negatives"] = "left_out"

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
        labels = None if self.same == "negatives" else labels
        couples = Couples(unit(a), unit(b), temperature, labels, fixed)
        return torch.stack(list(self.blocks(couples, max(1, len(a))))).sum()

    @abstractmethod
    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        """Terms that sum to the loss times ``share``, of so many rows each.

        Where there are several, each must be passed back as it is before the next is asked for.
        """


@dataclass(frozen=True, kw_only=True)
class InfoNCE(Contrast):
    """The plain contrastive loss: each row must find its own among all.

    Formula: L = 1/(2N) sum_i [-log softmax_j(<a_i, b_j> / t)_i - log softmax_j(<b_i, a_j> / t)_i]; with ``positives`` the mean
        over all rows of i's thing in place of i (Khosla et al. 2020, arXiv 2004.11362, equation 2).
    Source: van den Oord et al. 2018, arXiv 1807.03748; symmetric as in CLIP (Radford et al. 2021).

    Example:
        >>> eye = torch.eye(3)
        >>> round(float(InfoNCE()(eye, eye, torch.tensor(1.0))), 4) == round(math.log(2 + math.e) - 1, 4)
        True
    """

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        for part in _parts(couples, rows):
            same = couples.same(part)
            for a, b in ((couples.a, couples.b), (couples.b, couples.a)):
                logits = a[part] @ b.T / couples.temperature  # (c, N)
                own = logits.diagonal(part.start)
                if same is not None and self.same == "positives":
                    own = (own + logits.masked_fill(~same, 0.0).sum(1)) / (1 + same.sum(1))
                elif same is not None:
                    logits = logits.masked_fill(same, -math.inf)
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
        n = len(couples)
        for part in _parts(couples, rows):
            logits = couples.a[part] @ couples.b.T / couples.temperature  # (c, N)
            away = torch.zeros_like(logits, dtype=torch.bool)
            away.diagonal(part.start).fill_(True)
            same = couples.same(part)
            away = away if same is None else away | same
            hardest = logits.masked_fill(away, -math.inf).topk(min(self.k, n - 1), dim=1).values  # (c, k)
            positive = logits.diagonal(part.start)[:, None]
            floor = torch.full_like(positive, math.log(self.epsilon))
            loss = torch.cat([positive, hardest, floor], 1).logsumexp(1) - positive[:, 0]
            yield loss.sum() * (couples.share / n)


@dataclass(frozen=True, kw_only=True)
class SoftTargets(Contrast):
    """Cross-entropy to soft targets, which are taken from the aligned vectors themselves.

    Formula: L = 1/(2N) sum_ij t_ij l1_ij + t_ji l2_ij, l1_ij = -log softmax_j(<a_i, b_j> / t), l2_ij = -log softmax_j(<b_i,
        a_j> / t), t_ij = softmax_j((<a_i, a_j> + <b_i, b_j>) / (2 t)).
    Source: Faye et al., Context-Based Multimodal Fusion, equations 3 to 6. Equations 3 and 5 write x and y in the numerator
        and x-hat and y-hat in the denominator, which makes no distribution. In 3 only the aligned x-hat can be meant: x is
        frozen and as wide as its encoder. In 5 both readings stand: this is x-hat, ``FixedTargets`` is x. "2 . t" divides:
        multiplied by t, all targets would be nearly equal. With ``positives`` rows of one thing count as equal in 5. The targets
        carry a gradient, as nothing in the paper says that they do not; without it, vectors that begin alike stay alike.
    """

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        x, y, temperature = self._among(couples)
        among = Couples(x, y, temperature, couples.labels)
        whole = len(couples) <= rows
        with torch.set_grad_enabled(whole and torch.is_grad_enabled()):
            total = torch.cat([_alike(among, part, self.same).logsumexp(1) for part in _parts(couples, rows)])  # (N,)
        flows = not whole and torch.is_grad_enabled() and any(v.requires_grad for v in (x, y, temperature))
        total = total.requires_grad_() if flows else total
        for part in _parts(couples, rows):
            same = None if self.same == "positives" else couples.same(part)
            alike = _alike(among, part, self.same)
            there, back = (alike - total[part, None]).exp(), (alike - total).exp()  # t_ij, t_ji
            term = _entropy(couples.a[part] @ couples.b.T / couples.temperature, there, same)
            term = term + _entropy(couples.b[part] @ couples.a.T / couples.temperature, back, same)
            yield term * (couples.share / (2 * len(couples)))
        if not flows or total.grad is None:
            return
        for part in _parts(couples, rows):  # what the denominators pass on: no part of the value
            passed = (_alike(among, part, self.same).logsumexp(1) * total.grad[part]).sum()
            yield passed - passed.detach()

    def _among(self, couples: Couples) -> tuple[Tensor, Tensor, Tensor]:
        return couples.a, couples.b, couples.temperature


@dataclass(frozen=True, kw_only=True)
class FixedTargets(SoftTargets):
    """Cross-entropy to soft targets, which are taken from the frozen encoders and do not move.

    Formula: as ``SoftTargets``, but t_ij = softmax_j((<x_i, x_j> + <y_i, y_j>) / (2 t)) of the encoders' own vectors x, y.
    Source: Faye et al., Context-Based Multimodal Fusion, equation 5 as its numerator is written.
    """

    needs_fixed: ClassVar[bool] = True

    def _among(self, couples: Couples) -> tuple[Tensor, Tensor, Tensor]:
        assert couples.fixed is not None
        return *couples.fixed, couples.temperature.detach()


def _parts(couples: Couples, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, len(couples), rows))


def _alike(among: Couples, part: slice, kind: str) -> Tensor:
    """Logits (c, N) of the targets of a block; other rows of the same thing have no share, or that of the row itself."""
    same = among.same(part)
    alike = among.a[part] @ among.a.T + among.b[part] @ among.b.T
    if same is not None and kind == "positives":
        alike = alike.masked_fill(same, 2.0)
    result = alike / (2 * among.temperature)
    return result if same is None or kind == "positives" else result.masked_fill(same, -math.inf)


def _entropy(logits: Tensor, targets: Tensor, same: Tensor | None) -> Tensor:
    """Sum over the rows of a block of the cross-entropy to their targets."""
    if same is None:
        return -(targets * logits.log_softmax(1)).sum()
    chances = logits.masked_fill(same, -math.inf).log_softmax(1).masked_fill(same, 0.0)
    return -(targets * chances).sum()


#: What the option ``loss`` of a stage with a shared space may say.
LOSSES: dict[str, type[Contrast]] = {"soft_targets": SoftTargets, "fixed_targets": FixedTargets, "infonce": InfoNCE}
