"""An LSTM, a GRU or filters over any sequence of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from plait.base.checks import Count, Layers, Width, Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.encoders.batches import Forward
from plait.encoders.defaults import encoder_of
from plait.encoders.from_scratch import Scaled, longest, where_present
from plait.encoders.packages import masked_max, mean_and_max
from plait.encoders.scratch_series import ScratchSequence
from plait.store.model_files import under

#: kind -> the frozen encoder whose tokens are read, where none is named.
OVER: Mapping[str, Mapping[str, Any]] = {
    "text": {"name": "minilm", "pool": "none"},
    "video": {"name": "video_frames", "pool": "none"},
}


#: Steps that the filters of ``convolutions`` see.
SPANS = (2, 3, 4, 5)


@dataclass(eq=False)
class Recurrent(ScratchSequence):
    """An LSTM or GRU over a sequence: ready-made features of a sound or film, or the tokens of a frozen encoder.

    Tokens of a frozen encoder are computed once and kept in the store; the recurrent network alone learns.

    Attributes:
        over: a frozen encoder that gives several tokens a cell (``{name: minilm, pool: none}``, ``{name: video_frames, pool:
            none}``), or ``text`` or ``video`` for these two; empty: cells are sequences of vectors.
        cell: ``lstm``, ``gru``, ``convolutions``: filters over 2, 3, 4 and 5 steps and ReLU; or ``none``: each step by itself, a
            linear map and ReLU; over a frozen encoder that gives one token it is a small head that learns.
        hidden: width of the state in each direction, or filters of each span.
        layers: one over the other.
        both: from both ends.
        pool: ``last``: the states at the ends; ``mean``: over time; ``max``: the largest; ``mean_max``: both.
        out: a linear map to so many numbers at the end; None: none.
        max_tokens: longer sequences are cut.
        dropout: chance that a number of a vector is hidden while learning.

    Formula: h_t = LSTM(x_t, h_t-1) from both ends, ready-made x scaled to mean 0 and deviation 1; [h_T ; h_1], or the mean
    over t. Of filters: h_t = relu(sum over i < s of W_si x_t+i + b_s) for each span s, and the largest over t.
    Shape: sequences (T, D), a single vector is one of one step, or cells of the frozen encoder, in; (n, 1, out) out.
    Source: Hochreiter and Schmidhuber 1997, Long Short-Term Memory; Cho et al. 2014, arXiv 1406.1078; recurrent encoders of
    sound, film and words are those of Task-specific pre-trained encoders in late fusion, section 6.3. Kim 2014, arXiv 1408.5882,
    and its filters in MulDIC (Kwak, Jung and Lee 2023, Applied Sciences 13(16), 9456): 64 of each span, ``out: 256``.
    Use when: order matters and there are features per step.
    Not when: rows are few: the mean of the steps (``vector``, ``mlp``) has nothing to learn.
    """

    kinds: ClassVar[tuple[str, ...]] = ("vector", "text", "code", "video", "audio", "image")

    over: str | Mapping[str, Any] = ""
    cell: Literal["lstm", "gru", "convolutions", "none"] = "lstm"
    hidden: Width = 64
    layers: Layers = 1
    both: bool = True
    pool: Literal["last", "mean", "max", "mean_max"] = "last"
    out: Width | None = None
    max_tokens: Count = 64
    dropout: Annotated[float, Within(0, 0.95)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._inner: Encoder | None = None
        self._forward: Forward | None = None
        if self.over:
            where = f"encoder {self.name()}, over"
            spec = OVER.get(self.over, self.over) if isinstance(self.over, str) else self.over
            self.over, self._inner = encoder_of(spec, "text", where)
            if not self._inner.frozen or self._inner.raw:
                raise ConfigError(f"{where}: '{self._inner.name()}' is no frozen encoder; take minilm or video_frames")
            self._forward = Forward(self._inner)

    def fit(self, cells: Sequence[Any]) -> Self:
        """As the base; the tokens of a frozen encoder are taken as they are."""
        if self._inner is None:
            return super().fit(cells)
        self._inner.fit(cells)
        self._length = self.max_tokens
        self._mean, self._std = np.zeros(self._inner.dim, np.float32), np.ones(self._inner.dim, np.float32)
        return self

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``steps`` (n, T, D), float16 where a frozen encoder gave them, and ``mask`` bool (n, T)."""
        if self._inner is None or self._forward is None:
            return super().prepare(cells)
        self.check_fitted()
        return self.filled(self._forward(self._inner.prepare(cells)) if cells else [], np.float16)

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        if self._inner is not None:
            return self._inner.lengths(cells)
        return np.array([len(cell) if np.ndim(cell) == 2 else 1 for cell in cells], dtype=np.int64)

    def module(self) -> nn.Module:
        self.check_fitted()
        return _Network(self, self._mean, self._std)

    @property
    def dim(self) -> int:
        return self.out or self.states * (2 if self.pool == "mean_max" else 1)

    @property
    def states(self) -> int:
        """Numbers of each step's state."""
        return self.hidden * (len(SPANS) if self.cell == "convolutions" else 1 + self.both)

    def weights_id(self) -> str:
        return "" if self._inner is None else self._inner.fingerprint()

    def state(self) -> dict[str, Any]:
        own = super().state()
        inner = self._inner.state() if own and self._inner is not None else {}
        return own | {f"over.{key}": value for key, value in inner.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        if state and self._inner is not None:
            self._inner.load_state(under(state, "over."))


class _Network(Scaled):
    def __init__(self, options: Recurrent, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__(mean, std)
        self.states: nn.Module
        if options.cell == "none":
            self.states = nn.Sequential(nn.Linear(len(mean), options.states), nn.ReLU())
        elif options.cell == "convolutions":
            self.states = _Filters(len(mean), options.hidden)
        else:
            kind = nn.LSTM if options.cell == "lstm" else nn.GRU
            self.states = kind(len(mean), options.hidden, options.layers, batch_first=True, bidirectional=options.both)
        self.dropout, self.pool, self.dim = nn.Dropout(options.dropout), options.pool, options.dim
        self.both = options.both and options.cell != "convolutions"  # filters have no direction
        pooled = options.states * (2 if options.pool == "mean_max" else 1)
        self.fc = nn.Identity() if options.out is None else nn.Linear(pooled, options.out)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        steps, mask = batch["steps"], batch["mask"]
        return where_present(mask.any(1), lambda rows: self._features(steps[rows], mask[rows]), self.dim)

    def _features(self, steps: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1).clamp_min(1)  # plait export computes absent rows, too
        steps, mask = steps[:, : (end := longest(mask))], mask[:, :end]
        x = self.scaled(steps)
        if isinstance(self.states, nn.RNNBase):
            # Packed, or the backward direction would start in the padding.
            packed = pack_padded_sequence(self.dropout(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(
                self.states(packed)[0], batch_first=True, total_length=x.shape[1]
            )  # (B, T, H)
        else:
            states = self.states(self.dropout(x).masked_fill(~mask.unsqueeze(-1), 0.0))
        result: Tensor = self.fc(self._pooled(states, mask, lengths))
        return result

    def _pooled(self, states: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
        if self.pool == "max":
            return masked_max(states, mask)
        if self.pool != "last":
            tokens = Tokens(states, mask)
            return tokens.pooled() if self.pool == "mean" else mean_and_max(tokens)
        end = states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        if not self.both:
            return end
        half = states.shape[-1] // 2
        return torch.cat([end[:, :half], states[:, 0, half:]], 1)  # the backward direction ends at the first step


class _Filters(nn.Module):
    """Filters over a few steps from each step on; what lies beyond the last step counts as zero."""

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        self.spans = nn.ModuleList([nn.Conv1d(width, filters, span) for span in SPANS])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, filters of all spans) from (B, T, D)."""
        steps = functional.pad(x.transpose(1, 2), (0, SPANS[-1] - 1))  # a span sees as far as it is long
        windows = [span(steps)[:, :, : x.shape[1]] for span in self.spans]
        return torch.cat(windows, 1).relu().transpose(1, 2)
