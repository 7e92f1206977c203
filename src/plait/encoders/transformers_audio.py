"""Any sound model of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.hub_kinds import HubAudio


@dataclass(eq=False)
class TransformersAudio(HubAudio):
    """Any sound model of transformers, by hub name or folder: HuBERT, WavLM, AST, the encoder of Whisper, ...

    The last layer is averaged over the part of it that is not silence filled up by the model's extractor.

    Shape: sounds in, (n, 1, D) out; D is the model's width.
    Source: the model's card; the default is wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477).
    Use when: a model for your kind of sound exists.
    Not when: light features do: these models take about as long as the sound lasts on a small machine.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights: as the model's card says, Apache-2.0 for the default"

    model: str = "facebook/wav2vec2-base"
