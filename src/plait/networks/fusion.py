"""Own layers, fusion, joint layers, head."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from plait import registry
from plait.errors import ConfigError, nearest
from plait.networks._base import Network
from plait.networks._dropout import Dropout
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
        input_dropout: float = 0.0,
    ) -> None:
        """Build for modalities of the widths ``dims``."""
        super().__init__()
        own = depth_number(depth, layers)
        self.noise = Dropout(input_dropout)
        self.own = nn.ModuleDict()
        for name, dim in sorted(dims.items()):
            sizes = [dim] + [width] * own
            self.own[name] = nn.Sequential(*(block(a, b, dropout) for a, b in pairwise(sizes)))
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
        self.joint = nn.Sequential(*(block(a, b, dropout) for a, b in pairwise(sizes)))
        self.head = nn.Identity() if self.decision else nn.Linear(sizes[-1], out_dim)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim)."""
        tokens = {name: self.noise.on_tokens(tokens[name]) for name in self.own}
        if any(len(layers) for layers in self.own.values()):  # type: ignore[arg-type]  # Sequential has a length
            tokens = {name: self._alone(name, tokens[name]) for name in self.own}
        out: Tensor = self.head(self.joint(self.fusion(tokens)))
        return out

    def _alone(self, name: str, tokens: Tokens) -> Tokens:
        x = self.own[name](tokens.pooled())  # (B, width)
        if self.decision:
            x = self.heads[name](x)
        return Tokens.of_vectors(x, tokens.present)
