"""The image side of CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from plait.encoders.hub_kinds import HubImage


@dataclass(eq=False)
class ClipImage(HubImage):
    """CLIP's image side (ViT-B/32): one vector in the space that texts are projected into too.

    Only the image side is loaded. Vectors keep their length; their cosine is what CLIP was trained for.

    Shape: images in, (n, 1, 512) out.
    Source: Radford et al. 2021, Learning Transferable Visual Models, arXiv 2103.00020, section 2.3.
    Use when: pictures are of things that people write about.
    Not when: only fine texture tells the classes apart.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights MIT (github.com/openai/CLIP)"

    model: str = "openai/clip-vit-base-patch32"

    def module(self) -> nn.Module:
        side = self.network("CLIPVisionModelWithProjection", projection_dim=self.dim)
        return self.projected(side)

    @property
    def dim(self) -> int:
        return self.width("vision", "projection_dim")
