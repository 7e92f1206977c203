"""Pictures and films as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from plait.base.errors import CellError, PlaitError, need
from plait.data.media import Altered, Blob
from plait.data.media.formats import image_formats
from plait.data.media.sounds import ALONE

#: Images with more pixels are refused before they are decoded (Pillow's own bound).
MAX_PIXELS = 89_478_485
#: How many channels a picture may have: grey, colours, colours and opacity.
CHANNELS = (1, 3, 4)
#: Floats may leave 0..1 by this much: what resizing and rounding do.
_ROUNDING = 1e-3


def image(cell: Blob | Altered | np.ndarray, at_least: int | None = None) -> np.ndarray:
    """Decode one image cell.

    Transparent parts become white, a rotation noted by the camera is carried out, 16-bit greys are scaled to 8 bits,
    and of an animation the first picture is taken.

    Args:
        cell: a Blob, or an array (H, W), (H, W, C) or (C, H, W) of C = 1, 3 or 4 channels: uint8, uint16, bool, or floats
            in 0..1. Where both ends could be the channels, the last is. A changed one that leaves the range is brought back
            into it as a whole (see ``fitted``).
        at_least: a JPEG may be decoded at a half, quarter or eighth as long as both sides stay this long (pixels);
            much faster.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        CellError: it cannot be decoded, or its header announces more than ``MAX_PIXELS``.
    """
    if isinstance(cell, Altered):
        return fitted(pixels(cell))
    if isinstance(cell, np.ndarray):
        return _rgb(cell)
    with cell.open() as stream:
        try:
            with Image.open(stream, formats=image_formats()) as picture:
                _check_pixels(picture.width, picture.height, cell.where)
                if at_least is not None:
                    picture.draft(picture.mode, (at_least, at_least))
                return _decode(picture)
        except CellError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise CellError(f"{cell.where}: too many pixels for an image ({error})") from error
        except Exception as error:  # broken files make Pillow raise almost anything
            result = "it is empty" if cell.size == 0 else str(error).replace(str(stream), "content")
            raise CellError(f"{cell.where}: not a readable image ({result})") from error


def decoded(picture: Any) -> np.ndarray:
    """A picture that Pillow holds, exactly as its file would be decoded: uint8 (H, W, 3)."""
    try:
        return _decode(picture)
    except CellError:
        raise
    except Exception as error:  # as in ``image``
        raise CellError(f"an image of mode {picture.mode}: cannot be decoded ({error})") from error


def pixels(cell: Blob | Altered | np.ndarray) -> np.ndarray:
    """One image cell as floats, for networks that take them: float32 (H, W, 3), of a changed one also beyond 0..1."""
    if isinstance(cell, Altered):
        return cell.of(pixels(cell.origin))
    return image(cell).astype(np.float32) / np.float32(255)


def fitted(values: np.ndarray) -> np.ndarray:
    """Floats as uint8; where any leaves 0..1, all are moved and narrowed together, so that noise keeps its share.

    Example:
        >>> fitted(np.array([0.0, 0.5, 1.0])).tolist(), fitted(np.array([-1.0, 0.5, 1.0])).tolist()
        ([0, 128, 255], [0, 191, 255])
    """
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    return np.round((values - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)


def _check_pixels(width: int, height: int, where: str) -> None:
    if width * height > MAX_PIXELS:
        raise CellError(f"{where}: {width} x {height} pixels, at most {MAX_PIXELS:,} are decoded; scale it down first")


def _decode(picture: Any) -> np.ndarray:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        return _rgb(values if values.dtype == np.float32 else _sixteen_bit(values))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def _sixteen_bit(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise CellError(f"grey values from {values.min()} to {values.max()}, expected 16 bits (0 to 65535)")
    return values.astype(np.uint16)


def _rgb(values: np.ndarray) -> np.ndarray:
    """An array as uint8 (H, W, 3)."""
    values = channels_last(values)
    shape = values.shape
    if values.ndim not in (2, 3) or values.size == 0 or (values.ndim == 3 and shape[2] not in CHANNELS):
        raise CellError(
            f"an image array of shape {shape}; expected (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels"
        )
    pixels = _eight_bit(values)
    if pixels.ndim == 2 or shape[2] == 1:
        return np.repeat(pixels.reshape(*shape[:2], 1), 3, axis=2)
    if shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        return np.round(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def channels_last(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The channels, if they lie at ``axis`` and not at the end, moved to the end.

    Example:
        >>> channels_last(np.zeros((3, 8, 9))).shape, channels_last(np.zeros((8, 9, 3))).shape
        ((8, 9, 3), (8, 9, 3))
    """
    first = values.ndim == 3 + axis and values.shape[-1] not in CHANNELS and values.shape[axis] in CHANNELS
    return np.moveaxis(values, axis, -1) if first else values


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """Values of any sensible type as uint8, never guessing the range from what one picture happens to hold."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint16:
        return np.round(values / 257).astype(np.uint8)
    if values.dtype.kind not in "fiu":
        raise CellError(f"an image array of type {values.dtype}; expected uint8, uint16, bool or floats in 0..1")
    top, margin = (1, _ROUNDING) if values.dtype.kind == "f" else (255, 0)
    low, high = values.min(), values.max()
    if not (low >= -margin and high <= top + margin):  # also true of NaN
        raise CellError(f"an image array of {values.dtype} from {low} to {high}; expected 0..{top}, or uint8")
    return np.round(np.clip(values.astype(np.float32), 0, top) * (255 / top)).astype(np.uint8)


#: A film is sought, not decoded through, when the next wanted frame is further away than this (seconds).
_SEEK = 4.0
#: Formats of animations that say how long each picture is shown.
_TIMED = ("AVIF", "GIF", "PNG", "WEBP")
#: Seconds (or a share of the length) by which computed times may be off.
_EXACT = 1e-6


def video(cell: Blob | Altered | np.ndarray, frames: int, at_most: int | None = None) -> np.ndarray:
    """Decode ``frames`` pictures of a video: those shown at the middles of equal parts of its length, turned as players do.

    Args:
        cell: a Blob (any film that PyAV reads; animated GIF, WebP and PNG), or an array (T, H, W), (T, H, W, C) or
            (T, C, H, W), whose frames are shown equally long.
        frames: how many; a shorter video gives some twice.
        at_most: films are scaled down so that the longer side is at most this (pixels), to keep memory small.

    Returns:
        uint8 (frames, H, W, 3).

    Raises:
        CellError: it cannot be decoded, or its pictures have too many pixels.
    """
    if isinstance(cell, Altered):
        return fitted(cell.of(video(cell.origin, frames, at_most).astype(np.float32) / np.float32(255)))
    if isinstance(cell, np.ndarray):
        if cell.ndim not in (3, 4) or not len(cell):
            raise CellError(f"a video array of shape {cell.shape}; expected (T, H, W), (T, H, W, C) or (T, C, H, W)")
        cell = channels_last(cell, 1)
        return np.stack([image(cell[int((i + 0.5) * len(cell) / frames)]) for i in range(frames)])
    try:
        pictures = _from_animation(cell, frames, at_most)
        return np.stack(_from_film(cell, frames, at_most) if pictures is None else pictures)
    except PlaitError:
        raise
    except Exception as error:  # broken films make the decoders raise almost anything
        result = "it is empty" if cell.size == 0 else str(error)
        raise CellError(f"{cell.where}: not a readable video ({result})") from error


def _from_animation(cell: Blob, frames: int, at_most: int | None) -> list[np.ndarray] | None:
    """Frames of what Pillow knows; None for films."""
    with cell.open() as stream:
        try:
            picture = Image.open(stream, formats=image_formats())
        except (OSError, SyntaxError):
            return None
        with picture:
            _check_pixels(picture.width, picture.height, cell.where)
            count = getattr(picture, "n_frames", 1)
            wanted = _shown(_durations(picture, count), frames) if count > 1 else [0] * frames
            decoded = {}
            for index in sorted(set(wanted)):
                picture.seek(index)
                decoded[index] = _scaled_down(_decode(picture), at_most)
            return [decoded[index] for index in wanted]


def _durations(picture: Any, count: int) -> np.ndarray:
    """How long each picture of an animation is shown (count,); equally long where it does not say."""
    if picture.format not in _TIMED:
        return np.ones(count)
    values = []
    for index in range(count):
        picture.seek(index)
        if picture.format in ("AVIF", "WEBP"):  # they tell only of a picture that is decoded
            picture.load()
        values.append(float(picture.info.get("duration") or 0.0))
    return np.asarray(values) if min(values) > 0 else np.ones(count)


def _shown(durations: np.ndarray, frames: int) -> list[int]:
    """Which picture is shown at the middle of each of ``frames`` equal parts of the time."""
    ends = np.cumsum(durations)
    middles = (np.arange(frames) + 0.5) * ends[-1] / frames
    places = np.minimum(np.searchsorted(ends, middles * (1 + _EXACT), side="right"), len(ends) - 1)
    return [int(place) for place in places]


def _scaled_down(pixels: np.ndarray, at_most: int | None) -> np.ndarray:
    """A picture of a large animation no larger than a film's, so that memory stays small."""
    scale = at_most / max(pixels.shape[:2]) if at_most else 1.0
    if scale >= 1.0:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _from_film(cell: Blob, frames: int, at_most: int | None) -> list[np.ndarray]:
    av = need("av", "video")
    with cell.open() as stream, av.open(stream, container_options=ALONE) as container:
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
    """The frame shown at each wanted time: the last one that begins before it."""
    start = float((track.start_time or 0) * track.time_base)
    wanted = [start + (i + 0.5) * length / frames for i in range(frames)]
    decoded = _timed(container, track)
    shown, following = next(decoded, None), next(decoded, None)
    for time in wanted:
        if shown is not None and following is not None and time - following[0] > _SEEK:
            container.seek(int(time / track.time_base), stream=track)  # to the last frame before it that stands alone
            decoded = _timed(container, track)
            shown, following = next(decoded, None) or shown, next(decoded, None)
        while following is not None and following[0] <= time + _EXACT:
            shown, following = following, next(decoded, None)
        if shown is not None:
            yield shown[1]


def _timed(container: Any, track: Any) -> Iterator[tuple[float, Any]]:
    """Frames with the seconds at which they begin; where they do not say, one step after the one before."""
    step, now = 1 / float(track.average_rate or 25), float((track.start_time or 0) * track.time_base)
    for frame in container.decode(track):
        now = frame.time if frame.time is not None else now
        yield now, frame
        now += step


def _counted(cell: Blob, container: Any, track: Any, frames: int) -> Iterator[Any]:
    """Look at all packets first, where no length is told: their times, or their number alone."""
    times = [packet.pts for packet in container.demux(track) if packet.size]
    begins = np.sort([float(time) for time in times if time is not None])
    known = len(begins) == len(times) > 1 and begins[-1] > begins[0]
    durations = np.diff(begins, append=begins[-1] + np.median(np.diff(begins))) if known else np.ones(len(times))
    wanted = _shown(durations, frames) if times else []
    av = need("av", "video")
    with cell.open() as stream, av.open(stream, container_options=ALONE) as again:
        for index, frame in enumerate(again.decode(video=0)):
            yield from [frame] * wanted.count(index)


def _array(frame: Any, at_most: int | None) -> np.ndarray:
    scale = min(1.0, at_most / max(frame.width, frame.height)) if at_most else 1.0
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if scale < 1.0:
        frame = frame.reformat(width=max(1, round(frame.width * scale)), height=max(1, round(frame.height * scale)))
    pixels = np.asarray(frame.to_ndarray(format="rgb24"))
    return pixels if matrix is None else _turned(pixels, np.frombuffer(bytes(matrix), dtype=np.int32))


def _turned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixels as a player shows them: turned by quarters and mirrored as the display matrix says (x' = ax + cy, y' = bx + dy)."""
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    along, down = (c, b) if swapped else (a, d)
    pixels = pixels.swapaxes(0, 1) if swapped else pixels
    pixels = pixels[:, ::-1] if along < 0 else pixels
    return np.ascontiguousarray(pixels[::-1] if down < 0 else pixels)
