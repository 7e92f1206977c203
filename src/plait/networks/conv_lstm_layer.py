"""A convolutional LSTM layer, its options, and the rows that it runs over: packed so that they end together.

No step is computed for a row that has not begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base import checks
from plait.base.checks import Count, Natural, Width, Within
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens

State = tuple[Tensor, Tensor]
Size = tuple[int, int]


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


#: Gates in the order in which their weights lie: input, forget, output (sigmoid), then the cell's candidate (tanh).
GATES = 4


class ConvLSTMLayer(nn.Module):
    """A standard LSTM at every place of a picture, its weights shared by all places.

    The gates see a patch of what stands still, the whole frame of what has no place, a patch of what moves, and a patch of
    the hidden state; any of the first three may be missing. On one place with a kernel of one it is the plain LSTM.

    Formula: z_t = b + W_v * v + W_a a_t + W_x * x_t + W_h * h_{t-1}, where * is a convolution that keeps the size;
    i, f, o = sigmoid(z_i, z_f, z_o), g = tanh(z_g), c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    Shape: v (B, C, H, W), a (N, F), x (N, H, W, D); h (N, H, W, K), packed as in ``Steps``.

    Source: Barnum et al. 2020, figure 5.
    """

    def __init__(self, still: int, driven: int, moving: int, units: int, kernel: int) -> None:
        """Channels of v, features of a, channels of x (0: it is not there), hidden units, side of the kernel."""
        super().__init__()
        gates = GATES * units
        self.units = units
        self.still = nn.Parameter(torch.empty(gates, still, kernel, kernel)) if still else None
        self.driven = nn.Parameter(torch.empty(gates, driven)) if driven else None
        self.weight = nn.Parameter(torch.empty(gates, moving + units, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(gates))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Glorot for what enters, orthogonal for the hidden state, and a forget gate that starts open."""
        for gate in range(GATES):
            rows = slice(gate * self.units, (gate + 1) * self.units)
            for weight in (self.still, self.driven, self.weight):
                if weight is not None:
                    nn.init.xavier_uniform_(weight[rows])
            nn.init.orthogonal_(self.weight[rows, -self.units :])
            self.bias[rows] = 1.0 if gate == 1 else 0.0

    def stand(self, picture: Tensor) -> Tensor:
        """The picture's share of the gates, once for all steps: (B, C, H, W) to (B, H, W, 4K)."""
        assert self.still is not None
        kernel = self.still.shape[-1]
        picture = picture.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(picture, self.still, padding=kernel // 2).permute(0, 2, 3, 1).contiguous()

    def forward(
        self,
        still: Tensor | None,
        frames: Tensor | None,
        moving: Tensor | None,
        state: State | None,
        counts: tuple[int, ...],
        size: tuple[int, int],
        dtype: torch.dtype,
    ) -> tuple[Tensor, State]:
        """Run over steps that are packed one after another; rows join as time goes on and none leaves.

        Args:
            still: (B or more, H, W, 4K), as from ``stand``; what does not change with time, or None.
            frames: (N, F) what has no place, or None.
            moving: (N, H, W, C) what has both, or None.
            state: h (n, H, W, K) and c (n, H, W, K) after the step before; None at the start.
            counts: rows of each step, never falling; their sum is N, the last is B.
            size: H and W.
            dtype: of the products; c is kept in float32 all the same.

        Returns:
            h of all steps (N, H, W, K) and the last state, (B, H, W, K) each.
        """
        units, weight = self.units, self.weight
        if frames is None or self.driven is None:
            drive = self.bias.expand(sum(counts), -1)
        else:
            drive = functional.linear(frames, self.driven, self.bias)  # (N, 4K)
        pushed = drive.to(dtype)[:, None, None]  # (N, 1, 1, 4K)
        if moving is not None:  # of all steps at once: it is there before the first
            pushed = pushed + convolved(moving.to(dtype), _narrow(weight[:, :-units], dtype))
        h, c = state if state is not None else (None, None)
        hidden = []
        for count, z in zip(counts, torch.split(pushed, list(counts)), strict=True):
            h, c = _joined(h, count), _joined(c, count)
            if still is not None:
                z = z + still[:count].to(dtype)
            # Narrowed at each step, so that the gradients of all steps are summed in float32.
            z = z.expand(count, *size, -1) if h is None else z + convolved(h, _narrow(weight[:, -units:], dtype))
            i, f, o = torch.sigmoid(z[..., : 3 * units]).chunk(3, -1)
            new = i * torch.tanh(z[..., 3 * units :])
            c = new.float() if c is None else f * c + new  # float32
            h = o * torch.tanh(c.to(dtype))
            hidden.append(h)
        assert h is not None
        assert c is not None
        return torch.cat(hidden), (h, c)


def _narrow(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype).contiguous(memory_format=torch.channels_last)


def _joined(state: Tensor | None, count: int) -> Tensor | None:
    """The state with zeros for the rows that start now."""
    if state is None or len(state) == count:
        return state
    return torch.cat([state, state.new_zeros((count - len(state), *state.shape[1:]))])


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution that keeps the size: (n, H, W, C) to (n, H, W, O)."""
    kernel = weight.shape[-1]
    if kernel == 1:
        return functional.linear(x, weight[:, :, 0, 0])
    return functional.conv2d(x.permute(0, 3, 1, 2), weight, padding=kernel // 2).permute(0, 2, 3, 1)
