"""One convolutional LSTM layer with its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.networks._conv_lstm_recurrence import GATES, recur

State = tuple[Tensor, Tensor]


class ConvLSTMLayer(nn.Module):
    """A standard LSTM at every place of a picture, its weights shared by all places.

    The gates see a patch of what stands still, the whole frame of what has no place, a patch of what moves, and a patch of
    the hidden state; any of the first three may be missing. On one place with a kernel of one it is the plain LSTM.

    Formula: z_t = b + W_v * v + W_a a_t + W_x * x_t + W_h * h_{t-1}, where * is a convolution that keeps the size.

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
        """Hidden states of all steps (N, H, W, K), and the state to go on from; ``still`` as from ``stand``."""
        if frames is None or self.driven is None:
            drive = self.bias.expand(sum(counts), -1)
        else:
            drive = functional.linear(frames, self.driven, self.bias)  # (N, 4K)
        return recur(still, drive, moving, self.weight, state, counts, size, dtype)
