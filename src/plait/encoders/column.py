"""The cells of one modality on their way through an encoder: their keys, what is stored of them, which cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Required, TypedDict, Unpack

import numpy as np

from plait.base.encoder import Encoder
from plait.base.errors import CellError, StoreError, warn
from plait.base.mapped import NO_LIMITS, Limits
from plait.base.progress import Bar, track
from plait.data.media.given import cell_key
from plait.encoders.batches import Encoding, Keep, Memory


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


class Column:
    """Cells of a modality, by their keys, and what becomes of them.

    Attributes:
        cells, numbers: the cells (n,) and what messages call them by.
        n: rows; ``present`` of them have a cell.
        rows: key -> rows that hold this cell.
        unreadable: row -> why its cell cannot be read.
    """

    def __init__(self, cells: Sequence[Any], **how: Unpack[How]) -> None:
        """Compute the keys of all present cells."""
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
        """Encode what ``keep`` lacks under a fingerprint (None: the encoder's); then the tokens of every readable cell.

        Raises:
            ConfigError: so much is left to do that no time would be left to train.
        """
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
