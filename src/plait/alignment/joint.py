"""Enhancement that learns with the classifier: a projector in front of the networks, with a loss of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.alignment.gradients import couples_of, embed, heat, sides_of
from plait.alignment.hardest_negatives import HardestNegatives
from plait.alignment.network import FrozenNetwork
from plait.alignment.pairs import Pairs
from plait.base.checks import Positive
from plait.base.encoder import KINDS, Encoder
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.training.member import OwnLoss


@dataclasses.dataclass(frozen=True)
class Enhancement:
    """How one modality is enhanced.

    Attributes:
        modality: that is pulled.
        stage: with its anchors.
        keep: its own features stay, beside the aligned ones.
        joint: weight of the contrastive loss where the projector learns with the classifier; None: before it, then frozen.
        drop: anchors that teach the projector and are then left out of the classifier.
    """

    modality: str
    stage: HardestNegatives
    keep: bool = False
    joint: Positive | None = None
    drop: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The modality and its anchors."""
        return (self.modality, *self.stage.anchors)


@dataclasses.dataclass(eq=False)
class JointEncoder(Encoder):
    """Pooled features of a frozen encoder, projected; every member of a model learns a projector of its own."""

    kinds: ClassVar[tuple[str, ...]] = KINDS
    trainable: ClassVar[bool] = True

    spec: Enhancement
    statistics: FrozenNetwork

    def prepare(self, cells: Any) -> dict[str, np.ndarray]:
        """Never asked: ``to_prepared`` gives what the module takes."""
        raise NotImplementedError("the features of a joint enhancement come from the frozen encoder")

    def module(self) -> nn.Module:
        """An untrained projector with the fixed statistics of the features."""
        network = self.spec.stage.network(self.statistics.dims)
        assert isinstance(network, FrozenNetwork)
        network.standard.load_state_dict(self.statistics.standard.state_dict())
        return JointProjector(self.spec, network)

    @property
    def dim(self) -> int:
        """Width of the projection, and of the features where they are kept."""
        return self.statistics.out_dim + (self.statistics.dims[self.spec.modality] if self.spec.keep else 0)


class JointProjector(OwnLoss):
    """The projector; in training it leaves the contrastive loss of each batch in ``own_loss``.

    Formula: loss of the classifier + joint * loss of the contrast with the hardest negatives.
    Source: the losses of Wernlein et al., section 3.2; the paper trains them one after the other, the sum is ours.
    """

    def __init__(self, enhancement: Enhancement, network: FrozenNetwork) -> None:
        """Around a network with its statistics."""
        super().__init__()
        self.spec, self.network = enhancement, network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``x`` (B, D), and in training what ``to_prepared`` adds -> one token per row."""
        name, alone = self.spec.modality, {"x": batch["x"]}
        out = self.network(name, alone)
        self.own_loss = self._contrast(batch) if self.training and "cell.0" in batch else None
        return Tokens.of_vectors(torch.cat([self.network.inputs(name, alone), out], 1) if self.spec.keep else out)

    def _contrast(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        names, stage = self.spec.names, self.spec.stage
        pairs = Pairs(
            {n: {"x": batch["x" if place == 0 else f"x.{place}"]} for place, n in enumerate(names)},
            {n: batch[f"present.{place}"] for place, n in enumerate(names)},
            {n: batch[f"cell.{place}"] for place, n in enumerate(names)},
            batch["thing"],
        )
        value, contrast = stage.pairs_of(names), stage.contrast()
        vectors = {side: embed(self.network, side, pairs) for side in sides_of(self.network, value)}
        result = couples_of(self.network, contrast, value, pairs, vectors, heat(self.network))
        terms = [term for couples, _ in result for term in contrast.blocks(couples, len(pairs))]
        return None if not terms or self.spec.joint is None else torch.stack(terms).sum() * self.spec.joint


def to_prepared(enhancement: Enhancement, inputs: Inputs, pairs: Pairs | None = None) -> Inputs:
    """The inputs with a modality's tokens moved to where learning encoders find them; ``pairs`` for training."""
    batch = {"x": inputs.tokens[enhancement.modality].pooled().float()}
    if pairs is not None:
        for place, name in enumerate(enhancement.names):
            batch |= {f"present.{place}": pairs.present[name], f"cell.{place}": pairs.cell[name]}
            batch |= {f"x.{place}": pairs.x[name]["x"]} if place else {}
        batch["thing"] = pairs.thing
    tokens = {name: result for name, result in inputs.tokens.items() if name != enhancement.modality}
    return dataclasses.replace(inputs, tokens=tokens, prepared={**inputs.prepared, enhancement.modality: batch})
