"""How the store lays out its keys, and what is counted of each encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plait.store._size import show_size

if TYPE_CHECKING:
    import lmdb

#: Keys: ``FORMAT_KEY``; ``ENCODER`` + encoder -> JSON; ``CELL`` + encoder + cell -> record; encoder and cell: 16 bytes.
FORMAT_KEY, FORMAT = b"plait", b"1"
ENCODER, CELL = b"e", b"c"
#: Reading says when an encoder was used last, but not more often than this.
TOUCH_SECONDS = 3600.0


@dataclass(frozen=True)
class Pruned:
    """What ``Store.prune`` did; sizes in bytes on disk."""

    entries: int
    before: int
    after: int
    compacted: bool

    def __str__(self) -> str:
        """One line for people."""
        done = f"removed {self.entries} entries, {show_size(self.before)} -> {show_size(self.after)}"
        if self.compacted:
            return done
        return (
            f"{done}; the freed space stays in the file and will be used again "
            "(another process has the store open, or the disk has no room for a smaller copy)"
        )


def encoders(txn: lmdb.Transaction) -> dict[bytes, dict[str, Any]]:
    """What is written of each encoder: label, fingerprint, entries, bytes, last_used."""
    cursor, found = txn.cursor(), {}
    more = cursor.set_range(ENCODER)
    while more and bytes(cursor.key())[:1] == ENCODER:
        if len(cursor.key()) == 1 + 16:
            found[bytes(cursor.key())[1:]] = json.loads(bytes(cursor.value()))
        more = cursor.next()
    return found


def count(txn: lmdb.Transaction, encoder: bytes, entries: int, size: int, **facts: Any) -> None:
    """Add to an encoder's entries and bytes, and set the facts given; without a label, only if it is known already."""
    found = txn.get(ENCODER + encoder)
    if found is None and "label" not in facts:
        return
    record: dict[str, Any] = {"entries": 0, "bytes": 0, **(json.loads(bytes(found)) if found else {}), **facts}
    record["entries"] += entries
    record["bytes"] += size
    if record["entries"]:
        txn.put(ENCODER + encoder, json.dumps(record).encode())
    else:
        txn.delete(ENCODER + encoder)
