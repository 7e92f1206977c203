"""Video cells to a fixed number of RGB frames, evenly spread over their length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from plait.errors import CellError, PlaitError, need
from plait.media.blob import Blob
from plait.media.changed import Changed
from plait.media.images import _check_pixels, _decode, fitted, image

#: A film is sought, not decoded through, when the next wanted frame is further away than this (seconds).
_SEEK = 4.0


def video(cell: Blob | Changed | np.ndarray, frames: int, at_most: int | None = None) -> np.ndarray:
    """Decode ``frames`` pictures of a video: the middles of equal parts of its length.

    Args:
        cell: a Blob (any film that PyAV reads; animated GIF, WebP and PNG), or an array (T, H, W) or (T, H, W, 3).
        frames: how many; a shorter video gives some twice.
        at_most: films are scaled down so that the longer side is at most this (pixels), to keep memory small.

    Returns:
        uint8 (frames, H, W, 3).

    Raises:
        CellError: it cannot be decoded, or its pictures have too many pixels.
    """
    if isinstance(cell, Changed):
        return fitted(cell.of(video(cell.origin, frames, at_most).astype(np.float32) / np.float32(255)))
    if isinstance(cell, np.ndarray):
        if cell.ndim not in (3, 4) or not len(cell):
            raise CellError(f"a video array of shape {cell.shape}; expected (T, H, W) or (T, H, W, 3)")
        return np.stack([image(cell[i]) for i in _middles(len(cell), frames)])
    try:
        pictures = _from_animation(cell, frames)
        return np.stack(_from_film(cell, frames, at_most) if pictures is None else pictures)
    except PlaitError:
        raise
    except Exception as error:  # broken films make the decoders raise almost anything
        found = "it is empty" if cell.size == 0 else str(error)
        raise CellError(f"{cell.where}: not a readable video ({found})") from error


def _middles(count: int, frames: int) -> list[int]:
    """Indices of the middles of ``frames`` equal parts."""
    return [int((i + 0.5) * count / frames) for i in range(frames)]


def _from_animation(cell: Blob, frames: int) -> list[np.ndarray] | None:
    """Frames of what Pillow knows; None for films."""
    with cell.open() as stream:
        try:
            picture = Image.open(stream)
        except (OSError, SyntaxError):
            return None
        with picture:
            _check_pixels(picture.width, picture.height, cell.where)
            wanted = _middles(getattr(picture, "n_frames", 1), frames)
            decoded = {}
            for index in sorted(set(wanted)):
                picture.seek(index)
                decoded[index] = _decode(picture)
            return [decoded[index] for index in wanted]


def _from_film(cell: Blob, frames: int, at_most: int | None) -> list[np.ndarray]:
    av = need("av", "video")
    with cell.open() as stream, av.open(stream) as container:
        if not container.streams.video:
            raise CellError(f"{cell.where}: holds no picture track")
        track = container.streams.video[0]
        _check_pixels(track.codec_context.width, track.codec_context.height, cell.where)
        track.thread_type = "AUTO"
        length = _length(container, track)
        pictures = _spread(container, track, length, frames) if length else _counted(cell, container, track, frames)
        scaled = [_array(picture, at_most) for picture in pictures]
    if not scaled:
        raise CellError(f"{cell.where}: not one picture could be decoded")
    return (scaled + [scaled[-1]] * frames)[:frames]


def _length(container: Any, track: Any) -> float:
    """Seconds, 0.0 when the header does not tell."""
    if track.duration:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def _spread(container: Any, track: Any, length: float, frames: int) -> Iterator[Any]:
    """The first frame at or after each wanted time."""
    start = float((track.start_time or 0) * track.time_base)
    wanted = [start + (i + 0.5) * length / frames for i in range(frames)]
    step = 0.5 / float(track.average_rate or 25)  # a frame is shown from its time on: half a step early will do
    decoded, now, frame = container.decode(track), start, None
    for time in wanted:
        if time - now > _SEEK:
            container.seek(int(time / track.time_base), stream=track)
            decoded = container.decode(track)
        while frame is None or now < time - step:
            following = next(decoded, None)
            if following is None:
                break
            frame, now = following, following.time if following.time is not None else now + 2 * step
        if frame is not None:
            yield frame


def _counted(cell: Blob, container: Any, track: Any, frames: int) -> Iterator[Any]:
    """Count the packets first, where no length is told."""
    count = sum(1 for packet in container.demux(track) if packet.size)
    wanted = _middles(count, frames)
    av = need("av", "video")
    with cell.open() as stream, av.open(stream) as again:
        for index, frame in enumerate(again.decode(video=0)):
            yield from [frame] * wanted.count(index)


def _array(frame: Any, at_most: int | None) -> np.ndarray:
    scale = min(1.0, at_most / max(frame.width, frame.height)) if at_most else 1.0
    if scale < 1.0:
        frame = frame.reformat(width=max(1, round(frame.width * scale)), height=max(1, round(frame.height * scale)))
    return np.asarray(frame.to_ndarray(format="rgb24"))
