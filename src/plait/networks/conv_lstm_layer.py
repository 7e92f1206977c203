"""One convolutional LSTM layer with its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

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


#: Gates in the order in which their weights lie: input, forget, output (sigmoid), then the cell's candidate (tanh).
GATES = 4


def recur(
    still: Tensor | None,
    drive: Tensor,
    moving: Tensor | None,
    weight: Tensor,
    state: tuple[Tensor, Tensor] | None,
    counts: Sequence[int],
    size: tuple[int, int],
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run the recurrence over steps that are packed one after another; rows join as time goes on and none leaves.

    Formula: with z = still + drive_t + W * [moving_t; h_{t-1}] (a convolution that keeps the size),
    i, f, o = sigmoid(z_i, z_f, z_o), g = tanh(z_g), c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    Args:
        still: (B or more, H, W, 4K) what does not change with time, or None.
        drive: (N, 4K) what has no place.
        moving: (N, H, W, C) what has both, or None.
        weight: (4K, C + K, k, k).
        state: h (n, H, W, K) and c (n, H, W, K) after the step before; None at the start.
        counts: rows of each step, never falling; their sum is N, the last is B.
        size: H and W.
        dtype: of the products; c is kept in float32 all the same.

    Returns:
        h of all steps (N, H, W, K) and the last state, (B, H, W, K) each.
    """
    h0, c0 = state if state is not None else (None, None)
    given = (still, drive, moving, weight, h0, c0)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    everything: Any = _Recurrence.apply(*given, _Walk(tuple(counts), size, dtype, learns))  # type: ignore[no-untyped-call]
    hidden, cell = everything
    return hidden, (hidden[len(hidden) - counts[-1] :], cell)


class _Walk(NamedTuple):
    """How the recurrence runs: rows of each step, height and width, number type of the products, whether it learns."""

    counts: tuple[int, ...]
    size: tuple[int, int]
    dtype: torch.dtype
    learns: bool


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        still: Tensor | None,
        drive: Tensor,
        moving: Tensor | None,
        weight: Tensor,
        h0: Tensor | None,
        c0: Tensor | None,
        walk: _Walk,
    ) -> tuple[Tensor, Tensor]:
        counts, size, dtype, learns = walk
        units = len(weight) // GATES
        fast = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        constant = None if still is None else still.to(dtype)
        pushed = drive.to(dtype)[:, None, None]  # (N, 1, 1, 4K)
        hidden = drive.new_empty((len(drive), *size, units), dtype=dtype)
        gates: list[Tensor] = []
        cells: list[Tensor] = []
        h, c = h0, (None if c0 is None else c0.float())
        for count, rows in _spans(counts):
            h, c = _joined(h, count), _joined(c, count)
            z = _products(moving, h, fast, rows)
            fixed = pushed[rows] if constant is None else constant[:count] + pushed[rows]
            z = fixed.expand(count, *size, -1).clone() if z is None else z.add_(fixed)
            z[..., : 3 * units].sigmoid_()
            z[..., 3 * units :].tanh_()
            i, f, o, g = z.chunk(GATES, -1)
            c = (i * g).float() if c is None else (f * c).add_(i * g)
            rounded = c.to(dtype)
            if learns:
                gates.append(z)
                cells.append(rounded)
            h = torch.mul(o, torch.tanh(rounded), out=hidden[rows])
        assert c is not None
        ctx.save_for_backward(moving, fast, h0, c0, hidden, *gates, *cells)
        ctx.counts, ctx.still = counts, None if still is None else (len(still), still.dtype)
        ctx.dtypes = drive.dtype, weight.dtype
        return hidden, c

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, from_hidden: Tensor, from_cell: Tensor) -> tuple[Tensor | None, ...]:
        moving, weight, h0, c0, hidden, *kept = ctx.saved_tensors
        counts: tuple[int, ...] = ctx.counts
        gates, cells = kept[: len(counts)], kept[len(counts) :]
        drive_type, weight_type = ctx.dtypes
        still_rows, still_type = ctx.still or (0, None)
        total = _Total(weight, hidden, moving, still_rows, counts)
        d_c, d_h = from_cell.float(), None  # of the rows of the step that is looked at
        for step in range(len(counts) - 1, -1, -1):
            rows = total.rows[step]
            before = len(cells[step - 1]) if step else 0 if h0 is None else len(h0)
            c_before = cells[step - 1] if step else c0
            h_before = hidden[rows.start - before : rows.start] if step else h0
            here = from_hidden[rows] if d_h is None else d_h.add_(from_hidden[rows])
            z, d_c = _gates_backward(here, d_c, gates[step], cells[step], c_before)
            total.add(z, rows, moving, h_before)
            d_c = d_c[:before]
            d_h = total.back(z, rows, before)
        d_c0 = None if c0 is None else d_c.to(c0.dtype)
        d_still = None if total.still is None else total.still.to(still_type)
        d_weight = total.weight.permute(0, 3, 1, 2).to(weight_type)
        return d_still, total.drive.to(drive_type), total.moving, d_weight, d_h, d_c0, None


class _Total:
    """Gradients of what all steps share, and of what each is given."""

    def __init__(
        self, weight: Tensor, hidden: Tensor, moving: Tensor | None, still: int, counts: tuple[int, ...]
    ) -> None:
        gates, inputs, self.kernel, _ = weight.shape
        self.units = gates // GATES
        self.rows = [rows for _, rows in _spans(counts)]
        exact = weight.new_empty(0, dtype=torch.float32)
        self.weight = exact.new_zeros(gates, self.kernel, self.kernel, inputs)
        self.drive = exact.new_empty(len(hidden), gates)
        self.still = exact.new_zeros(still, *hidden.shape[1:3], gates) if still else None
        self.moving = None if moving is None else torch.empty_like(moving)
        flipped = weight.flip(2, 3).transpose(0, 1)
        self.flipped = flipped.contiguous(memory_format=torch.channels_last)

    def add(self, z: Tensor, rows: slice, moving: Tensor | None, h: Tensor | None) -> None:
        """Take in the gradient of one step's sums."""
        if self.still is not None:
            self.still[: len(z)] += z
        self.drive[rows] = z.flatten(1, 2).sum(1, dtype=torch.float32)
        if h is not None and len(h):
            self._share(self.weight[..., -self.units :], z[: len(h)], h)
        if moving is not None:
            self._share(self.weight[..., : -self.units], z, moving[rows])

    def _share(self, total: Tensor, z: Tensor, x: Tensor) -> None:
        # As one matrix product: torch's own gradient of a bf16 convolution's weight loses on several cores (measured).
        share = z.reshape(-1, z.shape[-1]).t() @ patches(x, self.kernel)
        total += share.view(total.shape)

    def back(self, z: Tensor, rows: slice, before: int) -> Tensor | None:
        """Gradient of h of the step before, None where there is none; that of what moves is put in its place."""
        if self.moving is None:
            return convolved(z[:before], self.flipped) if before else None
        inputs = convolved(z, self.flipped)
        self.moving[rows] = inputs[..., : -self.units]
        return inputs[:before, ..., -self.units :].contiguous() if before else None


def _spans(counts: Sequence[int]) -> Iterator[tuple[int, slice]]:
    start = 0
    for count in counts:
        yield count, slice(start, start + count)
        start += count


def _joined(state: Tensor | None, count: int) -> Tensor | None:
    """The state with zeros for the rows that start now."""
    if state is None or len(state) == count:
        return state
    return torch.cat([state, state.new_zeros((count - len(state), *state.shape[1:]))])


def _products(moving: Tensor | None, h: Tensor | None, weight: Tensor, rows: slice) -> Tensor | None:
    """W * [moving; h] (n, H, W, 4K); None at a start without anything that moves."""
    if moving is None:
        return None if h is None else convolved(h, weight)
    if h is None:
        return convolved(moving[rows], weight[:, : moving.shape[-1]])
    return convolved(torch.cat([moving[rows], h], -1), weight)


def _gates_backward(
    d_h: Tensor, d_c: Tensor, gates: Tensor, cell: Tensor, before: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of the gates' sums (n, H, W, 4K), and of the cell before."""
    aten = torch.ops.aten
    i, f, o, g = gates.chunk(GATES, -1)
    z = torch.empty_like(gates)
    z_i, z_f, z_o, z_g = z.chunk(GATES, -1)
    tanh = torch.tanh(cell)
    aten.sigmoid_backward.grad_input(d_h * tanh, o, grad_input=z_o)
    d_c = aten.tanh_backward(d_h * o, tanh) + d_c
    low = d_c.to(gates.dtype)
    aten.sigmoid_backward.grad_input(low * g, i, grad_input=z_i)
    aten.tanh_backward.grad_input(low * i, g, grad_input=z_g)
    n = 0 if before is None else len(before)
    z_f[n:] = 0.0
    if before is not None:
        aten.sigmoid_backward.grad_input(low[:n] * before.to(low.dtype), f[:n], grad_input=z_f[:n])
    return z, d_c.mul_(f)


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution that keeps the size: (n, H, W, C) to (n, H, W, O)."""
    kernel = weight.shape[-1]
    if kernel == 1:
        return functional.linear(x, weight[:, :, 0, 0])
    return functional.conv2d(x.permute(0, 3, 1, 2), weight, padding=kernel // 2).permute(0, 2, 3, 1)


def patches(x: Tensor, kernel: int) -> Tensor:
    """(n, H, W, C) to (n H W, k k C): what the kernel sees at each place, zeros beyond the edge."""
    if kernel == 1:
        return x.reshape(-1, x.shape[-1])
    edge, (n, height, width, channels) = kernel // 2, x.shape
    padded = functional.pad(x, (0, 0, edge, edge, edge, edge))
    a, b, c, d = padded.stride()
    # A row of the kernel lies together in memory: copied as one piece, four times as fast as shift by shift.
    seen = padded.as_strided((n, height, width, kernel, kernel * channels), (a, b, c, b, d))
    return seen.reshape(n * height * width, kernel * kernel * channels)
