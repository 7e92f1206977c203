"""Cross-attention."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from plait.base.checks import Count
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens
from plait.fusion.layers import Block, chained, filled


class CrossAttention(Fusion):
    """Each modality's tokens look at the tokens of all others, then a layer of their own; the mean of what comes out.

    Formula: h_m = x_m + attend(x_m, [x_k : k != m]), f_m = h_m + feed(h_m), z = mean over present m of f_m's mean token.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Tsai et al. 2019, Multimodal Transformer, section 3.1; Lu et al. 2019, ViLBERT (co-attention).
    Use when: modalities are sequences and parts of one belong to parts of the other (words and sounds).
    Not when: every modality is a single vector: there is nothing to choose among, and ``gated`` or ``film`` does it for less.

    Example:
        >>> import torch
        >>> x = {"a": Tokens.of_vectors(torch.randn(2, 8)), "b": Tokens(torch.randn(2, 5, 8), torch.ones(2, 5) > 0)}
        >>> CrossAttention({"a": 8, "b": 8}, heads=2)(x).shape
        torch.Size([2, 8])
    """

    equal_widths = True
    sequences = True

    def __init__(self, dims: Mapping[str, int], *, heads: Count = 4, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        self.blocks = nn.ModuleDict({name: Block(self.width, heads) for name in self.names})

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        clean = {name: filled(tokens[name]) for name in self.names}
        result = {}
        for name, block in self.blocks.items():
            others = [clean[other] for other in self.names if other != name]
            result[name] = block(clean[name], chained(others) if others else None)  # alone it looks at itself
        x, present = self.pooled(result)
        return x.sum(1) / present.sum(1, keepdim=True).clamp_min(1).to(x.dtype)
