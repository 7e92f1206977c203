"""Context-based fusion: one small encoder, shared by all frozen encoders, told apart by a context of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.alignment.learned import Shared
from plait.alignment.network import AlignmentNetwork, FrozenNetwork, Temperature, head
from plait.alignment.pairs import Batch
from plait.base.checks import Part, Within
from plait.base.errors import ConfigError
from plait.networks.layers import Dropout

#: Slots of an operation that attends, where none are given.
_ATTENTION_SLOTS = 4


@dataclasses.dataclass(eq=False, kw_only=True)
class ContextFusion(Shared):
    """One deep fusion encoder for any number of frozen encoders; it alone is trained, with the projections in front of it.

    Attributes:
        operation: how context and embedding are joined: ``add``, ``multiply``, ``concat``, or cross-attention with the context
            as query and ``dot``, ``general`` or ``additive`` scores.
        slots: tokens that the projection makes of one embedding; None: one, and four for attention, which needs several (over
            a single token its softmax is 1 and the context without effect).
        dropout: in the transformer block.

    Formula: z = f(g_m(x) (*) g(c_m)); f: the operation (*), layer normalisation, a transformer block with four heads, a
        residual, the mean over the slots. g_m: linear, ReLU, linear; g: a learned vector, then the same.
    Shape: (B, D) in, (B, width) out.
    Source: Faye et al., Context-Based Multimodal Fusion, equations 1 to 6 and section IV.A. The slots are ours.
    Use when: unrelated pretrained encoders are to share a space, pairs are few, and there is no graphics card.
    Not when: pairs are a few thousand: ``cca`` and ``procrustes`` found more (docs/alignment.md), without an epoch.

    Example:
        >>> stage = ContextFusion(operation="dot", width=32)
        >>> stage.network({"text": 384, "image": 1280}).out_dim
        32
    """

    operation: Literal["add", "multiply", "concat", "dot", "general", "additive"] = "add"
    slots: Annotated[int, Within(1, 1000)] | None = None
    dropout: Part = 0.1

    def __post_init__(self) -> None:
        """Refuse operations that there are not, and widths that cannot be shared by the heads."""
        super().__post_init__()
        where = f"alignment {self.name()}"
        if self.width % HEADS:
            raise ConfigError(f"{where}: width {self.width} must be a multiple of {HEADS}, the number of heads")
        least = 2 if self.operation in ATTENDING else 1
        if self.slots is not None and self.slots < least:
            raise ConfigError(
                f"{where}: slots {self.slots}: '{self.operation}' needs at least {least}; over one slot attention ignores "
                "the context"
            )

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """Projections, contexts and the encoder that they share."""
        self.pairs_of(list(dims))
        return _Contexts(dims, self)


class _Contexts(FrozenNetwork):
    def __init__(self, dims: Mapping[str, int], stage: ContextFusion) -> None:
        width = stage.width
        super().__init__(dims, width, stage.input_dropout)
        self.slots = stage.slots or (_ATTENTION_SLOTS if stage.operation in ATTENDING else 1)
        self.temperature = Temperature(stage.temperature, learned=True)
        self.projections = nn.ModuleDict({self.key[n]: head(d, width, self.slots * width) for n, d in dims.items()})
        self.contexts = Context(len(dims), width)
        self.encoder = DeepFusionEncoder(stage.operation, width, stage.dropout)

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        key = self.key[name]
        x = self.projections[key](self.noisy(name, batch)).unflatten(1, (self.slots, self.out_dim))
        out: Tensor = self.encoder(x, self.contexts(int(key)))
        return out


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
        result: Tensor = (x @ context) * x.shape[-1] ** -0.5
        return result

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
        result: Tensor = self.score((self.query(context) + self.key(x)).tanh())
        return result[..., 0]


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
