"""MiniLM beside syntax statistics: the default for code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from plait.base import registry
from plait.base.checks import Within
from plait.base.encoder import Cut, Encoder
from plait.base.tokens import Tokens
from plait.encoders import minilm_network, syntax
from plait.encoders.syntax import cut

_MAX_CHARACTERS = 20_000


@dataclass(eq=False)
class MiniLMCode(Encoder):
    """What the text encoder MiniLM reads in names and comments, beside lengths, layout, signs, keywords and syntax tree.

    Attributes:
        max_tokens: what is longer is cut before MiniLM reads it; the statistics see 20,000 characters.

    Formula: [MiniLM, of length one; statistics, each the logarithm of a count or a share].
    Shape: code in, (n, 1, 513) out.
    Source: see ``minilm``; the statistics are plait's own.
    Use when: cells are snippets with speaking names or comments.
    Not when: there is a graphics card: ``codebert`` was trained on code.
    """

    kinds: ClassVar[tuple[str, ...]] = ("code",)
    extra: ClassVar[str | None] = "text"
    licence: ClassVar[str] = "code Apache-2.0; weights Apache-2.0 (their package MIT)"
    frozen_weights: ClassVar[int | None] = 22_564_608
    batch_size: ClassVar[int] = 256
    batch_length: ClassVar[int | None] = 40_000
    arithmetic: ClassVar[int] = 3
    side_by_side: ClassVar[bool] = True
    tunable: ClassVar[int] = 6  # of the text encoder

    max_tokens: Annotated[int, Within(3, minilm_network.POSITIONS)] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self._text = cast(Encoder, registry.find("encoders", "minilm")(max_tokens=self.max_tokens))

    def lengths(self, cells: Sequence[str]) -> np.ndarray:
        return self._text.lengths(cells)

    def prepare(self, cells: Sequence[str]) -> dict[str, np.ndarray]:
        """What the text encoder needs, and ``statistics`` (n, 129)."""
        result = self._text.prepare(cells)
        return {**result, "statistics": np.stack([syntax.statistics(cut(cell, _MAX_CHARACTERS)) for cell in cells])}

    def module(self) -> nn.Module:
        return _Joined(self._text.module())

    def cut(self, layers: int) -> Cut:
        """That of the text encoder; the statistics pass as one more token in front."""
        text = self._text.cut(layers)
        return Cut(_Below(text.lower), _Above(text.upper), tuple(f"text.{name}" for name in text.targets))

    @property
    def dim(self) -> int:
        return self._text.dim + syntax.WIDTH

    def weights_id(self) -> str:
        return self._text.fingerprint()


class _Text(nn.Module):
    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text


class _Joined(_Text):
    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(torch.cat([self.text(batch).pooled(), batch["statistics"]], 1))


class _Below(_Text):
    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        tokens: Tokens = self.text(batch)
        value = nn.functional.pad(batch["statistics"], (0, tokens.dim - syntax.WIDTH))[:, None]  # (B, 1, D)
        there = torch.ones_like(tokens.mask[:, :1])
        return Tokens(torch.cat([value, tokens.x], 1), torch.cat([there, tokens.mask], 1))


class _Above(_Text):
    def forward(self, tokens: Tokens) -> Tokens:
        text: Tokens = self.text(Tokens(tokens.x[:, 1:], tokens.mask[:, 1:]))
        return Tokens.of_vectors(torch.cat([text.pooled(), tokens.x[:, 0, : syntax.WIDTH]], 1))
