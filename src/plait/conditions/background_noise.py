"""A condition that mixes recorded noise into sounds."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.conditions.noise import Clips, Noise, find_clips


@dataclass(kw_only=True)
class BackgroundNoise(Noise):
    """A clip of real noise mixed into each sound: which clip, and from where in it, follows from the sound's content.

    A clip that is shorter than the sound is repeated. It begins where it is not silent. Ratio, power, silence and
    loudness are those of ``white_noise``.

    Attributes:
        folder: folder or zip archive of clips (wav, flac, ogg, mp3); empty takes the 400 of ESC-10 under ``PLAIT_DATA``.

    Formula: y = x + strength * sqrt(P(x) / P(c)) * c, c the clip at the sound's rate.
    Shape: sounds (n,).
    Source: Piczak 2015, ESC: Dataset for Environmental Sound Classification (the clips).
    Use when: it must be known how a model holds up outside of the laboratory.
    Not when: the sounds are themselves of the clips' kind: noise from another class is then a second, wrong answer.

    Example:
        >>> BackgroundNoise(folder="street", snr_db=20).label
        'background_noise:snr_db=20,folder=street'
    """

    kinds = ("audio",)

    folder: str = ""

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The sound with a clip behind it."""
        clip = _clips(self.folder, os.environ.get("PLAIT_DATA", "")).draw(generator, len(signal), rate or 1)
        return self.with_noise(signal, clip, sound=True)

    def fingerprint(self) -> str:
        """Digest of the clips' content; their place on the disk does not count."""
        clips = _clips(self.folder, os.environ.get("PLAIT_DATA", ""))
        message = f"{self.name()} {self.version} {self.strength!r} {self.seed} {clips.digest}{' turned down' * self.turn_down}"
        return hashlib.blake2b(message.encode(), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=8)
def _clips(folder: str, data: str) -> Clips:
    """The noise clips, read once in a process: files added later are not used."""
    return find_clips(Path(folder) if folder else None, data)
