"""Cells in, embeddings out: each distinct cell is encoded once, and never again while the store has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

import numpy as np
import torch
from safetensors import numpy as safetensors

from plait.base import mapped
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError, StoreError, warn
from plait.base.inputs import Columns, columns_together
from plait.base.mapped import NO_LIMITS, Limits
from plait.base.progress import Bar, track
from plait.base.tokens import Tokens
from plait.data.media.given import cell_key
from plait.data.row_numbers import row_numbers
from plait.encoders.batches import RESTED, Encoding, Forward
from plait.store import Keep, Memory, Store

if TYPE_CHECKING:
    import pandas as pd


class How(TypedDict, total=False):
    """How a column is encoded.

    Attributes:
        name: of the modality.
        strict: a cell that cannot be read is an error; else it counts as absent, which is warned of.
        progress: shown; None: on a terminal.
        rows: (n,) what messages call the cells by; None: their positions.
        limits: of time and memory.
        keyed: keys of cells are computed, by which equal ones are encoded once (True).
    """

    name: Required[str]
    strict: bool
    progress: bool | None
    rows: np.ndarray | None
    limits: Limits
    keyed: bool


#: Times that cells are encoded because another process removed them from the store meanwhile.
ATTEMPTS = 3
#: Cells that are read from the store at a time.
CHUNK = 512
#: Rows of a table whose features are computed at a time.
ROWS = 65_536


class Column:
    """Cells of a modality, by their keys, and what becomes of them.

    Attributes:
        cells, numbers: the cells (n,) and what messages call them by.
        n: rows; ``present`` of them have a cell.
        rows: key -> rows that hold this cell.
        unreadable: row -> why its cell cannot be read.
    """

    def __init__(self, cells: Sequence[Any], **how: Unpack[How]) -> None:
        self._how = how
        self.name, self.strict = how["name"], how.get("strict", False)
        self.limits = how.get("limits", NO_LIMITS)
        self.n, self.present = len(cells), 0
        self.rows: dict[bytes, list[int]] = {}
        self.unreadable: dict[int, str] = {}
        self.cells, self._progress = cells, how.get("progress")
        self._kept: tuple[Keep, str] = Memory(exact=False), ""
        numbers = how.get("rows")
        self.numbers = np.arange(self.n) if numbers is None else numbers
        for row, cell in enumerate(cells):
            self.present += cell is not None
            if cell is not None and how.get("keyed", True):
                try:
                    self.rows.setdefault(cell_key(cell), []).append(row)
                except CellError as error:
                    self.refuse([row], str(error))

    def piece(self, cells: Sequence[Any], start: int, *, keyed: bool) -> Column:
        """Some of the column's cells, from row ``start`` on, as a column of their own."""
        how: How = {**self._how, "rows": self.numbers[start : start + len(cells)], "keyed": keyed}
        return Column(cells, **how)

    def encode(
        self,
        encoder: Encoder,
        keep: Keep,
        finish: Callable[[dict[str, np.ndarray]], list[np.ndarray]],
        label: str,
        fingerprint: str | None = None,
    ) -> dict[bytes, int]:
        """Encode what ``keep`` lacks under a fingerprint (None: the encoder's); then the tokens of every readable cell."""
        fingerprint = encoder.store_key() if fingerprint is None else fingerprint
        self._kept = keep, fingerprint
        for _ in range(ATTEMPTS):
            keys = list(self.rows)
            result = dict(zip(keys, keep.lengths(fingerprint, keys), strict=True))
            missing = {key: self.cells[self.rows[key][0]] for key, length in result.items() if length is None}
            if not missing:
                return {key: length for key, length in result.items() if length is not None}
            with track(len(missing), f"{self.name}: {label}", enabled=self._progress) as bar:

                def advance(cells: int, share: float, bar: Bar = bar, total: int = len(missing)) -> None:
                    bar.advance(cells, share)
                    self.limits.end.check_encoding(self.name, bar.done, total)

                Encoding(encoder, keep, fingerprint, label, missing, finish, self.drop, advance).run()
        raise self._lost()

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[int, list[bytes]]]:
        """The distinct readable cells, some at a time, each time with the place of the first."""
        keys = list(self.rows)
        return ((start, keys[start : start + size]) for start in range(0, len(keys), size))

    def read(self, keys: list[bytes]) -> list[np.ndarray]:
        """What ``encode`` has made of these cells."""
        keep, fingerprint = self._kept
        result = keep.get_many(fingerprint, keys)
        if any(array is None for array in result):
            raise self._lost()
        return [array for array in result if array is not None]

    def rest(self) -> None:
        """Let go of the memory through which cells are read."""
        self._kept[0].rest()

    def _lost(self) -> StoreError:
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
            warn(
                f"{len(self.unreadable)} of {self.present} cells of '{self.name}' cannot be read and count as absent, "
                f"e.g. row {self.numbers[row]}: {self.unreadable[row]}"
            )


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
    encoder: Encoder, cells: Sequence[object], store: Store | None, forward: Forward | None = None, **how: Unpack[How]
) -> Embedded:
    """Embed the cells of a modality; None is absent.

    Only what the store lacks is encoded; the encoder's weights are loaded only then. Numbers are the same whether they
    come from the encoder, from the store, or were never stored.

    ``forward``: the encoder's network, which stays with whoever gave it, for cells that follow.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    known: How = {"rows": np.arange(len(cells)), **how}
    whole = Column([], **known)
    result = embed_pieces(encoder, [cells], store, whole, forward)
    whole.warn()
    return result


def embed_pieces(
    encoder: Encoder,
    pieces: Iterable[Sequence[object]],
    store: Store | None,
    whole: Column,
    given: Forward | None = None,
) -> Embedded:
    """As ``embed``, of cells that come piece by piece, so that only one piece's are in memory.

    ``whole``: the column without its cells, but with all of its rows; it learns what cannot be read.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=not encoder.stored)
    keyed = encoder.stored or encoder.kinds != ("vector",)  # a vector's key takes as long as what is done with it
    forward, start, result = given or Forward(encoder), 0, mapped.TokenRows(len(whole.numbers), whole.limits.memory)
    for cells in pieces:
        column = whole.piece(cells, start, keyed=keyed)
        if keyed:
            _gather(column, column.encode(encoder, keep, forward, encoder.name()), encoder, result, start)
        else:
            _computed(column, encoder, forward, result, start)
        whole.present += column.present
        whole.unreadable |= {start + row: reason for row, reason in column.unreadable.items()}
        start += len(cells)
    if given is None:
        forward.rest()
    x, mask = result.arrays(encoder.dim)
    for row in _blank(x, mask):
        whole.refuse([int(row)], f"the encoder '{encoder.name()}' gives numbers that are not finite")
    return Embedded(x, mask, sorted(whole.unreadable.items()))


def embed_rows(encoder: Encoder, frame: pd.DataFrame, memory: int = mapped.USUAL) -> tuple[Embedded, Columns | None]:
    """Embed the rows of a table with a ``tabular`` encoder, all at once and without the store; and their plain view."""
    forward, result = Forward(encoder), mapped.TokenRows(len(frame), memory)
    views: list[Columns] = []
    for start in range(0, max(1, len(frame)), ROWS):
        part = frame.iloc[start : start + ROWS]
        prepared, view = encoder.prepare_with_columns(part)  # type: ignore[arg-type]  # rows, not a sequence of cells
        views += [] if view is None else [view]
        if len(frame):
            result.put(start + np.arange(len(part)), forward(prepared))
            result.release()
    x, mask = result.arrays(encoder.dim)
    columns = columns_together(views) if views else None
    bad = _blank(x, mask)
    if len(bad):
        raise PlaitError(
            f"the encoder '{encoder.name()}' gives numbers that are not finite, first in row {row_numbers(frame)[bad[0]]}"
        )
    return Embedded(x, mask), columns


def _gather(column: Column, lengths: dict[bytes, int], encoder: Encoder, result: mapped.TokenRows, start: int) -> None:
    """Read everything into the rows from ``start`` on, a chunk at a time."""
    first = next(iter(column.read(list(column.rows)[:1])), None)
    if first is None:
        return
    width = result.room(start, max(lengths.values()), first.shape[1])[0].shape[2]  # that of earlier pieces
    for at, chunk in column.chunks():
        arrays, rows = column.read(chunk), [column.rows[key] for key in chunk]
        odd = next((array.shape[1] for array in arrays if array.shape[1] != width), width)
        if odd != width:
            raise PlaitError(f"'{column.name}': '{encoder.name()}' gives widths {width} and {odd}")
        each = [array for array, own in zip(arrays, rows, strict=True) for _ in own]
        result.put(start + np.array([row for own in rows for row in own]), each)
        result.release()
        if at % RESTED == 0:
            column.rest()


def _computed(column: Column, encoder: Encoder, forward: Forward, result: mapped.TokenRows, start: int) -> None:
    """Compute the rows of an encoder whose results are not stored: in batches, without keys."""
    present = [row for row, cell in enumerate(column.cells) if cell is not None]
    for at in range(0, len(present), encoder.batch_size):
        rows = present[at : at + encoder.batch_size]
        for done, arrays in _readable(column, encoder, rows):
            result.put(start + np.array(done), forward(arrays))
    result.release()


def _readable(column: Column, encoder: Encoder, rows: list[int]) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """The cells of some rows prepared, all at once where each can be read."""
    try:
        yield rows, encoder.prepare([column.cells[row] for row in rows])
    except CellError as error:
        if len(rows) == 1:
            column.refuse(rows, str(error))
            return
        for row in rows:
            yield from _readable(column, encoder, [row])


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


def prepare_distinct(
    encoder: Encoder, cells: Sequence[object], store: Store | None, **how: Unpack[How]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run ``prepare`` over the distinct cells of a modality: a picture that is in a thousand rows is in memory once.

    Arrays of different shape are filled with zeros at the end, up to the largest.

    Shape:
        arrays: (m + 1, ...) each, the last zeros; no arrays at all when no cell is present.
        place: (n,) where each row's cell is; m for absent rows.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=False)
    column = Column(cells, **how)
    column.encode(encoder, keep, _split, f"{encoder.name()}, prepared", f"{encoder.fingerprint()} prepared")
    column.warn()
    return _gather_prepared(column)


def _split(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """One row of bytes (1, N) per cell: its arrays in the safetensors format."""
    n = len(next(iter(arrays.values())))
    cells = ({key: np.array(array[i], order="C") for key, array in arrays.items()} for i in range(n))
    return [np.frombuffer(safetensors.save(cell), dtype=np.uint8)[None] for cell in cells]


def _gather_prepared(column: Column) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read everything twice, first the shapes, so that nothing is in memory twice."""
    keys = list(column.rows)
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype[Any]] = {}
    for _, chunk in column.chunks():
        for cell in (safetensors.load(record.tobytes()) for record in column.read(chunk)):
            for name, array in cell.items():
                shapes[name] = tuple(np.maximum(shapes.get(name, array.shape), array.shape).tolist())
                types[name] = array.dtype
    arrays = {name: np.zeros((len(keys) + 1, *shape), types[name]) for name, shape in shapes.items()}
    place = np.full(column.n, len(keys), np.int64)
    for start, chunk in column.chunks():
        for row, record in enumerate(column.read(chunk), start):
            place[column.rows[keys[row]]] = row
            for name, array in safetensors.load(record.tobytes()).items():
                filled: tuple[Any, ...] = tuple(slice(size) for size in array.shape)
                arrays[name][(row, *filled)] = array
    return arrays, place
