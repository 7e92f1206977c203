"""Encode what is missing: in batches, prepared ahead, shared with other processes, stored a few batches at a time."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from plait.base.encoder import Encoder
from plait.base.errors import CellError, warn
from plait.base.machine import one_core_each
from plait.base.tokens import Tokens
from plait.data.media import Blob
from plait.data.media.given import Changed, cell_key
from plait.store import Keep
from plait.store.environment import Claims

A = TypeVar("A")
R = TypeVar("R")

#: Cells of the first batch at most.
FIRST = 16
#: Cells after which the store lets go of the memory through which it was read: a large one would fill it all.
RESTED = 16_384
#: Batches that are prepared while one is computed.
AHEAD = 1
#: Seconds between two looks at what another process is encoding, and seconds without news after which nobody waits.
POLL, PATIENCE = 0.05, 60.0
#: Where a cell of the first ``TRIED`` takes less than so many processor seconds the rest is not claimed: the locks would take as
#: long as doing it twice.
TRIED, CHEAP = 1024, 2e-4
#: What is computed is stored every so many seconds or numbers: a commit waits for the disk.
STORED_AFTER, STORED_AT = 0.5, 1 << 24
#: Seconds of waiting after which it is said.
SILENCE = 5.0


#: After so few cells a network stays at hand; so many networks do, and so many bytes of their weights together.
FEW, AT_HAND, AT_HAND_BYTES = 64, 4, 1 << 30
_at_hand: OrderedDict[tuple[type[Encoder], str], nn.Module] = OrderedDict()
_at_hand_lock = threading.Lock()


def let_go() -> None:
    """Drop the networks that are at hand."""
    with _at_hand_lock:
        _at_hand.clear()


def _after_in_child() -> None:
    """A forked process begins without: a thread that is not there may have held the lock."""
    global _at_hand_lock
    _at_hand_lock = threading.Lock()
    _at_hand.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)


def _bytes(module: nn.Module) -> int:
    return sum(part.nbytes for part in (*module.parameters(), *module.buffers()))


class Forward:
    """An encoder's network, built when the first batch needs it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._module: nn.Module | None = None
        self._cells = 0

    def rest(self) -> None:
        """Keep the network at hand after few cells, for others that follow: to load it takes longer than to run it."""
        if self._module is not None and self._encoder.stored and self._cells <= FEW:
            with _at_hand_lock:
                _at_hand[self._key()] = self._module
                while len(_at_hand) > AT_HAND or sum(map(_bytes, _at_hand.values())) > AT_HAND_BYTES:
                    _at_hand.popitem(last=False)
        self._module = None

    def _key(self) -> tuple[type[Encoder], str]:
        """A class that was written anew has another one, whatever its version says."""
        return type(self._encoder), self._encoder.store_key()

    def _built(self) -> nn.Module:
        """The network that an equal encoder left at hand, which is then this one's alone; else a new one."""
        if self._encoder.stored:
            with _at_hand_lock:
                module = _at_hand.pop(self._key(), None)
            if module is not None:
                return module
        return self._encoder.module().eval()

    def __call__(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Prepared arrays of a batch -> the tokens (T, D) of each cell, float32."""
        if self._module is None:
            self._module = self._built()
        self._cells += len(next(iter(arrays.values())))
        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        tensors = {
            key: torch.from_numpy(np.require(a, requirements=["C", "W"])).to(device) for key, a in arrays.items()
        }
        with torch.inference_mode():
            tokens: Tokens = self._module(tensors)
        x, mask = tokens.x.float().cpu().numpy(), tokens.mask.cpu().numpy()
        return [row[there] for row, there in zip(x, mask, strict=True)]


class Prepared(NamedTuple):
    """A batch after ``prepare``: the readable cells' keys and arrays, and why the others are broken."""

    keys: list[bytes]
    arrays: dict[str, np.ndarray]
    broken: dict[bytes, str]


@dataclass
class Encoding:
    """One run over the cells that are missing.

    Attributes:
        finish: prepared arrays of a batch -> one array (T, D) per cell.
        on_broken: called with the cells of a batch that cannot be read; it may raise.
        advance: called with the number of cells that are done, and the share of the whole work that they were.
    """

    encoder: Encoder
    keep: Keep
    fingerprint: str
    label: str
    cells: Mapping[bytes, Any]
    finish: Callable[[dict[str, np.ndarray]], list[np.ndarray]]
    on_broken: Callable[[dict[bytes, str]], None]
    advance: Callable[[int, float], None]
    _shares: dict[bytes, float] = field(init=False)
    _lengths: dict[bytes, int] = field(init=False)
    _claims: Claims = field(init=False)
    _waiting: dict[bytes, np.ndarray] = field(init=False, default_factory=dict)
    _numbers: int = field(init=False, default=0)
    _stored: float = field(init=False, default=0.0)
    _cheap: bool = field(init=False, default=False)

    def run(self) -> None:
        """Encode, cells of like length together, until each is stored or broken."""
        left, news, said = self._longest_first(), time.monotonic(), False
        with self.keep.claims(self.fingerprint) as self._claims:
            while left:
                elsewhere = self._encode(left)
                waited = time.monotonic() - news
                if len(elsewhere) < len(left):
                    news = time.monotonic()
                elif waited > PATIENCE:  # the other process is stuck: doing its work twice is harmless
                    self._claims = Claims(None, self.fingerprint)
                else:
                    said = said or (waited > SILENCE and self._say_waiting(len(elsewhere)))
                    time.sleep(POLL)
                left = elsewhere

    def _say_waiting(self, cells: int) -> bool:
        warn(
            f"{self.label}: waiting for {cells:,} cells that another process is encoding into the same store; "
            f"without news for {PATIENCE:.0f} s they are encoded here, too (a stopped process holds its cells until it ends)"
        )
        return True

    def _encode(self, keys: Sequence[bytes]) -> list[bytes]:
        """Encode ``keys``; those that another process or thread is encoding come back."""
        elsewhere: list[bytes] = []
        done, tried, begun = 0, 0, time.process_time()
        self._stored = time.monotonic()
        try:
            with contextlib.closing(self._computed(keys, elsewhere)) as batches:
                for prepared, results in batches:
                    if prepared.keys:
                        self._waiting.update(zip(prepared.keys, results, strict=True))
                        self._numbers += sum(result.size for result in results)
                        self._put()
                    self._claims.give_back(prepared.broken)
                    self._advance([*prepared.keys, *prepared.broken])
                    done += len(prepared.keys)
                    if tried < TRIED <= (tried := tried + len(prepared.keys)):
                        self._cheap = time.process_time() - begun < tried * CHEAP
                    if done > RESTED:
                        self.keep.rest()
                        done = 0
                    if prepared.broken:
                        self.on_broken(prepared.broken)
        finally:
            self._put(at_once=True)
        return elsewhere

    def _computed(self, keys: Sequence[bytes], elsewhere: list[bytes]) -> Generator[tuple[Prepared, list[np.ndarray]]]:
        """Batches with their results in order: on one core each, or one after another on all, the next one prepared meanwhile."""
        batches, cores = self._claimed(keys, elsewhere), torch.get_num_threads()
        if self.encoder.side_by_side and cores > 1:
            for batch in batches:
                first = self._finished(self._prepare(batch))
                yield first
                if first[0].keys:  # the weights are loaded
                    break
            if (second := next(batches, None)) is None:  # a row by itself changes nobody's threads
                return
            rest = itertools.chain([second], batches)
            with one_core_each(cores) as pool:
                yield from _ahead(pool, lambda batch: self._finished(self._prepare(batch)), rest, cores)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="plait-prepare") as pool:
            try:
                yield from map(self._finished, _ahead(pool, self._prepare, batches, AHEAD))
            finally:
                pool.shutdown(cancel_futures=True)

    def _finished(self, prepared: Prepared) -> tuple[Prepared, list[np.ndarray]]:
        return prepared, self.finish(prepared.arrays) if prepared.keys else []

    def _put(self, *, at_once: bool = False) -> None:
        """Store what waits for it, if it is much or has waited long."""
        waited = time.monotonic() - self._stored
        if self._waiting and (at_once or waited >= STORED_AFTER or self._numbers >= STORED_AT):
            kept, self._waiting, self._numbers = self._waiting, {}, 0
            self.keep.put_many(self.fingerprint, kept, self.label)
            self._claims.give_back(kept)
            self._stored = time.monotonic()

    def _claimed(self, keys: Sequence[bytes], elsewhere: list[bytes]) -> Iterator[list[bytes]]:
        """Batches of cells that are ours to encode; what is somebody else's goes to ``elsewhere``."""
        for batch in self._batches(keys):
            if self._cheap:
                yield list(batch)
                continue
            ours = set(self._claims.take(batch))
            # Only now: whoever had claimed a cell before may have stored it meanwhile.
            missing = {k for k, t in zip(batch, self.keep.lengths(self.fingerprint, batch), strict=True) if t is None}
            self._claims.give_back(ours - missing)
            self._advance([key for key in batch if key not in missing])
            elsewhere += [key for key in batch if key in missing - ours]
            todo = [key for key in batch if key in missing & ours]
            if todo:
                yield todo

    def _batches(self, keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """Batches, the first ones smaller, so that there is something to show, and to keep, soon; long cells fewer at a time."""
        start, most, longest = 0, max(1, self.encoder.batch_size), self.encoder.batch_length
        size = min(FIRST, most)
        while start < len(keys):
            batch = keys[start : start + size]
            if longest is not None:
                summed = np.cumsum([self._lengths[key] for key in batch])
                batch = batch[: max(1, int(np.searchsorted(summed, longest, side="right")))]
            yield batch
            start, size = start + len(batch), min(2 * size, most)

    def _advance(self, keys: Sequence[bytes]) -> None:
        self.advance(len(keys), sum(self._shares[key] for key in keys))

    def _prepare(self, keys: list[bytes]) -> Prepared:
        """Prepare a batch; when a cell of it is broken, find out which by asking one at a time."""
        try:
            return Prepared(keys, self._read(keys), {})
        except CellError as error:
            if len(keys) == 1:
                return Prepared([], {}, {keys[0]: str(error)})
        broken: dict[bytes, str] = {}
        for key in keys:
            try:
                self._read([key])
            except CellError as error:
                broken[key] = str(error)
        good = [key for key in keys if key not in broken]
        return Prepared(good, self._read(good) if good else {}, broken)

    def _read(self, keys: list[bytes]) -> dict[str, np.ndarray]:
        cells = [self.cells[key] for key in keys]
        arrays = self.encoder.prepare(cells)
        for key, cell in zip(keys, cells, strict=True):
            # A file may change after its key was computed: under the old key its new content would lie there for ever.
            if isinstance(cell, Blob | Changed) and cell.path is not None and cell_key(cell) != key:
                raise CellError(f"{cell.where}: it was changed while it was read; run again")
        return arrays

    def _longest_first(self) -> list[bytes]:
        """Cells of like length belong into one batch; the longest come first so that too little memory shows early."""
        keys = list(self.cells)
        lengths = _lengths(self.encoder, [self.cells[key] for key in keys])
        # The shortest cell costs something, too; without lengths all cost the same.
        costs = np.maximum(lengths, max(1.0, lengths.mean() / 10))
        self._shares = dict(zip(keys, (costs / costs.sum()).tolist(), strict=True))
        self._lengths = dict(zip(keys, lengths.tolist(), strict=True))
        return [keys[i] for i in np.argsort(-lengths, kind="stable")]


def _lengths(encoder: Encoder, cells: list[Any]) -> np.ndarray:
    try:
        return np.asarray(encoder.lengths(cells), dtype=np.int64)
    except CellError:
        if len(cells) == 1:
            return np.zeros(1, dtype=np.int64)  # ``prepare`` will say what is wrong with it
    return np.concatenate([_lengths(encoder, [cell]) for cell in cells])


def _ahead(pool: ThreadPoolExecutor, work: Callable[[A], R], items: Iterable[A], ahead: int) -> Iterator[R]:
    """``work`` of every item in order, computed in ``pool`` while results before it are used."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
