"""The contract of every network: the modalities' Tokens in, raw outputs of the task out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from plait.base.tokens import Tokens
from plait.networks.layers import Linear


class Network(nn.Module, ABC):
    """All that is trained between Tokens and the output."""

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim) raw outputs."""

    def entries(self) -> Sequence[Linear] | None:
        """The linear maps that the modalities' features enter first; None where they meet anything else on the way."""
        return None
