"""A convolutional LSTM: picture and sound are joined before a feature is made of either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base import config
from plait.base.errors import ConfigError
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.networks.base import Network, depth_number
from plait.networks.conv_lstm_layer import ConvLSTMLayer, ConvLSTMOptions, Size, State, Steps, lengths, pack

DEPTHS = ("early", "middle", "late")
#: Numbers of the gates of one step that a processor's cache still holds: rows are worked on in groups of so many.
_CACHE = 2_000_000


#: Products of a row in one step from which on bf16 is faster than float32 on a processor (docs/conv_lstm.md): below, turning
#: numbers from one type into the other costs more than the products save.
_WORTH = 65_536


class ConvLSTM(Network):
    """A standard LSTM at every place of a picture, whose gates see its patch, the hidden state's patch, and the sound.

    The picture stands still, so its convolution is computed once per row; the sound has no place, so its product is
    computed once per step; sounds are packed so that they end together, and no step is computed for one that has not begun.

    Formula: at depth 0, z = b + W_v * v + W_a a_t + W_h * h_{t-1}; i, f, o = sigmoid(z), g = tanh(z);
    c_t = f c_{t-1} + i g; h_t = o tanh(c_t); the next layer has h_t, pooled, for v, and no a_t; a dense layer reads the last.
    At depth 1 v and a_t come from a convolution and an LSTM, at depth 2 (late) from two, and the dense layer joins them.
    Shape: one modality whose tokens are the places of a picture (B, H W, C), one whose tokens follow each other in time
    (B, T, F), or one of the two alone; out (B, out_dim).
    Source: Barnum, Talukder and Yue 2020, On the Benefits of Early Fusion in Multimodal Representation Learning, A.1, A.2.
    Use when: pixels and sound belong together from the first and there are thousands of rows.
    Not when: rows are few, or trained encoders know such pictures and sounds: the ``fusion`` network is better and faster.

    Example:
        >>> network = ConvLSTM({"image": 1, "audio": 5}, 3, pictures={"image": (6, 6)}, width=4)
        >>> image = Tokens(torch.rand(2, 36, 1), torch.ones(2, 36, dtype=torch.bool))
        >>> audio = Tokens(torch.rand(2, 7, 5), torch.tensor([[True] * 7, [True] * 3 + [False] * 4]))
        >>> network({"image": image, "audio": audio}).shape
        torch.Size([2, 3])
    """

    #: What turns the cells of a kind into what this network sees, where nothing else is told.
    encoders: ClassVar[Mapping[str, str]] = {"image": "pixels", "audio": "spectrogram"}

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int,
        *,
        pictures: Mapping[str, Size],
        depth: str | int = "early",
        layers: int = 2,
        width: int = 64,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Build for modalities of the widths ``dims``, of which ``pictures`` have height and width."""
        super().__init__()
        self.options = config.build(ConvLSTMOptions, options or {}, "network conv_lstm")
        self.picture = _only([n for n in sorted(dims) if n in pictures], "picture (encoder 'pixels')")
        self.sequence = _only([n for n in sorted(dims) if n not in pictures], "sequence (encoder 'spectrogram')")
        self.size: Size = pictures[self.picture] if self.picture else (1, 1)
        channels = dims[self.picture] if self.picture else 0
        features = dims[self.sequence] if self.sequence else 0
        own = depth_number(depth, layers, DEPTHS, "network conv_lstm: ")
        self.stack = Stack(channels, self.size, features, own, layers, width, self.options)
        self.dense = nn.Linear(self.stack.dim, self.options.dense)
        self.head = nn.Linear(self.options.dense, out_dim)
        self._gates = 4 * width * self.stack.size[0] * self.stack.size[1]

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        groups = list(self._groups(tokens))
        # What is computed in bf16 is said by ``precision``; a caller's autocast would mix types within the recurrence.
        with torch.autocast(self.head.weight.device.type, enabled=False):
            result = torch.cat([self._answer(self._features(tokens, steps, False)) for steps in groups])
        rows = torch.cat([steps.rows for steps in groups])
        return result[rows.argsort().to(result.device)]

    @torch.no_grad()
    def over_time(self, tokens: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        """The last layer after every step (B, T, out_dim), and (B, T) bool: the row's steps had begun.

        Rows end together; what stands before a row's first step is zero.
        """
        groups = list(self._groups(tokens))
        longest = max(len(steps.counts) for steps in groups)
        rows = sum(len(steps.rows) for steps in groups)
        result = self.head.weight.new_zeros(rows, longest, self.head.out_features)
        begun = torch.zeros(rows, longest, dtype=torch.bool, device=result.device)
        for steps in groups:
            counts = torch.tensor(steps.counts)
            time = torch.arange(longest - len(counts), longest).repeat_interleave(counts).to(result.device)
            row = steps.rows.to(result.device)[steps.who]
            result[row, time] = self._answer(self._features(tokens, steps, True))
            begun[row, time] = True
        return result, begun

    def _answer(self, features: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.dense(features)))
        return out

    def _groups(self, tokens: Mapping[str, Tokens]) -> Iterator[Steps]:
        """The rows by falling length, as many at a time as the cache holds; on an accelerator all of them."""
        sound = tokens[self.sequence] if self.sequence else None
        rows = len(next(iter(tokens.values())))
        steps = lengths(sound, rows, self.options.least_steps)
        order = steps.argsort(descending=True, stable=True)
        together = max(1, _CACHE // self._gates) if self.head.weight.device.type == "cpu" else max(1, rows)
        for taken in torch.split(order, together):
            yield pack(sound, taken, steps[taken])

    def _features(self, tokens: Mapping[str, Tokens], steps: Steps, every: bool) -> Tensor:
        device = self.head.weight.device
        rows = steps.rows.to(device)
        nothing = torch.ones(len(rows), dtype=torch.bool, device=device)
        picture, seen = self._picture(tokens[self.picture].take(rows)) if self.picture else (None, nothing)
        heard = tokens[self.sequence].present[rows] if self.sequence else nothing
        result: Tensor = self.stack(picture, steps, seen, heard, self._dtype(device), every)
        return result

    def _picture(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), zeros where the mask is False, and (B,) bool: it is there."""
        height, width = self.size
        x, mask = tokens.x[:, : height * width], tokens.mask[:, : height * width]
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0).float()
        return x.view(len(x), height, width, -1).permute(0, 3, 1, 2), tokens.present

    def _dtype(self, device: torch.device) -> torch.dtype:
        value = self.options.precision
        if value == "float32" or (value == "auto" and not self.training):
            return torch.float32
        # By the network's sizes alone, not by the rows at hand: no row's answer may depend on its company.
        worth = device.type != "cpu" or self.stack.products >= _WORTH
        return fast_dtype(device) if worth else torch.float32


def _only(names: list[str], what: str) -> str | None:
    if len(names) > 1:
        raise ConfigError(
            f"network conv_lstm: it takes one {what}, found {len(names)}: {', '.join(names)}; keep one of them, by the "
            "modalities of the schema (plait schema TABLE > schema.yaml, edit, --schema schema.yaml)"
        )
    return names[0] if names else None


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
