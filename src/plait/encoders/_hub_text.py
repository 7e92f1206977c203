"""Text through a transformers model: one vector per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
from torch import Tensor, nn

from plait.base.checks import Count
from plait.base.encoder import Cut
from plait.base.precision import autocast
from plait.base.tokens import Tokens
from plait.encoders._hub import HubEncoder, by_length, projected, texts, width_of
from plait.encoders._hub_cut import TEXT, cut_network, given_words, layer_count, within
from plait.encoders.hub_files import TOKENIZER, WEIGHTS, Alternatives

#: Positions that RoBERTa and its kin reserve; of a model that states no limit they are left free.
_RESERVED = 2
_UNLIMITED = 10**6


@dataclass(eq=False)
class HubText(HubEncoder):
    """Base of the text encoders from a hub.

    Attributes:
        max_tokens: longer cells are cut; never more than the model has positions.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "code")
    arithmetic: ClassVar[int] = 2
    needs: ClassVar[Sequence[Alternatives]] = (("config.json",), WEIGHTS, TOKENIZER)

    max_tokens: Count = 512

    def __post_init__(self) -> None:
        """Refuse what no model takes."""
        super().__post_init__()
        self._tokenizer: Any = None
        self._limit = 0

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """Token ids and their mask (n, L), padded to the longest of the batch."""
        words = texts(cells)
        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer()
        result = self._tokenizer(words, padding=True, truncation=True, max_length=self._limit, return_tensors="np")
        return {key: np.asarray(value, dtype=np.int64) for key, value in result.items()}

    def _load_tokenizer(self) -> Any:
        tokenizer = self.load("AutoTokenizer")
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:  # generating models have none
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        config = self.config()
        positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None) or _UNLIMITED
        value = tokenizer.model_max_length
        self._limit = min(self.max_tokens, value if value < _UNLIMITED else max(1, positions - _RESERVED), positions)
        return tokenizer


@dataclass(eq=False)
class PooledHubText(HubText):
    """Base of the encoders that pool a model's last layer.

    Attributes:
        pool: ``mean`` over the tokens, or the ``first`` token's state.
    """

    pool: Literal["mean", "first"] = "mean"

    def module(self) -> nn.Module:
        """The network and its pooling."""
        network: Any = self.network("AutoModel")
        if hasattr(network, "get_text_features"):
            return TextFeatures(network)
        return PooledText(network.get_encoder() if network.config.is_encoder_decoder else network, self.pool)

    @property
    def tunable(self) -> int:  # type: ignore[override]  # of the model, not of the class
        """Layers that can be tuned: of models built as BERT is."""
        return layer_count(self.settings(), TEXT)

    def cut(self, layers: int) -> Cut:
        """The model's last layers and the pooling are above."""
        self.check_cut(layers)
        return cut_network(self.module, within, layers, given_words)

    @property
    def dim(self) -> int:
        """Width of the model."""
        value = self.settings()  # read as it is first: importing transformers takes seconds
        if isinstance(value.get("hidden_size"), int) and "text_config" not in value:
            return int(value["hidden_size"])
        return width_of(self.config(), "text")


class PooledText(nn.Module):
    """A transformers text model, pooled over its tokens."""

    def __init__(self, network: nn.Module, pool: str) -> None:
        """``pool`` is ``mean`` or ``first``."""
        super().__init__()
        self.network, self.pool = network, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(by_length(batch, self._pooled))

    def _pooled(self, batch: Mapping[str, Tensor]) -> Tensor:
        with autocast(batch["attention_mask"].device):
            hidden = self.network(**batch).last_hidden_state
        tokens = Tokens(hidden.float(), batch["attention_mask"].bool())  # (B, L, D)
        return tokens.x[:, 0] if self.pool == "first" else tokens.pooled()


class TextFeatures(nn.Module):
    """The text side of a model that projects several kinds into one space."""

    def __init__(self, network: Any) -> None:
        """``network`` has ``get_text_features``, or gives ``text_embeds``."""
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(by_length(batch, self._features))

    def _features(self, batch: Mapping[str, Tensor]) -> Tensor:
        with autocast(batch["input_ids"].device):
            if hasattr(self.network, "get_text_features"):
                return projected(self.network.get_text_features(**batch))
            return cast(Tensor, self.network(**batch).text_embeds).float()
