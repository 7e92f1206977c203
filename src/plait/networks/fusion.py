"""Own layers, fusion, joint layers, head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from plait.base.fusion import resolve
from plait.base.tokens import Tokens, tracing
from plait.fusion.concat import Concat
from plait.networks.base import Block, Linear, Network, depth_number


def blocks(inputs: int, width: int, count: int, dropout: float) -> list[nn.Module]:
    """So many blocks one after another."""
    return [Block(a, b, dropout) for a, b in pairwise([inputs] + [width] * count)]


class FusionNetwork(Network):
    """Each modality runs ``depth`` blocks alone, the fusion joins them, the remaining blocks run jointly, then the head.

    With ``depth="early"``, ``fusion="concat"`` and two layers it is the classifier of the paper. Own blocks see what is
    present and nothing else. An operator that needs equal widths gets, before the first block, a linear map of each
    modality to ``width``. One that only adds up what each modality gives (``interacts`` is False) is followed by at least
    one joint block: without it ``late`` would be no more than ``decision``, a sum of single opinions.

    Formula: out = head(joint(fusion(own_1(x_1), ..., own_M(x_M)))), each own and joint part a chain of blocks.

    Shape: tokens (B, T, D_m) each; out (B, out_dim).

    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.1; at depth ``late`` Task-specific pre-trained
    encoders in late fusion, section 6.1.2 (a linear layer on the joined embeddings, then the classifier).

    Use when: what one modality says depends on another.

    Not when: there are fewer rows than features: the ``linear`` network overfits less.

    Example:
        >>> import torch
        >>> network = FusionNetwork({"text": 3, "image": 5}, 2, depth="late", fusion="mean", width=4)
        >>> tokens = {"text": Tokens.of_vectors(torch.rand(2, 3)), "image": Tokens.of_vectors(torch.rand(2, 5))}
        >>> network(tokens).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        *,
        fusion: str | Mapping[str, Any] = "concat",
        depth: str | int = "early",
        layers: int = 2,
        width: int = 128,
        dropout: float = 0.3,
    ) -> None:
        """Build for modalities of the widths ``dims``; ``fusion`` is a name or ``{name: ..., absence: ..., option: ...}``."""
        super().__init__()
        own = depth_number(depth, layers)
        operator, options, self.absence = resolve(fusion)
        decision, several = depth == "decision", len(dims) > 1
        mapped = operator.equal_widths and not own and several
        self.own = nn.ModuleDict()
        joined = {}
        for name, dim in sorted(dims.items()):
            parts = blocks(dim, width, own, dropout)
            joined[name] = width if own or mapped else dim
            if decision:
                parts.append(nn.Linear(width if own else dim, out_dim))
                joined[name] = out_dim
            elif mapped:
                parts.append(Linear(dim, width))
            self.own[name] = nn.Sequential(*parts)
        self.fusion = operator(joined, level="decision" if decision else "feature", **options)
        after = layers - own if decision or operator.interacts or not several else max(1, layers - own)
        self.joint = nn.Sequential(*blocks(self.fusion.out_dim, width, after, dropout))
        self.head = nn.Identity() if decision else nn.Linear(width if after else self.fusion.out_dim, out_dim)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        out: Tensor = self.head(self.joint(self.fusion(self.alone(tokens))))
        return out

    def entries(self) -> Sequence[Linear] | None:
        """The first map of each modality's own layers, or of the joint ones behind a concatenation."""
        firsts = [_first(own) for own in self.own.values()]
        if not any(firsts) and isinstance(self.fusion, Concat):
            firsts = [_first(self.joint)]
        return [one for one in firsts if one is not None] if all(firsts) else None

    def alone(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """What enters the fusion: each modality after its own layers."""
        result = {name: self._own(name, tokens[name]) for name in self.own}
        return {name: t.with_zeros() for name, t in result.items()} if self.absence == "zeros" else result

    def _own(self, name: str, tokens: Tokens) -> Tokens:
        layers = self.own[name]
        if not len(layers):  # type: ignore[arg-type]  # Sequential has a length
            return tokens
        if not self.fusion.sequences:
            tokens = Tokens.of_vectors(tokens.pooled(), tokens.present)
        if tracing():  # plait export: which rows are there is not known yet, so all are computed
            seen = layers(tokens.x.flatten(0, 1))
            return Tokens(seen.reshape(-1, tokens.mask.shape[1], seen.shape[1]), tokens.mask)
        if bool(tokens.mask.all()):
            return Tokens(layers(tokens.x.flatten(0, 1)).unflatten(0, tokens.mask.shape), tokens.mask)
        seen = layers(tokens.x[tokens.mask])  # (N, width): zeros of the absent would shift the statistics of the norm
        return Tokens(seen.new_zeros(*tokens.mask.shape, seen.shape[1]).index_put((tokens.mask,), seen), tokens.mask)


def _first(layers: nn.Module) -> Linear | None:
    """The map that a chain of layers begins with; None where it begins with something else."""
    first = next((part for part in layers.modules() if not isinstance(part, nn.Sequential)), None)
    return first if isinstance(first, Linear) else None
