"""Any image model of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from torch import nn

from plait.base.encoder import Cut
from plait.encoders.hub_cut import IMAGE, cut_network, layer_count, within
from plait.encoders.hub_kinds import HubImage, pooled_image
from plait.encoders.hub_models import HubNetwork


@dataclass(eq=False)
class TransformersImage(HubImage):
    """Any image model of transformers, by hub name or folder: ViT, DINOv2, BEiT, Swin, ConvNeXt, ...

    Of CLIP and its kin the projected image features are taken.

    Attributes:
        pool: ``first`` (the class token), ``mean`` over all tokens, or ``auto``: the class token where there is one.

    Shape: images in, (n, 1, D) out; D is the model's width.
    Source: the model's card; the default is DINOv2 (Oquab et al. 2023, arXiv 2304.07193).
    Use when: small differences between pictures matter, or a model for your domain exists.
    Not when: the picture's subject is enough and time is short.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights: as the model's card says, Apache-2.0 for the default"

    model: str = "facebook/dinov2-small"
    pool: Literal["auto", "first", "mean"] = "auto"

    def module(self) -> nn.Module:
        network: Any = self.network("AutoModel")
        if hasattr(network, "get_image_features"):
            return self.projected(network)
        classed = any(name.endswith(("cls_token", "class_embedding")) for name, _ in network.named_parameters())
        pool = ("first" if classed else "mean") if self.pool == "auto" else self.pool
        return HubNetwork(network, partial(pooled_image, values=self.normaliser(), pool=pool))

    @property
    def tunable(self) -> int:  # type: ignore[override]  # of the model, not of the class
        """Layers that can be tuned: of vision transformers."""
        return layer_count(self.settings(), IMAGE)

    def cut(self, layers: int) -> Cut:
        self.check_cut(layers)
        return cut_network(self.module, within, layers, lambda tokens: {"values": tokens.x})

    @property
    def dim(self) -> int:
        return self.width("vision")
