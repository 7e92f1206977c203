"""Late fusion at its plainest: embeddings joined as the encoders give them, linear layers, classifier."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from plait.base.fusion import resolve
from plait.base.tokens import Tokens
from plait.networks.base import Dropout, Linear, Network


class LatePooling(Network):
    """The network of the thesis: what the encoders give is joined as it is, then ``layers`` linear maps with ReLU, then the head.

    No modality has layers of its own behind its encoder, and nothing is normalised. An operator that takes equal widths gets
    them by a linear map where the encoders have others; encoders with an option ``out`` need none.

    Formula: out = U relu(W fusion(e_1(x_1), ..., e_M(x_M)) + b) + c; with ``absence: zeros`` an absent e_m is zero and counts.

    Shape: tokens (B, T, D_m) each; out (B, out_dim).

    Source: Task-specific pre-trained encoders in late fusion, sections 6.1.2 (fc_fusion over the joined embeddings, optional
    dropout), 6.1.3 (zeros in the place of an absent embedding) and 6.2.3 (five poolings). The ReLU is ours: without it two
    linear maps would be one.

    Use when: encoders learn with the network, or to reproduce the thesis.

    Not when: features are frozen: blocks of their own (``fusion``, ``depth: late``) bend them towards the task.

    Example:
        >>> import torch
        >>> network = LatePooling({"text": 4, "image": 4}, 3, fusion={"name": "sum", "absence": "zeros"}, width=8)
        >>> tokens = {"text": Tokens.of_vectors(torch.rand(2, 4)), "image": Tokens.of_vectors(torch.rand(2, 4))}
        >>> network(tokens).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        *,
        fusion: str | Mapping[str, Any] = "concat",
        layers: int = 1,
        width: int = 128,
        dropout: float = 0.0,
    ) -> None:
        """Build for modalities of the widths ``dims``; ``fusion`` is a name or ``{name: ..., absence: ..., option: ...}``."""
        super().__init__()
        operator, options, self.absence = resolve(fusion)
        mapped = operator.equal_widths and len(set(dims.values())) > 1
        self.maps = nn.ModuleDict({name: Linear(dim, width) for name, dim in sorted(dims.items())} if mapped else {})
        self.fusion = operator(dict.fromkeys(dims, width) if mapped else dict(dims), **options)
        sizes = [self.fusion.out_dim] + [width] * layers
        parts = [nn.Sequential(Linear(a, b), nn.ReLU(), Dropout(dropout)) for a, b in pairwise(sizes)]
        self.hidden = nn.Sequential(*parts)
        self.head = nn.Linear(sizes[-1], out_dim)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        out: Tensor = self.head(self.hidden(self.fusion(self.joined(tokens))))
        return out

    def joined(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """What enters the fusion: the encoders' tokens, zeros for absent ones where that is asked for, of one width."""
        result = {name: tokens[name] for name in self.fusion.names}
        if self.absence == "zeros":
            result = {name: t.with_zeros() for name, t in result.items()}
        return {n: Tokens(self.maps[n](t.x), t.mask) for n, t in result.items()} if len(self.maps) else result
