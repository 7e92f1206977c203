"""A media cell whose signal is changed after it is decoded: what conditions put into a table."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from plait.base.errors import CellError
from plait.data.media.blob import Altered
from plait.data.media.keys import cell_key


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
    """

    origin: Any
    change: Change

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
        generator = self.change.generator(cell_key(self.source))
        return np.asarray(self.change.changed(signal, generator, rate), dtype=np.float32)

    def __repr__(self) -> str:
        # Tables are compared and recorded by what cells print: never addresses, never an array cut short.
        try:
            value = self.digest().hex()
        except CellError:
            value = f"{self.where}, {self.change.fingerprint()}"
        return f"Changed({value})"
