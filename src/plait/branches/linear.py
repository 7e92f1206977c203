"""One linear map over all modalities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import nn

from plait.base.branch import NetworkBranch
from plait.networks.linear import LinearNetwork


@dataclasses.dataclass(eq=False)
class Linear(NetworkBranch):
    """One linear map over all features of all modalities, trained with the networks.

    Formula: out = b + sum over present m of W_m x_m.

    Shape: tokens (B, T, D_m) each, mean tokens are taken; out (B, out_dim).

    Source: the usual linear probe.

    Use when: rows are few and features many.

    Not when: columns act together, as in an XOR.

    Example:
        >>> Linear().sources(["text", "image"])
        {'linear': ('text', 'image')}
    """

    def build(
        self, dims: Mapping[str, int], out_dim: int, network: Callable[[Mapping[str, int]], nn.Module]
    ) -> nn.Module:
        return LinearNetwork(dims, out_dim)
