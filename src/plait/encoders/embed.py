"""Cells in, embeddings out: each distinct cell is encoded once, and never again while the store has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

import numpy as np
import torch
from safetensors import numpy as safetensors

from plait.base import mapped
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError, PlaitWarning, StoreError
from plait.base.inputs import Columns
from plait.base.mapped import NO_LIMITS, Limits
from plait.base.progress import Bar, track
from plait.base.tokens import Tokens
from plait.data.media.given import cell_key
from plait.data.row_numbers import row_numbers
from plait.encoders.batches import RESTED, Encoding, Forward, Keep, Memory
from plait.store import Store

if TYPE_CHECKING:
    import pandas as pd


#: Cells that are read from the store at a time.
CHUNK = 2048
#: Rows of a table whose features are computed at a time.
ROWS = 65_536


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


class How(TypedDict, total=False):
    """How a column is encoded.

    Attributes:
        name: of the modality.
        strict: a cell that cannot be read is an error; else it counts as absent, which is warned of.
        progress: shown; None: on a terminal.
        rows: (n,) what messages call the cells by; None: their positions.
        limits: of time and memory.
    """

    name: Required[str]
    strict: bool
    progress: bool | None
    rows: np.ndarray | None
    limits: Limits


def embed(encoder: Encoder, cells: Sequence[object], store: Store | None, **how: Unpack[How]) -> Embedded:
    """Embed the cells of a modality; None is absent.

    Only what the store lacks is encoded; the encoder's weights are loaded only then. Numbers are the same whether they
    come from the encoder, from the store, or were never stored.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=not encoder.stored)
    column = Column(cells, **how)
    embedded = _gather(column, column.encode(encoder, keep, Forward(encoder), encoder.name()), encoder)
    column.warn()
    return embedded


def embed_rows(encoder: Encoder, frame: pd.DataFrame, memory: int = mapped.USUAL) -> tuple[Embedded, Columns | None]:
    """Embed the rows of a table with a ``tabular`` encoder, all at once and without the store; and their plain view."""
    forward = Forward(encoder)
    views: list[Columns | None] = []
    for start in range(0, max(1, len(frame)), ROWS):
        part = frame.iloc[start : start + ROWS]
        prepared, view = encoder.prepare_with_columns(part)  # type: ignore[arg-type]  # rows, not a sequence of cells
        views.append(view)
        if len(frame) == 0:
            return Embedded(np.zeros((0, 1, encoder.dim), np.float32), np.zeros((0, 1), bool)), view
        rows = forward(prepared)
        longest = max(map(len, rows))
        if not start:
            x, mask = _empty(len(frame), longest, rows[0].shape[1], memory)
        elif longest > x.shape[1]:
            more = ((0, 0), (0, longest - x.shape[1]))
            x, mask = np.pad(x, (*more, (0, 0))), np.pad(mask, more)
        for i, row in enumerate(rows, start):
            x[i, : len(row)], mask[i, : len(row)] = row, True
        mapped.release(torch.from_numpy(x))
    columns = _one_after_another(views)
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


def _gather(column: Column, lengths: dict[bytes, int], encoder: Encoder) -> Embedded:
    """Read everything into one array, a chunk at a time."""
    first = next(iter(column.read(list(column.rows)[:1])), None)
    width = encoder.dim if first is None else first.shape[1]
    x, mask = _empty(column.n, max(lengths.values(), default=1), width, column.limits.memory)
    for start, chunk in column.chunks(CHUNK):
        for key, array in zip(chunk, column.read(chunk), strict=True):
            if array.shape[1] != width:
                raise PlaitError(f"'{column.name}': '{encoder.name()}' gives widths {width} and {array.shape[1]}")
            for row in column.rows[key]:
                x[row, : len(array)], mask[row, : len(array)] = array, True
        mapped.release(torch.from_numpy(x))
        if start % RESTED == 0:
            column.rest()
    for row in _blank(x, mask):
        column.refuse([int(row)], f"the encoder '{encoder.name()}' gives numbers that are not finite")
    return Embedded(x, mask, sorted(column.unreadable.items()))


def _empty(n: int, tokens: int, width: int, memory: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (n, max(1, tokens))
    return mapped.zeros((*shape, width), limit=memory).numpy(), np.zeros(shape, bool)


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
    """Cells of a modality, by their keys, and what becomes of them.

    Attributes:
        n: rows; ``present`` of them have a cell.
        rows: key -> rows that hold this cell.
        unreadable: row -> why its cell cannot be read.
    """

    def __init__(self, cells: Sequence[Any], **how: Unpack[How]) -> None:
        """Compute the keys of all present cells.

        Raises:
            CellError: with ``strict``, one cannot be read.
        """
        self.name, self.strict = how["name"], how.get("strict", False)
        self.limits = how.get("limits", NO_LIMITS)
        self.n, self.present = len(cells), 0
        self.rows: dict[bytes, list[int]] = {}
        self.unreadable: dict[int, str] = {}
        self._cells, self._progress = cells, how.get("progress")
        self._kept: tuple[Keep, str] = Memory(exact=False), ""
        numbers = how.get("rows")
        self._numbers = np.arange(self.n) if numbers is None else numbers
        for row, cell in enumerate(cells):
            if cell is None:
                continue
            self.present += 1
            try:
                self.rows.setdefault(cell_key(cell), []).append(row)
            except CellError as error:
                self.refuse([row], str(error))

    def encode(
        self,
        encoder: Encoder,
        keep: Keep,
        finish: Callable[[dict[str, np.ndarray]], list[np.ndarray]],
        label: str,
        fingerprint: str | None = None,
    ) -> dict[bytes, int]:
        """Encode what ``keep`` lacks under a fingerprint (None: the encoder's); then the tokens of every readable cell.

        Raises:
            ConfigError: so much is left to do that no time would be left to train.
        """
        fingerprint = encoder.store_key() if fingerprint is None else fingerprint
        self._kept = keep, fingerprint
        for _ in range(ATTEMPTS):
            keys = list(self.rows)
            result = dict(zip(keys, keep.lengths(fingerprint, keys), strict=True))
            missing = {key: self._cells[self.rows[key][0]] for key, length in result.items() if length is None}
            if not missing:
                return {key: length for key, length in result.items() if length is not None}
            with track(len(missing), f"{self.name}: {label}", enabled=self._progress) as bar:

                def advance(cells: int, share: float, bar: Bar = bar, total: int = len(missing)) -> None:
                    bar.advance(cells, share)
                    self.limits.end.check_encoding(self.name, bar.done, total)

                Encoding(encoder, keep, fingerprint, label, missing, finish, self.drop, advance).run()
        raise self._lost()

    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """The distinct readable cells, so many at a time, each time with the place of the first."""
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
            raise CellError(f"row {self._numbers[rows[0]]} of '{self.name}': {reason}")
        self.unreadable.update(dict.fromkeys(rows, reason))

    def warn(self) -> None:
        """One warning for all unreadable cells of the call."""
        if self.unreadable:
            row = min(self.unreadable, key=lambda row: self._numbers[row])
            warnings.warn(
                f"{len(self.unreadable)} of {self.present} cells of '{self.name}' cannot be read and count as absent, "
                f"e.g. row {self._numbers[row]}: {self.unreadable[row]}",
                PlaitWarning,
                stacklevel=3,
            )


#: Cells that are read from the store at a time.
PREPARED_CHUNK = 512


def prepare_distinct(
    encoder: Encoder, cells: Sequence[object], store: Store | None, **how: Unpack[How]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run ``prepare`` over the distinct cells of a modality: a picture that is in a thousand rows is in memory once.

    Arrays of different shape are filled with zeros at the end, up to the largest.

    Shape:
        arrays: (m + 1, ...) each, the last zeros; no arrays at all when no cell is present.
        place: (n,) where each row's cell is; m for absent rows.

    Raises:
        CellError: with ``strict``, a cell cannot be read.
        StoreError: the store cannot be read or written.
    """
    keep: Keep = store if store is not None and encoder.stored else Memory(exact=False)
    column = Column(cells, **how)
    column.encode(encoder, keep, _split, f"{encoder.name()}, prepared", f"{encoder.fingerprint()} prepared")
    result = _gather_prepared(column)
    column.warn()
    return result


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
    for _, chunk in column.chunks(PREPARED_CHUNK):
        for cell in map(_joined, column.read(chunk)):
            for name, array in cell.items():
                shapes[name] = tuple(np.maximum(shapes.get(name, array.shape), array.shape).tolist())
                types[name] = array.dtype
    arrays = {name: np.zeros((len(keys) + 1, *shape), types[name]) for name, shape in shapes.items()}
    place = np.full(column.n, len(keys), np.int64)
    for start, chunk in column.chunks(PREPARED_CHUNK):
        for row, cell in enumerate(map(_joined, column.read(chunk)), start):
            place[column.rows[keys[row]]] = row
            for name, array in cell.items():
                filled: tuple[Any, ...] = tuple(slice(size) for size in array.shape)
                arrays[name][(row, *filled)] = array
    return arrays, place


def _joined(record: np.ndarray) -> dict[str, np.ndarray]:
    """What ``_split`` made of a cell."""
    return safetensors.load(record.tobytes())
