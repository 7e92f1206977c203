"""Cells in, embeddings out: each distinct cell is encoded once, and never again while the store has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import numpy as safetensors
from torch import nn

from plait.base import mapped
from plait.base.deadline import Deadline
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError, PlaitWarning, StoreError
from plait.base.inputs import Columns
from plait.base.progress import Bar, track
from plait.base.tokens import Tokens
from plait.data.media.given import cell_key
from plait.data.row_numbers import row_numbers
from plait.encoders.batches import RESTED, Encoding, Keep, Memory
from plait.store import Store

if TYPE_CHECKING:
    import pandas as pd


#: Cells that are read from the store at a time.
CHUNK = 2048
#: Rows of a table whose features are computed at a time.
ROWS = 65_536


@dataclass(frozen=True)
class Limits:
    """What an encoding may take.

    Attributes:
        memory: in bytes; larger features lie in a file (``plait.base.mapped``).
        end: of the fit that it is for; it is refused where no time would be left to train.
    """

    memory: int = mapped.USUAL
    end: Deadline = field(default_factory=Deadline)


#: Of an encoding that is for no fit.
NO_LIMITS = Limits()


@dataclass(frozen=True)
class Embedded:
    """The embeddings of one column.

    Attributes:
        unreadable: (row, reason) of the cells that count as absent because they could not be read.

    Shape:
        x: (n, T, D) float32, zeros where the mask is False.
        mask: (n, T) bool; False everywhere in absent rows.
    """

    x: np.ndarray
    mask: np.ndarray
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def tokens(self) -> Tokens:
        """The arrays as tensors, without a copy."""
        return Tokens(torch.from_numpy(self.x), torch.from_numpy(self.mask))


def embed(
    encoder: Encoder,
    cells: Sequence[object],
    store: Store | None,
    *,
    name: str,
    strict: bool = False,
    progress: bool | None = None,
    rows: np.ndarray | None = None,
    limits: Limits = NO_LIMITS,
) -> Embedded:
    """Embed the cells of the modality ``name``; None is absent. Messages call the cells by ``rows`` (n,), else by position.

    Only what the store lacks is encoded; the encoder's weights are loaded only then. Numbers are the same whether they
    come from the encoder, from the store, or were never stored.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    whole = Column([], name, strict, np.arange(len(cells)) if rows is None else rows)
    result = embed_pieces(encoder, [cells], store, whole, progress=progress, limits=limits)
    whole.warn()
    return result


def embed_pieces(
    encoder: Encoder,
    pieces: Iterable[Sequence[object]],
    store: Store | None,
    whole: Column,
    *,
    progress: bool | None = None,
    limits: Limits = NO_LIMITS,
) -> Embedded:
    """As ``embed``, of cells that come piece by piece: only one piece's are in memory at a time.

    ``whole``: the column, without cells, and with the numbers of all rows; it is told what cannot be read.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=not encoder.stored)
    fingerprint, forward, start = encoder.store_key(), Forward(encoder), 0
    keyed = encoder.stored or encoder.kinds != ("vector",)  # a vector's key takes as long as what is done with it
    result = _Rows(len(whole.numbers), limits.memory)
    for cells in pieces:
        column = Column(cells, whole.name, whole.strict, whole.numbers[start : start + len(cells)], keyed=keyed)
        if keyed:
            lengths = column.encode(encoder, keep, fingerprint, forward, progress, encoder.name(), limits.end)
            _gather(column, keep, fingerprint, lengths, encoder, result, start)
        else:
            _computed(column, encoder, forward, result, start)
        whole.present += column.present
        whole.unreadable |= {start + row: reason for row, reason in column.unreadable.items()}
        start += len(cells)
    x, mask = result.arrays(encoder)
    for row in _blank(x, mask):
        whole.refuse([int(row)], f"the encoder '{encoder.name()}' gives numbers that are not finite")
    return Embedded(x, mask, sorted(whole.unreadable.items()))


def embed_rows(encoder: Encoder, frame: pd.DataFrame, memory: int = mapped.USUAL) -> tuple[Embedded, Columns | None]:
    """Embed the rows of a table with a ``tabular`` encoder, all at once and without the store; and their plain view."""
    forward = Forward(encoder)
    views: list[Columns | None] = []
    result = _Rows(len(frame), memory)
    for start in range(0, max(1, len(frame)), ROWS):
        part = frame.iloc[start : start + ROWS]
        prepared, view = encoder.prepare_with_columns(part)  # type: ignore[arg-type]  # rows, not a sequence of cells
        views.append(view)
        if len(frame):
            result.put(start + np.arange(len(part)), forward(prepared))
            result.release()
    columns = _one_after_another(views)
    x, mask = result.arrays(encoder)
    bad = _blank(x, mask)
    if len(bad):
        raise PlaitError(
            f"the encoder '{encoder.name()}' gives numbers that are not finite, first in row {row_numbers(frame)[bad[0]]}"
        )
    return Embedded(x, mask), columns


def _one_after_another(views: Sequence[Columns | None]) -> Columns | None:
    """The plain views of rows that follow each other."""
    known = [view for view in views if view is not None]
    if len(known) < 2:
        return views[0]
    both = {name: torch.cat([getattr(view, name) for view in known]) for name in ("numbers", "codes")}
    return replace(known[0], numbers=both["numbers"], codes=both["codes"])


class _Rows:
    """Arrays x (n, T, D) and mask (n, T) that are filled row by row; T grows with the longest cell."""

    def __init__(self, n: int, memory: int) -> None:
        """Nothing is there yet, not even the width."""
        self._n, self._memory = n, memory
        self._x: np.ndarray | None = None
        self._mask = np.zeros((n, 0), bool)

    def room(self, start: int, tokens: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """x and mask from row ``start`` on, with room for so many tokens; the first call says how wide they are."""
        x, mask = self._x, self._mask
        if x is None or tokens > x.shape[1]:
            self._x = mapped.zeros((self._n, max(1, tokens), width), limit=self._memory).numpy()
            self._mask = np.zeros(self._x.shape[:2], bool)
            for rows in mapped.blocks(torch.from_numpy(x)) if x is not None else ():
                self._x[rows, : x.shape[1]], self._mask[rows, : x.shape[1]] = x[rows], mask[rows]
                self.release()
        assert self._x is not None
        return self._x[start:], self._mask[start:]

    def put(self, rows: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
        """The tokens (T, D) of these rows."""
        longest = max(map(len, arrays))
        x, mask = self.room(0, longest, arrays[0].shape[1])
        if min(map(len, arrays)) == longest:
            x[rows, :longest], mask[rows, :longest] = np.stack(arrays), True
            return
        for row, array in zip(rows, arrays, strict=True):
            x[row, : len(array)], mask[row, : len(array)] = array, True

    def release(self) -> None:
        """Let go of the memory through which a mapped x was written."""
        if self._x is not None:
            mapped.release(torch.from_numpy(self._x))

    def arrays(self, encoder: Encoder) -> tuple[np.ndarray, np.ndarray]:
        """Both; the encoder says how wide rows are of which not one has a cell."""
        return self.room(0, 1, encoder.dim) if self._x is None else (self._x, self._mask)


class Forward:
    """An encoder's network, built when the first batch needs it."""

    def __init__(self, encoder: Encoder) -> None:
        """Nothing is loaded yet."""
        self._encoder = encoder
        self._module: nn.Module | None = None

    def __call__(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Prepared arrays of a batch -> the tokens (T, D) of each cell, float32."""
        if self._module is None:
            self._module = self._encoder.module().eval()
        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        tensors = {
            key: torch.from_numpy(np.require(a, requirements=["C", "W"])).to(device) for key, a in arrays.items()
        }
        with torch.inference_mode():
            tokens: Tokens = self._module(tensors)
        x, mask = tokens.x.float().cpu().numpy(), tokens.mask.cpu().numpy()
        return [row[there] for row, there in zip(x, mask, strict=True)]


def _gather(
    column: Column, keep: Keep, fingerprint: str, lengths: dict[bytes, int], encoder: Encoder, result: _Rows, start: int
) -> None:
    """Read everything into the rows from ``start`` on, a chunk at a time."""
    keys = list(column.rows)
    first = next(iter(keep.get_many(fingerprint, keys[:1])), None)
    width = encoder.dim if first is None else first.shape[1]
    x, mask = result.room(start, max(lengths.values(), default=1), width)
    for at in range(0, len(keys), CHUNK):
        chunk = keys[at : at + CHUNK]
        for key, array in zip(chunk, keep.get_many(fingerprint, chunk), strict=True):
            if array is None:
                raise column.lost()
            if array.shape[1] != x.shape[2]:
                raise PlaitError(f"'{column.name}': '{encoder.name()}' gives widths {x.shape[2]} and {array.shape[1]}")
            for row in column.rows[key]:
                x[row, : len(array)], mask[row, : len(array)] = array, True
        result.release()
        if at % RESTED == 0:
            keep.rest()


def _computed(column: Column, encoder: Encoder, forward: Forward, result: _Rows, start: int) -> None:
    """Compute the rows of an encoder whose results are not stored: in batches, without keys."""
    present = [row for row, cell in enumerate(column.cells) if cell is not None]
    for at in range(0, len(present), encoder.batch_size):
        rows = present[at : at + encoder.batch_size]
        try:
            groups = [(rows, encoder.prepare([column.cells[row] for row in rows]))]
        except CellError:
            groups = []
            for row in rows:
                try:
                    groups.append(([row], encoder.prepare([column.cells[row]])))
                except CellError as error:
                    column.refuse([row], str(error))
        for done, arrays in groups:
            result.put(start + np.array(done), forward(arrays))
    result.release()


def _blank(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Make rows with a number that is not finite absent; which they were."""
    step = max(1, (1 << 24) // max(1, x[:1].size))  # rows: the test needs a byte per number
    bad = []
    for start in range(0, len(x), step):
        bad.append(start + np.flatnonzero(~np.isfinite(x[start : start + step]).all((1, 2))))
        mapped.release(torch.from_numpy(x))
    rows = np.concatenate(bad) if bad else np.zeros(0, np.int64)
    x[rows], mask[rows] = 0.0, False
    return rows


#: Times that cells are encoded because another process removed them from the store meanwhile.
ATTEMPTS = 3


class Column:
    """Cells of the modality ``name``, by their keys.

    Attributes:
        n: rows; ``present`` of them have a cell.
        cells, numbers: as given.
        rows: key -> rows that hold this cell.
        unreadable: row -> why its cell cannot be read.
    """

    def __init__(
        self,
        cells: Sequence[Any],
        name: str,
        strict: bool,
        numbers: np.ndarray | None = None,
        *,
        keyed: bool = True,
    ) -> None:
        """Compute the keys of all present cells, if wanted; messages call the rows by ``numbers`` (n,), else by position.

        Raises:
            CellError: with ``strict``, one cannot be read.
        """
        self.name, self.strict = name, strict
        self.n, self.present = len(cells), 0
        self.rows: dict[bytes, list[int]] = {}
        self.unreadable: dict[int, str] = {}
        self.cells = cells
        self.numbers = np.arange(self.n) if numbers is None else numbers
        for row, cell in enumerate(cells):
            if cell is None:
                continue
            self.present += 1
            if not keyed:
                continue
            try:
                self.rows.setdefault(cell_key(cell), []).append(row)
            except CellError as error:
                self.refuse([row], str(error))

    def encode(
        self,
        encoder: Encoder,
        keep: Keep,
        fingerprint: str,
        finish: Callable[[dict[str, np.ndarray]], list[np.ndarray]],
        progress: bool | None,
        label: str,
        end: Deadline,
    ) -> dict[bytes, int]:
        """Encode what ``keep`` lacks; then the number of tokens of every readable cell.

        Raises:
            ConfigError: so much is left to do that ``end`` leaves no time to train.
        """
        for _ in range(ATTEMPTS):
            keys = list(self.rows)
            result = dict(zip(keys, keep.lengths(fingerprint, keys), strict=True))
            missing = {key: self.cells[self.rows[key][0]] for key, length in result.items() if length is None}
            if not missing:
                return {key: length for key, length in result.items() if length is not None}
            with track(len(missing), f"{self.name}: {label}", enabled=progress) as bar:

                def advance(cells: int, share: float, bar: Bar = bar, total: int = len(missing)) -> None:
                    bar.advance(cells, share)
                    end.check_encoding(self.name, bar.done, total)

                Encoding(encoder, keep, fingerprint, label, missing, finish, self.drop, advance).run()
        raise self.lost()

    def lost(self) -> StoreError:
        """The error to raise when what was just stored is gone."""
        return StoreError(
            f"embeddings of '{self.name}' vanish from the store as fast as they are made: "
            "another process prunes it; prune to a larger limit, or run again later"
        )

    def drop(self, broken: dict[bytes, str]) -> None:
        """These cells count as absent."""
        for key, reason in sorted(broken.items(), key=lambda item: self.rows[item[0]][0]):
            self.refuse(self.rows.pop(key), reason)

    def refuse(self, rows: Sequence[int], reason: str) -> None:
        """These rows cannot be read; with ``strict`` that is an error."""
        if self.strict:
            raise CellError(f"row {self.numbers[rows[0]]} of '{self.name}': {reason}")
        self.unreadable.update(dict.fromkeys(rows, reason))

    def warn(self) -> None:
        """One warning for all unreadable cells of the call."""
        if self.unreadable:
            row = min(self.unreadable, key=lambda row: self.numbers[row])
            warnings.warn(
                f"{len(self.unreadable)} of {self.present} cells of '{self.name}' cannot be read and count as absent, "
                f"e.g. row {self.numbers[row]}: {self.unreadable[row]}",
                PlaitWarning,
                stacklevel=3,
            )


#: Cells that are read from the store at a time.
PREPARED_CHUNK = 512


def prepare_distinct(
    encoder: Encoder,
    cells: Sequence[object],
    store: Store | None,
    *,
    name: str,
    strict: bool = False,
    progress: bool | None = None,
    rows: np.ndarray | None = None,
    limits: Limits = NO_LIMITS,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run ``prepare`` over the distinct cells of the modality ``name``: a picture that is in a thousand rows is in memory once.

    None and unreadable cells are absent; messages call the cells by ``rows`` (n,), else by position.

    Arrays of different shape are filled with zeros at the end, up to the largest.

    Shape:
        arrays: (m + 1, ...) each, the last zeros; no arrays at all when no cell is present.
        place: (n,) where each row's cell is; m for absent rows.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    column = Column(cells, name, strict, rows)
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=False)
    fingerprint = f"{encoder.fingerprint()} prepared"
    column.encode(encoder, keep, fingerprint, _split, progress, f"{encoder.name()}, prepared", limits.end)
    result = _gather_prepared(column, keep, fingerprint)
    column.warn()
    return result


def _split(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """One row of bytes (1, N) per cell: its arrays in the safetensors format."""
    n = len(next(iter(arrays.values())))
    cells = ({key: np.array(array[i], order="C") for key, array in arrays.items()} for i in range(n))
    return [np.frombuffer(safetensors.save(cell), dtype=np.uint8)[None] for cell in cells]


def _gather_prepared(column: Column, keep: Keep, fingerprint: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read everything twice, first the shapes, so that nothing is in memory twice."""
    keys = list(column.rows)
    chunks = [keys[start : start + PREPARED_CHUNK] for start in range(0, len(keys), PREPARED_CHUNK)]
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype[Any]] = {}
    for chunk in chunks:
        for cell in _read(column, keep, fingerprint, chunk):
            for name, array in cell.items():
                shapes[name] = tuple(np.maximum(shapes.get(name, array.shape), array.shape).tolist())
                types[name] = array.dtype
    arrays = {name: np.zeros((len(keys) + 1, *shape), types[name]) for name, shape in shapes.items()}
    place = np.full(column.n, len(keys), np.int64)
    for number, chunk in enumerate(chunks):
        for row, cell in enumerate(_read(column, keep, fingerprint, chunk), number * PREPARED_CHUNK):
            place[column.rows[keys[row]]] = row
            for name, array in cell.items():
                filled: tuple[Any, ...] = tuple(slice(size) for size in array.shape)
                arrays[name][(row, *filled)] = array
    return arrays, place


def _read(column: Column, keep: Keep, fingerprint: str, keys: list[bytes]) -> list[dict[str, np.ndarray]]:
    result = keep.get_many(fingerprint, keys)
    if any(record is None for record in result):
        raise column.lost()
    return [safetensors.load(record.tobytes()) for record in result if record is not None]
