"""Stages that are solved for: one linear map per modality, no epochs."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from plait.alignment._base import Alignment
from plait.alignment._network import AlignmentNetwork
from plait.alignment._pairs import Batch, Pairs
from plait.errors import ConfigError, nearest


class LinearMaps(AlignmentNetwork):
    """(x - mean) W for each modality; modalities named in ``kept`` are centred and otherwise left as they are."""

    def __init__(self, dims: Mapping[str, int], out_dim: int, kept: tuple[str, ...] = ()) -> None:
        """All maps are zero until they are solved for."""
        super().__init__(dims)
        self._out_dim, self.kept = out_dim, kept
        for name, dim in self.dims.items():
            self.register_buffer(f"mean{self.key[name]}", torch.zeros(dim))
            if name not in kept:
                self.register_buffer(f"weight{self.key[name]}", torch.zeros(dim, out_dim))

    @property
    def out_dim(self) -> int:
        """Width of the aligned space."""
        return self._out_dim

    @torch.no_grad()
    def put(self, name: str, mean: Tensor, weight: Tensor | None = None) -> None:
        """Take the solution for one modality; a narrower map leaves the last directions at zero."""
        self.get_buffer(f"mean{self.key[name]}").copy_(mean)
        if weight is not None:
            self.get_buffer(f"weight{self.key[name]}")[:, : weight.shape[1]].copy_(weight)

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        """(B, out_dim)."""
        x = batch["x"] - self.get_buffer(f"mean{self.key[name]}")
        return x if name in self.kept else x @ self.get_buffer(f"weight{self.key[name]}")


@dataclasses.dataclass(eq=False, kw_only=True)
class Solved(Alignment):
    """A stage in closed form."""

    learned: ClassVar[bool] = False

    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None
    ) -> list[dict[str, Any]]:
        """Solve; nothing is random and there are no epochs."""
        assert isinstance(network, LinearMaps)
        pairs.check(self.pairs_of(network.names))
        self._solve(network, pairs)
        network.eval()
        return []

    @abstractmethod
    def _solve(self, network: LinearMaps, pairs: Pairs) -> None:
        """Put a solution into the network."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Towards(Solved):
    """A stage that maps every modality into the space of one of them.

    Attributes:
        towards: the modality whose space it is; None takes the first.
    """

    towards: str | None = None

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """Maps into the space of ``towards``."""
        self.pairs_of(list(dims))
        goal = self._goal(list(dims))
        return LinearMaps(dims, dims[goal], (goal,))

    def pairs_of(self, names: Any) -> list[tuple[str, str]]:
        """Each modality with the one that is kept."""
        super().pairs_of(names)
        goal = self._goal(names)
        return [(goal, name) for name in names if name != goal]

    def _goal(self, names: Any) -> str:
        if self.towards is None:
            return str(names[0])
        if self.towards not in names:
            raise ConfigError(f"alignment: unknown modality '{self.towards}': {nearest(self.towards, names)}")
        return self.towards

    def _solve(self, network: LinearMaps, pairs: Pairs) -> None:
        goal = self._goal(network.names)
        target = pairs.x[goal]["x"].double()
        mean = target[pairs.present[goal]].mean(0)
        network.put(goal, mean)
        for _, name in self.pairs_of(network.names):
            rows = pairs.both(goal, name)
            x = pairs.x[name]["x"][rows].double()
            network.put(name, x.mean(0), self._map(x - x.mean(0), target[rows] - mean))

    @abstractmethod
    def _map(self, x: Tensor, y: Tensor) -> Tensor:
        """The map (D, E) from centred rows (n, D) to centred rows (n, E)."""
