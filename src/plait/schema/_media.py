"""The rules for columns of media and vectors: by their bytes, their arrays, or the endings of the files they name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from plait.errors import CellError
from plait.schema._column import Column, Verdict
from plait.table._archive import Place
from plait.table._cells import vector_of

_ENDINGS = {
    "image": ("jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff"),
    "audio": ("wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au"),
    "video": ("mp4", "avi", "mov", "mkv", "webm", "mpg", "mpeg", "m4v"),
    "vector": ("npy",),
}
_PATHS = {kind: re.compile(rf"[^\n]{{1,1000}}\.({'|'.join(e)})$", re.IGNORECASE) for kind, e in _ENDINGS.items()}
_MAGIC = (
    ("image", re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\x00|MM\x00\*|RIFF.{4}WEBP", re.DOTALL)),
    ("audio", re.compile(rb"RIFF.{4}WAVE|OggS|fLaC|ID3|\xff[\xe2-\xfb]|FORM.{4}AIF|\.snd", re.DOTALL)),
    ("video", re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01[\xb3\xba]", re.DOTALL)),
)


def media(column: Column) -> Verdict | None:
    """Images, sound or video: by the bytes, by the array, or by the endings of the paths."""
    if not column.values:
        return None
    for kind, pattern in _MAGIC:
        found = [_bytes_of(v) for v in column.values]
        if all(b is not None for b in found) and sum(bool(pattern.match(b or b"")) for b in found) >= 0.9 * len(found):
            return Verdict(kind, f"{kind} bytes")
    if all(hasattr(v, "getbands") for v in column.values):
        return Verdict("image", "images")
    if all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[0], np.ndarray) for v in column.values):
        return Verdict("audio", "pairs of samples and rate")
    return _arrays(column) or _paths(column)


def _bytes_of(value: object) -> bytes | None:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return bytes(value[:16]) if isinstance(value, bytes | bytearray) else None


def _arrays(column: Column) -> Verdict | None:
    arrays = [v for v in column.values if isinstance(v, np.ndarray)]
    if len(arrays) < len(column.values) or not all(a.dtype == np.uint8 for a in arrays):
        return None
    axes = {a.ndim for a in arrays}
    if axes == {4}:
        return Verdict("video", "arrays of frames")
    channels = {a.shape[-1] for a in arrays if a.ndim == 3}
    return Verdict("image", "arrays of pixels") if axes <= {2, 3} and channels <= {1, 3, 4} else None


def _paths(column: Column) -> Verdict | None:
    texts = [str(v) for v in column.values if not isinstance(v, bytes | np.ndarray | list | Mapping)]
    for kind, pattern in _PATHS.items():
        if texts and sum(bool(pattern.match(t.strip())) for t in texts) >= 0.95 * len(column.values):
            return Verdict(kind, f"names of {kind} files, as {texts[0]:.60}", doubt=_lost(texts[:20], column.root))
    return None


def _lost(names: list[str], root: str | None) -> str | None:
    """What to say when none of these files is found."""
    if root is None:
        return None
    place = Place(root)
    try:
        if any(place.find(name) is not None for name in names):
            return None
    except CellError as error:
        return str(error)
    return f"none of its first {len(names)} files is there, as {names[0]!r:.60} under {place.base}; pass --root"


def vector(column: Column) -> Verdict | None:
    """Arrays or lists of numbers, all of one width."""
    if not all(isinstance(v, np.ndarray | list | tuple) or str(v).strip().startswith("[") for v in column.values):
        return None
    found = [vector_of(v) for v in column.values]
    shapes = {v.shape for v in found if v is not None}
    if not all(v is not None for v in found) or len({s[-1] for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        return None
    shape = next(iter(shapes))
    if len(shape) == 1 and shape[0] < 2:
        return None
    return Verdict(
        "vector", f"vectors of {shape[-1]} numbers" if len(shape) == 1 else f"sequences of {shape[-1]} numbers a step"
    )


def unusable(column: Column) -> Verdict | None:
    """Cells of a kind that no encoder takes."""
    odd = next(
        (v for v in column.values if isinstance(v, bytes | bytearray | Mapping) or getattr(v, "ndim", 0) > 1), None
    )
    if odd is not None:
        return Verdict("ignored", f"cells are {type(odd).__name__}, of no kind that is known")
    numeric = [v for v in column.values if isinstance(v, list | np.ndarray) and vector_of(v) is not None]
    if numeric and any(vector.dtype.kind == "f" for vector in map(np.asarray, numeric)):
        return Verdict(
            "ignored", "lists of numbers of different lengths; make them equally long, or name its kind (vector, audio)"
        )
    return None
