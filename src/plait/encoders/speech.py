"""The speech embedding beside statistics of log-mel spectra: the default for sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from plait.encoders.sound_frames import LIVEKIT, LIVEKIT_LICENCE, SpeechAndStatistics, SpeechWeights


@dataclass(eq=False)
class SpeechAndSound(SpeechAndStatistics):
    """What is said (speech embedding) and how it sounds (log-mel statistics), in one vector.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.

    Formula: [mean over time; largest over time] of the speech embedding; mean, deviation, largest and deviation of the
    change of 20 cepstral coefficients.
    Shape: sounds in, (n, 1, 272) out.
    Source: Lin et al. 2020, arXiv 2002.01322, and ``logmel``. A linear probe on validation rows (the better of two
    penalties) gives 0.965 on spoken digits of unheard speakers (FSDD, six folds by speaker) and 0.862 on environmental
    sounds (ESC-10, four folds); ``logmel`` 0.68 and 0.80, ``speech_logmel``, whose licence is unclear, 0.972 and 0.897.
    Use when: it is not known what the sounds are.
    Not when: all are environmental sounds: the presets ``clap`` and ``ast``, or ``yamnet``, were trained on such.
    """

    licence: ClassVar[str] = LIVEKIT_LICENCE
    speech: ClassVar[SpeechWeights] = LIVEKIT
