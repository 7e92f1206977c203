"""Many small cells that are stored at once are one record, a run: written in one piece, found by an index in memory.

In LMDB's tree each would lie on a page of its own choosing, and 4 kB be written, and later read, for a hundred bytes of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import lmdb
import numpy as np

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
