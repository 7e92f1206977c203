"""Context-based fusion: one small encoder, shared by all frozen encoders, told apart by a context of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from torch import Tensor, nn

from plait.alignment._context import ATTENDING, HEADS, Context, DeepFusionEncoder
from plait.alignment._network import AlignmentNetwork, FrozenNetwork, Temperature, head
from plait.alignment._pairs import Batch
from plait.alignment._shared import Shared
from plait.checks import Part, Within
from plait.errors import ConfigError

#: Slots of an operation that attends, where none are told.
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
    def __init__(self, dims: Mapping[str, int], told: ContextFusion) -> None:
        super().__init__(dims, told.input_dropout)
        self.width = told.width
        self.slots = told.slots or (_ATTENTION_SLOTS if told.operation in ATTENDING else 1)
        self.temperature = Temperature(told.temperature, learned=True)
        self.projections = nn.ModuleDict(
            {self.key[n]: head(d, told.width, self.slots * told.width) for n, d in self.dims.items()}
        )
        self.contexts = Context(len(self.dims), told.width)
        self.encoder = DeepFusionEncoder(told.operation, told.width, told.dropout)

    @property
    def out_dim(self) -> int:
        return self.width

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        key = self.key[name]
        x = self.projections[key](self.noisy(name, batch)).unflatten(1, (self.slots, self.width))
        out: Tensor = self.encoder(x, self.contexts(int(key)))
        return out
