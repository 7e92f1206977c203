"""Image cells to uint8 RGB arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from plait.base.errors import CellError
from plait.data.media.blob import Altered, Blob
from plait.data.media.formats import image_formats

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
    """A picture that Pillow holds, exactly as its file would be decoded: uint8 (H, W, 3).

    Raises:
        CellError: it cannot be decoded.
    """
    try:
        return _decode(picture)
    except CellError:
        raise
    except Exception as error:  # as in ``image``
        raise CellError(f"an image of mode {picture.mode}: cannot be decoded ({error})") from error


def pixels(cell: Blob | Altered | np.ndarray) -> np.ndarray:
    """One image cell as floats, for networks that take them: float32 (H, W, 3), of a changed one also beyond 0..1.

    Raises:
        CellError: as ``image`` does.
    """
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
