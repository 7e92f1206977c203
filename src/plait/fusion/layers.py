"""Attention over what is present, shared by the operators that take single tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.tokens import Tokens


class Attend(nn.Module):
    """Multi-head attention over the tokens that are there; a row without any gets zeros.

    Formula: softmax(Q K^T / sqrt(d)) V per head, heads side by side, mapped back to D.
    Shape: query (B, Tq, D), context (B, Tk, D); out (B, Tq, D). D need not be a multiple of the heads.
    Source: Vaswani et al. 2017, Attention Is All You Need, section 3.2.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * max(1, dim // heads)
        self.query = nn.Linear(dim, inner)
        self.key_value = nn.Linear(dim, 2 * inner)
        self.out = nn.Linear(inner, dim)

    def forward(self, query: Tensor, context: Tokens) -> Tensor:
        """(B, Tq, D); ``context.x`` must be finite everywhere."""
        q = self.query(query).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, Tq, d)
        k, v = (
            self.key_value(context.x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # (B, heads, Tk, d) each
        empty = ~context.present
        seen = (context.mask | empty[:, None])[:, None, None, :]  # a softmax over nothing is not a number
        result = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out: Tensor = self.out(result.transpose(1, 2).flatten(2))
        return out.masked_fill(empty[:, None, None], 0.0)


class Block(nn.Module):
    """A transformer layer, normalised before each step: attention, then two linear maps with GELU, each added to the tokens.

    The norm is by the root mean square, which, unlike LayerNorm, keeps what all features of a token have in common.
    Shape: tokens (B, T, D); out (B, T, D).
    Source: Xiong et al. 2020, On Layer Normalization in the Transformer Architecture; Zhang and Sennrich 2019 (RMSNorm).
    """

    def __init__(self, dim: int, heads: int) -> None:
        """Build for tokens of width ``dim``; the inner layer is twice as wide."""
        super().__init__()
        self.before, self.between = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.attend = Attend(dim, heads)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tokens: Tokens, context: Tokens | None = None) -> Tokens:
        """The tokens after looking at ``context``, or at each other."""
        query = self.before(tokens.x)
        seen = Tokens(query, tokens.mask) if context is None else Tokens(self.before(context.x), context.mask)
        x = tokens.x + self.attend(query, seen)
        return Tokens(x + self.feed(self.between(x)), tokens.mask)


def filled(tokens: Tokens) -> Tokens:
    """The same tokens with zeros where there is none."""
    return Tokens(tokens.x.masked_fill(~tokens.mask.unsqueeze(-1), 0.0), tokens.mask)


def chained(parts: list[Tokens]) -> Tokens:
    """Tokens of several modalities of the same rows, one after another along T."""
    return Tokens(torch.cat([p.x for p in parts], 1), torch.cat([p.mask for p in parts], 1))
