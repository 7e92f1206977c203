"""Make the store small again: what was not used for the longest time goes first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import lmdb

from plait.store.environment import Environment
from plait.store.record import CELL, Pruned, count, encoders, header

#: Bytes that are removed in one commit: it bounds LMDB's list of changed pages.
LARGEST_STEP = 1 << 26
#: An entry of the store: its key, its bytes.
Entry = tuple[bytes, int]


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
    prefix = CELL + encoder
    cursor, result = txn.cursor(), []
    more = cursor.set_range(prefix)
    while more and bytes(cursor.key())[: len(prefix)] == prefix:
        value = cursor.value()
        result.append((_written(value), bytes(cursor.key()), len(value)))
        more = cursor.next()
    return [(key, size) for _, key, size in sorted(result)]


def _written(value: bytes | memoryview) -> int:
    try:
        return header(value).written
    except ValueError:
        return 0  # a damaged record goes first


def _step(entries: Sequence[Entry], size: float) -> int:
    """How many entries, at least one, hold ``size`` bytes."""
    total = 0
    for number, (_, length) in enumerate(entries, 1):
        total += length
        if total >= min(size, LARGEST_STEP):
            return number
    return len(entries)


def _remove(encoder: bytes, entries: Sequence[Entry], txn: lmdb.Transaction) -> int:
    gone = [size for key, size in entries if txn.delete(key)]
    count(txn, encoder, -len(gone), -sum(gone))
    return len(gone)
