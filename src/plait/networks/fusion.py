"""Own layers, fusion, joint layers, head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait import registry
from plait.errors import ConfigError, nearest
from plait.networks._base import Network
from plait.tokens import Tokens

DEPTHS = ("early", "middle", "late", "decision")


def depth_number(depth: str | int, layers: int) -> int:
    """How many of the ``layers`` blocks run before the modalities are joined.

    Example:
        >>> [depth_number(word, 2) for word in ("early", "middle", "late")]
        [0, 1, 2]
    """
    words = {"early": 0, "middle": layers // 2, "late": layers, "decision": layers}
    if isinstance(depth, str):
        if depth not in words:
            raise ConfigError(f"unknown depth '{depth}': {nearest(depth, DEPTHS)}, or a number from 0 to {layers}")
        return words[depth]
    if isinstance(depth, bool) or not 0 <= depth <= layers:
        raise ConfigError(f"depth {depth}: the network has {layers} layers; expected 0 to {layers} or a name")
    return depth


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that networks trained side by side stay reproducible."""

    def __init__(self, chance: float) -> None:
        """Drop each unit with ``chance``; the training loop sets ``generator``."""
        super().__init__()
        self.chance = chance
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, scaled so that the mean stays."""
        if not self.training or self.chance <= 0:
            return x
        # One random byte per unit, drawn eight at a time: twenty times faster on a CPU than nn.Dropout.
        limit = round(self.chance * 256)
        drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= limit
        return x * (kept.to(x.device) * (256 / (256 - limit)))


def block(inputs: int, width: int, dropout: float) -> nn.Sequential:
    """Linear, batch normalisation, ReLU, dropout (Wernlein et al., section 3.1; the dropout is ours)."""
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), Dropout(dropout))


class FusionNetwork(Network):
    """Each modality runs ``depth`` blocks alone, the fusion joins them, the remaining blocks run jointly, then the head.

    With ``depth="early"``, ``fusion="concat"`` and two layers it is the classifier of the paper.

    Shape: tokens (B, T, D_m) each; out (B, out_dim).

    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.1.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        *,
        fusion: str = "concat",
        depth: str | int = "early",
        layers: int = 2,
        width: int = 128,
        dropout: float = 0.3,
    ) -> None:
        """Build for modalities of the widths ``dims``."""
        super().__init__()
        own = depth_number(depth, layers)
        self.own = nn.ModuleDict()
        for name, dim in sorted(dims.items()):
            sizes = [dim] + [width] * own
            self.own[name] = nn.Sequential(*(block(a, b, dropout) for a, b in zip(sizes, sizes[1:], strict=False)))
        self.decision = depth == "decision"
        joined = {name: (width if own else dim) for name, dim in dims.items()}
        if self.decision:
            self.heads = nn.ModuleDict({name: nn.Linear(joined[name], out_dim) for name in sorted(joined)})
            joined = dict.fromkeys(joined, out_dim)
        operator = registry.find("fusion", fusion)
        if self.decision and fusion == "concat":
            raise ConfigError("depth 'decision' joins outputs of equal meaning; use fusion 'mean', not 'concat'")
        self.fusion = operator(joined)
        sizes = [self.fusion.out_dim] + [width] * (layers - own)
        self.joint = nn.Sequential(*(block(a, b, dropout) for a, b in zip(sizes, sizes[1:], strict=False)))
        self.head = nn.Identity() if self.decision else nn.Linear(sizes[-1], out_dim)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim)."""
        if any(len(layers) for layers in self.own.values()):  # type: ignore[arg-type]  # Sequential has a length
            tokens = {name: self._alone(name, tokens[name]) for name in self.own}
        out: Tensor = self.head(self.joint(self.fusion(tokens)))
        return out

    def _alone(self, name: str, tokens: Tokens) -> Tokens:
        x = self.own[name](tokens.pooled())  # (B, width)
        if self.decision:
            x = self.heads[name](x)
        return Tokens.of_vectors(x, tokens.present)
