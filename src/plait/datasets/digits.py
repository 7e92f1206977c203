"""Written and spoken digits as arrays: MNIST and the Free Spoken Digit Dataset, as published or packed into one file each."""

from __future__ import annotations

import gzip
import io
import re
import wave
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.base.errors import TableError

#: Hz, of the spoken digits.
RATE = 8000
#: The published files of MNIST, and what each begins with: bytes in three dimensions or in one.
IDX = {
    "train-images-idx3-ubyte": (2051, 3),
    "train-labels-idx1-ubyte": (2049, 1),
    "t10k-images-idx3-ubyte": (2051, 3),
    "t10k-labels-idx1-ubyte": (2049, 1),
}
_RECORDING = re.compile(r"(\d)_([A-Za-z]+)_(\d+)\.wav")


@dataclass(frozen=True)
class Written:
    """Pictures of digits.

    Attributes:
        images: grey bytes (n, 28, 28).
        digits: (n,).
        official: whether each is of the official test part (n,).
    """

    images: np.ndarray
    digits: np.ndarray
    official: np.ndarray


@dataclass(frozen=True)
class Spoken:
    """Recordings of digits, all in one array.

    Attributes:
        wave: samples of all recordings, int16.
        offset: where each begins, and the end (n + 1,).
        digit: (n,).
        speaker: names (n,).
        index: number of the recording among those of its speaker and digit (n,).
    """

    wave: np.ndarray
    offset: np.ndarray
    digit: np.ndarray
    speaker: np.ndarray
    index: np.ndarray

    def sound(self, row: int) -> np.ndarray:
        """The samples of one recording: a view."""
        cut: np.ndarray = self.wave[self.offset[row] : self.offset[row + 1]]
        return cut


def written(folder: Path) -> Written:
    """MNIST from its four published files (``train-images-idx3-ubyte`` and so on, packed by gzip or not), or ``mnist.npz``."""
    if not (folder / "mnist.npz").is_file():
        x, y, tx, ty = (_idx(folder, name) for name in IDX)
    else:
        x, y, tx, ty = _packed(folder / "mnist.npz", ("x_train", "y_train", "x_test", "y_test"))
    for images, digits in ((x, y), (tx, ty)):
        if len(images) != len(digits):
            raise TableError(f"{folder}: {len(images)} pictures and {len(digits)} labels; expected as many of each")
    official = np.repeat([False, True], [len(y), len(ty)])
    return Written(np.concatenate([x, tx]), np.concatenate([y, ty]), official)


def _idx(folder: Path, name: str) -> np.ndarray:
    """One file in the format of MNIST: a number that says what follows, the sizes, then bytes."""
    known = [folder / name, folder / f"{name}.gz"]
    path = next((p for p in known if p.is_file()), None)
    if path is None:
        raise TableError(f"{known[0]} is not there, nor {known[1].name}; plait data fetch av_digits brings mnist.npz")
    data = path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes())
    magic, dimensions = IDX[name]
    head = np.frombuffer(data[: 4 * (1 + dimensions)], ">i4")
    if len(head) != 1 + dimensions or head[0] != magic:
        start = head[0] if len(head) else "nothing"
        raise TableError(f"{path}: begins with {start}, expected {magic}: not MNIST's {name}")
    shape = tuple(int(size) for size in head[1:])
    rest = len(data) - 4 * (1 + dimensions)
    if rest != np.prod(shape):
        raise TableError(f"{path}: {rest} bytes for {' x '.join(map(str, shape))}; half a download? bring it again")
    return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def spoken(folder: Path) -> Spoken:
    """The Free Spoken Digit Dataset from ``recordings`` (``7_jackson_32.wav``), a release as GitHub packs it, or ``fsdd.npz``."""
    if (folder / "fsdd.npz").is_file():
        return Spoken(*_packed(folder / "fsdd.npz", ("wave", "offset", "digit", "speaker", "index")))
    archives = sorted(folder.glob("free-spoken-digit-dataset*.zip"))
    if (folder / "recordings").is_dir():
        return _recordings(((p.name, p.read_bytes()) for p in sorted(folder.glob("recordings/*.wav"))), folder)
    if not archives:
        raise TableError(
            f"{folder / 'recordings'} is not there, nor a release in one zip; plait data fetch av_digits brings it"
        )
    return _recordings(_members(archives[-1]), archives[-1])


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".wav"):
                yield name.rpartition("/")[2], archive.read(name)


def _recordings(files: Iterable[tuple[str, bytes]], place: Path) -> Spoken:
    sounds, names = [], []
    for name, data in files:
        parts = _RECORDING.fullmatch(name)
        if parts is None:
            raise TableError(f"{place}: {name}: expected DIGIT_SPEAKER_NUMBER.wav")
        sounds.append(_samples(data, f"{place}: {name}"))
        names.append(parts.groups())
    if not sounds:
        raise TableError(f"{place}: no recordings DIGIT_SPEAKER_NUMBER.wav in it")
    digit, speaker, index = zip(*names, strict=True)
    ends = np.cumsum([0, *map(len, sounds)])
    return Spoken(np.concatenate(sounds), ends, np.array(digit, int), np.array(speaker), np.array(index, int))


def _samples(data: bytes, where: str) -> np.ndarray:
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise TableError(f"{where}: no wav file ({error})") from error
    if form != (1, 2, RATE):
        raise TableError(f"{where}: {form[0]} channels, {8 * form[1]} bits, {form[2]} Hz; expected 1, 16, {RATE}")
    return np.frombuffer(frames, "<i2").astype(np.int16)


def _packed(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of an npz file, each read once: every access decompresses again."""
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in names]
