"""Sound cells to mono float32 at one rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.base.errors import CellError
from plait.data.media import Altered, Blob

#: Rate of an array that comes without one, in Hz.
ARRAY_RATE = 16_000
#: For PyAV: what is in a file must not make it open other files, or addresses.
ALONE = {"protocol_whitelist": "none"}
#: Integer samples -> (what is taken off, what it is divided by).
_SCALES = {"int16": (0, 2**15), "int32": (0, 2**31), "uint8": (128, 128)}
#: Floats beyond this are samples of another unit, not a loud sound.
_LOUDEST = 64.0

Sound = Blob | Altered | np.ndarray | tuple[np.ndarray, int]


def audio(cell: Sound, rate: int, max_seconds: float) -> np.ndarray:
    """Decode one sound: at most its first ``max_seconds``, and no more than that is read.

    Args:
        cell: a Blob (wav, flac, ogg, mp3, aiff; m4a, aac and others when PyAV is installed), an array (n,) or (n, channels) at
            16 kHz, or a tuple (array, rate). Integers are scaled to -1..1; channels are averaged.
        rate: rate of the result, Hz.
        max_seconds: longest part to read.

    Returns:
        float32 (n,), n >= 1.

    Raises:
        CellError: it cannot be decoded, holds no sample, or holds NaN or infinity.
    """
    samples, result = _mono(cell, max_seconds)
    return _resampled(samples, result, rate)


def seconds(cell: Sound) -> float:
    """Length of a sound in seconds, from its header alone; 0.0 when it cannot be told."""
    if isinstance(cell, Altered):
        return seconds(cell.origin)
    if not isinstance(cell, Blob):
        array, rate = cell if isinstance(cell, tuple) else (cell, ARRAY_RATE)
        return len(array) / rate if np.ndim(array) and rate > 0 else 0.0
    import soundfile

    try:
        with cell.open() as stream, soundfile.SoundFile(stream) as sound:
            return float(sound.frames / sound.samplerate)
    except (CellError, RuntimeError, OSError, TypeError):  # ``audio`` will say what is wrong with it
        return 0.0


def _mono(cell: Sound, max_seconds: float) -> tuple[np.ndarray, int]:
    """(n,) float32 at the cell's own rate, and that rate."""
    if isinstance(cell, Altered):
        samples, result = _mono(cell.origin, max_seconds)
        return cell.of(samples, result), result
    if isinstance(cell, Blob):
        samples, result = _from_file(cell, max_seconds)
        where = cell.where
    else:
        array, result = cell if isinstance(cell, tuple) else (cell, ARRAY_RATE)
        where = f"a sound array of shape {np.shape(array)}"
        samples = _scaled(_checked(np.asarray(array), result)[: _count(result, max_seconds)])
    return _audible(samples.mean(1, dtype=np.float32), where), result


def _count(rate: int, max_seconds: float) -> int:
    return max(1, round(rate * max_seconds))


def _from_file(cell: Blob, max_seconds: float) -> tuple[np.ndarray, int]:
    """(n, channels) float32 and its rate."""
    import soundfile

    with cell.open() as stream:
        try:
            with soundfile.SoundFile(stream) as sound:
                rate = _checked_rate(int(sound.samplerate))
                return sound.read(_count(rate, max_seconds), dtype="float32", always_2d=True), rate
        except CellError as error:
            raise CellError(f"{cell.where}: {error}") from None
        except Exception as error:  # libsndfile, and whatever a broken stream makes of it
            decoded = None if cell.size == 0 else _through_av(cell, max_seconds)
            if decoded is not None:
                return decoded
            result = "it is empty" if cell.size == 0 else str(error).replace(str(stream), "content")
            raise CellError(f"{cell.where}: not a readable sound ({result}); expected wav, flac, ogg or mp3") from error


def _through_av(cell: Blob, max_seconds: float) -> tuple[np.ndarray, int] | None:
    """What libsndfile cannot read (m4a, webm, the sound of a film), when PyAV is there and can; otherwise None."""
    try:
        import av
    except ImportError:
        return None
    parts: list[np.ndarray] = []
    try:
        with cell.open() as stream, av.open(stream, "r", container_options=ALONE) as container:
            track = container.streams.audio[0].codec_context
            if track is None:  # a sound in a format that PyAV does not know
                return None
            rate = _checked_rate(int(track.sample_rate))
            missing = _count(rate, max_seconds)
            resampler: Any = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray().reshape(-1, 1)[:missing])
                    missing -= len(parts[-1])
                if missing <= 0:
                    break
    except (
        av.FFmpegError,
        IndexError,
        ValueError,
        OSError,
        MemoryError,
    ):  # the caller then tells of libsndfile's complaint
        return None
    return (np.concatenate(parts), rate) if parts else None


def _checked(array: np.ndarray, rate: int) -> np.ndarray:
    """(n, channels), or a clear line."""
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= 32):
        raise CellError(f"a sound array of shape {array.shape}; expected (n,) or (n, channels)")
    _checked_rate(rate)
    return array if array.ndim == 2 else array[:, None]


def _checked_rate(rate: int) -> int:
    if not 1 <= rate <= 1_000_000:
        raise CellError(f"a sound with rate {rate}; expected samples per second, such as 16000")
    return rate


def _scaled(array: np.ndarray) -> np.ndarray:
    if array.dtype.name in _SCALES:
        shift, scale = _SCALES[array.dtype.name]
        return (array.astype(np.float32) - shift) / np.float32(scale)
    if array.dtype.kind != "f":
        raise CellError(f"a sound array of type {array.dtype}; expected floats in -1..1, int16, int32 or uint8")
    return array.astype(np.float32)


def _audible(samples: np.ndarray, where: str) -> np.ndarray:
    if not len(samples):
        raise CellError(f"{where}: holds no sound (0 samples)")
    peak = float(np.abs(samples).max())
    if not peak <= _LOUDEST:  # also true of NaN
        raise CellError(f"{where}: its samples reach {peak}; expected finite floats in -1..1")
    return samples


def _resampled(samples: np.ndarray, result: int, rate: int) -> np.ndarray:
    if result == rate:
        return np.ascontiguousarray(samples)
    import soxr

    resampled = np.asarray(soxr.resample(samples, result, rate), dtype=np.float32)
    return resampled if len(resampled) else samples[:1]
