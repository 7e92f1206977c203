"""MISA: what modalities share and what each has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.checks import Count, NonNegative, Width
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.fusion.layers import Attend


class MISA(Fusion):
    """Each modality is projected by a map that all share and by one of its own; attention runs over all the projections.

    While training it asks for a loss of its own: shared projections are to be alike (central moments), own ones different from
    shared ones and from each other, and both together are to tell what was projected.

    Formula: c_m = s(W_c u_m), p_m = s(W_m u_m), u_m = A_m x_m; z = attention over (c_1, ..., c_M, p_1, ..., p_M), beside each
    other; own loss = alike sum CMD(c_m, c_n) + different sum ||P^T C||^2 + restore sum ||u_m - D_m(c_m + p_m)||^2.
    An absent modality gives zeros, is attended by nobody and costs nothing.
    Shape: tokens (B, T, D_m) each; out (B, 2 M units).
    Source: Hazarika, Zimmermann and Poria 2020, MISA: Modality-Invariant and -Specific Representations, arXiv 2005.03545,
    equations 5 to 13, alpha 1.0 of the similarity, 0.3 of the difference and 1.0 of the reconstruction as in its code for MOSI.
    Use when: modalities tell partly the same and partly not, as words, voice and face do.
    Not when: rows are few: the moments of a batch of 32 are noise.

    Example:
        >>> fusion = MISA({"a": 3, "b": 5}, units=4)
        >>> tokens = {n: Tokens.of_vectors(torch.rand(6, d)) for n, d in (("a", 3), ("b", 5))}
        >>> fusion(tokens).shape, fusion.own_loss.ndim
        (torch.Size([6, 16]), 0)
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        units: Width = 64,
        alike: NonNegative = 1.0,
        different: NonNegative = 0.3,
        restore: NonNegative = 1.0,
        heads: Count = 2,
        level: str | None = None,
    ) -> None:
        """Build for modalities of these widths; ``units`` of a projection, the three weights of the own loss."""
        super().__init__(dims, level=level)
        self.units, self.weights = units, (alike, different, restore)
        self.maps = nn.ModuleDict({name: nn.Linear(dim, units) for name, dim in self.dims.items()})
        self.shared = nn.Linear(units, units)
        self.private = nn.ModuleDict({name: nn.Linear(units, units) for name in self.names})
        self.decode = nn.ModuleDict({name: nn.Linear(units, units) for name in self.names})
        self.attend = Attend(units, heads)

    @property
    def out_dim(self) -> int:
        return 2 * len(self.names) * self.units

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        present = torch.stack([tokens[name].present for name in self.names], 1)  # (B, M)
        parts = [self.maps[name](tokens[name].pooled()) for name in self.names]
        shared = [self.shared(u).sigmoid() for u in parts]
        private = [self.private[name](u).sigmoid() for name, u in zip(self.names, parts, strict=True)]
        mask = torch.cat([present, present], 1)
        x = torch.stack([*shared, *private], 1).masked_fill(~mask[:, :, None], 0.0)  # (B, 2 M, units)
        self.own_loss = self._own_loss(parts, shared, private, present)
        out = x + self.attend(x, Tokens(x, mask))
        result: Tensor = out.masked_fill(~mask[:, :, None], 0.0).flatten(1)
        return result

    def _own_loss(self, parts: list[Tensor], shared: list[Tensor], private: list[Tensor], present: Tensor) -> Tensor:
        alike, different, restore = self.weights
        total = parts[0].new_zeros(())
        for i, name in enumerate(self.names):
            rows = present[:, i]
            if not bool(rows.any()):
                continue
            rebuilt = self.decode[name](shared[i][rows] + private[i][rows])
            total = total + restore / len(self.names) * functional.mse_loss(rebuilt, parts[i][rows])
            total = total + different * _overlap(private[i][rows], shared[i][rows])
        for i, j in combinations(range(len(self.names)), 2):
            rows = present[:, i] & present[:, j]
            if int(rows.sum()) > 1:
                total = total + different * _overlap(private[i][rows], private[j][rows])
                total = total + alike / len(self.names) * _moments(shared[i][rows], shared[j][rows])
        return total


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Mean square of the products of two projections, centred, each row of length one."""
    a, b = (functional.normalize(x - x.mean(0), dim=1) for x in (one, other))
    result: Tensor = (a.t() @ b).square().mean()
    return result


def _moments(one: Tensor, other: Tensor) -> Tensor:
    """Central moment discrepancy, up to the fifth, of two samples of numbers between 0 and 1."""
    a, b = one - one.mean(0), other - other.mean(0)
    total = _length(one.mean(0) - other.mean(0))
    for power in range(2, 6):
        total = total + _length((a**power).mean(0) - (b**power).mean(0))
    return total


def _length(x: Tensor) -> Tensor:
    """The norm, whose derivative is finite at zero."""
    result: Tensor = (x.square().sum() + 1e-12).sqrt()
    return result
