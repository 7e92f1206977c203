"""Images through a transformers model: one vector per cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from plait.base.precision import autocast
from plait.base.tokens import Tokens
from plait.data.media.images import image
from plait.encoders._hub import HubEncoder, projected
from plait.encoders._hub_pixels import Pixels, by_processor, pixels_of
from plait.encoders.hub_files import WEIGHTS, Alternatives


@dataclass(eq=False)
class HubImage(HubEncoder):
    """Base of the image encoders from a hub. Pictures are prepared as the model's processor says."""

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    needs: ClassVar[Sequence[Alternatives]] = (
        ("config.json",),
        WEIGHTS,
        ("preprocessor_config.json", "processor_config.json"),
    )

    def __post_init__(self) -> None:
        """Nothing is loaded yet."""
        super().__post_init__()
        self._processor: Any = None
        self._pixels: Pixels | None = None

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, H, W, 3); of a model with unusual steps ``values`` float32 (n, 3, H, W)."""
        self._steps()
        if self._pixels is not None:
            return {"pixels": self._pixels.batch(cells)}
        return {"values": by_processor(self._processor, [image(cell) for cell in cells])}

    def normaliser(self) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """What turns a prepared batch into the network's input (B, 3, H, W)."""
        self._steps()
        pixels = self._pixels
        return lambda batch: (
            batch["values"] if pixels is None or "values" in batch else pixels.normalised(batch["pixels"])
        )

    def _steps(self) -> None:
        if self._processor is None:
            self._processor = self.load("AutoImageProcessor", use_fast=False)
            self._pixels = pixels_of(self._processor)


class PooledImage(nn.Module):
    """A transformers image model, pooled."""

    def __init__(self, network: nn.Module, values: Callable[[Mapping[str, Tensor]], Tensor], pool: str) -> None:
        """``pool`` is ``first`` or ``mean``; a map (B, C, H, W) is always averaged."""
        super().__init__()
        self.network, self.values, self.pool = network, values, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        x = self.values(batch)  # (B, 3, H, W)
        with autocast(x.device):
            hidden = self.network(pixel_values=x).last_hidden_state.float()
        if hidden.ndim == 4:
            return Tokens.of_vectors(hidden.mean((2, 3)))
        return Tokens.of_vectors(hidden[:, 0] if self.pool == "first" else hidden.mean(1))


class ImageFeatures(nn.Module):
    """The image side of a model that projects several kinds into one space."""

    def __init__(self, network: Any, values: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        """``network`` has ``get_image_features``, or gives ``image_embeds``."""
        super().__init__()
        self.network, self.values = network, values

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        x = self.values(batch)  # (B, 3, H, W)
        with autocast(x.device):
            if hasattr(self.network, "get_image_features"):
                return Tokens.of_vectors(projected(self.network.get_image_features(pixel_values=x)))
            return Tokens.of_vectors(self.network(pixel_values=x).image_embeds.float())
