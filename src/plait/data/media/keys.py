"""The key of a cell, 16 bytes of its content, never of its path or time; and cells that are changed before they are read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from plait.base.errors import CellError
from plait.data.media.blob import Altered, Blob
from plait.data.media.given import content, is_picture


def cell_key(cell: Any) -> bytes:
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
    elif (held := content(cell)) is not cell:  # a tensor, a decoder
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
        """16 bytes of the content and of the change: what the cell is known by in the store.

        Raises:
            CellError: the content cannot be read.
        """
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
