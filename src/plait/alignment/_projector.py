"""The projector of the enhancement."""

from __future__ import annotations

from torch import Tensor, nn

from plait.networks._dropout import Dropout


class Projector(nn.Module):
    """A linear map, tanh and dropout, added to the linear map.

    Formula: p = W x + b; z = p + dropout(tanh(p)).
    Shape: (B, D) in, (B, width) out.
    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.2.
    """

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        """From features of width ``dim``."""
        super().__init__()
        self.linear = nn.Linear(dim, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width)."""
        projected = self.linear(x)
        out: Tensor = projected + self.dropout(projected.tanh())
        return out
