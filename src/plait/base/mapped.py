"""Arrays of many rows: in memory, or beyond a limit in a file without a name that is mapped into it."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plait.base.deadline import Deadline
from plait.base.errors import PlaitError

#: Bytes up to which the features of a modality lie in memory, where nothing else is said.
USUAL = 256_000_000
#: Bytes of a block in which a larger array is worked through.
BLOCK = 64_000_000
#: Bytes that Linux may map around each that is read: a few hundred rows in random order bring in the whole file.
AROUND = 1 << 20
#: Where a mapped array begins -> what it lies in, as long as it is there.
_files: weakref.WeakValueDictionary[int, mmap.mmap] = weakref.WeakValueDictionary()
#: The same -> bytes that were read of it row by row since it was released.
_read: dict[int, int] = {}


def zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32, limit: int = USUAL) -> Tensor:
    """An array of zeros; one of more than ``limit`` bytes lies in a file of the temporary folder (``$TMPDIR``), gone with it.

    Example:
        >>> x = zeros((10, 20), limit=100)
        >>> x[:, 1] = 2
        >>> float(x.sum()), is_mapped(x), is_mapped(zeros((10, 20)))
        (20.0, True, False)
    """
    size = torch.Size(shape).numel() * dtype.itemsize
    if size <= limit:
        return torch.zeros(*shape, dtype=dtype)
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder, prefix="plait-features-") as file:
        try:
            _claim(file.fileno(), size)
        except OSError as error:
            raise PlaitError(
                f"{folder}: no room for {size / 1e9:.1f} GB of features ({error.strerror}); free some, let $TMPDIR name another "
                "folder, or raise feature_memory"
            ) from None
        area = mmap.mmap(file.fileno(), size)
    result = torch.frombuffer(area, dtype=dtype).view(*shape)
    _files[result.data_ptr()] = area
    return result


def _claim(file: int, size: int) -> None:
    """Claim the room at once: a disk that is full later kills whoever writes."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def is_mapped(x: Tensor) -> bool:
    """Whether an array begins where a file does."""
    return x.data_ptr() in _files


def release(x: Tensor) -> None:
    """Let the system take back the memory through which a mapped array was read or written; what it holds stays."""
    area = _files.get(x.data_ptr())
    if area is not None and hasattr(mmap, "MADV_DONTNEED"):
        area.madvise(mmap.MADV_DONTNEED)


def select(x: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Some rows of an array; a mapped one is released whenever some blocks' worth was read of it."""
    result = torch.index_select(x, 0, rows, out=out)
    if is_mapped(x):
        place = x.data_ptr()
        _read[place] = _read.get(place, 0) + len(rows) * max(AROUND, x[:1].nbytes)
        if _read[place] > 16 * BLOCK:
            _read[place] = 0
            release(x)
    return result


def blocks(x: Tensor) -> Iterator[slice]:
    """Rows of an array: all at once, or of a mapped one block by block, each released when it was worked through."""
    rows = max(1, BLOCK // max(1, x[:1].nbytes)) if is_mapped(x) else max(1, len(x))
    for start in range(0, max(1, len(x)), rows):
        yield slice(start, min(start + rows, len(x)))
        release(x)


@dataclass(frozen=True)
class Limits:
    """What an encoding may take.

    Attributes:
        memory: in bytes; larger features lie in a file (``plait.base.mapped``).
        end: of the fit that it is for; it is refused where no time would be left to train.
    """

    memory: int = USUAL
    end: Deadline = field(default_factory=Deadline)


#: Of an encoding that is for no fit.
NO_LIMITS = Limits()


class TokenRows:
    """Arrays x (n, T, D) and mask (n, T) that are filled row by row; T grows with the longest cell."""

    def __init__(self, n: int, memory: int = USUAL) -> None:
        """Nothing is there yet, not even the width; an x of more than ``memory`` bytes lies in a file."""
        self._n, self._memory = n, memory
        self._x: np.ndarray | None = None
        self._mask = np.zeros((n, 0), bool)

    def room(self, start: int, tokens: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays from row ``start`` on, with room for so many tokens; the first call says how wide they are."""
        x, mask = self._x, self._mask
        if x is not None and tokens <= x.shape[1]:
            return x[start:], mask[start:]
        width = width if x is None else x.shape[2]
        wider = self._x = zeros((self._n, max(1, tokens), width), limit=self._memory).numpy()
        self._mask = np.zeros(wider.shape[:2], bool)
        if x is not None:
            for rows in blocks(torch.from_numpy(x)):
                wider[rows, : mask.shape[1]], self._mask[rows, : mask.shape[1]] = x[rows], mask[rows]
                self.release()
        return wider[start:], self._mask[start:]

    def put(self, rows: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
        """The tokens (T, D) of these rows."""
        longest = max(map(len, arrays), default=0)
        if not longest:
            return
        x, mask = self.room(0, longest, arrays[0].shape[1])
        if min(map(len, arrays)) == longest:
            x[rows, :longest], mask[rows, :longest] = np.stack(arrays), True
            return
        for row, array in zip(rows, arrays, strict=True):
            x[row, : len(array)], mask[row, : len(array)] = array, True

    def release(self) -> None:
        """Let go of the memory through which a mapped x was written."""
        if self._x is not None:
            release(torch.from_numpy(self._x))

    def arrays(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Both; so wide where not one row has a cell."""
        return self.room(0, 1, width) if self._x is None else (self._x, self._mask)
