"""How one array lies in the store: a header with shape, type, time and checksum, then the numbers."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

# type, time in seconds since 1970, checksum, tokens T, width D; 20 bytes keep the numbers behind it aligned.
_HEADER = struct.Struct("<B3xIIII")
_TYPES = (np.dtype("<f2"), np.dtype("<f4"), np.dtype("u1"))
#: Below this the numbers of an array are so small that float16 would lose digits of the largest.
_SMALLEST_PEAK = 1e-3


class Header(NamedTuple):
    """What a record says of itself."""

    kind: int
    written: int
    checksum: int
    tokens: int
    width: int


def halved(array: np.ndarray) -> np.ndarray:
    """The array as float16 where its numbers fit, else as float32; bytes (uint8) as they are.

    Numbers fit when none overflows and the largest is not tiny; NaN and infinity stay float32, to be found on reading.
    """
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    full = np.ascontiguousarray(array, dtype="<f4")
    peak = float(np.abs(full).max(initial=0.0))
    fits = peak == 0.0 or _SMALLEST_PEAK <= peak <= float(np.finfo(np.float16).max)
    return full.astype("<f2") if fits else full


def pack(array: np.ndarray, written: int) -> bytes:
    """The record of an array (T, D) of one of the types that ``halved`` gives."""
    if array.ndim != 2 or array.dtype not in _TYPES:
        raise ValueError(f"the store keeps (T, D) of float16, float32 or uint8, found {array.dtype} {array.shape}")
    numbers = array.tobytes()
    kind, (tokens, width) = _TYPES.index(array.dtype), array.shape
    return _HEADER.pack(kind, written, _checksum(kind, tokens, width, numbers), tokens, width) + numbers


def header(record: bytes | memoryview) -> Header:
    """The header alone.

    Raises:
        ValueError: it is none, or the record's length does not fit to it.
    """
    if len(record) < _HEADER.size:
        raise ValueError("a record without a header")
    found = Header(*_HEADER.unpack_from(record))
    if found.kind >= len(_TYPES):
        raise ValueError("a record of unknown type")
    if len(record) != _HEADER.size + found.tokens * found.width * _TYPES[found.kind].itemsize:
        raise ValueError("a record of wrong length")
    return found


def unpack(record: bytes) -> np.ndarray:
    """The array of a record, without a copy (read-only).

    Raises:
        ValueError: the record is damaged.
    """
    found = header(record)
    numbers = memoryview(record)[_HEADER.size :]
    if _checksum(found.kind, found.tokens, found.width, numbers) != found.checksum:
        raise ValueError("a record with a wrong checksum")
    return np.frombuffer(numbers, dtype=_TYPES[found.kind]).reshape(found.tokens, found.width)


def _checksum(kind: int, tokens: int, width: int, numbers: bytes | memoryview) -> int:
    return zlib.crc32(numbers, zlib.crc32(struct.pack("<BII", kind, tokens, width)))
