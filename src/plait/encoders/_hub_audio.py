"""Sound through a transformers model, averaged over time: one vector per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.precision import autocast
from plait.base.tokens import Tokens
from plait.data.media.sounds import audio
from plait.encoders._hub import HubEncoder, width_of
from plait.encoders._sounds import milliseconds
from plait.encoders.hub_files import WEIGHTS, Alternatives

#: Shorter sounds are filled up with silence: the first convolutions need this much for one frame.
_SHORTEST = 0.1


@dataclass(eq=False)
class HubAudio(HubEncoder):
    """Base of the sound encoders from a hub.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    batch_size: ClassVar[int] = 8
    needs: ClassVar[Sequence[Alternatives]] = (
        ("config.json",),
        WEIGHTS,
        ("preprocessor_config.json", "processor_config.json"),
    )

    max_seconds: Annotated[float, Within(_SHORTEST, 600)] = 30.0

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        super().__post_init__()
        self._extractor: Any = None

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Milliseconds, from the headers; sounds that are cut are told of."""
        return milliseconds(self, cells, self.max_seconds)

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``values`` (n, L) samples or (n, L, F) frames, ``length`` (n, 1), ``share`` (n, 1) that is sound."""
        if self._extractor is None:
            self._extractor = self.load("AutoFeatureExtractor")
        result = [self._features(cell) for cell in cells]
        longest = max(len(values) for values, _ in result)
        values = np.zeros((len(result), longest, *result[0][0].shape[1:]), np.float32)
        for row, (features, _) in enumerate(result):
            values[row, : len(features)] = features
        length = np.array([[len(features)] for features, _ in result], dtype=np.int64)
        share = np.array([[part] for _, part in result], dtype=np.float32)
        return {"values": values, "length": length, "share": share}

    def _features(self, cell: Any) -> tuple[np.ndarray, float]:
        """What the model's extractor makes of one sound, and which part of it is not filled up."""
        rate = int(self._extractor.sampling_rate)
        wave = audio(cell, rate, self.max_seconds)
        wave = np.pad(wave, (0, max(0, round(_SHORTEST * rate) - len(wave))))
        result = self._extractor(wave, sampling_rate=rate, return_attention_mask=True, return_tensors="np")
        values = np.asarray(result[self._extractor.model_input_names[0]][0], dtype=np.float32)
        mask = result.get("attention_mask")
        filled = 1.0 if mask is None or values.ndim == 1 else float(np.asarray(mask[0]).mean())
        return values, filled

    def module(self) -> nn.Module:
        """The network and its pooling."""
        network: Any = self.network("AutoModel")
        name = str(network.main_input_name)
        return PooledAudio(network.get_encoder() if network.config.is_encoder_decoder else network, name)

    @property
    def dim(self) -> int:
        """Width of the model."""
        value = self.settings()  # read as it is first: importing transformers takes seconds
        return int(value["hidden_size"]) if isinstance(value.get("hidden_size"), int) else width_of(self.config())


class PooledAudio(nn.Module):
    """A transformers sound model, averaged over time.

    Cells of equal length go together and nothing is ever padded: wav2vec 2.0 normalises over time, so padding would
    make a cell's features depend on the batch it happens to be in.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        """``name`` is what the network calls its input."""
        super().__init__()
        self.network, self.input_name = network, name

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        lengths = batch["length"][:, 0]
        distinct = sorted(set(lengths.tolist()))
        groups = [(length, (lengths == length).nonzero()[:, 0]) for length in distinct]
        parts = [self._pooled(batch["values"][rows, :length], batch["share"][rows, 0]) for length, rows in groups]
        order = torch.cat([rows for _, rows in groups])
        return Tokens.of_vectors(torch.cat(parts)[order.argsort()])

    def _pooled(self, values: Tensor, share: Tensor) -> Tensor:
        with autocast(values.device):
            hidden = self.network(**{self.input_name: values}).last_hidden_state.float()  # (B, T, D)
        heard = (share * hidden.shape[1]).ceil().clamp_min(1.0)  # (B,)
        mask = torch.arange(hidden.shape[1], device=hidden.device) < heard[:, None]  # (B, T)
        return Tokens(hidden, mask).pooled()
