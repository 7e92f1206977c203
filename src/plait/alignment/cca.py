"""Canonical correlations: directions in which the modalities agree most."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from plait.alignment._network import AlignmentNetwork
from plait.alignment._pairs import Pairs
from plait.alignment._solved import LinearMaps, Solved
from plait.errors import ConfigError, TableError


@dataclasses.dataclass(eq=False, kw_only=True)
class Cca(Solved):
    """Directions of each modality that correlate most across all of them, each weighed by how much.

    Attributes:
        components: directions that are kept.
        penalty: share of the mean variance that is added to each before whitening; with few rows it must not be small.
        power: directions are weighed by their correlation to this power.

    Formula: whiten each modality, H_m = X_m (S_m + penalty v_m I)^-1/2; the eigenvectors of the stacked H'H with the largest
        values split into V_m; z = H_m V_m rho^power. For two modalities this is CCA, for more it is MAXVAR.
    Shape: (B, D) in, (B, components) out.
    Source: Hotelling 1936; Kettenring 1971 (more than two sets); Gong et al. 2014, A Multi-View Embedding Space (the power).
    Use when: a shared space in seconds, of any number of modalities, none of them the goal.
    Not when: rows are fewer than a few hundred: correlations are then found in noise.

    Example:
        >>> Cca(components=3).network({"a": 6, "b": 4}).out_dim
        3
    """

    components: int = 128
    penalty: float = 0.1
    power: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings without a solution."""
        if self.components < 1 or not self.penalty > 0:
            raise ConfigError("alignment cca: components must be at least 1 and penalty above 0")

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """One map per modality."""
        self.pairs_of(list(dims))
        return LinearMaps(dims, min(self.components, *dims.values()))

    def _solve(self, network: LinearMaps, pairs: Pairs) -> None:
        names = network.names
        rows = torch.stack([pairs.present[name] for name in names]).all(0)
        if int(rows.sum()) < 2:
            raise TableError(f"alignment cca: {int(rows.sum())} rows have all of {', '.join(names)}; two are needed")
        x = {name: pairs.x[name]["x"][rows].double() for name in names}
        means = {name: found.mean(0) for name, found in x.items()}
        whiten = {name: self._whitening(x[name] - means[name]) for name in names}
        h = torch.cat([(x[name] - means[name]) @ whiten[name] for name in names], 1)
        between = h.T @ h / len(h)
        ends = np.cumsum([network.dims[name] for name in names])
        parts = [slice(end - network.dims[name], end) for name, end in zip(names, ends.tolist(), strict=True)]
        for part in parts:  # whitened, but for the penalty: within a modality it counts as exactly so
            between[part, part] = torch.eye(part.stop - part.start, dtype=between.dtype)
        values, vectors = torch.linalg.eigh(between)  # ascending
        values, vectors = values.flip(0)[: network.out_dim], vectors.flip(1)[:, : network.out_dim]
        correlation = ((values - 1) / (len(names) - 1)).clamp(0, 1)
        for name, part in zip(names, parts, strict=True):
            network.put(name, means[name], whiten[name] @ (vectors[part] * correlation**self.power))

    def _whitening(self, x: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        floor = self.penalty * values.mean().clamp_min(1e-12)
        found: Tensor = vectors * (values.clamp_min(0) + floor).rsqrt() @ vectors.T
        return found
