"""Dropout that is fast on a CPU and reproducible in threads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from plait.tokens import Tokens

#: Masks taken from a pool before its bits are drawn anew.
_TAKES = 64


class Masks:
    """Dropout masks from a pool of random bits that each draw enters at a random place.

    Drawing fresh bits for every unit of every step was a third of a training step; entering a pool costs one number.
    It holds no fewer than four times what is asked for and is drawn anew after every 64 masks. One generator per
    network, so that networks trained side by side in threads stay reproducible.
    """

    def __init__(self, generator: torch.Generator) -> None:
        """Draw from ``generator``."""
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
    """What keeps the mean."""
    return 256 / (256 - round(chance * 256))


class Dropout(nn.Module):
    """Dropout whose masks come from ``masks``, which the training loop sets; without them nothing is dropped."""

    def __init__(self, chance: float) -> None:
        """Drop each unit with ``chance``."""
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
