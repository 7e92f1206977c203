"""The text side of CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from plait.base.checks import Count
from plait.encoders.hub_kinds import HubText, projected
from plait.encoders.hub_models import HubNetwork


@dataclass(eq=False)
class ClipText(HubText):
    """CLIP's text side (ViT-B/32): one vector in the space that images are projected into too.

    Only the text side is loaded. Cells are cut after 77 tokens. Vectors keep their length; their cosine is what CLIP
    was trained for.

    Shape: text in, (n, 1, 512) out.
    Source: Radford et al. 2021, Learning Transferable Visual Models, arXiv 2103.00020, section 2.3.
    Use when: short texts say what could be seen in a picture.
    Not when: texts are long, or about nothing visible.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    licence: ClassVar[str] = "Apache-2.0 (code); weights MIT (github.com/openai/CLIP)"

    model: str = "openai/clip-vit-base-patch32"
    max_tokens: Count = 77

    def module(self) -> nn.Module:
        side = self.network("CLIPTextModelWithProjection", projection_dim=self.dim)
        return HubNetwork(side, partial(projected, kind="text"))

    @property
    def dim(self) -> int:
        return self.width("text", "projection_dim")
