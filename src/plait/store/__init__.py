"""Embeddings are computed once per distinct cell and encoder, ever: this is where they are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from plait.base.errors import StoreError
from plait.base.parts import Closing
from plait.store import record as entries
from plait.store.environment import Claims, Environment, open_shared, release
from plait.store.record import (
    CELL,
    FORMAT,
    FORMAT_KEY,
    JUST_NOW,
    TOUCH_SECONDS,
    Pruned,
    Runs,
    count,
    encoders,
    fit_a_run,
    halved,
    header,
    pack,
    parse_size,
    show_size,
    unpack,
    used_last,
)

if TYPE_CHECKING:
    import lmdb

T = TypeVar("T")

__all__ = ["Keep", "Memory", "Pruned", "Store", "parse_size", "show_size"]


class Store(Closing):
    """Arrays (T, D) by encoder and content of the cell, in one LMDB file that threads and processes may share.

    Numbers are kept as float16 where they fit. What is there is never overwritten: two processes that computed the same
    cell both go on with the numbers that were stored first.
    """

    def __init__(self, path: str | Path | None = None, *, make: bool = True) -> None:
        """Open or make the store in the folder ``path``, else in ``$PLAIT_STORE``, else in ``~/.cache/plait/store``.

        Args:
            path: the folder.
            make: whether a store that is not there is made.

        Raises:
            StoreError: it cannot be opened, is damaged, or is not there and must not be made.
        """
        chosen = path or os.environ.get("PLAIT_STORE") or "~/.cache/plait/store"
        self.path = Path(chosen).expanduser().absolute()
        if not make and not (self.path / "data.mdb").is_file():
            raise StoreError(
                f"there is no store in {self.path}; plait fit and plait encode fill one (--store, PLAIT_STORE)"
            )
        self._touched: dict[bytes, float] = {}
        self._runs: dict[bytes, Runs] = {}
        self._environment: Environment | None = open_shared(self.path)
        try:
            self._environment.read(self._check)
        except BaseException:
            self.close()
            raise

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.path,)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """The arrays (T, D) of the cells ``keys``, read-only; None where there is none.

        Raises:
            StoreError: the store cannot be read or is damaged.
        """
        encoder = _encoder_id(fingerprint)
        records = self._read(encoder, keys, bytes)
        self._touch(encoder)
        return [self._unpack(records[key]) if key in records else None for key in keys]

    def lengths(self, fingerprint: str, keys: Sequence[bytes]) -> list[int | None]:
        """Number of tokens T of each cell, read from the headers alone; None where there is none."""
        encoder = _encoder_id(fingerprint)
        tokens = self._read(encoder, keys, lambda record: header(record).tokens)
        return [tokens.get(key) for key in keys]

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray], label: str = "") -> dict[bytes, np.ndarray]:
        """Keep arrays (T, D) in one commit and give them back as they will be read, float16 where the numbers fit.

        Raises:
            StoreError: the store cannot be written: a full disk, a read-only folder.
        """
        encoder, now = _encoder_id(fingerprint), int(time.time())
        kept = {key: halved(array) for key, array in items.items()}
        records = {key: pack(kept[key], now) for key in sorted(kept)}

        def put(txn: lmdb.Transaction) -> dict[bytes, bytes]:
            earlier = {key: bytes(record) for key, record in self._records(txn, encoder, list(records))}
            new = {key: record for key, record in records.items() if key not in earlier}
            if fit_a_run(new):
                size = self._runs[encoder].add(txn, new, now, int(time.time() * 1e6))
            else:
                size = sum(map(len, new.values()))
                for key, record in new.items():
                    txn.put(CELL + encoder + key, record)
            txn.put(FORMAT_KEY, FORMAT, overwrite=False)
            count(txn, encoder, len(new), size, label=label or fingerprint, fingerprint=fingerprint, last_used=now)
            return earlier

        earlier = self._open().write(put)
        self._touched[encoder] = time.time()
        return kept | {key: self._unpack(record) for key, record in earlier.items()}

    def _read(self, encoder: bytes, keys: Sequence[bytes], work: Callable[[bytes | memoryview], T]) -> dict[bytes, T]:
        """What ``work`` makes of the record of each cell that is there."""
        return self._open().read(
            lambda txn: {key: work(record) for key, record in self._records(txn, encoder, keys)}, buffers=True
        )

    def _records(
        self, txn: lmdb.Transaction, encoder: bytes, keys: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """Cells with their records: those in runs, then those by themselves, in the order of the file."""
        runs = self._runs.setdefault(encoder, Runs(encoder)).find(txn, keys)
        yield from runs.items()
        for key in sorted(set(keys) - runs.keys()):
            record = txn.get(CELL + encoder + key)
            if record is not None:
                yield key, record

    def claims(self, fingerprint: str) -> Claims:
        """For ``embed``: who encodes what, so that two processes share the work."""
        return Claims(self._open().claimed, fingerprint)

    def sizes(self) -> list[dict[str, Any]]:
        """What is stored of each encoder, last used first.

        ``label``, ``fingerprint``, ``entries``, ``bytes`` (without the database around them), ``last_used`` (UTC).
        """
        result = sorted(self._open().read(encoders).values(), key=lambda facts: facts["last_used"], reverse=True)
        names = ("label", "fingerprint", "entries", "bytes")
        return [
            {name: facts[name] for name in names}
            | {"last_used": datetime.fromtimestamp(facts["last_used"], UTC).isoformat()}
            for facts in result
        ]

    def disk_bytes(self) -> int:
        """Size of the data file."""
        return self._open().disk_bytes()

    def prune(self, limit_bytes: int) -> Pruned:
        """Remove entries until the data file is at most that large, and give the space back to the disk.

        First those of the encoder that was not used for the longest time; of one encoder those that were stored first.
        """
        return entries.prune(self._open(), limit_bytes)

    def rest(self) -> None:
        """Let the system take back the memory through which the file was read; the next call reads it again."""
        self._open().close()

    def close(self) -> None:
        """Close it; other open stores of the same folder stay usable."""
        environment, self._environment = self._environment, None
        if environment is not None:
            release(environment)

    def _open(self) -> Environment:
        if self._environment is None:
            raise StoreError(f"the store in {self.path} is closed; open it again")
        return self._environment

    def _check(self, txn: lmdb.Transaction) -> None:
        """Refuse a database of somebody else, or of another format."""
        result = txn.get(FORMAT_KEY)
        if result is None and txn.cursor().first():
            raise StoreError(f"{self.path} holds a database that is not plait's; give another folder for the store")
        if result not in (None, FORMAT):
            raise StoreError(
                f"the store in {self.path} has format {result!r}, this version of plait knows {FORMAT!r}; "
                f"delete {self.path / 'data.mdb'} (it only saves time) or give another folder"
            )

    def _unpack(self, record: bytes) -> np.ndarray:
        try:
            return unpack(record)
        except ValueError as error:
            raise self._open().damaged(str(error)) from error

    def _touch(self, encoder: bytes) -> None:
        """Say that an encoder was used."""
        now = time.time()
        if abs(now - self._touched.get(encoder, 0.0)) < TOUCH_SECONDS:  # a clock may have been set back
            return
        self._touched[encoder] = now
        if abs(now - self._open().read(lambda txn: used_last(txn, encoder))) < JUST_NOW:
            return  # a store that is opened for every row would wait for the disk each time
        try:
            self._open().write(lambda txn: count(txn, encoder, 0, 0, last_used=int(now)))
        except StoreError:
            return  # a full disk must not stop reading; only the order of pruning suffers


class Memory:
    """What stands in for a store where there is none; it gives numbers back as a store would, which thus never changes one."""

    def __init__(self, exact: bool) -> None:
        """``exact`` keeps float32: for encoders whose output is never stored."""
        self._exact = exact
        self._kept: dict[str, dict[bytes, np.ndarray]] = {}

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """As ``Store.get_many``."""
        return [self._kept.get(fingerprint, {}).get(key) for key in keys]

    def lengths(self, fingerprint: str, keys: Sequence[bytes]) -> list[int | None]:
        """As ``Store.lengths``."""
        return [None if array is None else len(array) for array in self.get_many(fingerprint, keys)]

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray], label: str = "") -> dict[bytes, np.ndarray]:
        """As ``Store.put_many``."""
        kept = {key: array if self._exact else halved(array) for key, array in items.items()}
        self._kept.setdefault(fingerprint, {}).update(kept)
        return kept

    def claims(self, fingerprint: str) -> Claims:
        """As ``Store.claims``: everything is ours."""
        return Claims(None, fingerprint)

    def rest(self) -> None:
        """It is all that there is."""


#: What keeps results.
Keep = Store | Memory


def _encoder_id(fingerprint: str) -> bytes:
    return blake2b(fingerprint.encode(), digest_size=16).digest()
