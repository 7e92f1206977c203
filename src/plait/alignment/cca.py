"""Canonical correlations: directions in which the modalities agree most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from plait.alignment._network import AlignmentNetwork
from plait.alignment._pairs import Pairs
from plait.alignment._solved import LinearMaps, Solved
from plait.checks import Count, NonNegative, Positive
from plait.errors import TableError


@dataclasses.dataclass(eq=False, kw_only=True)
class Cca(Solved):
    """Directions of each modality that correlate most across all of them, each weighed by how much.

    Attributes:
        components: directions that are kept.
        penalty: added to the variance of each direction before whitening, in units of the mean one; with few rows it must not
            be small. None takes the one that finds most of held-out pairs.
        power: directions are weighed by their correlation to this power.

    Formula: whiten each modality, H_m = X_m (S_m + penalty v_m I)^-1/2; the eigenvectors of the stacked H'H with the largest
        values split into V_m; z = H_m V_m rho^power. For two modalities this is CCA, for more it is MAXVAR.
    Shape: (B, D) in, (B, components) out.
    Source: Hotelling 1936; Kettenring 1971 (more than two sets); Gong et al. 2014, A Multi-View Embedding Space (the power).
    Use when: a shared space in seconds, of any number of modalities, none of them the goal; an aligner's default.
    Not when: rows are fewer than a few hundred: correlations are then found in noise.

    Example:
        >>> Cca(components=3).network({"a": 6, "b": 4}).out_dim
        3
    """

    choices: ClassVar[tuple[float, ...]] = (0.1, 0.3, 1.0, 3.0, 10.0)

    components: Count = 128
    penalty: Positive | None = None
    power: NonNegative = 1.0

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """One map per modality."""
        self.pairs_of(list(dims))
        return LinearMaps(dims, min(self.components, *dims.values()))

    def _solutions(self, network: LinearMaps, pairs: Pairs, penalties: Sequence[float]) -> Iterator[float]:
        names = network.names
        rows = torch.stack([pairs.present[name] for name in names]).all(0)
        if int(rows.sum()) < 2:
            raise TableError(f"alignment cca: {int(rows.sum())} rows have all of {', '.join(names)}; two are needed")
        x = {name: pairs.x[name]["x"][rows].double() for name in names}
        means = {name: found.mean(0) for name, found in x.items()}
        spectra = {name: _spectrum(x[name] - means[name]) for name in names}
        turned = torch.cat([(x[name] - means[name]) @ spectra[name][1] for name in names], 1)
        between = turned.T @ turned / len(turned)
        ends = np.cumsum([network.dims[name] for name in names]).tolist()
        parts = [slice(end - network.dims[name], end) for name, end in zip(names, ends, strict=True)]
        for penalty in penalties:
            scale = torch.cat([_shrunk(spectra[name][0], penalty) for name in names])
            white = between * scale * scale[:, None]
            for part in parts:  # whitened, but for the penalty: within a modality it counts as exactly so
                white[part, part] = torch.eye(part.stop - part.start, dtype=white.dtype)
            values, vectors = _leading(white, parts, network.out_dim)
            weight = ((values - 1) / (len(names) - 1)).clamp(0, 1) ** self.power
            for name, part in zip(names, parts, strict=True):
                network.put(name, means[name], spectra[name][1] @ (scale[part, None] * vectors[part] * weight))
            yield penalty


def _leading(white: Tensor, parts: Sequence[slice], count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues, and their vectors side by side; of two modalities from singular values, ten times as fast."""
    if len(parts) == 2:
        left, values, right = torch.linalg.svd(white[parts[0], parts[1]], full_matrices=False)
        return 1 + values[:count], torch.cat([left, right.T])[:, :count] * 0.5**0.5
    values, vectors = torch.linalg.eigh(white)  # ascending
    return values.flip(0)[:count], vectors.flip(1)[:, :count]


def _spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variances of centred rows (n, D), and the directions (D, D) that they belong to."""
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    return values.clamp_min(0), vectors


def _shrunk(values: Tensor, penalty: float) -> Tensor:
    """One over the deviation of each direction, the penalty added to its variance."""
    return (values + penalty * values.mean().clamp_min(1e-12)).rsqrt()
