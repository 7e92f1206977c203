"""A saved aligner as an encoder: cells of one of its modalities to vectors of its space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, nearest
from plait.base.tokens import Tokens
from plait.store.model_files import under
from plait.training.model_parts import FolderEncoder, inner_encoder, inner_state

if TYPE_CHECKING:
    from plait.alignment.base import Alignment
    from plait.alignment.network import AlignmentNetwork


#: Parts of a stage's network that each modality has of its own; a network over one encoder has that one's.
_PER_MODALITY = ("encoders.", "projections.")


@dataclass(eq=False)
class Aligned(FolderEncoder["_Parts"]):
    """One modality of a ``ModalityAligner``, frozen; a model that uses it carries all it needs, without the folder.

    Attributes:
        folder: that ``ModalityAligner.save`` or ``plait align`` wrote.
        modality: of the aligner; None takes the only one of ``kind``.
        kind: of the cells; filled in where a folder is named as an encoder.

    Formula: network(encoder(x)) / its length.
    Shape: cells in, (n, 1, width of the space) out.
    Source: Faye et al., Context-Based Multimodal Fusion, section IV.C (linear classification).
    Use when: a space was learned from many pairs without labels, and the labelled table is small.
    Not when: the table is large: the plain encoder keeps more than the space has room for.

    Example:
        >>> Aligned(folder="runs/flickr", modality="image").name()
        'aligned'
    """

    modality: str | None = None
    kind: str | None = None

    def read(self) -> _Parts:
        return _Parts.read(self.folder, self.modality, self.kind)

    def restore(self, state: Mapping[str, Any]) -> _Parts:
        return _Parts.restore(state)

    def module(self) -> nn.Module:
        parts = self.held
        taken = parts.stage.takes(parts.encoder)
        if taken == "prepared":
            return _Both(None, parts.network, parts.name)
        words = taken == "tokens"
        inner = parts.encoder.cut(0).lower if words else parts.encoder.module()
        return _Both(inner, parts.network, parts.name, words)

    @property
    def dim(self) -> int:
        return self.held.network.out_dim

    @property
    def arithmetic(self) -> int:  # type: ignore[override]  # of the encoder inside, not of the class
        return self.inner.arithmetic

    def weights_id(self) -> str:
        """That of the encoder inside; the network's weights are part of the state."""
        return self.inner.weights_id()


class _Parts:
    """What is left of an aligner for one of its modalities."""

    def __init__(self, name: str, encoder: Encoder, stage: Alignment, network: AlignmentNetwork) -> None:
        self.name, self.encoder, self.stage, self.network = name, encoder, stage, network.eval().requires_grad_(False)

    @classmethod
    def read(cls, folder: str, modality: str | None, kind: str | None) -> _Parts:
        """Read the aligner from its folder."""
        from plait.alignment.aligner import ModalityAligner

        model = ModalityAligner.load(folder)
        known = {m.name: m for m in model.schema_.modalities}
        alike = [name for name, m in known.items() if kind is None or m.kind == kind]
        if modality is None and len(alike) != 1:
            raise ConfigError(
                f"encoder aligned: {folder} has {len(alike)} modalities of kind {kind or 'any'} "
                f"({', '.join(alike) or 'none'}); name one (option modality)"
            )
        name = modality if modality is not None else alike[0]
        if name not in known:
            raise ConfigError(f"encoder aligned: {folder} has no modality '{name}': {nearest(name, known)}")
        if kind is not None and known[name].kind != kind:
            raise ConfigError(f"encoder aligned: '{name}' of {folder} takes {known[name].kind}, not {kind}")
        return cls(name, model.encoders_[name], model.stage_, model.network_)

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        own = tuple(f"{part}{self.network.key[self.name]}." for part in _PER_MODALITY)  # the others' are left behind
        weights = self.network.state_dict()
        kept = {k: v for k, v in weights.items() if not k.startswith(_PER_MODALITY) or k.startswith(own)}
        arrays = {f"network.{k}": v.numpy() for k, v in kept.items()}
        stage = {"name": self.stage.name(), **self.stage.options()}
        value = {"modality": self.name, "stage": stage, "dims": self.network.dims}
        return {**inner_state(self.encoder), **value, **arrays}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> _Parts:
        """Rebuild the encoder from its saved state."""
        from plait.alignment.base import make_stage

        encoder, stage = inner_encoder(state, "encoder aligned"), make_stage(state["stage"])
        network = stage.network_over({state["modality"]: encoder}, state["dims"])
        known = network.state_dict()  # earlier versions kept the other modalities' projections too
        network.load_state_dict({k: torch.tensor(v) for k, v in under(state, "network.").items() if k in known})
        return cls(state["modality"], encoder, stage, network)


class _Both(nn.Module):
    def __init__(self, inner: nn.Module | None, network: AlignmentNetwork, name: str, words: bool = False) -> None:
        super().__init__()
        self.inner, self.network, self.name, self.words = inner, network, name, words

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        from plait.alignment.network import unit

        if self.inner is None:
            return Tokens.of_vectors(unit(self.network(self.name, batch)))
        tokens: Tokens = self.inner(batch)
        given = {"x": tokens.x.float(), "mask": tokens.mask} if self.words else {"x": tokens.pooled().float()}
        return Tokens.of_vectors(unit(self.network(self.name, given)), tokens.present)
