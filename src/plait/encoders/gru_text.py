"""A recurrent network over words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from plait.base.checks import Width
from plait.base.tokens import Tokens
from plait.encoders.from_scratch import ScratchText
from plait.encoders.packages import mean_and_max


@dataclass(eq=False)
class GRUText(ScratchText):
    """A GRU over words in both directions, trained from scratch; the mean and the largest of its states.

    Attributes:
        hidden: width of the state in each direction.

    Formula: h_t = GRU(w_t, h_t-1) from both ends; [mean over t; max over t].
    Shape: text in, (n, 1, 4 * hidden) out; at most 690,048 weights with the defaults, of which 640,000 are words.
    Source: Cho et al. 2014, arXiv 1406.1078.
    Use when: order matters and the words are those of no trained model (codes, logs, a rare language).
    Not when: texts are ordinary language: frozen sentence embeddings need far less data.
    """

    hidden: Width = 64

    def network(self) -> nn.Module:
        return _Recurrent(self.width, self.hidden)

    @property
    def dim(self) -> int:
        return 4 * self.hidden


class _Recurrent(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # Packed, or the backward direction would start in the padding.
        packed = pack_padded_sequence(x, mask.sum(1).clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])  # (B, T, 2H)
        return mean_and_max(Tokens(states, mask))
