"""Any text model of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.hub_kinds import PooledHubText


@dataclass(eq=False)
class TransformersText(PooledHubText):
    """Any text model of transformers, by hub name or folder: the mean of its last layer.

    Of encoder-decoder models the encoder is used; of CLIP and its kin the projected text features.

    Shape: text in, (n, 1, D) out; D is the model's width.
    Source: the model's card; the default is RoBERTa (Liu et al. 2019, arXiv 1907.11692).
    Use when: a model exists for your language or domain.
    Not when: any sentence model will do: those of ``sentence_transformer`` are trained to be compared as they are.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights: as the model's card says, MIT for the default"

    model: str = "FacebookAI/roberta-base"
