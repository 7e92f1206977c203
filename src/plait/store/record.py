"""Entries of the store: how arrays are packed, what is written of encoders, and which entries go first when it is made small.

Many small cells that are stored at once are one record, a run: written in one piece, found by an index in memory. In LMDB's tree
each would lie on a page of its own choosing, and 4 kB be written, and later read, for a hundred bytes of it.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import lmdb
import numpy as np

from plait.base.errors import ConfigError
from plait.store.environment import Environment

#: Keys: ``RUN`` + encoder (16 bytes) + number (8 bytes, the microsecond in which it was written, or the next free one).
RUN = b"r"
#: So many cells make a run, if they are of ``SMALL`` bytes at most in the mean: larger ones take whole pages anyhow.
LEAST, SMALL = 1024, 8192
#: Bytes of a cell's key.
KEY = 16
# Checksum of what follows but the records; cells n; time. Then: n keys, sorted; n ends of records, 8 bytes each; the records.
_HEAD = struct.Struct("<III")


class Level(NamedTuple):
    """Where some cells lie: both halves of the key, one XOR the other, sorted; number of the run; place in it."""

    folded: np.ndarray
    runs: np.ndarray
    places: np.ndarray


class Runs:
    """The runs of one encoder: an index of their cells, brought up to date by each look."""

    def __init__(self, encoder: bytes) -> None:
        self._prefix = RUN + encoder
        self._levels: list[Level] = []
        self._next = 0

    def find(self, txn: lmdb.Transaction, keys: Sequence[bytes]) -> dict[bytes, memoryview]:
        """The records of the cells that lie in runs; they point into the map if the transaction does."""
        self._refresh(txn)
        keys = [key for key in keys if len(key) == KEY]
        wanted = _halves(b"".join(keys))
        while True:
            result: dict[bytes, memoryview] = {}
            gone = [number for level in self._levels for number in self._look(level, txn, keys, wanted, result)]
            if not gone:
                return result
            # They were removed; their cells may since have been written again.
            kept = (Level(*(part[~np.isin(level.runs, gone)] for part in level)) for level in self._levels)
            self._levels = [level for level in kept if len(level.folded)]

    def _look(
        self,
        level: Level,
        txn: lmdb.Transaction,
        keys: Sequence[bytes],
        wanted: np.ndarray,
        result: dict[bytes, memoryview],
    ) -> Iterator[int]:
        """Put the records of a level into ``result``; the numbers of runs that are gone."""
        folded = wanted[:, 0] ^ wanted[:, 1]
        at = np.minimum(np.searchsorted(level.folded, folded), len(level.folded) - 1)
        hits = np.flatnonzero(level.folded[at] == folded)
        hits = hits[np.argsort(level.runs[at[hits]], kind="stable")]
        for some in np.split(hits, np.flatnonzero(np.diff(level.runs[at[hits]])) + 1)[: len(hits)]:
            number = int(level.runs[at[some[0]]])
            value = txn.get(self._key(number))
            if value is None:
                yield number
                continue
            own, records = _entries(memoryview(value), level.places[at[some]], wanted[some])
            result.update(zip((keys[i] for i in some[own].tolist()), records, strict=True))

    def add(self, txn: lmdb.Transaction, records: Mapping[bytes, bytes], written: int, microsecond: int) -> int:
        """Write a run behind those that ``find`` has seen; its bytes."""
        value, number = _pack(records, written), max(microsecond, self._next)
        while not txn.put(self._key(number), value, overwrite=False):
            number += 1
        return len(value)

    def _key(self, number: int) -> bytes:
        return self._prefix + number.to_bytes(8, "big")

    def _refresh(self, txn: lmdb.Transaction) -> None:
        cursor = txn.cursor()
        more = cursor.set_range(self._key(self._next))
        while more and bytes(cursor.key()).startswith(self._prefix):
            number = int.from_bytes(bytes(cursor.key())[len(self._prefix) :], "big")
            halves = _halves(_keys(cursor.value()))
            folded = halves[:, 0] ^ halves[:, 1]
            order = np.argsort(folded, kind="stable")
            self._add(Level(folded[order], np.full(len(order), number, np.uint64), order.astype(np.uint32)))
            self._next = number + 1
            more = cursor.next()

    def _add(self, level: Level) -> None:
        """Levels grow by doubling, so that there are few of them and each cell is sorted a few times only."""
        self._levels.append(level)
        while len(self._levels) > 1 and len(self._levels[-2].folded) < 2 * len(self._levels[-1].folded):
            both = [np.concatenate(parts) for parts in zip(*self._levels[-2:], strict=True)]
            order = np.argsort(both[0], kind="stable")
            self._levels[-2:] = [Level(*(part[order] for part in both))]


def fit_a_run(records: Mapping[bytes, bytes]) -> bool:
    """Whether these are so many and so small that they are written as a run."""
    size = sum(map(len, records.values()))
    return len(records) >= LEAST and {len(key) for key in records} == {KEY} and size <= SMALL * len(records)


def cells_in(value: bytes | memoryview) -> tuple[int, int]:
    """When a run was written, and its cells; zeros of a damaged one."""
    _, cells, written = _HEAD.unpack_from(value) if len(value) >= _HEAD.size else (0, 0, 0)
    return written, cells


def _halves(keys: bytes | memoryview) -> np.ndarray:
    return np.frombuffer(keys, ">u8").reshape(-1, 2).astype(np.uint64)


def _pack(records: Mapping[bytes, bytes], written: int) -> bytes:
    keys = sorted(records)
    ends = np.cumsum([len(records[key]) for key in keys], dtype="<u8")
    index = b"".join([struct.pack("<II", len(keys), written), *keys, ends.tobytes()])
    return b"".join([zlib.crc32(index).to_bytes(4, "little"), index, *(records[key] for key in keys)])


def _keys(value: bytes | memoryview) -> memoryview:
    """The keys of a run's cells, after one another."""
    value = memoryview(value)
    checksum, cells, _ = _HEAD.unpack_from(value) if len(value) >= _HEAD.size else (0, 0, 0)
    index = value[4 : _HEAD.size + (KEY + 8) * cells]
    if not cells or zlib.crc32(index) != checksum:
        raise ValueError("a run with a wrong checksum")
    return value[_HEAD.size : _HEAD.size + KEY * cells]


def _entries(value: memoryview, places: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, list[memoryview]]:
    """Of the cells at some places of a run those with the ``wanted`` keys (m, 2): which they are, and their records."""
    cells = _HEAD.unpack_from(value)[1]
    begin = _HEAD.size + (KEY + 8) * cells
    keys = np.frombuffer(value, ">u8", 2 * cells, _HEAD.size).reshape(-1, 2)
    ends = np.frombuffer(value, "<u8", cells, _HEAD.size + KEY * cells).astype(np.int64) + begin
    own = np.flatnonzero((keys[places] == wanted).all(1))
    chosen = places[own].astype(np.int64)
    first = np.where(chosen > 0, ends[chosen - 1], begin)
    return own, [value[i:j] for i, j in zip(first.tolist(), ends[chosen].tolist(), strict=True)]


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
