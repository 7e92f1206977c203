"""Noise at a chosen signal-to-noise ratio."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from plait.base.checks import Within
from plait.base.errors import CellError, TableError
from plait.conditions.base import Strength
from plait.conditions.cells import SignalCondition
from plait.data.archive import open_archive
from plait.data.media import Blob
from plait.data.media.formats import kind_of_name
from plait.data.media.sounds import audio

#: A signal of less power is silence (a sound below -120 dB of full scale, a picture of one colour).
SILENCE = 1e-12
#: Stronger noise is no different: the signal is beyond float32 in it.
_ALL_NOISE = 1e6


@dataclasses.dataclass(kw_only=True)
class Noise(SignalCondition):
    """A condition whose strength is a signal-to-noise ratio, given in one of four ways; the default is 0 dB.

    With P the power of signal and noise: strength = sqrt(P_noise / P_signal), amplitude_ratio = 1 / strength,
    snr = 1 / strength^2 = P_signal / P_noise, snr_db = 10 log10(snr). Infinite ratios are strength 0: no noise. Ratios of
    0 (or -inf dB) are infinite strength: noise of the signal's own power and mean, and nothing of the signal.

    Attributes:
        turn_down: sounds that leave -1..1 are turned down as a whole until they fit, as a file would have to be. Not asked
            for, they keep their level, as pictures do (``plait.data.media.pixels``): the ratio is the same, the loudness not.
        redraw: a model that learns from the cells (``train: scratch`` or ``pretrain``) sees each row with other noise in each
            epoch. What chooses and what tests has the repeatable noise all the same, and so has a frozen encoder.
    """

    measure = "amplitude of the noise / amplitude of the signal"
    most = math.inf
    ways: ClassVar[Mapping[str, Callable[[float], float]]] = {
        "snr_db": lambda ratio: math.inf if ratio == -math.inf or -ratio / 20 > 300 else 10 ** (-ratio / 20),
        "snr": lambda ratio: 1 / math.sqrt(ratio) if ratio else math.inf,
        "amplitude_ratio": lambda ratio: 1 / ratio if ratio else math.inf,
    }

    strength: Strength = math.nan
    snr_db: Annotated[float, Within(infinite=True)] | None = None
    snr: Annotated[float, Within(0, infinite=True)] | None = None
    amplitude_ratio: Annotated[float, Within(0, infinite=True)] | None = None
    turn_down: bool = False
    redraw: bool = False

    def fingerprint(self) -> str:
        """Digest of the strength; it does not depend on the form in which the ratio was given."""
        if self.redraw or any(getattr(self, way) is not None for way in self.ways):
            return dataclasses.replace(self.at(self.strength), redraw=False).fingerprint()
        return super().fingerprint()

    def with_noise(self, signal: np.ndarray, noise: np.ndarray, *, sound: bool) -> np.ndarray:
        """The signal and the noise at their ratio."""
        mixed = mix(signal, noise, self.strength)
        return turned_down(mixed, signal) if sound and self.turn_down else mixed


def power(signal: np.ndarray) -> float:
    """Mean square about the mean: of a sound (n,) about its mean, of pictures (..., H, W, 3) about each channel's.

    Example:
        >>> power(np.array([3.0, 5.0])), power(np.full((2, 2, 3), [1.0, 0.0, 0.5]))
        (1.0, 0.0)
    """
    return _mean_square(_centred(signal))


def mix(signal: np.ndarray, noise: np.ndarray, strength: float) -> np.ndarray:
    """Signal and noise, the noise scaled so that sqrt(power(noise) / power(signal)) is ``strength``.

    A signal or a noise without power (``SILENCE``) has no ratio: the signal stays as it is. Infinite strength leaves the
    noise alone, with the power and the mean of the signal.
    """
    value, unit = _centred(signal), _centred(noise)
    heard, disturbing = _mean_square(value), _mean_square(unit)
    if heard < SILENCE or disturbing < SILENCE:
        return signal
    unit *= np.float32(math.sqrt(heard / disturbing))
    if math.isinf(strength):
        return np.asarray(signal - value + unit, dtype=np.float32)
    return np.asarray(signal + unit * np.float32(min(strength, _ALL_NOISE)), dtype=np.float32)


def turned_down(sound: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A sound brought back into -1..1 (or into what it reached before) as a whole, so that nothing is cut off."""
    limit, peak = max(1.0, float(np.abs(before).max())), float(np.abs(sound).max())
    return sound if peak <= limit else sound * np.float32(limit / peak)


def _centred(signal: np.ndarray) -> np.ndarray:
    """The signal minus its mean, per channel for pictures; in float64, so that a constant colour has variance 0."""
    if signal.ndim == 1:
        return np.asarray(signal - np.float32(signal.mean(dtype=np.float64)), dtype=np.float32)
    means = [signal[..., c].mean(dtype=np.float64) for c in range(signal.shape[-1])]
    return np.asarray(signal - np.array(means, dtype=np.float32), dtype=np.float32)


def _mean_square(centred: np.ndarray) -> float:
    return float(np.mean(np.square(centred), dtype=np.float64))


#: Seconds of a clip that are used, clips in memory, and clips that are tried when some are broken or silent.
_LONGEST, _HELD, _TRIES = 60.0, 64, 16
#: A clip begins where its amplitude is at least this share of its greatest.
_AUDIBLE = 0.05


class Clips:
    """Sounds to draw from.

    Attributes:
        digest: of all their content.
    """

    def __init__(self, blobs: Sequence[Blob]) -> None:
        """Read their bytes once."""
        self._blobs = sorted(blobs, key=lambda blob: blob.digest())  # so that names and folders do not matter
        self.digest = hashlib.blake2b(b"".join(b.digest() for b in self._blobs), digest_size=16).hexdigest()
        self._read = functools.lru_cache(maxsize=_HELD)(self._decoded)

    def draw(self, generator: np.random.Generator, count: int, rate: int) -> np.ndarray:
        """``count`` samples of one clip at ``rate`` Hz, from a place on where it can be heard, repeated if need be."""
        for _ in range(_TRIES):
            place, where = int(generator.integers(len(self._blobs))), float(generator.random())
            clip = self._read(place, rate)
            if clip is not None:
                audible = np.flatnonzero(np.abs(clip) >= _AUDIBLE * np.abs(clip).max())
                start = int(audible[int(where * len(audible))])
                return clip[(start + np.arange(count)) % len(clip)]
        raise TableError(
            f"background_noise: {_TRIES} clips were drawn and all are silent or cannot be read; give others"
        )

    def _decoded(self, place: int, rate: int) -> np.ndarray | None:
        """A clip, or None if there is nothing to hear."""
        try:
            clip = audio(self._blobs[place], rate, _LONGEST)
        except CellError:
            return None  # another one is drawn; ``draw`` tells when none can be had
        return clip if power(clip) >= SILENCE else None


def _is_sound(name: str) -> bool:
    return kind_of_name(name) == ("audio", True)


def find_clips(place: Path | None, data: str) -> Clips:
    """The sounds below a folder or in a zip archive; of ESC-10 when none is named."""
    if place is None:
        from plait.base import registry
        from plait.data.archive import Place

        names = registry.find("datasets", "esc10")().load(data or None).frame["audio"]
        return Clips([blob for name in names if (blob := Place(None).find(name)) is not None])
    place = place.expanduser()
    if place.is_file():
        archive = open_archive(place)
        blobs = [archive.blob(name) for name in sorted(archive.members) if _is_sound(name)]
        result = [blob for blob in blobs if blob is not None]
    elif not place.exists():
        raise TableError(
            f"background_noise: there is no folder {place}; expected one of wav, flac, ogg, mp3, or a zip archive"
        )
    else:
        try:
            files = sorted(file for file in place.rglob("*") if _is_sound(file.name) and file.is_file())
        except OSError as error:  # a folder in it went while it was listed
            raise TableError(f"background_noise: {place} cannot be listed ({error}); let it stay as it is") from None
        result = [Blob.of_file(file) for file in files]
    if not result:
        raise TableError(
            f"background_noise: {place} holds no sound; expected a folder or zip archive of wav, flac, ogg, mp3"
        )
    return Clips(result)
