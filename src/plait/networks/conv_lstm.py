"""A convolutional LSTM: picture and sound are joined before a feature is made of either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from plait.base import config
from plait.base.errors import ConfigError
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.networks.base import Network, depth_number
from plait.networks.conv_lstm_stack import ConvLSTMOptions, Size, Stack, Steps, lengths, pack

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
