"""The networks that take modalities into one space, and what they are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from plait.alignment.pairs import Batch, Pairs
from plait.base.errors import ConfigError
from plait.networks.layers import Dropout, Masks

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


def check_temperature(start: float, where: str = "") -> None:
    """Refuse a temperature beyond the bounds."""
    if not COLDEST <= start <= HOTTEST:
        raise ConfigError(f"{where}temperature {start}: expected a number from {COLDEST} to {HOTTEST}")


class Temperature(nn.Module):
    """A temperature as its logarithm, kept between ``COLDEST`` and ``HOTTEST``.

    Source: CLIP (Radford et al. 2021, section 2.5), which bounds 1 / t by 100; Faye et al., section IV.A.
    """

    def __init__(self, start: float, *, learned: bool) -> None:
        """Begin at ``start``."""
        super().__init__()
        check_temperature(start)
        log = torch.tensor(math.log(start))
        if learned:
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log)

    def forward(self) -> Tensor:
        """The temperature, a scalar."""
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
        """For features of width ``dim``."""
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
    """Over the features of frozen encoders, standardised."""

    def __init__(
        self, dims: Mapping[str, int], out_dim: int, input_dropout: float = 0.0, only_centred: Collection[str] = ()
    ) -> None:
        """``only_centred`` modalities keep their scale."""
        super().__init__(dims, out_dim)
        self.noise = Dropout(input_dropout)
        self.standard = nn.ModuleDict(
            {self.key[name]: Standard(dim, scaled=name not in only_centred) for name, dim in self.dims.items()}
        )

    def inputs(self, name: str, batch: Batch) -> Tensor:
        """Features (B, D) of a frozen encoder as they enter, standardised."""
        result: Tensor = self.standard[self.key[name]](batch["x"])
        return result

    def noisy(self, name: str, batch: Batch) -> Tensor:
        """The same, in training with some of them dropped."""
        result: Tensor = self.noise(self.inputs(name, batch))
        return result

    def learn_inputs(self, pairs: Pairs) -> None:
        """Take the fixed statistics of the features from the training pairs, before training."""
        for name in self.names:
            part = self.standard[self.key[name]]
            assert isinstance(part, Standard)
            part.learn(pairs.x[name]["x"][pairs.present[name]])


def head(dim: int, width: int, out: int) -> nn.Sequential:
    """A linear map, ReLU, a linear map: the projection of ConVIRT (Zhang et al. 2022), which Faye et al. take over."""
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, out))
