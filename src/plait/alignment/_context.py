"""The deep fusion encoder: a context per encoder, joined with what the encoder says, and one transformer block for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.networks._dropout import Dropout

#: Heads of the transformer block (Faye et al., section IV.A).
HEADS = 4


class Context(nn.Module):
    """Identifier -> learnable vector -> small network: g(c) of equation 1."""

    def __init__(self, count: int, width: int) -> None:
        """One context per encoder."""
        super().__init__()
        self.vectors = nn.Embedding(count, width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, identifier: int) -> Tensor:
        """(width,)."""
        out: Tensor = self.inner(self.vectors.weight[identifier])
        return out


class Add(nn.Module):
    """x + c."""

    def __init__(self, width: int) -> None:
        """Nothing to learn."""
        super().__init__()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (D,) -> (B, T, D)."""
        return x + context


class Multiply(Add):
    """x * c."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (D,) -> (B, T, D)."""
        return x * context


class Concat(nn.Module):
    """x and c beside each other, brought back to the width of x by a linear map (ours: the block wants one width)."""

    def __init__(self, width: int) -> None:
        """For vectors of this width."""
        super().__init__()
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (D,) -> (B, T, D)."""
        out: Tensor = self.linear(torch.cat([x, context.expand_as(x)], -1))
        return out


class Dot(nn.Module):
    """Cross-attention with the context as query: softmax(q k / sqrt D) x (equation 2)."""

    def __init__(self, width: int) -> None:
        """Nothing to learn."""
        super().__init__()

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T)."""
        found: Tensor = (x @ context) * x.shape[-1] ** -0.5
        return found

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (D,) -> (B, 1, D)."""
        out: Tensor = self.scores(x, context).softmax(1).unsqueeze(1) @ x
        return out


class General(Dot):
    """Cross-attention with scores q W k (Luong et al. 2015)."""

    def __init__(self, width: int) -> None:
        """For vectors of this width."""
        super().__init__(width)
        self.weight = nn.Linear(width, width, bias=False)

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T)."""
        return super().scores(x, self.weight(context))


class Additive(Dot):
    """Cross-attention with scores w1 tanh(W2 q + W3 k) (Bahdanau et al. 2015)."""

    def __init__(self, width: int) -> None:
        """For vectors of this width."""
        super().__init__(width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T)."""
        found: Tensor = self.score((self.query(context) + self.key(x)).tanh())
        return found[..., 0]


#: What the option ``operation`` of the stage may say.
OPERATIONS: dict[str, type[nn.Module]] = {
    "add": Add,
    "multiply": Multiply,
    "concat": Concat,
    "dot": Dot,
    "general": General,
    "additive": Additive,
}
#: Of these, the ones that attend: with one vector there is one score, its softmax is 1, and the context would not matter.
ATTENDING = ("dot", "general", "additive")


class TransformerBlock(nn.Module):
    """Self-attention and two linear maps, each of the normalised input and added to it."""

    def __init__(self, width: int, dropout: float) -> None:
        """Four heads."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D)."""
        rows, tokens, width = x.shape
        q, k, v = (
            self.qkv(self.norm1(x)).view(rows, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, T, d)
        attended = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(rows, tokens, width)))
        out: Tensor = x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))
        return out


class DeepFusionEncoder(nn.Module):
    """f of equation 1: fusion with the context, layer normalisation, a transformer block, a residual; the mean over tokens."""

    def __init__(self, operation: str, width: int, dropout: float) -> None:
        """One for all encoders."""
        super().__init__()
        self.fuse = OPERATIONS[operation](width)
        self.norm = nn.LayerNorm(width)
        self.block = TransformerBlock(width, dropout)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (D,) -> (B, D)."""
        fused: Tensor = self.fuse(x, context)
        out: Tensor = (fused + self.block(self.norm(fused))).mean(1)
        return out
