"""What every network promises, how deep it may join, and the layers that networks are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, bfloat16, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from plait.base.errors import ConfigError, nearest
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens

#: Where modalities may be joined, by name; the last one: each gives an answer of its own, and these are.
DEPTHS = ("early", "middle", "late", "decision")


def depth_number(depth: str | int, layers: int, names: Sequence[str] = DEPTHS, where: str = "") -> int:
    """How many of the ``layers`` run before the modalities are joined, at a depth that is one of ``names`` or a number.

    Raises:
        ConfigError: a network (``where``) has no such depth.

    Example:
        >>> [depth_number(word, 2) for word in ("early", "middle", "late")]
        [0, 1, 2]
    """
    if isinstance(depth, str):
        if depth not in names:
            raise ConfigError(
                f"{where}unknown depth '{depth}': {nearest(depth, names)}, or a number from 0 to {layers}"
            )
        return {"early": 0, "middle": layers // 2}.get(depth, layers)
    if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= layers:
        raise ConfigError(f"{where}depth {depth}: the network has {layers} layers; expected 0 to {layers} or a name")
    return depth


#: Below so many weights the conversion costs what the product gains.
_WORTH = 8192


class Linear(nn.Linear):
    """``nn.Linear`` whose product runs in bf16 while training, where the processor has it; float32 in and out.

    Measured on an EPYC with AVX512-BF16, 512 rows x 892 features x 128 units, one thread: 0.57 ms against 1.23 ms.
    Prediction stays in float32.
    """

    @property
    def narrow(self) -> bool:
        """Whether the layer is wide enough to train faster in bf16, on a processor that multiplies it."""
        return self.weight.numel() >= _WORTH

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if not self.training or not self.narrow or fast_dtype(input.device) != bfloat16:
            return super().forward(input.float() if input.dtype == bfloat16 else input)
        out = functional.linear(input.to(bfloat16), self.weight.to(bfloat16)).float()
        return out if self.bias is None else out + self.bias


class Network(nn.Module, ABC):
    """All that is trained between Tokens and the output."""

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim) raw outputs."""

    def entries(self) -> Sequence[Linear] | None:
        """The linear maps that the modalities' features enter first; None where they meet anything else on the way."""
        return None


#: Masks taken from a pool before its bits are drawn anew.
_TAKES = 64


class Masks:
    """Dropout masks from a pool of random bits that each draw enters at a random place.

    Drawing fresh bits for every unit of every step was a third of a training step; entering a pool costs one number.
    It holds no fewer than four times what is asked for and is drawn anew after every 64 masks. One generator per
    network, so that networks trained side by side in threads stay reproducible.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._pools: dict[float, tuple[Tensor, int]] = {}
        self._narrow: dict[float, Tensor] = {}  # the pools that were asked for in bf16
        self._before: dict[float, Tensor] = {}  # the generator's state before each pool was drawn

    def take(
        self, shape: Sequence[int], chance: float, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Zeros with ``chance``, else what keeps the mean, of this shape; the same ones in float32 and in bf16."""
        size = prod(shape)
        pool, left = self._pools.get(chance, (torch.empty(0), 0))
        if left == 0 or len(pool) < 4 * size:
            self._before[chance] = self.generator.get_state()
            pool, left = _drawn(max(4 * size, len(pool)), chance, self.generator).to(device), _TAKES
            self._narrow.pop(chance, None)
        self._pools[chance] = (pool, left - 1)
        start = int(torch.randint(len(pool) - size + 1, (), generator=self.generator))
        if dtype == torch.bfloat16:
            if chance not in self._narrow:
                self._narrow[chance] = pool.bfloat16()
            pool = self._narrow[chance]
        return pool[start : start + size].view(*shape).to(device)

    def state(self) -> list[tuple[float, int, int, Tensor]]:
        """Chance, size, masks left and the generator's state (bytes) before it was drawn, of each pool."""
        return [(c, len(pool), left, self._before[c]) for c, (pool, left) in self._pools.items()]

    def load_state(self, state: Sequence[tuple[float, int, int, Tensor]]) -> None:
        """Draw the pools of ``state`` again; the generator stays where it is."""
        self._before.clear()
        self._pools.clear()
        self._narrow.clear()
        for chance, size, left, before in state:
            generator = torch.Generator()
            generator.set_state(before)
            self._before[chance], self._pools[chance] = before, (_drawn(size, chance, generator), left)
            self._narrow.pop(chance, None)


def _drawn(size: int, chance: float, generator: torch.Generator) -> Tensor:
    drawn = torch.empty((size + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (
        (drawn.view(torch.uint8)[:size] >= round(chance * 256)).float().mul_(_scale(chance))
    )  # a random byte per unit


def _scale(chance: float) -> float:
    """The factor that keeps the mean after dropout."""
    return 256 / (256 - round(chance * 256))


class Dropout(nn.Module):
    """Dropout whose masks come from ``masks``, which the training loop sets; without them nothing is dropped."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance
        self.masks: Masks | None = None

    def drawn(self, shape: Sequence[int], device: torch.device) -> tuple[Tensor | None, float]:
        """A mask and the one number in it beside zero; None and 1 where nothing is dropped."""
        if not self.training or self.chance <= 0 or self.masks is None:
            return None, 1.0
        return self.masks.take(shape, self.chance, device), _scale(self.chance)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, scaled so that the mean stays."""
        mask, _ = self.drawn(x.shape, x.device)
        return x if mask is None else x * mask


def drop_features(tokens: Tokens, chance: float, masks: Masks) -> Tokens:
    """The same tokens with single features dropped."""
    return Tokens(tokens.x * masks.take(tokens.x.shape, chance, tokens.x.device, tokens.x.dtype), tokens.mask)


class Norm(nn.BatchNorm1d):
    """Batch normalisation that falls back on its running statistics where a batch holds fewer than two rows."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, D)."""
        if not self.training or len(input) > 1:
            return super().forward(input)
        return functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Block(nn.Sequential):
    """Linear, batch normalisation, ReLU, dropout (Wernlein et al., section 3.1; the dropout is ours).

    Shape: (B, inputs) to (B, width).
    """

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__(Linear(inputs, width), Norm(width), nn.ReLU(), Dropout(dropout))

    def forward(self, input: Tensor) -> Tensor:
        """The parts one after another; the wide ones that train on a CPU in bf16 as ``_Fused``, a quarter faster."""
        linear, norm, _, dropout = self
        assert isinstance(linear, Linear)
        assert isinstance(norm, Norm)
        assert isinstance(dropout, Dropout)
        cpu = input.device.type == "cpu"
        if not (
            self.training and norm.training and cpu and linear.narrow and fast_dtype() == bfloat16 and len(input) > 1
        ):
            result: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
            return result
        drawn = dropout.drawn((len(input), linear.out_features), input.device)
        out: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
            input, linear.weight, norm.weight, norm.bias, linear.bias, norm, drawn
        )
        return out


class _Fused(torch.autograd.Function):
    """A block whose steps share their arrays, with its derivative written out.

    The bias of the linear map is left out of the sum and only moves the running mean: batch normalisation takes away
    whatever is added to all rows alike, so that in training neither the output nor any gradient depends on it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        gain: Tensor,
        shift: Tensor,
        bias: Tensor,
        norm: Norm,
        drawn: tuple[Tensor | None, float],
    ) -> Tensor:
        mean, variance, momentum = norm.running_mean, norm.running_var, norm.momentum
        assert mean is not None
        assert momentum is not None
        mask, scale = drawn
        narrow, weights = x.to(bfloat16), weight.to(bfloat16)
        z = functional.linear(narrow, weights).float()
        out, middle, inverse = torch.native_batch_norm(z, gain, shift, mean, variance, True, momentum, norm.eps)
        mean.add_(bias, alpha=momentum)
        out.relu_()
        if mask is not None:
            out.mul_(mask)
        ctx.save_for_backward(narrow, weights, z, gain, middle, inverse, out)
        ctx.scale, ctx.eps = scale, norm.eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        narrow, weights, z, gain, middle, inverse, out = ctx.saved_tensors
        kept = torch.ops.aten.threshold_backward(gradient, out, 0)  # what ReLU or dropout made zero passes nothing on
        if ctx.scale != 1:
            kept.mul_(ctx.scale)
        of_z, of_gain, of_shift = torch.ops.aten.native_batch_norm_backward(
            kept, z, gain, None, None, middle, inverse, True, ctx.eps, [True, True, True]
        )
        of_z = of_z.to(bfloat16)
        of_x = (of_z @ weights).float() if ctx.needs_input_grad[0] else None
        return (of_x, (of_z.t() @ narrow).float(), of_gain, of_shift, None, None, None)
