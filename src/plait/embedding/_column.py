"""The cells of one call: equal ones together, each encoded once; those that cannot be read are counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from plait.embedding._batches import Encoding, Keep
from plait.encoders._base import Encoder
from plait.errors import CellError, PlaitWarning, StoreError
from plait.media.keys import cell_key
from plait.progress import track

#: Times that cells are encoded because another process removed them from the store meanwhile.
ATTEMPTS = 3


class Column:
    """Cells of the modality ``name``, by their keys.

    Attributes:
        n: rows; ``present`` of them have a cell.
        rows: key -> rows that hold this cell.
        unreadable: row -> why its cell cannot be read.
    """

    def __init__(self, cells: Sequence[Any], name: str, strict: bool, numbers: np.ndarray | None = None) -> None:
        """Compute the keys of all present cells; messages call the rows by ``numbers`` (n,), else by position.

        Raises:
            CellError: with ``strict``, one cannot be read.
        """
        self.name, self.strict = name, strict
        self.n, self.present = len(cells), 0
        self.rows: dict[bytes, list[int]] = {}
        self.unreadable: dict[int, str] = {}
        self._cells = cells
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
        fingerprint: str,
        finish: Callable[[dict[str, np.ndarray]], list[np.ndarray]],
        progress: bool | None,
        label: str,
    ) -> dict[bytes, int]:
        """Encode what ``keep`` lacks; then the number of tokens of every readable cell."""
        for _ in range(ATTEMPTS):
            keys = list(self.rows)
            found = dict(zip(keys, keep.lengths(fingerprint, keys), strict=True))
            missing = {key: self._cells[self.rows[key][0]] for key, length in found.items() if length is None}
            if not missing:
                return {key: length for key, length in found.items() if length is not None}
            with track(len(missing), f"{self.name}: {label}", enabled=progress) as bar:
                Encoding(encoder, keep, fingerprint, label, missing, finish, self.drop, bar.advance).run()
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
