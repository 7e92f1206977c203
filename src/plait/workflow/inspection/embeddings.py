"""What a fitted model makes of rows, before and after its modalities are joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.base.errors import ConfigError, nearest, need
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.networks.fusion import FusionNetwork
from plait.networks.late_pooling import LatePooling

#: Stands for the modality where all of them are joined.
ALL = "(all)"
#: Where a representation stands, in order.
PLACES = ("encoder", "own", "fused", "joint")
ABOUT = {
    "encoder": "what the encoder gives, pooled over tokens, as it enters the network (frozen: standardised, and of more "
    "features than components says the directions of most variance)",
    "own": "after the modality's own layers, before it is joined",
    "fused": "what the fusion operator gives",
    "joint": "after the joint layers, before the last linear layer; of one modality: with only that one present",
}
#: Raw encoders' tokens are laid side by side up to so many numbers; beyond it their mean is taken.
_FLAT = 4096
_ROWS = 2048


@dataclass(frozen=True)
class Embedding:
    """One representation of all rows.

    Attributes:
        modality: its name, or ``(all)``.
        place: of ``PLACES``.
        x: (n, D) float32, zeros where absent.
        present: (n,) bool: the row has what this is made of.
    """

    modality: str
    place: str
    x: np.ndarray
    present: np.ndarray

    @property
    def name(self) -> str:
        """The name in tables and files."""
        return f"{self.modality} · {self.place}"


def embeddings(model: Any, frame: pd.DataFrame, *, member: int = 0) -> list[Embedding]:
    """Every representation that a fitted estimator has of the rows: per modality, and of all together.

    Works alike for frozen encoders and for those that learned. Of several members one is looked at: their joint spaces are
    rotations of nothing common, so that a mean over them would mean nothing.

    Args:
        model: a fitted ``FusionClassifier`` or ``FusionRegressor``.
        frame: rows.
        member: which of its networks.

    Raises:
        ConfigError: there is no such member.
    """
    trained = model.members_.members
    if not 0 <= member < len(trained):
        raise ConfigError(f"member {member}: the model has {len(trained)}, counted from 0")
    branches: Branches = trained[member]
    inputs: Inputs = model._inputs(frame)
    names = model.modality_names_
    raw = {name for name, encoder in model.features_.encoders.items() if encoder.raw}
    result: dict[tuple[str, str], list[Tensor]] = {}
    for part in _batches(inputs):
        for key, x in _one_batch(branches, part, names, raw).items():
            result.setdefault(key, []).append(x.float())
    present = {name: there.numpy().astype(bool) for name, there in inputs.present.items()}
    present[ALL] = np.asarray(np.stack(list(present.values())).any(axis=0))
    ordered = sorted(result, key=lambda key: ([*names, ALL].index(key[0]), PLACES.index(key[1])))
    return [
        Embedding(m, place, torch.cat(result[m, place]).numpy() * present[m][:, None], present[m])
        for m, place in ordered
    ]


def _batches(inputs: Inputs) -> Iterator[Inputs]:
    for start in range(0, len(inputs), _ROWS):
        yield inputs.take(torch.arange(start, min(start + _ROWS, len(inputs))))


@torch.inference_mode()
def _one_batch(
    branches: Branches, inputs: Inputs, names: tuple[str, ...], raw: set[str]
) -> dict[tuple[str, str], Tensor]:
    branches.eval()
    tokens = branches.encode(inputs)
    result = {(name, "encoder"): _vector(tokens[name], name in raw) for name in names}
    if "joint" not in branches.networks:
        return result
    network = branches.networks["joint"]
    if isinstance(network, FusionNetwork):
        alone = network.alone(tokens)
        if any(len(own) for own in network.own.values()):  # type: ignore[arg-type]  # Sequential has a length
            result |= {(name, "own"): alone[name].pooled() for name in names}
        if len(names) > 1:
            result[ALL, "fused"] = network.fusion(alone)
    if isinstance(network, LatePooling) and len(names) > 1:
        result[ALL, "fused"] = network.fusion(network.joined(tokens))
    if isinstance(network.head, nn.Identity):  # decisions are joined: there is nothing after that
        return result
    with _without_head(network):
        result[ALL, "joint"] = network(tokens)
        for name in names if len(names) > 1 else ():
            result[name, "joint"] = network(_only(tokens, name))
    return result


def _vector(tokens: Tokens, raw: bool) -> Tensor:
    """(B, D): the mean token; of raw cells all of them, in their places."""
    rows, count, width = tokens.x.shape
    if raw and count * width <= _FLAT:
        return tokens.x.masked_fill(~tokens.mask.unsqueeze(-1), 0.0).reshape(rows, count * width)
    return tokens.pooled()


def _only(tokens: Mapping[str, Tokens], kept: str) -> dict[str, Tokens]:
    nothing = torch.ones(len(tokens[kept]), dtype=torch.bool, device=tokens[kept].x.device)
    return {name: t if name == kept else t.absent_where(nothing) for name, t in tokens.items()}


class _Through(nn.Module):
    """In the place of the last linear layer: lets what enters it out; networks ask its weight for the device."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.weight, self.out_features = head.weight, head.in_features

    def forward(self, x: Tensor) -> Tensor:
        return x


@contextmanager
def _without_head(network: Any) -> Iterator[None]:
    head = network.head
    network.head = _Through(head)
    try:
        yield
    finally:
        network.head = head


WAYS = ("pca", "tsne", "umap")
#: As pages write them.
LABELS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def available() -> tuple[str, ...]:
    """The ways whose package is installed."""
    return tuple(way for way in WAYS if way != "umap" or find_spec("umap"))


def project(x: np.ndarray, way: str, *, seed: int = 0) -> np.ndarray:
    """Rows on a plane.

    ``pca``: the two directions of most variance; distances there are true shadows. ``tsne`` and ``umap``: neighbours stay
    neighbours, everything else (distances between clusters, their sizes) means nothing.

    Shape: (n, D) to (n, 2) float32.

    Source: van der Maaten and Hinton 2008 (t-SNE, by scikit-learn, perplexity 30 or a quarter of the rows, started from PCA);
        McInnes et al. 2018 (UMAP, package ``umap-learn``).

    Example:
        >>> project(np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 5.0, 0.1]]), "pca").shape
        (3, 2)
    """
    if way not in WAYS:
        raise ConfigError(f"unknown projection '{way}': {nearest(way, WAYS)}")
    x = np.asarray(x, dtype=np.float64)
    flat = _pca(x)
    if way == "pca" or len(x) < 8:
        return flat.astype(np.float32)
    x = x if x.shape[1] <= 50 else _pca(x, 50)  # as the authors do: noise suppressed, distances cheaper
    if way == "umap":
        reducer = need("umap", "umap").UMAP(random_state=seed, n_jobs=1, n_neighbors=min(15, len(x) - 1))
        return np.asarray(reducer.fit_transform(x), dtype=np.float32)
    from sklearn.manifold import TSNE

    start = flat / max(float(flat[:, 0].std()), 1e-12) * 1e-4
    perplexity = min(30.0, max(2.0, len(x) / 4))
    reducer = TSNE(init=start.astype(np.float32), perplexity=perplexity, random_state=seed)
    return np.asarray(reducer.fit_transform(x.astype(np.float32)), dtype=np.float32)


def _pca(x: np.ndarray, width: int = 2) -> np.ndarray:
    """(n, width): scores of the first directions, the largest loading of each positive; zeros beyond the rank."""
    centred = x - x.mean(0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    count = min(width, len(s))
    signs = np.sign(v[np.arange(count), np.abs(v[:count]).argmax(1)])
    result = np.zeros((len(x), width))
    result[:, :count] = u[:, :count] * s[:count] * np.where(signs == 0, 1.0, signs)
    return result
