"""The contract of every stage: pairs in, a network that takes each modality into one space out; and stages in closed form."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor

from plait.alignment.losses import Couples
from plait.alignment.network import AlignmentNetwork, unit
from plait.alignment.pairs import Batch, Pairs
from plait.base import checks, config, registry
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, nearest

#: Asked after each epoch: whether to stop.
Stop = Callable[[], bool]


def never() -> bool:
    """Do not stop."""
    return False


@dataclasses.dataclass(eq=False, kw_only=True)
class Alignment(registry.Named, ABC):
    """Pulls modalities of one thing towards each other.

    A subclass is a dataclass whose fields are its options (plain JSON values).
    """

    #: Learned by gradient, epoch by epoch; False: solved for.
    learned: ClassVar[bool] = True
    #: Takes the features of frozen encoders; False: what the encoders prepared, to train them too.
    frozen: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.check(self, f"alignment {self.name()}")

    def options(self) -> dict[str, Any]:
        """The options this stage was made with, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def restored(cls, options: Mapping[str, object]) -> dict[str, Any]:
        """The options of a saved folder, with what an earlier version meant by leaving one out."""
        return dict(options)

    def takes(self, encoder: Encoder) -> str:
        """What enters of this encoder: its ``vectors``, its own ``tokens``, or what it ``prepared``, to be trained too."""
        return "vectors" if self.frozen else "prepared"

    def pairs_of(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Which modalities are compared: all pairs; the loss is the mean over them.

        Raises:
            ConfigError: fewer than two modalities.
        """
        if len(names) < 2:
            raise ConfigError(f"alignment needs two modalities or more, found {', '.join(names) or 'none'}")
        return list(combinations(names, 2))

    @abstractmethod
    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """The network for modalities of these widths, before it has learned; draws from torch's global generator."""

    def network_over(self, encoders: Mapping[str, Encoder], dims: Mapping[str, int]) -> AlignmentNetwork:
        """The network behind these encoders; only a stage that trains them looks at them."""
        return self.network(dims)

    @abstractmethod
    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None, stopped: Stop = never
    ) -> list[dict[str, Any]]:
        """Let the network learn from pairs, in place, until ``stopped``, which is asked after each epoch; a record of each.

        Raises:
            TableError: there is nothing to learn from.
        """


def make_stage(spec: str | Mapping[str, object]) -> Alignment:
    """The stage that a name, or ``{name: ..., option: ...}``, asks for.

    Raises:
        ConfigError: no such stage or option; the message names the nearest one.

    Example:
        >>> make_stage({"name": "cca", "components": 8}).components
        8
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    if "name" not in options:
        known = ", ".join(registry.names("alignment"))
        raise ConfigError(f"stage: name it, as in {{name: context, width: 128}}; known: {known}")
    variant: type[Alignment] = registry.find("alignment", str(options.pop("name")))
    return config.build(variant, options, f"stage {variant.name()}")


# -- in closed form -----------------------------------------------------------------------------------------------------


class LinearMaps(AlignmentNetwork):
    """(x - mean) W for each modality; modalities named in ``kept`` are centred and otherwise left as they are."""

    def __init__(self, dims: Mapping[str, int], out_dim: int, kept: tuple[str, ...] = ()) -> None:
        super().__init__(dims, out_dim)
        self.kept = kept
        for name, dim in self.dims.items():
            self.register_buffer(f"mean{self.key[name]}", torch.zeros(dim))
            if name not in kept:
                self.register_buffer(f"weight{self.key[name]}", torch.zeros(dim, out_dim))

    @torch.no_grad()
    def put(self, name: str, mean: Tensor, weight: Tensor | None = None) -> None:
        """Take the solution for one modality; a narrower map leaves the last directions at zero."""
        self.get_buffer(f"mean{self.key[name]}").copy_(mean)
        if weight is not None:
            self.get_buffer(f"weight{self.key[name]}")[:, : weight.shape[1]].copy_(weight)

    def map_of(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean (D,) and map (D, out_dim) of a modality that is not kept as it is."""
        return self.get_buffer(f"mean{self.key[name]}"), self.get_buffer(f"weight{self.key[name]}")

    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        x = batch["x"] - self.get_buffer(f"mean{self.key[name]}")
        return x if name in self.kept else x @ self.get_buffer(f"weight{self.key[name]}")


@dataclasses.dataclass(eq=False, kw_only=True)
class Solved(Alignment):
    """A stage in closed form, with a penalty that holds it back or none."""

    learned = False
    #: Penalties to choose from where none is given; empty: the stage has none.
    choices: ClassVar[tuple[float, ...]] = ()

    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None, stopped: Stop = never
    ) -> list[dict[str, Any]]:
        """Solve; the one record says which penalty was taken, and how well each found held-out pairs."""
        assert isinstance(network, LinearMaps)
        names = self.pairs_of(network.names)
        pairs.check(names)
        penalty, tried = self._penalty(network, pairs, names, seed)
        next(self._solutions(network, pairs, (penalty,)))
        network.eval()
        return [{"penalty": penalty, "tried": tried}] if self.choices else []

    def _penalty(
        self, network: LinearMaps, pairs: Pairs, values: list[tuple[str, str]], seed: int
    ) -> tuple[float, dict[str, float]]:
        """The one given, or the one whose solution on four fifths of the things finds most of the rest."""
        given = getattr(self, "penalty", None)
        if not self.choices or given is not None:
            return given or 0.0, {}
        fold, held = pairs.split(0.2, values, torch.Generator().manual_seed(seed))
        if held is None:
            return self.choices[len(self.choices) // 2], {}
        tried = {p: reciprocal_rank(network, held, values) for p in self._solutions(network, fold, self.choices)}
        return max(tried, key=tried.__getitem__), {str(p): round(result, 4) for p, result in tried.items()}

    @abstractmethod
    def _solutions(self, network: LinearMaps, pairs: Pairs, penalties: Sequence[float]) -> Iterator[float]:
        """Put the solution for each penalty into the network, one after another, and name it."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Towards(Solved):
    """A stage that maps every modality into the space of one of them.

    Attributes:
        towards: the modality whose space it is; None takes the first.
    """

    towards: str | None = None

    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        self.pairs_of(list(dims))
        goal = self._goal(list(dims))
        return LinearMaps(dims, dims[goal], (goal,))

    def pairs_of(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Each modality with the one that is kept."""
        super().pairs_of(names)
        goal = self._goal(names)
        return [(goal, name) for name in names if name != goal]

    def _goal(self, names: Sequence[str]) -> str:
        if self.towards is None:
            return str(names[0])
        if self.towards not in names:
            raise ConfigError(f"alignment: unknown modality '{self.towards}': {nearest(self.towards, names)}")
        return self.towards

    def _solutions(self, network: LinearMaps, pairs: Pairs, penalties: Sequence[float]) -> Iterator[float]:
        goal = self._goal(network.names)
        target = pairs.x[goal]["x"].double()
        mean = target[pairs.present[goal]].mean(0)
        network.put(goal, mean)
        maps = {}
        for _, name in self.pairs_of(network.names):
            rows = pairs.both(goal, name)
            x = pairs.x[name]["x"][rows].double()
            maps[name] = x.mean(0), self._maps(x - x.mean(0), target[rows] - mean)
        for penalty in penalties:
            for name, (own, result) in maps.items():
                network.put(name, own, result(penalty))
            yield penalty

    @abstractmethod
    def _maps(self, x: Tensor, y: Tensor) -> Callable[[float], Tensor]:
        """From a penalty to the map (D, E) from centred rows (n, D) to centred rows (n, E)."""


#: Held-out rows that penalties are judged by, at most.
_JUDGED = 2000


@torch.no_grad()
def reciprocal_rank(network: AlignmentNetwork, held: Pairs, values: Sequence[tuple[str, str]]) -> float:
    """Mean of 1 / rank of each row's own among the held-out rows, both ways; ties count against it."""
    result = []
    for a, b in values:
        rows = held.both(a, b).nonzero()[:_JUDGED, 0]
        first, second = (unit(network(n, {k: t[rows] for k, t in held.x[n].items()})) for n in (a, b))
        similar = first @ second.T
        same = Couples(first, second, torch.ones(()), held.labels(a, b, rows)).same(slice(0, len(rows)))
        similar = similar if same is None else similar.masked_fill(same, -math.inf)
        own = similar.diagonal()
        result += [(1.0 / (similar >= own[:, None]).sum(1)).mean(), (1.0 / (similar >= own[None]).sum(0)).mean()]
    return float(torch.stack(result).mean())
