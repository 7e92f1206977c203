"""The loss of context-based fusion: cross-entropy to targets that follow how alike the rows are among themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from plait.alignment._losses import Contrast, Couples, InfoNCE


class SoftTargets(Contrast):
    """Cross-entropy to soft targets, which are taken from the aligned vectors themselves.

    Formula: L = 1/(2N) sum_ij t_ij l1_ij + t_ji l2_ij, l1_ij = -log softmax_j(<a_i, b_j> / t), l2_ij = -log softmax_j(<b_i,
        a_j> / t), t_ij = softmax_j((<a_i, a_j> + <b_i, b_j>) / (2 t)).
    Source: Faye et al., Context-Based Multimodal Fusion, equations 3 to 6. Equations 3 and 5 write x and y in the numerator
        and x-hat and y-hat in the denominator, which makes no distribution. In 3 only the aligned x-hat can be meant: x is
        frozen and as wide as its encoder. In 5 both readings stand: this is x-hat, ``FixedTargets`` is x. "2 . t" divides:
        multiplied by t, all targets would be nearly equal. The targets carry a gradient, as nothing in the paper says that
        they do not; without it, vectors that begin alike stay alike (measured in ``docs/alignment.md``).
    """

    def blocks(self, couples: Couples, rows: int) -> Iterator[Tensor]:
        """Terms that sum to the loss, of so many rows each."""
        x, y, temperature = self._among(couples)
        among = Couples(x, y, temperature, couples.labels)
        whole = len(couples) <= rows
        with torch.set_grad_enabled(whole and torch.is_grad_enabled()):
            total = torch.cat([_alike(among, part).logsumexp(1) for part in _parts(couples, rows)])  # (N,)
        flows = not whole and torch.is_grad_enabled() and any(v.requires_grad for v in (x, y, temperature))
        total = total.requires_grad_() if flows else total
        for part in _parts(couples, rows):
            same, alike = couples.same(part), _alike(among, part)
            there, back = (alike - total[part, None]).exp(), (alike - total).exp()  # t_ij, t_ji
            term = _entropy(couples.a[part] @ couples.b.T / couples.temperature, there, same)
            term = term + _entropy(couples.b[part] @ couples.a.T / couples.temperature, back, same)
            yield term * (couples.share / (2 * len(couples)))
        if not flows or total.grad is None:
            return
        for part in _parts(couples, rows):  # what the denominators pass on: no part of the value
            passed = (_alike(among, part).logsumexp(1) * total.grad[part]).sum()
            yield passed - passed.detach()

    def _among(self, couples: Couples) -> tuple[Tensor, Tensor, Tensor]:
        return couples.a, couples.b, couples.temperature


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


def _alike(among: Couples, part: slice) -> Tensor:
    """Logits (c, N) of the targets of a block; other rows of the same thing have no share."""
    same = among.same(part)
    found = (among.a[part] @ among.a.T + among.b[part] @ among.b.T) / (2 * among.temperature)
    return found if same is None else found.masked_fill(same, -math.inf)


def _entropy(logits: Tensor, targets: Tensor, same: Tensor | None) -> Tensor:
    """Sum over the rows of a block of the cross-entropy to their targets."""
    if same is None:
        return -(targets * logits.log_softmax(1)).sum()
    chances = logits.masked_fill(same, -math.inf).log_softmax(1).masked_fill(same, 0.0)
    return -(targets * chances).sum()


#: What the option ``loss`` of a stage with a shared space may say.
LOSSES: dict[str, type[Contrast]] = {"soft_targets": SoftTargets, "fixed_targets": FixedTargets, "infonce": InfoNCE}
