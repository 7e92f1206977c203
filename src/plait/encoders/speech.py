"""The speech embedding beside statistics of log-mel spectra: the default for sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.sound_frames import LIVEKIT, SpeechAndStatistics, SpeechWeights


@dataclass(eq=False)
class SpeechAndSound(SpeechAndStatistics):
    """What is said (speech embedding) and how it sounds (log-mel statistics), in one vector.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.

    Formula: [mean over time; largest over time] of the speech embedding; mean, deviation, largest and deviation of the
    change of 20 cepstral coefficients.
    Shape: sounds in, (n, 1, 272) out.
    Source: see ``speech_embedding`` and ``logmel``. A linear probe gives 0.977 on spoken digits of unheard speakers
    (FSDD; embedding alone 0.978, statistics alone 0.59) and 0.887 on environmental sounds (ESC-10; 0.828, 0.832).
    Use when: it is not known what the sounds are.
    Not when: all are environmental sounds and ``yamnet`` may be used: it gives 0.97 there.

    Example:
        >>> SpeechAndSound().dim
        272
    """

    licence: ClassVar[str] = LIVEKIT.licence
    speech: ClassVar[SpeechWeights] = LIVEKIT
