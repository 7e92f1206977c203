"""Enhancement: a modality is projected towards its anchors by a contrast with the hardest negatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import Tensor, nn

from plait.alignment.learned import Learned
from plait.alignment.losses import Contrast
from plait.alignment.losses import HardestNegatives as Loss
from plait.alignment.network import COLDEST, HOTTEST, AlignmentNetwork, FrozenNetwork, Side, Temperature
from plait.alignment.pairs import Batch
from plait.base.checks import Count, Part, Positive, Width, Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, nearest
from plait.networks.base import Dropout


@dataclasses.dataclass(eq=False, kw_only=True)
class HardestNegatives(Learned):
    """Pulls modalities towards anchors that stay as they are; the k nearest wrong rows of the batch push back.

    An anchor as wide as the projector is compared with it directly, as in the paper (there all are 512 wide). In front of a
    classifier an anchor of another width keeps it, and the modality is compared with it through a linear map that is
    dropped afterwards; an aligner wants one space, so there the anchor is projected to the projector's width by a linear
    map of its own, which begins as a random rotation and stays.

    Attributes:
        anchors: modalities that the others are pulled towards.
        width: of the projector; None takes the first anchor's.
        negatives: hardest ones per anchor; all of the batch where there are fewer.
        epsilon: added to the denominator.
        dropout: in the projector.
        standardise: the features are standardised and the anchors centred (ours); false: they enter as the encoders give them,
            as in the paper.

    Formula: z = W x + dropout(tanh(W x)); the loss is that of ``plait.alignment.losses.HardestNegatives``, averaged over
        anchors.
    Shape: (B, D) in, (B, width) out; anchors come out centred.
    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.2. Centring the anchors is ours.
    Use when: one modality is weak alone and another says more about the same thing (a table beside its text).
    Not when: you want to search across modalities: ``context`` or ``plain_heads`` move all of them.

    Example:
        >>> stage = HardestNegatives(anchors=["text"])
        >>> stage.network({"table": 5, "text": 8}).out_dim
        8
    """

    anchors: Sequence[str] = ()
    width: Width | None = None
    negatives: Count = 10
    epsilon: Positive = 1e-7
    dropout: Part = 0.1
    standardise: bool = True
    temperature: Annotated[float, Within(COLDEST, HOTTEST)] = 0.1

    def __post_init__(self) -> None:
        self.anchors = (self.anchors,) if isinstance(self.anchors, str) else self.anchors
        super().__post_init__()
        self.anchors = tuple(dict.fromkeys(self.anchors))

    def contrast(self) -> Contrast:
        return Loss(self.negatives, self.epsilon)

    def pairs_of(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Each anchor with each modality that is none."""
        for anchor in self.anchors:
            if anchor not in names:
                raise ConfigError(f"alignment: unknown anchor '{anchor}': {nearest(anchor, names)}")
        pulled = [name for name in names if name not in self.anchors]
        if not self.anchors or not pulled:
            raise ConfigError(
                f"alignment {self.name()}: needs anchors and a modality that is none; "
                f"found anchors {', '.join(self.anchors) or 'none'} among {', '.join(names)}"
            )
        return [(anchor, name) for name in pulled for anchor in self.anchors]

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        width = self.width or dims[self.anchors[0]]
        return _Enhancement(dims, width, self)

    def network_over(self, encoders: Mapping[str, Encoder], dims: Mapping[str, int]) -> AlignmentNetwork:
        """The same with one space for all: anchors of another width are projected."""
        result = self.network(dims)
        assert isinstance(result, _Enhancement)
        result.project_anchors()
        return result


class _Enhancement(FrozenNetwork):
    def __init__(self, dims: Mapping[str, int], width: int, stage: HardestNegatives) -> None:
        super().__init__(dims, width, only_centred=stage.anchors, standardise=stage.standardise)
        self.anchors = anchors = tuple(stage.anchors)
        self.temperature = Temperature(stage.temperature, learned=False)
        pulled = [name for name in dims if name not in anchors]
        self.projectors = nn.ModuleDict({self.key[n]: Projector(dims[n], width, stage.dropout) for n in pulled})
        pairs = [(n, a) for n in pulled for a in anchors if dims[a] != width]
        faces = {f"{self.key[n]}>{self.key[a]}": nn.Linear(width, dims[a], bias=False) for n, a in pairs}
        self.faces, self.projected = nn.ModuleDict(faces), nn.ModuleDict()

    def project_anchors(self) -> None:
        """Bring anchors of another width to the projector's, in place of the modalities to theirs."""
        self.faces = nn.ModuleDict()
        for name in self.anchors:
            if self.dims[name] != self.out_dim:
                linear = nn.Linear(self.dims[name], self.out_dim, bias=False)
                nn.init.orthogonal_(linear.weight)
                self.projected[self.key[name]] = linear

    def side(self, name: str, other: str) -> Side:
        return Side(name, other if self._face(name, other) is not None else None)

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        x = self.inputs(name, batch)
        if name in self.anchors:
            anchor: Tensor = self.projected[self.key[name]](x) if self.key[name] in self.projected else x
            return anchor
        face = None if towards is None else self._face(name, towards)
        out: Tensor = self.projectors[self.key[name]](x)
        return out if face is None else face(out)

    def _face(self, name: str, towards: str) -> nn.Module | None:
        place = f"{self.key[name]}>{self.key[towards]}"
        return self.faces[place] if place in self.faces else None  # noqa: SIM401 - a ModuleDict has no get


class Projector(nn.Module):
    """A linear map, tanh and dropout, added to the linear map.

    Formula: p = W x + b; z = p + dropout(tanh(p)).
    Shape: (B, D) in, (B, width) out.
    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.2.
    """

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.linear(x)
        out: Tensor = projected + self.dropout(projected.tanh())
        return out
