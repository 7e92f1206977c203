"""Media cells as people give them, as decoders take them, and changed before they are read; and the key of a cell's content."""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from plait.base.errors import CellError
from plait.data.media import Altered, Blob
from plait.data.media.images import CHANNELS, channels_last, decoded
from plait.data.values import is_tensor

#: More than this many channels no sound has; fewer samples than this none either.
_SOUND_CHANNELS = 32


def given(value: Any, kind: str) -> Any:
    """One cell as decoders take it, or the name of the file that holds it.

    Args:
        value: bytes, a path, a data URI, a Pillow image, an array, a tensor (channels first, as torch has them) or nested
            lists, a pair of samples and rate, ``{"bytes", "path"}`` or ``{"array", "sampling_rate"}`` as Hugging Face has
            them, or a decoder object of theirs.
        kind: ``image``, ``audio`` or ``video``.

    Returns:
        A Blob, a Changed, an array, (array, rate), a name as ``str``, or None: there is nothing.

    Example:
        >>> given({"bytes": b"abc", "path": "a.png"}, "image").size, given({"bytes": None, "path": "a.png"}, "image")
        (3, 'a.png')
    """
    if value is None or isinstance(value, Blob | Altered):
        return value
    if isinstance(value, str) and is_data_uri(value):
        return Blob.of_bytes(data_of_uri(value))
    if isinstance(value, str | os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return Blob.of_bytes(bytes(value))
    encoded = getattr(value, "_hf_encoded", None)  # datasets keeps the file beside its decoders
    if isinstance(encoded if encoded is not None else value, Mapping):
        return _of_mapping(encoded if encoded is not None else value, kind)
    if is_picture(value):
        return _of_picture(value)
    pair = samples_and_rate(value) if kind == "audio" else None
    if pair is not None:
        return _sound(*pair)
    array = as_array(value)
    if array is None or array.ndim == 0:
        raise CellError(f"expected {kind} (a path, bytes or an array), found {type(value).__name__} {value!r:.40}")
    return array if isinstance(value, np.ndarray) else _arranged(array, kind, tensor=hasattr(value, "dtype"))


_DATA_URI = re.compile(r"\s*data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*;base64,")


#: Base64 of files whose first bytes tell them: PNG, JPEG, GIF, WebP or WAV, FLAC, MP3, Ogg.
_BARE = re.compile(r"\s*(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|ZkxhQw|SUQz|T2dnUw)[A-Za-z0-9+/\s]{90,}=?\s*=?\s*")


def is_data_uri(text: str) -> bool:
    """Whether a cell holds a file written out as text: ``data:image/png;base64,...``, or the letters of base64 alone.

    Example:
        >>> is_data_uri("data:image/png;base64,iVBORw0KGgo="), is_data_uri("data/1.png")
        (True, False)
    """
    return _DATA_URI.match(text) is not None or _BARE.fullmatch(text) is not None


def data_of_uri(text: str, most: int | None = None) -> bytes:
    """The bytes of a data URI, the first ``most`` at least."""
    letters = "".join((text.partition(",")[2] if "," in text else text).split())
    letters = letters if most is None else letters[: 4 * (most // 3 + 1)]
    try:
        return base64.b64decode(letters, validate=True)
    except ValueError as error:
        raise CellError(f"a data URI that is not base64 ({error})") from None


def is_picture(value: object) -> bool:
    """Whether a value is a Pillow image, whether or not Pillow is imported."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def as_array(value: Any) -> np.ndarray | None:
    """A tensor, an array or nested lists as a plain array; None for what is none, or has no common shape.

    Example:
        >>> as_array([[1, 2], [3, 4]]).shape, as_array("abc"), as_array([[1], [2, 3]])
        ((2, 2), None, None)
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if isinstance(value, list | tuple | np.ndarray):
        parts = [as_array(v) if isinstance(v, list | tuple) or hasattr(v, "shape") else v for v in value]
        try:
            array = np.asarray(parts)
        except ValueError:  # ragged
            return None
        return array if array.dtype.kind in "biuf" else None
    if is_tensor(value):  # a torch tensor; numpy knows no bfloat16
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None
    return None


def comparable(value: object) -> Any:
    """What a cell is to be compared by: media by what it holds, never by where an object lies; all else as it is."""
    if is_picture(value) or hasattr(value, "_hf_encoded") or hasattr(value, "get_all_samples") or _samples(value):
        return given(value, "audio" if hasattr(value, "get_all_samples") or _samples(value) else "image")
    return as_array(value) if is_tensor(value) else value


def _of_mapping(value: Mapping[str, object], kind: str) -> object:
    if value.get("bytes") is not None:
        return given(value["bytes"], kind)
    rate = next((value[k] for k in ("sampling_rate", "sample_rate") if value.get(k) is not None), None)
    samples = next((value[k] for k in ("array", "waveform") if value.get(k) is not None), None)
    if samples is not None:
        return given(samples, kind) if rate is None else _sound(samples, rate)
    if "path" in value or "bytes" in value:
        return None if value.get("path") is None else given(value["path"], kind)
    raise CellError(f"expected {kind}, found a mapping with {', '.join(map(str, value))}; expected bytes and path")


def _of_picture(picture: Any) -> Any:
    """Its file's bytes while it is not decoded, as they are the same cell wherever they come from; then its pixels."""
    stream = getattr(picture, "fp", None)
    if getattr(picture, "tile", None) and stream is not None and picture.tell() == 0:
        try:
            place = stream.tell()
            stream.seek(0)
            data = stream.read()
            stream.seek(place)
        except (OSError, ValueError) as error:
            raise CellError(f"an image of mode {picture.mode}: its file cannot be read ({error})") from error
        return Blob.of_bytes(data)
    return decoded(picture)


def _samples(value: object) -> bool:
    return hasattr(value, "data") and hasattr(value, "sample_rate")


def samples_and_rate(value: Any) -> tuple[Any, Any] | None:
    """Samples and rate of what holds both, in either order; None for all else."""
    if hasattr(value, "get_all_samples"):  # torchcodec's decoder
        value = value.get_all_samples()
    if _samples(value):
        return value.data, value.sample_rate
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    first, second = value
    if np.isscalar(first):  # as scipy reads a wav
        first, second = second, first
    held = isinstance(first, list | tuple | np.ndarray) or is_tensor(first)
    return (first, second) if held and isinstance(second, int | float | np.number) else None


def _sound(samples: Any, rate: Any) -> tuple[np.ndarray, int]:
    array = as_array(samples)
    if array is None or array.ndim not in (1, 2):
        raise CellError(f"a sound of {type(samples).__name__}; expected an array (n,) or (n, channels)")
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        raise CellError(f"a sound with rate {rate!r:.40}; expected samples per second, such as 16000") from None
    return _arranged(array, "audio", tensor=True), whole


def _arranged(array: np.ndarray, kind: str, *, tensor: bool) -> np.ndarray:
    """Channels at the end: tensors have them first, also where both ends could be channels."""
    if kind == "audio" and tensor and array.ndim == 2 and array.shape[0] <= _SOUND_CHANNELS < array.shape[1]:
        return np.ascontiguousarray(array.T)
    if kind == "image" and array.ndim == 4 and len(array) == 1:  # a batch of one
        array = array[0]
    axis = 1 if kind == "video" else 0
    if kind != "audio" and tensor and array.ndim == 3 + axis and array.shape[axis] in CHANNELS:
        return np.ascontiguousarray(np.moveaxis(array, axis, -1))
    return channels_last(array, axis) if kind != "audio" else array


def cell_key(cell: object) -> bytes:
    """The content key of a cell: text, bytes, a ``Blob``, an array, (array, rate), a PIL image, a number.

    Cells of different types never share a key, nor do arrays of different shape or dtype.

    Raises:
        CellError: the bytes of the cell cannot be read, or its type has no key.

    Example:
        >>> cell_key("a") == cell_key("a"), cell_key("a") == cell_key(b"a"), len(cell_key("a"))
        (True, False, 16)
    """
    digest = blake2b(digest_size=16)
    if isinstance(cell, str):
        digest.update(b"text ")
        digest.update(cell.encode("utf-8", "surrogatepass"))
    elif isinstance(cell, bytes | bytearray | memoryview):
        digest.update(b"bytes ")
        digest.update(cell)
    elif isinstance(cell, np.ndarray):
        _add_array(digest, cell)
    elif isinstance(cell, tuple | list):
        digest.update(f"tuple {len(cell)} ".encode())
        for part in cell:
            digest.update(cell_key(part))
    elif isinstance(cell, bool | int | float | np.number | np.bool_):
        digest.update(f"number {type(cell).__name__} {cell!r}".encode())
    elif isinstance(cell, Blob):
        digest.update(b"blob " + cell.digest())
    elif isinstance(cell, Altered):
        digest.update(b"changed " + cell.digest())
    elif is_picture(cell):
        _add_image(digest, cell)
    elif (held := comparable(cell)) is not cell:  # a tensor, a decoder
        return cell_key(held)
    else:
        raise CellError(
            f"a cell of type {type(cell).__name__} cannot be used, "
            "expected text, bytes, a Blob, an array, (array, rate) or an image"
        )
    return digest.digest()


def _add_array(digest: blake2b, array: np.ndarray) -> None:
    """Type, shape and numbers; an array of Python objects has only addresses to offer, which say nothing."""
    if array.dtype.hasobject or isinstance(array, np.ma.MaskedArray):
        raise CellError(f"an array of type {type(array).__name__} {array.dtype} cannot be used, expected plain numbers")
    digest.update(f"array {array.dtype.str} {array.dtype.descr} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")


def _add_image(digest: blake2b, cell: Any) -> None:
    """A PIL image: pixels and all that decides how they are shown."""
    try:
        mode, size, palette = cell.mode, cell.size, cell.getpalette()
        about = (mode, size, palette, sorted(dict(cell.getexif()).items()), repr(cell.info.get("transparency")))
        digest.update(f"image {about} ".encode())
        digest.update(struct.pack("<II", *size) + cell.tobytes())
    except (OSError, SyntaxError) as error:
        raise CellError(f"the image cannot be read: {error}") from error


class Change(Protocol):
    """What is done to a decoded signal."""

    def fingerprint(self) -> str:
        """Hex digest of all that decides the result, the signal aside."""

    def generator(self, content: bytes) -> np.random.Generator:
        """Random numbers for the signal with this content key."""

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The new signal, float32: of pictures (..., H, W, 3) in 0..1 without a rate, of a sound (n,) at ``rate`` Hz."""


@dataclass(frozen=True, eq=False, repr=False)
class Changed(Altered):
    """A cell and what is done to its signal once somebody asks for it; until then nothing is read or held.

    Attributes:
        origin: the cell as it was: a Blob, an array, (array, rate), or itself a Changed.
        change: what is done to it.
        drawn: random numbers to take in place of those that follow from the content.
    """

    origin: Any
    change: Change
    drawn: np.random.Generator | None = None

    @property
    def source(self) -> Any:
        """The cell before every change: what random numbers come from, so that one change does not reseed the next."""
        return self.origin.source if isinstance(self.origin, Changed) else self.origin

    @property
    def where(self) -> str:
        """What messages call it: as the cell it was made of."""
        return str(getattr(self.origin, "where", f"a cell of type {type(self.origin).__name__}"))

    def digest(self) -> bytes:
        """16 bytes of the content and of the change: what the cell is known by in the store."""
        digest = blake2b(self.change.fingerprint().encode(), digest_size=16)
        digest.update(cell_key(self.origin))
        return digest.digest()

    def of(self, signal: np.ndarray, rate: int | None = None) -> np.ndarray:
        """The changed signal of the decoded one."""
        generator = self.change.generator(cell_key(self.source)) if self.drawn is None else self.drawn
        return np.asarray(self.change.changed(signal, generator, rate), dtype=np.float32)

    @property
    def redraws(self) -> bool:
        """Whether any of its changes is to be drawn anew while a model learns from the cell."""
        inner = isinstance(self.origin, Changed) and self.origin.redraws
        return inner or bool(getattr(self.change, "redraw", False))

    def redrawn(self, generator: np.random.Generator) -> Changed:
        """The same cell, its changes that ask for it with other random numbers."""
        origin = self.origin.redrawn(generator) if isinstance(self.origin, Changed) else self.origin
        return Changed(origin, self.change, generator if getattr(self.change, "redraw", False) else self.drawn)

    def __repr__(self) -> str:
        # Tables are compared and recorded by what cells print: never addresses, never an array cut short.
        try:
            value = self.digest().hex()
        except CellError:
            value = f"{self.where}, {self.change.fingerprint()}"
        return f"Changed({value})"
