"""Clips of real noise, from a folder or an archive."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plait.conditions._noise import SILENCE, power
from plait.errors import CellError, TableError
from plait.media import Blob, audio
from plait.media.formats import kind_of_name
from plait.table._archive import open_archive

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
    """The sounds below a folder or in a zip archive; of ESC-10 when none is named.

    Raises:
        TableError: there is no such place, or no sound in it.
    """
    if place is None:
        from plait import registry
        from plait.table._archive import Place

        names = registry.find("datasets", "esc10")().load(data or None).frame["audio"]
        return Clips([blob for name in names if (blob := Place(None).find(name)) is not None])
    place = place.expanduser()
    if place.is_file():
        archive = open_archive(place)
        blobs = [archive.blob(name) for name in sorted(archive.members) if _is_sound(name)]
        found = [blob for blob in blobs if blob is not None]
    else:
        found = [Blob.of_file(file) for file in sorted(place.rglob("*")) if _is_sound(file.name) and file.is_file()]
    if not found:
        raise TableError(
            f"background_noise: {place} holds no sound; expected a folder or zip archive of wav, flac, ogg, mp3"
        )
    return Clips(found)
