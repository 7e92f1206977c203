"""The networks that take modalities into one space, and what they are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from plait.alignment.pairs import Batch, Pairs, pooled
from plait.base.errors import ConfigError
from plait.networks.base import Dropout, Masks

#: A vector whose largest entry is below this counts as zero.
_ZERO = 1e-30


def unit(x: Tensor) -> Tensor:
    """Vectors (..., D) of length one; a zero vector stays zero and gets no gradient.

    Dividing by the largest entry first keeps squares within float32 whatever the vectors' size.

    Example:
        >>> unit(torch.tensor([[3e30, 4e30], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    largest = x.detach().abs().amax(-1, keepdim=True)
    there = largest > _ZERO
    x = x * torch.where(there, 1.0 / torch.where(there, largest, 1.0), 0.0)
    square = x.square().sum(-1, keepdim=True)
    return x * torch.where(there, square, 1.0).rsqrt()


def units(vectors: np.ndarray) -> np.ndarray:
    """The same of an array, in single precision."""
    return np.asarray(unit(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))).numpy())


#: The temperature is kept within these: below, float32 has no gradient left; above, nothing is told apart.
COLDEST, HOTTEST = 0.01, 1.0


class Side(NamedTuple):
    """The vectors of a modality as they are compared; ``towards`` is None where all others see the same ones."""

    name: str
    towards: str | None


class AlignmentNetwork(nn.Module, ABC):
    """Takes the frozen features of each modality into one space.

    Promises, held by ``plait.testing.check_alignment``: other rows never matter, a zero vector is finite, the same numbers
    after saving and loading, every parameter gets a gradient.
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int) -> None:
        """Build for modalities whose features have these widths; ``out_dim`` is that of the aligned space."""
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        #: Modality -> its key in a ModuleDict, which takes no dots and no names of its own methods.
        self.key = {name: str(place) for place, name in enumerate(self.dims)}
        self.temperature: Temperature | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.dims)

    @abstractmethod
    def forward(self, name: str, batch: Batch, towards: str | None = None) -> Tensor:
        """Vectors (B, out_dim) of one modality; of length other than one."""

    def inputs(self, name: str, batch: Batch) -> Tensor:
        """Features (B, D) of a frozen encoder as they enter, standardised."""
        raise NotImplementedError(f"{type(self).__name__} has no fixed features")

    @torch.no_grad()
    def features(self, name: str, batch: Batch) -> Tensor:
        """What the encoder gives (B, D), before any alignment."""
        return batch["x"]

    def learn_inputs(self, pairs: Pairs) -> None:
        """Take the fixed statistics of the features from the training pairs, before training."""

    def side(self, name: str, other: str) -> Side:
        """How ``name`` is seen by ``other``."""
        return Side(name, None)

    def draw_from(self, seed: int | None) -> None:
        """Let dropout draw from this seed; None: nothing is dropped."""
        masks = None if seed is None else Masks(torch.Generator().manual_seed(seed))
        for part in self.modules():
            if isinstance(part, Dropout):
                part.masks = masks


class Temperature(nn.Module):
    """A temperature as its logarithm, kept between ``COLDEST`` and ``HOTTEST``.

    Source: CLIP (Radford et al. 2021, section 2.5), which bounds 1 / t by 100; Faye et al., section IV.A.
    """

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        if not COLDEST <= start <= HOTTEST:
            raise ConfigError(f"temperature {start}: expected a number from {COLDEST} to {HOTTEST}")
        log = torch.tensor(math.log(start))
        if learned:
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log)

    def forward(self) -> Tensor:
        return self.log.exp()

    @torch.no_grad()
    def hold(self) -> None:
        """Back within the bounds, after a step; the gradient at a bound stays, so it can leave again."""
        self.log.clamp_(math.log(COLDEST), math.log(HOTTEST))


class Standard(nn.Module):
    """Centres features, and divides each by its standard deviation unless told not to; nothing here learns by gradient.

    Frozen encoders differ in scale by orders of magnitude, and the vectors of most lie in a narrow cone: without centring
    all cosines are alike. (Ours; neither paper has it.)
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.scaled = scaled
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Mean and deviation of (n, D); a feature that never changes becomes zero."""
        x = x.double()
        self.mean.copy_(x.mean(0))
        if self.scaled:
            variance = (x - x.mean(0)).square().mean(0)
            still = variance <= 1e-10 * (1 + x.mean(0).square())
            self.scale.copy_(torch.where(still, 0.0, variance.clamp_min(1e-30).rsqrt()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D); wild values are held within 10 standard deviations of what was seen."""
        x = (x - self.mean) * self.scale
        return x.clamp(-10, 10) if self.scaled else x


class FrozenNetwork(AlignmentNetwork):
    """Over the features of frozen encoders, standardised; where it ``starts`` from maps, it learns what to add to them."""

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        input_dropout: float = 0.0,
        only_centred: Collection[str] = (),
        *,
        standardise: bool = True,
        starts: bool = False,
    ) -> None:
        """``only_centred`` modalities keep their scale; not ``standardise``: features enter as encoders give them."""
        super().__init__(dims, out_dim)
        self.noise, self.standardise = Dropout(input_dropout), standardise
        scaled = {name: standardise and name not in only_centred for name in dims}
        self.standard = nn.ModuleDict({self.key[n]: Standard(d, scaled=scaled[n]) for n, d in self.dims.items()})
        self.starts = nn.ModuleDict({self.key[n]: Start(d, out_dim) for n, d in self.dims.items()} if starts else {})
        if starts:
            self.gain = nn.Parameter(torch.zeros(out_dim))

    def inputs(self, name: str, batch: Batch) -> Tensor:
        result: Tensor = self.standard[self.key[name]](pooled(batch))
        return result

    def noisy(self, name: str, batch: Batch) -> Tensor:
        """What enters, (B, D) or tokens (B, T, D), in training with some of it dropped."""
        result: Tensor = self.noise(self.standard[self.key[name]](batch["x"].float()))
        return result

    def from_start(self, name: str, batch: Batch, out: Tensor) -> Tensor:
        """What was learned, added to the map that it starts from; as it is where there is none.

        Source: ReZero (Bachlechner et al. 2021, arXiv 2003.04887) for the gain that begins at zero.
        """
        if not self.starts:
            return out
        start = self.starts[self.key[name]]
        assert isinstance(start, Start)
        result: Tensor = start.linear(self.noise(pooled(batch) - start.mean)) + self.gain * out
        return result

    @torch.no_grad()
    def begin_at(self, maps: Mapping[str, tuple[Tensor, Tensor]], x: Mapping[str, Tensor]) -> None:
        """Start from means (D,) and maps (D, k) whose vectors of the rows ``x`` (n, D) get a mean square of one."""
        squares = [((x[n] - mean) @ weight).square().mean() for n, (mean, weight) in maps.items()]
        scale = torch.stack(squares).mean().clamp_min(1e-30).rsqrt()
        for name, (mean, weight) in maps.items():
            start = self.starts[self.key[name]]
            assert isinstance(start, Start)
            start.mean.copy_(mean)
            start.linear.weight.zero_()[: weight.shape[1]] = weight.T * scale
        self.gain.zero_()

    @torch.no_grad()
    def features(self, name: str, batch: Batch) -> Tensor:
        return pooled(batch)

    def learn_inputs(self, pairs: Pairs) -> None:
        for name in self.names if self.standardise else ():
            part, batch = self.standard[self.key[name]], pairs.x[name]
            assert isinstance(part, Standard)
            x = batch["x"][pairs.present[name]]
            part.learn(x if "mask" not in batch else x[batch["mask"][pairs.present[name]]][:: 1 + x.numel() // _MANY])


#: Numbers from which the mean and deviation of tokens are taken; more tell no more.
_MANY = 1 << 25


class Start(nn.Module):
    """The linear map of one modality that is learned on from."""

    mean: Tensor

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.linear = nn.Linear(dim, out_dim, bias=False)


def head(dim: int, width: int, out: int) -> nn.Sequential:
    """A linear map, ReLU, a linear map: the projection of ConVIRT (Zhang et al. 2022), which Faye et al. take over."""
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, out))
