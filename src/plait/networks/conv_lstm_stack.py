"""Sequences of different length, packed so that they end together: no step is computed for a row that has not begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base import checks
from plait.base.checks import Count, Natural, Width, Within
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.networks.conv_lstm_layer import ConvLSTMLayer, State


@dataclass(frozen=True)
class Steps:
    """Some rows of a batch, the longest first, step by step.

    All rows end at the last step, as sounds that are front-padded do; a row joins where it begins, so the rows of a step
    are the first ``counts[t]``.

    Attributes:
        rows: their places in the batch (B,).
        counts: rows of each step, never falling; their sum is N.
        who: (N,) row, as a place in ``rows``, of each packed step.
        frames: (N, F), zeros before a sound sets in; None without a sequence.
    """

    rows: Tensor
    counts: tuple[int, ...]
    who: Tensor
    frames: Tensor | None

    def piece(self, start: int, stop: int) -> Steps:
        """Steps ``start`` to ``stop`` alone."""
        first = sum(self.counts[:start])
        taken = slice(first, first + sum(self.counts[start:stop]))
        frames = None if self.frames is None else self.frames[taken]
        return Steps(self.rows, self.counts[start:stop], self.who[taken], frames)


def lengths(tokens: Tokens | None, rows: int, least: int) -> Tensor:
    """Steps of each row (B,): its tokens, and no fewer than ``least``."""
    if tokens is None:
        return torch.full((rows,), least)
    return tokens.mask.sum(1).clamp_min(least).cpu()


def pack(tokens: Tokens | None, rows: Tensor, steps: Tensor) -> Steps:
    """The given rows (B,), which take so many steps each (B,), falling; silence comes before a row's first token."""
    longest = int(steps[0])
    begins = longest - steps  # (B,) rising
    counts = (begins[None, :] <= torch.arange(longest)[:, None]).sum(1)  # (T,)
    device = rows.device if tokens is None else tokens.x.device
    time = torch.arange(longest).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    who = torch.arange(len(time)) - starts.repeat_interleave(counts)
    frames = None
    if tokens is not None:
        kept = tokens.take(rows.to(device))
        place = time.to(device) - longest + kept.mask.sum(1)[who.to(device)]  # below zero: silence
        # The tokens that are there, in their order, come first: masks may have holes.
        order = (~kept.mask).int().argsort(stable=True, dim=1)
        token = order[who.to(device), place.clamp_min(0)]
        result = kept.x[who.to(device), token].float()  # (N, F)
        frames = torch.where(place[:, None] >= 0, result, result.new_zeros(()))
    return Steps(rows, tuple(counts.tolist()), who.to(device), frames)


@dataclass(frozen=True)
class ConvLSTMOptions:
    """All that may be chosen beside width, depth and layers; the defaults are the paper's.

    Attributes:
        kernel: side of the square that a unit sees, odd; where the map is smaller, of as much as it can see of it: 1 where
            it is one place, as without a picture.
        pool: side of the square that is made one, by its largest, after each joint layer.
        own_pool: the same after each convolution that the picture runs alone. A.2 names none there; 2 keeps the depths
            alike in the size of their pictures, 1 is A.2 to the letter.
        dense: units before the last layer.
        least_steps: a shorter sequence, and an absent one, is front-padded with silence to so many steps. The paper pads
            to the longest sound of its data.
        checkpoint: longer sequences are computed in pieces of so many steps, and all but the last once more on the way
            back, so that memory grows with the piece and not with the length; 0: never.
        precision: ``auto`` trains in bf16 where the processor has it and the layers are large enough to gain by it, and
            predicts in float32; ``fast`` does both so; ``float32`` neither.
    """

    kernel: Annotated[int, Within(1, 999)] = 3
    pool: Annotated[int, Within(1, 999)] = 2
    own_pool: Annotated[int, Within(1, 999)] = 2
    dense: Width = 128
    least_steps: Count = 8
    checkpoint: Natural = 64
    precision: Literal["auto", "fast", "float32"] = "auto"

    def __post_init__(self) -> None:
        checks.check(self, "network conv_lstm")
        if self.kernel % 2 == 0:
            raise ConfigError(f"network conv_lstm: kernel must be odd, so that it has a middle; found {self.kernel}")


Size = tuple[int, int]


class Stack(nn.Module):
    """``depth`` convolutions of the picture and ``depth`` LSTMs of the sequence, then ``layers - depth`` joint layers.

    Shape: picture (B, C, H, W), or None; steps of B rows. Out: (B, dim), or (N, dim) of every packed step.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        features: int,
        depth: int,
        layers: int,
        width: int,
        options: ConvLSTMOptions,
    ) -> None:
        """``channels`` or ``features`` is 0 where there is no picture or no sequence."""
        super().__init__()
        self.pool, self.own_pool, self.checkpoint = options.pool, options.own_pool, options.checkpoint
        self.convolutions, self.lstms, self.joint = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for _ in range(depth):
            if channels:
                kernel = reach(options.kernel, size)
                self.convolutions.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
                channels, size = width, _shrunk(size, self.own_pool)
            if features:
                self.lstms.append(ConvLSTMLayer(0, features, 0, width, 1))
                features = width
        self.dim = channels * prod(size) + features
        self.size = size  # where the joint layers begin
        #: Products of one row in one step of the layer that has most of them: weights times places.
        self.products = max((own.weight.numel() for own in self.lstms if isinstance(own, ConvLSTMLayer)), default=0)
        entering = (channels, features, 0)
        for _ in range(layers - depth):
            layer = ConvLSTMLayer(*entering, width, reach(options.kernel, size))
            self.products = max(self.products, layer.weight.numel() * prod(size))
            self.joint.append(layer)
            entering, size = (0, 0, width), _shrunk(size, self.pool)
            self.dim = width * prod(size)
        self.register_load_state_dict_pre_hook(_cropped)  # type: ignore[no-untyped-call]

    def forward(
        self, picture: Tensor | None, steps: Steps, seen: Tensor, heard: Tensor, dtype: torch.dtype, every: bool = False
    ) -> Tensor:
        """Features after the last step, or with ``every`` after each; what is not ``seen`` or ``heard`` (B,) is zero."""
        image = None if picture is None else self._look(picture, seen)
        if not self.joint and not self.lstms:
            assert image is not None
            return _flat(image)[steps.who] if every else _flat(image)
        first = self.joint[0] if self.joint else None
        still = first.stand(image) if isinstance(first, ConvLSTMLayer) and image is not None else None
        top = torch.cat(list(self._walk(still, steps, heard, dtype, every)))
        if self.joint or image is None:
            return top
        return torch.cat([_flat(image)[steps.who] if every else _flat(image), top], 1)

    def _look(self, picture: Tensor, seen: Tensor) -> Tensor:
        """The picture after its own convolutions; nothing of it where it is absent."""
        for convolution in self.convolutions:
            picture = _pooled(torch.relu(convolution(picture)), self.own_pool)
        return picture * seen[:, None, None, None].to(picture.dtype)

    def _walk(
        self, still: Tensor | None, steps: Steps, heard: Tensor, dtype: torch.dtype, every: bool
    ) -> Iterator[Tensor]:
        """Top features, piece by piece; the insides of all pieces but the last are forgotten and computed again."""
        from torch.utils.checkpoint import checkpoint

        length = self.checkpoint or len(steps.counts)
        states: list[State | None] = [None] * (len(self.lstms) + len(self.joint))
        for start in range(0, len(steps.counts), length):
            piece = steps.piece(start, start + length)
            last = start + length >= len(steps.counts)
            values = (still, piece, heard, states, dtype)
            if last or every or not torch.is_grad_enabled():
                top, states = self._piece(*values)
            else:
                top, states = checkpoint(self._piece, *values, use_reentrant=False, preserve_rng_state=False)
            if every or last:
                shown = top if every else top[-piece.counts[-1] :]
                yield self._shown(shown)

    def _piece(
        self, still: Tensor | None, steps: Steps, heard: Tensor, states: list[State | None], dtype: torch.dtype
    ) -> tuple[Tensor, list[State | None]]:
        """The top layer's hidden state at every step, and all states after the last."""
        after: list[State | None] = []
        frames = steps.frames
        top = steps.who.new_zeros(0)
        for layer, state in zip(self.lstms, states, strict=False):
            top, result = layer(None, frames, None, state, steps.counts, (1, 1), dtype)
            after.append(_own(result))
            top = top * heard[steps.who][:, None, None, None].to(top.dtype)  # of an absent sequence nothing is known
            frames = top.flatten(1).to(still.dtype if still is not None else torch.float32)
        moving = None
        for place, (layer, state) in enumerate(zip(self.joint, states[len(self.lstms) :], strict=True)):
            size = self.size if moving is None else (moving.shape[1], moving.shape[2])
            top, result = layer(
                None if place else still, None if place else frames, moving, state, steps.counts, size, dtype
            )
            after.append(_own(result))
            if place + 1 < len(self.joint):
                moving = _pooled(top.permute(0, 3, 1, 2), self.pool).permute(0, 2, 3, 1)
        return top, after

    def _shown(self, top: Tensor) -> Tensor:
        """Hidden states (n, H, W, K) as features (n, dim)."""
        top = top.permute(0, 3, 1, 2)
        return _flat(_pooled(top, self.pool) if self.joint else top).float()


def reach(kernel: int, size: Size) -> int:
    """The side of a kernel whose weights can all meet something on a map: with no picture it is one place, and sees itself.

    Example:
        >>> reach(3, (14, 14)), reach(3, (1, 1)), reach(5, (2, 2))
        (3, 1, 3)
    """
    return min(kernel, 2 * max(size) - 1)


def _cropped(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Crop the kernels of older models that reached beyond the map, where there were only zeros."""
    for name, own in module.state_dict().items():
        saved = state.get(prefix + name)
        if saved is not None and saved.ndim == own.ndim == 4 and saved.shape[-1] > own.shape[-1]:
            edge = (saved.shape[-1] - own.shape[-1]) // 2
            state[prefix + name] = saved[..., edge:-edge, edge:-edge].contiguous()


def _own(state: State) -> State:
    """A state that does not hold on to the hidden states of all steps, which it is a part of."""
    return state[0].clone(), state[1]


def _shrunk(size: Size, pool: int) -> Size:
    height, width = (side // min(pool, side) for side in size)
    return height, width


def _pooled(x: Tensor, pool: int) -> Tensor:
    """(n, C, H, W): of each square the largest; a side shorter than the square is one."""
    square = min(pool, x.shape[2]), min(pool, x.shape[3])
    return x if square == (1, 1) else functional.max_pool2d(x, square)


def _flat(x: Tensor) -> Tensor:
    """(n, C, H, W) to (n, H W C), as it lies in memory."""
    return x.permute(0, 2, 3, 1).flatten(1)
