"""An encoder that can be tuned and costs nothing: letters to vectors, two layers over them, the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Cut, Encoder
from plait.base.errors import CellError
from plait.base.tokens import Tokens

WIDTH, LAYERS = 16, 3


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.letters = nn.Embedding(128, WIDTH)
            self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(above(self.layers, below(self, batch, LAYERS)).pooled())


def below(network: Network, batch: Mapping[str, Tensor], count: int) -> Tokens:
    mask = torch.arange(batch["ids"].shape[1]) < batch["length"][:, :1]
    x = network.letters(batch["ids"].long())
    for layer in list(network.layers)[: LAYERS - count]:
        x = layer(x).tanh()
    return Tokens(x, mask)


def above(layers: Sequence[nn.Module] | nn.ModuleList, tokens: Tokens) -> Tokens:
    x = tokens.x
    for layer in layers:
        x = layer(x).tanh()
    return Tokens(x, tokens.mask)


class Lower(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.network, self.count = Network(), count

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        Tiny.computed += len(batch["ids"])
        return below(self.network, batch, self.count)


class Upper(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = Network().layers[LAYERS - count :]

    def forward(self, tokens: Tokens) -> Tokens:
        return Tokens.of_vectors(above(self.layers, tokens).pooled())


@dataclass(eq=False)
class Tiny(Encoder):
    """Letters, two layers, the mean."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    tunable: ClassVar[int] = LAYERS
    #: Cells that went through the lower layers.
    computed: ClassVar[int] = 0

    @classmethod
    def name(cls) -> str:
        return "tiny"

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        if any("\0" in cell for cell in cells):
            raise CellError("a zero")
        length = np.array([[len(cell)] for cell in cells], np.int32)
        ids = np.zeros((len(cells), int(length.max(initial=1))), np.int32)
        for row, cell in enumerate(cells):
            ids[row, : len(cell)] = [ord(letter) % 128 for letter in cell]
        return {"ids": ids, "length": length}

    def module(self) -> nn.Module:
        return Network().eval().requires_grad_(False)

    def cut(self, layers: int) -> Cut:
        upper = Upper(layers).eval().requires_grad_(False)
        return Cut(Lower(layers).eval().requires_grad_(False), upper, tuple(f"layers.{i}" for i in range(layers)))

    @property
    def dim(self) -> int:
        return WIDTH
