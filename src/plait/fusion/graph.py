"""Graph attention over the modalities of a row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.checks import Count
from plait.base.fusion import Fusion, shares
from plait.base.tokens import Tokens


class Graph(Fusion):
    """Modalities as the nodes of a complete graph per row: graph attention between them, then attention over the nodes.

    Formula: e_mn = leaky_relu(a_s . W x_m + a_d . W x_n), alpha_mn = softmax over the present n of e_mn, per head;
    h_m = elu(sum_n alpha_mn W x_n) + x_m; z = sum over present m of softmax(v . tanh(U h_m)) h_m.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: in the manner of MuGNet (Lu et al. 2023, arXiv 2302.02978, section 4), which joins three graphs by graph attention
    (Velickovic et al. 2018, arXiv 1710.10903) and a learned attention over modalities. Its graphs connect similar *rows*
    of all parts, the test rows among them; ours connect the modalities of one row, so that no row's answer depends on another's.
    Use when: modalities are three or more, and which one to believe depends on the others.
    Not when: there are two: ``attention`` does the same with less.

    Example:
        >>> fusion = Graph({"a": 4, "b": 4, "c": 4})
        >>> fusion({n: Tokens.of_vectors(torch.rand(2, 4)) for n in "abc"}).shape
        torch.Size([2, 4])
    """

    equal_widths = True

    def __init__(self, dims: Mapping[str, int], *, heads: Count = 2, level: str | None = None) -> None:
        super().__init__(dims, level=level)
        self.heads = heads
        self.kinds = nn.Parameter(torch.randn(len(self.names), self.width) / self.width**0.5)  # which node is which
        self.map = nn.Linear(self.width, heads * self.width, bias=False)
        self.source = nn.Parameter(torch.randn(heads, self.width) / self.width**0.5)
        self.goal = nn.Parameter(torch.randn(heads, self.width) / self.width**0.5)
        self.back = nn.Linear(heads * self.width, self.width)
        self.scores = nn.Sequential(nn.Linear(self.width, self.width), nn.Tanh(), nn.Linear(self.width, 1, bias=False))

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, D)
        nodes = self.map(x + self.kinds).unflatten(-1, (self.heads, -1))  # (B, M, heads, D)
        sent = (nodes * self.source).sum(-1)[:, :, None]  # (B, M, 1, heads), of the node that looks
        seen = (nodes * self.goal).sum(-1)[:, None]  # (B, 1, M, heads), of those it looks at
        edges = functional.leaky_relu(sent + seen, 0.2)  # (B, M, M, heads)
        edges = shares(edges.transpose(1, 2), present).transpose(1, 2)
        looked = functional.elu(torch.einsum("bmnh,bnhd->bmhd", edges, nodes))
        h = self.back(looked.flatten(2)) + x
        weights = shares(self.scores(h)[:, :, 0], present)  # (B, M)
        result: Tensor = (weights[:, :, None] * h).sum(1)
        return result
