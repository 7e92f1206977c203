"""Context-based fusion: one small encoder, shared by all frozen encoders, told apart by a context of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.alignment.learned import Shared
from plait.alignment.network import AlignmentNetwork, FrozenNetwork, Temperature, head
from plait.alignment.pairs import Batch
from plait.base.checks import Part, Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.networks.base import Dropout

#: Slots where none are given: two keep the block's attention alive at twice the cost of one.
_SLOTS, _ATTENDING_SLOTS = 2, 4
#: How much smaller a context begins that is added to every row: as large as the rows, it makes them alike, and soft targets,
#: whose least loss between rows that are alike is that of a guess, then keep them so for twenty epochs (docs/alignment.md).
_SMALL = 0.1


@dataclasses.dataclass(eq=False, kw_only=True)
class ContextFusion(Shared):
    """One deep fusion encoder for any number of frozen encoders; it alone is trained, with the projections in front of it.

    Attributes:
        operation: how context and embedding are joined: ``add``, ``multiply``, ``concat``, or cross-attention with the context
            as query and ``dot``, ``general`` or ``additive`` scores.
        tokens: the encoders' own tokens (words, patches) enter, where an encoder has them, in place of their mean.
        slots: tokens that the projection makes of one vector; None: two, and four for an operation that attends. Over a single
            one neither that nor the transformer block has anything to attend to.
        queries: of an operation that attends; None: as many as slots.
        dropout: in the transformer block.

    Formula: z = f(g_m(x) (*) g(c_m)); f: the operation (*), layer normalisation, a transformer block with four heads, a
        residual, of which the first token is read. g_m: linear, ReLU, linear; g: a learned vector, then linear, GELU, linear.
    Shape: (B, D) or tokens (B, T, D) in, (B, width) out.
    Source: Faye et al., Context-Based Multimodal Fusion, equations 1 to 6 and section IV.A. The slots are ours.
    Use when: unrelated pretrained encoders are to share a space, pairs are few, and there is no graphics card.
    Not when: pairs are a few thousand: ``cca`` and ``procrustes`` found more (docs/alignment.md), without an epoch.

    Example:
        >>> stage = ContextFusion(operation="dot", width=32)
        >>> stage.network({"text": 384, "image": 1280}).out_dim
        32
    """

    operation: Literal["add", "multiply", "concat", "dot", "general", "additive"] = "add"
    tokens: bool = False
    slots: Annotated[int, Within(1, 1000)] | None = None
    queries: Annotated[int, Within(1, 1000)] | None = None
    dropout: Part = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"alignment {self.name()}"
        if self.width % HEADS:
            raise ConfigError(f"{where}: width {self.width} must be a multiple of {HEADS}, the number of heads")
        least = 2 if self.operation in ATTENDING or self.queries is None else 1
        if self.slots is not None and self.slots < least:
            raise ConfigError(
                f"{where}: slots {self.slots}: at least {least}; over one slot attention ignores the context"
            )

    @classmethod
    def restored(cls, options: Mapping[str, object]) -> dict[str, Any]:
        """Options of a folder; before there were queries the block saw one token, of which it could learn nothing."""
        if "queries" in options:
            return dict(options)
        slots = options.get("slots") or (_ATTENDING_SLOTS if options.get("operation", "add") in ATTENDING else 1)
        return {**options, "slots": slots, "queries": 1}

    def takes(self, encoder: Encoder) -> str:
        """Words and patches of an encoder that has some below the mean that it gives, where they are asked for."""
        return "tokens" if self.tokens and encoder.tunable > 0 else "vectors"

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        return _Contexts(dims, self, dict.fromkeys(dims, "vectors"))

    def network_over(self, encoders: Mapping[str, Encoder], dims: Mapping[str, int]) -> AlignmentNetwork:
        """The same over the tokens of those encoders that have some; it reads the modalities whose encoders are given."""
        self.pairs_of(list(dims))
        return _Contexts(dims, self, {name: self.takes(encoder) for name, encoder in encoders.items()})


class _Contexts(FrozenNetwork):
    def __init__(self, dims: Mapping[str, int], stage: ContextFusion, takes: Mapping[str, str]) -> None:
        width, attends = stage.width, stage.operation in ATTENDING
        slots = stage.slots or (_ATTENDING_SLOTS if attends else _SLOTS)
        super().__init__(dims, stage.width, **stage.inputs_as())
        self.temperature = Temperature(stage.temperature, learned=True)
        self.slots = {name: 1 if taken == "tokens" else slots for name, taken in takes.items()}
        made = {self.key[n]: head(d, width, self.slots[n] * width) for n, d in dims.items() if n in takes}
        self.projections = nn.ModuleDict(made)
        queries = (stage.queries or slots) if attends else 1
        self.contexts = Context(len(dims), width, queries, _SMALL if stage.operation in ADDED else 1.0)
        self.encoder = DeepFusionEncoder(stage.operation, width, stage.dropout)

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        key, x, mask = self.key[name], self.noisy(name, batch), batch.get("mask")
        x = x if x.ndim == 3 else x[:, None]
        if mask is not None:  # the mean of the tokens stands in front of them: it is what is read
            x = torch.cat([self.noise(self.inputs(name, batch))[:, None], x], 1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        slots = self.projections[key](x).unflatten(2, (self.slots[name], self.out_dim)).flatten(1, 2)
        out: Tensor = self.encoder(slots, self.contexts(int(key)), mask)
        return self.from_start(name, batch, out)


#: Heads of the transformer block (Faye et al., section IV.A).
HEADS = 4


class Context(nn.Module):
    """Identifier -> learnable vector -> small network: g(c) of equation 1."""

    def __init__(self, count: int, width: int, queries: int = 1, size: float = 1.0) -> None:
        """One context per encoder, of so many vectors; ``size``: by what they are multiplied to begin with."""
        super().__init__()
        self.vectors = nn.Embedding(count, width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, queries * width))
        with torch.no_grad():
            for parameter in self.inner[2].parameters():
                parameter.mul_(size)

    def forward(self, identifier: int) -> Tensor:
        """(queries, width)."""
        out: Tensor = self.inner(self.vectors.weight[identifier])
        return out.view(-1, self.vectors.weight.shape[1])


class Elementwise(nn.Module):
    """Every token with the context: x + c, x * c, or both beside each other and back to the width by a linear map (ours)."""

    def __init__(self, operation: str, width: int) -> None:
        super().__init__()
        self.operation = operation
        if operation == "concat":  # begins as ``add``: drawn, it makes rows so alike that soft targets keep them so
            self.linear = nn.Linear(2 * width, width)
            with torch.no_grad():
                self.linear.weight.copy_(torch.eye(width).repeat(1, 2))
                self.linear.bias.zero_()

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and (1, D) -> (B, T, D)."""
        if self.operation == "concat":
            out: Tensor = self.linear(torch.cat([x, context.expand_as(x)], -1))
            return out
        return x * context if self.operation == "multiply" else x + context


class Attention(nn.Module):
    """Cross-attention with the context as queries and the tokens as keys and values (equation 2).

    Formula: softmax(s(q, k)) x; s is q k / sqrt D (``dot``), q W k / sqrt D (``general``, Luong et al. 2015), or
        w1 tanh(W2 q + W3 k) (``additive``, Bahdanau et al. 2015).
    """

    def __init__(self, operation: str, width: int) -> None:
        super().__init__()
        self.operation = operation
        if operation == "general":
            self.weight = nn.Linear(width, width, bias=False)
        elif operation == "additive":
            self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width)
            self.score = nn.Linear(width, 1, bias=False)

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, T, D) and (S, D) -> (B, S, T)."""
        if self.operation == "additive":
            hidden = self.query(context)[:, None] + self.key(x)[:, None]  # (B, S, T, D)
            result: Tensor = self.score(hidden.tanh())[..., 0]
            return result
        queries: Tensor = self.weight(context) if self.operation == "general" else context
        scaled: Tensor = (queries @ x.transpose(1, 2)) * x.shape[-1] ** -0.5
        return scaled

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (S, D) and which tokens are there (B, T) -> (B, S, D)."""
        scores = self.scores(x, context)
        scores = scores if mask is None else scores.masked_fill(~mask[:, None], -torch.inf)
        out: Tensor = scores.softmax(2) @ x
        return out


#: What the option ``operation`` of the stage may say.
OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    **{name: partial(Elementwise, name) for name in ("add", "multiply", "concat")},
    **{name: partial(Attention, name) for name in ("dot", "general", "additive")},
}
#: Of these, the ones that add the context to every row.
ADDED = ("add", "concat")
#: And those that attend: with one vector there is one score, its softmax is 1, and the context would not matter.
ATTENDING = ("dot", "general", "additive")


class TransformerBlock(nn.Module):
    """Self-attention and two linear maps, each of the normalised input and added to it."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D); ``mask`` (B, T): tokens that are there."""
        rows, tokens, width = x.shape
        q, k, v = (
            self.qkv(self.norm1(x)).view(rows, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, T, d)
        seen = None if mask is None else mask[:, None, None]
        attended = functional.scaled_dot_product_attention(q, k, v, seen)
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(rows, tokens, width)))
        out: Tensor = x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))
        return out


class DeepFusionEncoder(nn.Module):
    """f of equation 1: fusion with the context, layer normalisation, a transformer block, a residual; the first token is read.

    The mean over several slots is mostly the context, which all rows share: with soft targets all rows then stay alike.
    """

    def __init__(self, operation: str, width: int, dropout: float) -> None:
        super().__init__()
        self.fuse = OPERATIONS[operation](width)
        self.norm = nn.LayerNorm(width)
        self.block = TransformerBlock(width, dropout)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (S, D) and which tokens are there (B, T) -> (B, D)."""
        fused: Tensor = self.fuse(x, context, mask)
        out: Tensor = fused + self.block(self.norm(fused), None if isinstance(self.fuse, Attention) else mask)
        return out[:, 0]
