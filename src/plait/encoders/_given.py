"""The network of encoders whose ``prepare`` already computes the vectors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from plait.tokens import Tokens


class Given(nn.Module):
    """Passes vectors on: ``x`` (B, D) -> one token per row."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(batch["x"].float())
