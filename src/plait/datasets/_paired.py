"""Any two labelled sets as one: rows of equal label paired, all pairs reachable, none written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.errors import ConfigError, TableError


class Pairs:
    """All pairs of a row of one set and a row of another that have equal labels, numbered and never listed.

    Two sets of 60,000 and 3,000 rows have eighteen million such pairs; they take the memory of the two sets' row numbers.

    Example:
        >>> pairs = Pairs(["a", "b", "b"], ["b", "c", "b"])
        >>> len(pairs), [pairs[i] for i in range(4)]
        (4, [(1, 0), (1, 2), (2, 0), (2, 2)])
    """

    def __init__(self, left: Sequence[Any] | np.ndarray, right: Sequence[Any] | np.ndarray) -> None:
        """Match the labels of two sets; rows without a label (None, NaN) and labels that only one set has are left out.

        Raises:
            TableError: no label is in both.
        """
        known = [_rows_by_label(labels) for labels in (left, right)]
        self.labels = sorted(known[0].keys() & known[1].keys(), key=str)
        if not self.labels:
            raise TableError(f"no label is in both sets: one has {_shown(known[0])}, the other {_shown(known[1])}")
        self._left = [known[0][label] for label in self.labels]
        self._right = [known[1][label] for label in self.labels]
        sizes = [len(a) * len(b) for a, b in zip(self._left, self._right, strict=True)]
        self._ends = np.cumsum(sizes)

    def __len__(self) -> int:
        """How many pairs there are."""
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Rows of one pair."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"pair {number} of {len(self)}")
        left, right = self.at(np.array([number % len(self)]))
        return int(left[0]), int(right[0])

    def at(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the first and in the second set of the pairs with these numbers (n,)."""
        block = np.searchsorted(self._ends, numbers, side="right")
        left, right = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
        for label in np.unique(block):
            here = block == label
            first = self._ends[label - 1] if label else 0
            place, partner = np.divmod(numbers[here] - first, len(self._right[label]))
            left[here], right[here] = self._left[label][place], self._right[label][partner]
        return left, right

    def draw(self, count: int, seed: int | np.random.Generator = 0) -> tuple[np.ndarray, np.ndarray]:
        """``count`` different pairs at random, each equally likely, in random order.

        Raises:
            ConfigError: there are not so many.
        """
        if not 0 <= count <= len(self):
            raise ConfigError(f"{count:,} pairs asked for; expected 0 to the {len(self):,} that there are")
        return self.at(np.random.default_rng(seed).choice(len(self), count, replace=False))


def paired(
    left: pd.DataFrame, right: pd.DataFrame, on: str | tuple[str, str], count: int, seed: int = 0
) -> pd.DataFrame:
    """A table of ``count`` pairs: the columns of both, the label once, under its name in ``left``.

    Split both sets first and pair each part with its like (``plait.table.split``): a row serves many pairs, so that a table
    that is split after pairing has the same pictures and sounds on both sides.

    Args:
        left: one labelled set.
        right: the other; media cells are shared by all rows that hold them, not copied.
        on: the column of labels, or its names in both; labels are compared as text.
        count: pairs.
        seed: of what is drawn.

    Raises:
        TableError: no column of labels, columns of one name in both, or no label in both.
        ConfigError: more pairs are asked for than there are.

    Example:
        >>> seen = pd.DataFrame({"image": ["cat.png", "dog.png"], "label": ["cat", "dog"]})
        >>> heard = pd.DataFrame({"audio": ["bark.ogg", "rain.ogg"], "label": ["dog", "rain"]})
        >>> paired(seen, heard, "label", 1).to_dict("records")
        [{'image': 'dog.png', 'label': 'dog', 'audio': 'bark.ogg'}]
    """
    names = (on, on) if isinstance(on, str) else on
    for frame, name in zip((left, right), names, strict=True):
        if name not in frame.columns:
            raise TableError(
                f"the table has no column '{name}' of labels; it has: {', '.join(map(str, frame.columns))}"
            )
    others = right.drop(columns=names[1])
    twice = [str(column) for column in others.columns if column in left.columns]
    if twice:
        raise TableError(f"both tables have a column {', '.join(twice)}; rename it in one")
    pairs = Pairs(
        *(frame[name].astype("string").to_numpy(object) for frame, name in zip((left, right), names, strict=True))
    )
    a, b = pairs.draw(count, seed)
    first, second = left.iloc[a].reset_index(drop=True), others.iloc[b].reset_index(drop=True)
    return pd.concat([first, second], axis=1)


def _rows_by_label(labels: Sequence[Any] | np.ndarray) -> dict[Any, np.ndarray]:
    """Label -> its rows, in order."""
    found = pd.Series(np.asarray(labels)).groupby(np.asarray(labels), sort=False).indices
    return {label: np.sort(np.asarray(rows)) for label, rows in found.items()}


def _shown(rows: dict[Any, np.ndarray]) -> str:
    """The first labels, as one would write them."""
    plain = [label.item() if isinstance(label, np.generic) else label for label in list(rows)[:3]]
    return ", ".join(map(repr, plain)) + (", ..." if len(rows) > 3 else "") if plain else "none"
