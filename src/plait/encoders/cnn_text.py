"""A convolutional network over words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plait.base.checks import Width
from plait.encoders.from_scratch import ScratchText
from plait.encoders.packages import masked_max

#: Words that a filter sees; odd, so that each is centred on a word.
_SPANS = (1, 3, 5)


@dataclass(eq=False)
class CNNText(ScratchText):
    """Filters over 1, 3 and 5 words, trained from scratch; the largest answer of each.

    Attributes:
        filters: of each span.

    Formula: max over t of ReLU(sum over i of W_i w_t+i + b), i from -(span - 1) / 2 to (span - 1) / 2.
    Shape: text in, (n, 1, 3 * filters) out; at most 680,000 weights with the defaults, of which 640,000 are words.
    Source: Kim 2014, Convolutional Neural Networks for Sentence Classification, arXiv 1408.5882 (spans 3, 4, 5 there).
    Use when: single words or short phrases decide, and the words are those of no trained model.
    Not when: texts are ordinary language: frozen sentence embeddings need far less data.
    """

    filters: Width = 64

    def network(self) -> nn.Module:
        return _Filters(self.width, self.filters)

    @property
    def dim(self) -> int:
        return len(_SPANS) * self.filters


class _Filters(nn.Module):
    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        self.spans = nn.ModuleList([nn.Conv1d(width, filters, span, padding=span // 2) for span in _SPANS])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        steps = x.masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)  # (B, width, T): beyond the end it is all zero
        result = [torch.relu(span(steps)).transpose(1, 2) for span in self.spans]  # (B, T, filters)
        return masked_max(torch.cat(result, 2), mask)
