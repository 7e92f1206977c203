"""Entries of the store: how arrays are packed, what is written of encoders, and which entries go first when it is made small."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import lmdb
import numpy as np

from plait.base.errors import ConfigError
from plait.store.environment import Environment
from plait.store.runs import RUN, cells_in

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
    """The header alone."""
    if len(record) < _HEADER.size:
        raise ValueError("a record without a header")
    result = Header(*_HEADER.unpack_from(record))
    if result.kind >= len(_TYPES):
        raise ValueError("a record of unknown type")
    if len(record) != _HEADER.size + result.tokens * result.width * _TYPES[result.kind].itemsize:
        raise ValueError("a record of wrong length")
    return result


def unpack(record: bytes) -> np.ndarray:
    """The array of a record, without a copy (read-only)."""
    result = header(record)
    numbers = memoryview(record)[_HEADER.size :]
    if _checksum(result.kind, result.tokens, result.width, numbers) != result.checksum:
        raise ValueError("a record with a wrong checksum")
    return np.frombuffer(numbers, dtype=_TYPES[result.kind]).reshape(result.tokens, result.width)


def _checksum(kind: int, tokens: int, width: int, numbers: bytes | memoryview) -> int:
    return zlib.crc32(numbers, zlib.crc32(struct.pack("<BII", kind, tokens, width)))


_UNITS = {"": 1} | {f"{p}b": 1000**i for i, p in enumerate(("", "k", "m", "g", "t"))}
_UNITS |= {f"{p}ib": 1024**i for i, p in enumerate(("", "k", "m", "g", "t")) if p}


def parse_size(text: str | int) -> int:
    """Bytes of ``500MB`` (thousands), ``2 GiB`` (1024s) or a plain number.

    Example:
        >>> parse_size("2 GiB"), parse_size("1.5kB"), parse_size("300")
        (2147483648, 1500, 300)
    """
    result = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip().lower())
    if result is None or result[2] not in _UNITS:
        raise ConfigError(f"size '{text}': expected a number and a unit, such as 500MB or 2 GiB")
    return int(float(result[1]) * _UNITS[result[2]])


def show_size(size: float) -> str:
    """Bytes as people read them.

    Example:
        >>> show_size(999), show_size(1_234_567)
        ('999 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


#: Keys: ``FORMAT_KEY``; ``ENCODER`` + encoder -> JSON; ``CELL`` + encoder + cell -> record; encoder and cell: 16 bytes. Of
#: many small cells see ``runs``.
FORMAT_KEY, FORMAT = b"plait", b"1"
ENCODER, CELL = b"e", b"c"
#: Reading says when an encoder was used last, but not more often than this.
TOUCH_SECONDS = 3600.0
#: Nor, by whichever process, within so many seconds.
JUST_NOW = 60.0


@dataclass(frozen=True)
class Pruned:
    """What ``Store.prune`` did; sizes in bytes on disk."""

    entries: int
    before: int
    after: int
    compacted: bool

    def __str__(self) -> str:
        done = f"removed {self.entries} entries, {show_size(self.before)} -> {show_size(self.after)}"
        if self.compacted:
            return done
        return (
            f"{done}; the freed space stays in the file and will be used again "
            "(another process has the store open, or the disk has no room for a smaller copy)"
        )


def encoders(txn: lmdb.Transaction) -> dict[bytes, dict[str, Any]]:
    """What is written of each encoder: label, fingerprint, entries, bytes, last_used."""
    cursor, result = txn.cursor(), {}
    more = cursor.set_range(ENCODER)
    while more and bytes(cursor.key())[:1] == ENCODER:
        if len(cursor.key()) == 1 + 16:
            result[bytes(cursor.key())[1:]] = json.loads(bytes(cursor.value()))
        more = cursor.next()
    return result


def used_last(txn: lmdb.Transaction, encoder: bytes) -> float:
    """When an encoder was used last; 0 where it is not known."""
    result = txn.get(ENCODER + encoder)
    return float(json.loads(bytes(result)).get("last_used", 0)) if result else 0.0


def count(txn: lmdb.Transaction, encoder: bytes, entries: int, size: int, **facts: Any) -> None:
    """Add to an encoder's entries and bytes, and set the facts given; without a label, only if it is known already."""
    result = txn.get(ENCODER + encoder)
    if result is None and "label" not in facts:
        return
    record: dict[str, Any] = {"entries": 0, "bytes": 0, **(json.loads(bytes(result)) if result else {}), **facts}
    record["entries"] += entries
    record["bytes"] += size
    if record["entries"]:
        txn.put(ENCODER + encoder, json.dumps(record).encode())
    else:
        txn.delete(ENCODER + encoder)


#: Bytes that are removed in one commit: it bounds LMDB's list of changed pages.
LARGEST_STEP = 1 << 26
#: What is removed at a time: its key, its bytes, its cells.
Entry = tuple[bytes, int, int]


def prune(environment: Environment, limit: int) -> Pruned:
    """Remove the least recently used encoders' entries until ``limit`` bytes are left, oldest first, and compact."""
    before, removed = environment.disk_bytes(), 0
    known = environment.read(encoders)
    # Pages hold more than the numbers: bytes of entries to remove for each byte that is too much.
    share = sum(facts["bytes"] for facts in known.values()) / environment.live_bytes()
    for encoder in sorted(known, key=lambda e: known[e]["last_used"]):
        excess = environment.live_bytes() - limit
        if excess <= 0:
            break
        entries = environment.read(partial(_oldest_first, encoder), buffers=True)
        while entries and excess > 0:
            step = _step(entries, share * max(excess, limit // 200))
            removed += environment.write(partial(_remove, encoder, entries[:step]))
            entries = entries[step:]
            excess = environment.live_bytes() - limit
    compacted = environment.compact() if removed or before > limit else True
    return Pruned(removed, before, environment.disk_bytes(), compacted)


def _oldest_first(encoder: bytes, txn: lmdb.Transaction) -> list[Entry]:
    cursor, result = txn.cursor(), []
    for prefix in (CELL + encoder, RUN + encoder):
        more = cursor.set_range(prefix)
        while more and bytes(cursor.key())[: len(prefix)] == prefix:
            value = cursor.value()
            written, cells = cells_in(value) if prefix[:1] == RUN else (_written(value), 1)
            result.append((written, bytes(cursor.key()), len(value), cells))
            more = cursor.next()
    return [(key, size, cells) for _, key, size, cells in sorted(result)]


def _written(value: bytes | memoryview) -> int:
    try:
        return header(value).written
    except ValueError:
        return 0  # a damaged record goes first


def _step(entries: Sequence[Entry], size: float) -> int:
    """How many entries, at least one, hold ``size`` bytes."""
    total = 0
    for number, (_, length, _) in enumerate(entries, 1):
        total += length
        if total >= min(size, LARGEST_STEP):
            return number
    return len(entries)


def _remove(encoder: bytes, entries: Sequence[Entry], txn: lmdb.Transaction) -> int:
    gone = [(size, cells) for key, size, cells in entries if txn.delete(key)]
    sizes, cells = (sum(column) for column in zip(*gone, strict=True)) if gone else (0, 0)
    count(txn, encoder, -cells, -sizes)
    return cells
