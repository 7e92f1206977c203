"""The contract of every fusion operator: the modalities' Tokens in, one vector per row out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from plait.tokens import Tokens


class Fusion(nn.Module, ABC):
    """Joins modalities.

    Promises, held by ``plait.testing.check_fusion``: what an absent modality holds never matters, other rows never matter,
    the order of the dict and padding never matter, all absent is finite, every parameter gets a gradient.
    """

    #: ``feature``: joins features; ``decision``: joins the outputs of one head per modality.
    level: ClassVar[str] = "feature"
    #: Every modality must have the same width.
    equal_widths: ClassVar[bool] = False

    def __init__(self, dims: Mapping[str, int]) -> None:
        """Build for modalities of these widths."""
        super().__init__()
        self.names = sorted(dims)
        self.dims = {name: dims[name] for name in self.names}

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Width of what comes out."""

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim)."""

    @classmethod
    def facts(cls) -> dict[str, str]:
        """What ``plait list fusion`` shows beside name and summary."""
        return {"level": cls.level, "widths": "equal" if cls.equal_widths else "any"}
