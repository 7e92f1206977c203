"""MAG: one modality moved by the others, and never by more than its own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from plait.base.checks import Part, Within
from plait.base.errors import ConfigError, nearest
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class MAG(Fusion):
    """The multimodal adaptation gate: a target modality is shifted by what the others say, gated and held in length.

    Formula: g_m = relu(W_m [x_t ; x_m] + b_m), h = sum over present m of g_m * (U_m x_m) + c,
    a = min(|x_t| / |h| * scale, 1), z = Dropout(RMSNorm(x_t + a h)); where the target is absent x_t is zero and a is 1.
    Shape: tokens (B, T, D_m) each; out (B, D of the target).
    Source: Rahman et al. 2020, Integrating Multimodal Information in Large Pretrained Transformers, arXiv 1908.05787, equations 3
    to 8; there within a transformer and word by word, here on the vector that a frozen one gives.
    The norm keeps what all features have in common, which theirs (LayerNorm) takes away.
    Use when: one modality carries most, as text does in sentiment, and the others correct it.
    Not when: the target may be absent at prediction, or no modality leads.

    Example:
        >>> fusion = MAG({"text": 4, "audio": 3}, target="text")
        >>> fusion({"text": Tokens.of_vectors(torch.rand(2, 4)), "audio": Tokens.of_vectors(torch.rand(2, 3))}).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        target: str | None = None,
        scale: Annotated[float, Within(0, 100, above=True)] = 1.0,
        dropout: Part = 0.0,
        level: str | None = None,
    ) -> None:
        """Build for modalities of these widths; ``target``: which one is moved; None takes ``text``, or the widest."""
        super().__init__(dims, level=level)
        if target is not None and target not in self.names:
            raise ConfigError(f"fusion 'mag': target '{target}': {nearest(target, self.names)}")
        widest = max(self.names, key=lambda name: self.dims[name])
        self.target = target or ("text" if "text" in self.names else widest)
        self.scale, wide = scale, self.dims[self.target]
        others = {name: dim for name, dim in self.dims.items() if name != self.target}
        self.gates = nn.ModuleDict({name: nn.Linear(wide + dim, wide) for name, dim in others.items()})
        self.maps = nn.ModuleDict({name: nn.Linear(dim, wide) for name, dim in others.items()})
        self.norm, self.dropout = nn.RMSNorm(wide), nn.Dropout(dropout)

    @property
    def out_dim(self) -> int:
        return self.dims[self.target]

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x = tokens[self.target].pooled()  # (B, D)
        shift = torch.zeros_like(x)
        for name in self.maps:
            other = tokens[name].pooled()
            gate = self.gates[name](torch.cat([x, other], 1)).relu()
            shift = shift + (gate * self.maps[name](other)).masked_fill(~tokens[name].present[:, None], 0.0)
        length = (x.square().sum(1) + 1e-12).sqrt() / (shift.square().sum(1) + 1e-12).sqrt()
        held = (length * self.scale).clamp_max(1.0).masked_fill(~tokens[self.target].present, 1.0)
        result: Tensor = self.dropout(self.norm(x + held[:, None] * shift))
        return result
