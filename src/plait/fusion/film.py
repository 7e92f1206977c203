"""Feature-wise linear modulation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.base.errors import ConfigError, nearest
from plait.base.fusion import Fusion
from plait.base.tokens import Tokens


class Film(Fusion):
    """One modality scaled and shifted, feature by feature, by the others (FiLM); in turn each, or one ``target``.

    Formula: f_m = (1 + G_m y_m) * x_m + B_m y_m, y_m = [x_k : k != m], 0 where absent; z = mean over present m of f_m, or
    f_target.
    Shape: tokens (B, T, D) each, equal D; out (B, D).
    Source: Perez et al. 2018, FiLM, section 2, with a scale around 1; the mean over both directions is ours.
    Use when: one modality says how to read the other (a question and a picture: ``target: image``).
    Not when: the target is often absent: all that is left then is the shift.

    Example:
        >>> fusion = Film({"a": 4, "b": 4}, target="a")
        >>> sum(p.numel() for p in fusion.parameters())  # scale and shift from four features: 4 * 8
        32
    """

    equal_widths = True

    def __init__(self, dims: Mapping[str, int], *, target: str | None = None, level: str | None = None) -> None:
        """Build; ``target`` is the modality that is modulated, None takes each in turn."""
        super().__init__(dims, level=level)
        if target is not None and target not in self.names:
            raise ConfigError(f"fusion 'film': unknown target '{target}': {nearest(str(target), self.names)}")
        self.target = target
        self.targets = self.names if target is None else [target]
        others = len(self.names) - 1
        modulated = self.targets if others else []  # a single modality has nobody to modulate it
        self.maps = nn.ModuleDict(
            {name: nn.Linear(others * self.width, 2 * self.width, bias=False) for name in modulated}
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, present = self.pooled(tokens)  # (B, M, D)
        result = [self._modulated(x, place) for place, name in enumerate(self.names) if name in self.targets]
        if self.target is not None:
            return result[0]
        weight = present[:, :, None].to(x.dtype)  # (B, M, 1)
        return (torch.stack(result, 1) * weight).sum(1) / weight.sum(1).clamp_min(1.0)

    def _modulated(self, x: Tensor, place: int) -> Tensor:
        if len(self.names) == 1:
            return x[:, 0]
        others = torch.cat([x[:, :place], x[:, place + 1 :]], 1).flatten(1)
        scale, shift = self.maps[self.names[place]](others).chunk(2, dim=1)
        out: Tensor = (1 + scale) * x[:, place] + shift
        return out
