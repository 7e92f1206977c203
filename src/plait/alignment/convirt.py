"""ConVIRT: the encoders themselves are trained, each with a head; what context-based fusion is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from plait.alignment.learned import Shared
from plait.alignment.network import AlignmentNetwork, Temperature, head
from plait.alignment.pairs import Batch
from plait.base.checks import MOST, Count, Part, Positive, Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens


@dataclasses.dataclass(eq=False, kw_only=True)
class ConVirt(Shared):
    """Every encoder learns, from where its pretrained weights begin; with the same losses as ``context`` and ``plain_heads``.

    Formula: z = W2 relu(W1 f(x)), f the encoder, trained with the heads.
    Shape: what encoders prepare in, (B, width) out.
    Source: Zhang et al. 2022, Contrastive Learning of Medical Visual Representations from Paired Images and Text,
        arXiv 2010.00747; here with the loss that is asked for, so that stages differ in nothing else.
    Use when: pairs are many, and a graphics card is there: this is the costly baseline of the frozen stages.
    Not when: you want it in seconds: each step runs all encoders forth and back. The folder holds their weights.

    Example:
        >>> ConVirt(width=32).network({"text": 384, "image": 1280}).out_dim
        32
    """

    frozen = False

    epochs: Count = 10
    batch_size: Annotated[int, Within(2, MOST)] | None = 32
    learning_rate: Positive | None = 1e-4
    rows_at_once: Count = 32
    input_dropout: Part = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init != "random":
            raise ConfigError(f"alignment {self.name()}: init: {self.init} needs frozen encoders; leave it out")

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        return _Trained(dims, self, {})

    def network_over(self, encoders: Mapping[str, Encoder], dims: Mapping[str, int]) -> AlignmentNetwork:
        widths = {**dims, **{name: encoder.dim for name, encoder in encoders.items()}}
        return _Trained(widths, self, {name: encoder.module() for name, encoder in encoders.items()})


class _Trained(AlignmentNetwork):
    def __init__(self, dims: Mapping[str, int], stage: ConVirt, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(dims, stage.width)
        self.temperature = Temperature(stage.temperature, learned=True)
        # In float32 whatever they compute in when frozen: steps of 1e-4 are lost in bfloat16.
        self.encoders = nn.ModuleDict({self.key[n]: m.float().requires_grad_(True) for n, m in modules.items()})
        self.heads = nn.ModuleDict({self.key[n]: head(d, stage.width, stage.width) for n, d in dims.items()})

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        out: Tensor = self.heads[self.key[name]](self.inputs(name, batch))
        return out

    @torch.no_grad()
    def features(self, name: str, batch: Batch) -> Tensor:
        return self.inputs(name, batch)

    def inputs(self, name: str, batch: Batch) -> Tensor:
        key = self.key[name]
        if key not in self.encoders:
            return batch["x"]
        tokens: Tokens = self.encoders[key](batch)
        return tokens.pooled().float()
