"""Low-rank tensor fusion."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from plait.base.checks import Count
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class LowRank(Fusion):
    """A layer on the outer product of all modalities whose weights are a sum of ``rank`` products, never written out (LMF).

    Formula: z = sum_r prod_m W_mr [x_m ; 1] (element by element over m), x_m = 0 where m is absent.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Liu et al. 2018, Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, section 3.2.
    Use when: combinations of features matter and ``tensor`` would be too large: M (D + 1) D rank weights.
    Not when: there are very many modalities: products of many factors vanish or explode.

    Example:
        >>> fusion = LowRank({"a": 4, "b": 4}, rank=3)
        >>> sum(p.numel() for p in fusion.parameters())  # 2 * 5 * 4 * 3
        120
    """

    equal_widths = True

    def __init__(self, dims: Mapping[str, int], *, rank: Count = 4, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        self.rank = rank
        self.factors = nn.ModuleDict({name: nn.Linear(self.width, self.rank * self.width) for name in self.names})

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        out: Tensor | None = None
        for name in self.names:
            factor = self.factors[name](tokens[name].pooled())  # (B, rank * D); its bias is the appended 1
            out = factor if out is None else out * factor
        assert out is not None
        return out.view(out.shape[0], self.rank, self.width).sum(1)
