"""wav2vec 2.0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.hub_kinds import HubAudio


@dataclass(eq=False)
class Wav2Vec2(HubAudio):
    """wav2vec 2.0 (base): speech at 16 kHz, the mean of the last layer over time.

    Shape: sounds in, (n, 1, 768) out; 1,024 with ``model="facebook/wav2vec2-large"``.
    Source: Baevski et al. 2020, wav2vec 2.0, arXiv 2006.11477.
    Use when: cells are speech.
    Not when: cells are music or noises: it was trained on read books.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights Apache-2.0 (huggingface.co/facebook/wav2vec2-base)"

    model: str = "facebook/wav2vec2-base"
