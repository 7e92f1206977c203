"""Text, images and sound through models of a hub: one vector per cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Within
from plait.base.encoder import Cut
from plait.base.machine import autocast
from plait.base.tokens import Tokens
from plait.data.media.images import image
from plait.data.media.sounds import audio
from plait.encoders.hub_cut import TEXT, cut_network, given_words, layer_count, within
from plait.encoders.hub_files import PROCESSOR, TOKENIZER, WEIGHTS, Alternatives
from plait.encoders.hub_models import HubEncoder, HubNetwork
from plait.encoders.packages import filled
from plait.encoders.pixel_arrays import Pixels, by_processor, pixels_of
from plait.encoders.sound_frames import Heard, heard
from plait.encoders.syntax import cut

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

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """Token ids and their mask (n, L), padded to the longest of the batch."""
        words, (tokenizer, limit) = [cut(cell) for cell in cells], self._tokenizer
        result = tokenizer(words, padding=True, truncation=True, max_length=limit, return_tensors="np")
        return {key: np.asarray(value, dtype=np.int64) for key, value in result.items()}

    @cached_property
    def _tokenizer(self) -> tuple[Any, int]:
        """What cuts texts into tokens, and how many of them at most."""
        tokenizer = self.load("AutoTokenizer")
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:  # generating models have none
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        config = self.config()
        positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None) or _UNLIMITED
        value = tokenizer.model_max_length
        room = value if value < _UNLIMITED else max(1, positions - _RESERVED)
        return tokenizer, min(self.max_tokens, room, positions)


@dataclass(eq=False)
class PooledHubText(HubText):
    """Base of the encoders that pool a model's last layer.

    Attributes:
        pool: ``mean`` over the tokens, or the ``first`` token's state.
    """

    pool: Literal["mean", "first"] = "mean"

    def module(self) -> nn.Module:
        network: Any = self.network("AutoModel")
        if hasattr(network, "get_text_features"):
            return HubNetwork(network, partial(projected, kind="text"))
        inner = network.get_encoder() if network.config.is_encoder_decoder else network
        return HubNetwork(inner, partial(pooled_text, pool=self.pool))

    @property
    def tunable(self) -> int:  # type: ignore[override]  # of the model, not of the class
        """Layers that can be tuned: of models built as BERT is."""
        return layer_count(self.settings(), TEXT)

    def cut(self, layers: int) -> Cut:
        self.check_cut(layers)
        return cut_network(self.module, within, layers, given_words)

    @property
    def dim(self) -> int:
        return self.width("text")


def pooled_text(network: Any, batch: Mapping[str, Tensor], pool: str) -> Tensor:
    """The last layer of a transformers text model, pooled by ``mean`` or ``first``."""
    with autocast(batch["attention_mask"].device):
        hidden = network(**batch).last_hidden_state
    tokens = Tokens(hidden.float(), batch["attention_mask"].bool())  # (B, L, D)
    return tokens.x[:, 0] if pool == "first" else tokens.pooled()


def projected(
    network: Any,
    batch: Mapping[str, Tensor],
    kind: str,
    given: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> Tensor:
    """One side of a model that projects several kinds into one space.

    The network has ``get_text_features`` or the like for the kind, or gives ``text_embeds`` or the like of its one side;
    ``given``: a prepared batch -> its inputs by name.
    """
    inputs = given(batch)
    features = getattr(network, f"get_{kind}_features", None)
    with autocast(next(iter(inputs.values())).device):
        result = getattr(network(**inputs), f"{kind}_embeds") if features is None else features(**inputs)
    return cast(Tensor, getattr(result, "pooler_output", result)).float()  # an output object in transformers 5


@dataclass(eq=False)
class HubImage(HubEncoder):
    """Base of the image encoders from a hub. Pictures are prepared as the model's processor says."""

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    needs: ClassVar[Sequence[Alternatives]] = (("config.json",), WEIGHTS, PROCESSOR)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, H, W, 3); of a model with unusual steps ``values`` float32 (n, 3, H, W)."""
        processor, pixels = self._steps
        if pixels is not None:
            return {"pixels": pixels.batch(cells)}
        return {"values": by_processor(processor, [image(cell) for cell in cells])}

    def normaliser(self) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """What turns a prepared batch into the network's input (B, 3, H, W)."""
        _, pixels = self._steps
        return lambda batch: (
            batch["values"] if pixels is None or "values" in batch else pixels.normalised(batch["pixels"])
        )

    def projected(self, network: Any) -> nn.Module:
        """The image side of a model that projects several kinds into one space."""
        values = self.normaliser()
        return HubNetwork(
            network, partial(projected, kind="image", given=lambda batch: {"pixel_values": values(batch)})
        )

    @cached_property
    def _steps(self) -> tuple[Any, Pixels | None]:
        processor = self.load("AutoImageProcessor", use_fast=False)
        return processor, pixels_of(processor)


def pooled_image(
    network: Any, batch: Mapping[str, Tensor], values: Callable[[Mapping[str, Tensor]], Tensor], pool: str
) -> Tensor:
    """The last layer of a transformers image model, pooled by ``first`` or ``mean``; a map (B, C, H, W) is averaged."""
    x = values(batch)  # (B, 3, H, W)
    with autocast(x.device):
        hidden: Tensor = network(pixel_values=x).last_hidden_state.float()
    if hidden.ndim == 4:
        return hidden.mean((2, 3))
    return hidden[:, 0] if pool == "first" else hidden.mean(1)


#: Shorter sounds are filled up with silence: the first convolutions need this much for one frame.
_SHORTEST = 0.1


@dataclass(eq=False)
class HubAudio(Heard, HubEncoder):
    """Base of the sound encoders from a hub.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.
    """

    batch_size: ClassVar[int] = 8
    needs: ClassVar[Sequence[Alternatives]] = (("config.json",), WEIGHTS, PROCESSOR)

    max_seconds: Annotated[float, Within(_SHORTEST, 600)] = 30.0

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``values`` (n, L) samples or (n, L, F) frames, ``length`` (n, 1), ``share`` (n, 1) that is sound."""
        features, shares = zip(*(self._features(cell) for cell in cells), strict=True)
        values, length = filled(features, np.float32, features[0].shape[1:])
        return {"values": values, "length": length.astype(np.int64), "share": np.array(shares, np.float32)[:, None]}

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Milliseconds (n,) that are heard: some models take in less than ``max_seconds``."""
        limit = getattr(self._extractor, "nb_max_samples", math.inf) / int(self._extractor.sampling_rate)
        if limit >= self.max_seconds:
            return super().lengths(cells)
        return heard(cells, limit, f"all that the model of the encoder '{self.name()}' takes in")

    @cached_property
    def _extractor(self) -> Any:
        return self.load("AutoFeatureExtractor")

    def _features(self, cell: Any) -> tuple[np.ndarray, float]:
        """What the model's extractor makes of one sound, and which part of it is not filled up."""
        rate = int(self._extractor.sampling_rate)
        wave = audio(cell, rate, self.max_seconds)
        wave = wave[: getattr(self._extractor, "nb_max_samples", None)]  # CLAP's would take a part at random
        wave = np.pad(wave, (0, max(0, round(_SHORTEST * rate) - len(wave))))
        result = self._extractor(wave, sampling_rate=rate, return_attention_mask=True, return_tensors="np")
        values = np.asarray(result[self._extractor.model_input_names[0]][0], dtype=np.float32)
        mask = result.get("attention_mask")
        filled = 1.0 if mask is None or values.ndim == 1 else float(np.asarray(mask[0]).mean())
        return values, filled

    def module(self) -> nn.Module:
        network: Any = self.network("AutoModel")
        if hasattr(network, "get_audio_features"):
            given = partial(projected, kind="audio", given=lambda batch: {"input_features": batch["values"]})
            return HubNetwork(network, given)
        inner = network.get_encoder() if network.config.is_encoder_decoder else network
        return HubNetwork(inner, partial(pooled_audio, name=str(network.main_input_name)))

    @property
    def dim(self) -> int:
        return self.width("audio")


def pooled_audio(network: Any, batch: Mapping[str, Tensor], name: str) -> Tensor:
    """The last layer of a transformers sound model, averaged over time; ``name`` is what it calls its input.

    Cells of equal length go together and nothing is ever padded: wav2vec 2.0 normalises over time, so padding would
    make a cell's features depend on the batch it happens to be in.
    """
    lengths, result = batch["length"][:, 0], dict[int, Tensor]()
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        values, share = batch["values"][rows, :length], batch["share"][rows, 0]
        with autocast(values.device):
            hidden = network(**{name: values}).last_hidden_state.float()  # (B, T, D)
        heard = (share * hidden.shape[1]).ceil().clamp_min(1.0)  # (B,)
        mask = torch.arange(hidden.shape[1], device=hidden.device) < heard[:, None]  # (B, T)
        result |= dict(zip(rows.tolist(), Tokens(hidden, mask).pooled(), strict=True))
    return torch.stack([result[row] for row in range(len(lengths))])
