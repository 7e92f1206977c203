"""Canonical correlations: directions in which the modalities agree most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from plait.alignment.base import LinearMaps, Solved
from plait.alignment.network import AlignmentNetwork
from plait.alignment.pairs import Pairs
from plait.base.checks import Count, NonNegative, Positive
from plait.base.errors import TableError

#: Directions of all modalities together that more than two are joined by: an eigenproblem of this size takes a second or two.
#: What is left out varies least, and the penalty keeps all but a few hundredths of it out anyway.
MOST = 2048
#: Directions with less than this share of the largest variance are rounding.
FLAT = 1e-12


@dataclasses.dataclass(eq=False, kw_only=True)
class Cca(Solved):
    """Directions of each modality that correlate most across all of them, each weighed by how much.

    Attributes:
        components: directions that are kept.
        penalty: added to the variance of each direction before whitening, in units of the mean one; with few rows it must not
            be small. None takes the one that finds most of held-out pairs.
        power: directions are weighed by their correlation to this power.

    Formula: whiten each modality, H_m = X_m (S_m + penalty v_m I)^-1/2; the eigenvectors of the stacked H'H with the largest
        values split into V_m; z = H_m V_m rho^power. For two modalities this is CCA, for more it is MAXVAR. Each X_m is first
        turned to its directions of variance, of which there are fewer than rows; of three modalities and more the 2,048
        that vary most are kept, all modalities together.
    Shape: (B, D) in, (B, components) out.
    Source: Hotelling 1936; Kettenring 1971 (more than two sets); Gong et al. 2014, A Multi-View Embedding Space (the power).
    Use when: a shared space in seconds, of any number of modalities, none of them the goal; an aligner's default.
    Not when: rows are fewer than a few hundred: correlations are then found in noise.

    Example:
        >>> Cca(components=3).network({"a": 6, "b": 4}).out_dim
        3
    """

    choices = (0.1, 0.3, 1.0, 3.0, 10.0)

    components: Count = 128
    penalty: Positive | None = None
    power: NonNegative = 1.0

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        return LinearMaps(dims, min(self.components, *dims.values()))

    def _solutions(self, network: LinearMaps, pairs: Pairs, penalties: Sequence[float]) -> Iterator[float]:
        names = network.names
        rows = torch.stack([pairs.present[name] for name in names]).all(0)
        if int(rows.sum()) < 2:
            raise TableError(f"alignment cca: {int(rows.sum())} rows have all of {', '.join(names)}; two are needed")
        x = {name: pairs.x[name]["x"][rows].double() for name in names}
        means = {name: result.mean(0) for name, result in x.items()}
        most = MOST // len(names) if len(names) > 2 else None
        spectra = {name: _spectrum(x[name] - means[name], most) for name in names}
        turned = torch.cat([(x[name] - means[name]) @ spectra[name].directions for name in names], 1)
        between = turned.T @ turned / len(turned)
        ends = np.cumsum([len(spectra[name].values) for name in names]).tolist()
        parts = [slice(end - len(spectra[name].values), end) for name, end in zip(names, ends, strict=True)]
        for penalty in penalties:
            scale = torch.cat([spectra[name].shrunk(penalty) for name in names])
            white = between * scale * scale[:, None]
            for part in parts:  # whitened, but for the penalty: within a modality it counts as exactly so
                white[part, part] = torch.eye(part.stop - part.start, dtype=white.dtype)
            values, vectors = _leading(white, parts, network.out_dim)
            weight = ((values - 1) / (len(names) - 1)).clamp(0, 1) ** self.power
            for name, part in zip(names, parts, strict=True):
                solution = spectra[name].directions @ (scale[part, None] * vectors[part] * weight)
                network.put(name, means[name], solution)
            yield penalty


def _leading(white: Tensor, parts: Sequence[slice], count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues, and their vectors side by side; of two modalities from singular values, ten times as fast."""
    if len(parts) == 2:
        left, values, right = torch.linalg.svd(white[parts[0], parts[1]], full_matrices=False)
        return 1 + values[:count], torch.cat([left, right.T])[:, :count] * 0.5**0.5
    from scipy.linalg import eigh

    last = len(white) - 1
    result = eigh(white.numpy(), subset_by_index=(max(0, last + 1 - count), last), check_finite=False)  # ascending
    return torch.from_numpy(result[0].copy()).flip(0), torch.from_numpy(result[1].copy()).flip(1)


class _Spectrum(NamedTuple):
    """Variances (R,) of centred rows along directions (D, R), those without variance left out; the mean over all D."""

    values: Tensor
    directions: Tensor
    mean: Tensor

    def shrunk(self, penalty: float) -> Tensor:
        """One over the deviation of each direction, the penalty added to its variance."""
        return (self.values + penalty * self.mean.clamp_min(1e-12)).rsqrt()


def _spectrum(x: Tensor, most: int | None) -> _Spectrum:
    """Of centred rows (n, D), from the smaller of the two products; at most so many directions, those of most variance."""
    n, width = x.shape
    values, vectors = torch.linalg.eigh(x.T @ x / n if width <= n else x @ x.T / n)  # ascending
    mean = values.clamp_min(0).sum() / width
    kept = values > values[-1].clamp_min(0) * FLAT
    kept[: max(0, len(values) - (most or len(values)))] = False
    kept[-1] = True  # one direction at least, of cells that are all the same
    values, vectors = values[kept].clamp_min(0), vectors[:, kept]
    if width > n:
        vectors = torch.nn.functional.normalize(x.T @ vectors, dim=0)
    return _Spectrum(values, vectors, mean)
