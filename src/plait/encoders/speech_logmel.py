"""The speech embedding of openwakeword beside statistics of log-mel spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.sound_frames import OPENWAKEWORD, OPENWAKEWORD_LICENCE, SpeechAndStatistics, SpeechWeights


@dataclass(eq=False)
class SpeechLogMel(SpeechAndStatistics):
    """What is said and how it sounds, as ``speech``, with the weights that openwakeword ships.

    Needs ``pip install openwakeword==0.4.0``, which calls the models in it CC BY-NC-SA 4.0.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.

    Formula: [mean over time; largest over time] of the speech embedding; mean, deviation, largest and deviation of the
    change of 20 cepstral coefficients.
    Shape: sounds in, (n, 1, 272) out.
    Source: see ``speech_embedding`` and ``logmel``. A linear probe gives 0.977 on spoken digits of unheard speakers
    (FSDD; embedding alone 0.978, statistics alone 0.59) and 0.887 on environmental sounds (ESC-10; 0.828, 0.832).
    Use when: it is not known what the sounds are.
    Not when: all are environmental sounds and ``yamnet`` may be used: it gives 0.97 there.
    """

    licence: ClassVar[str] = OPENWAKEWORD_LICENCE
    extra: ClassVar[str | None] = None
    speech: ClassVar[SpeechWeights] = OPENWAKEWORD
