"""How a text looks, whatever it says: lengths, lines, kinds of characters, signs, and what its lines begin with."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plait.encoders.syntax import cut

Array = NDArray[Any]
#: Characters of a text that are looked at, and in how many together.
READ, BLOCK = 20_000, 1 << 20
#: Signs that are counted, each by itself; what lines begin with; what is counted as a whole.
SIGNS, STARTS, PHRASES = string.punctuation, ("#", "-", "*", ">", "digit", "blank"), ("```", "://", "![")
#: The kinds of all other characters.
UPPER, LOWER, DIGIT, LETTER, BLANK, LINE, OTHER = range(len(SIGNS), len(SIGNS) + 7)
#: The numbers in their order.
NAMES = (
    *("characters", "words", "lines", "longest line", "letters of a word", "empty lines"),
    *("share of capitals", "of capitals that follow another", "of digits", "of blanks", "beyond ASCII"),
    *SIGNS,
    *(f"lines that begin with {start}" for start in STARTS),
    *PHRASES,
)
#: Rows in which a number must differ from its median, and the variance it must have (less is what rounding leaves); where
#: numbers are cut.
LEAST_ROWS, LEAST_VARIANCE, FARTHEST = 3, 1e-10, 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class Scaled:
    """Measures of texts, or how often words stand in them: those that vary most, on one scale.

    Formula: z = clip(a (x - m) / s, -5, 5), m and s of the training rows; of counts c: x = log(1 + c).

    Attributes:
        places: (b,) those that tell rows apart.
        centre: (b,) m.
        scale: (b,) a / s.
    """

    places: Array
    centre: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array | sparse.csr_matrix, most: int, loud: float) -> Scaled | None:
        """Learn from texts (n, k), ``most`` places at most, a = ``loud``; None where all texts are alike."""
        known = sparse.csr_matrix(x, dtype=np.float64, copy=True)
        if sparse.issparse(x):
            known.data = np.log1p(known.data)
        mean = np.asarray(known.mean(0)).ravel()
        variance = np.asarray(known.multiply(known).mean(0)).ravel() - mean**2
        places = np.sort(np.argsort(-variance, kind="stable")[:most])
        rows = known[:, places].toarray()
        differ = (rows != np.median(rows, axis=0)).sum(0) >= LEAST_ROWS
        places = places[differ & (variance[places] > LEAST_VARIANCE)]
        if not len(places):
            return None
        scale = loud / np.sqrt(variance[places])
        return cls(places.astype(np.int32), mean[places].astype(np.float32), scale.astype(np.float32))

    @property
    def dim(self) -> int:
        """Numbers b."""
        return len(self.places)

    def __call__(self, x: Any) -> Array:
        """Numbers (n, b) of texts (n, b)."""
        known = np.log1p(x.toarray()) if sparse.issparse(x) else x
        return np.asarray(np.clip((known - self.centre) * self.scale, -FARTHEST, FARTHEST), np.float32)


def measured(texts: Sequence[str]) -> Array:
    r"""How texts look (n, len(NAMES)) float32: logarithms of one more than a count, and shares.

    Example:
        >>> round(float(measured(["# Why?\n\nIT fails"])[0, NAMES.index("lines that begin with #")]), 1)
        0.7
    """
    read = [cut(text, READ).replace("\r\n", "\n") for text in texts]
    parts = [_block(read[some], [len(text) for text in texts[some]]) for some in blocks_of(read)]
    return np.vstack([np.zeros((0, len(NAMES)), np.float32), *parts])


def blocks_of(texts: Sequence[str]) -> Iterator[slice]:
    """Texts whose characters are looked at together: as many as make a block, one at least."""
    ends = np.cumsum([len(text) for text in texts])
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        yield slice(start, end)
        start = end


def signs_of(texts: Sequence[str]) -> tuple[Array, Array]:
    """The characters of texts one after another (c,), without half surrogate pairs, and whose each is."""
    signs = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    return signs, np.repeat(np.arange(len(texts)), [len(text) for text in texts])


def by_sign(signs: Array, what: Callable[[str], Any], dtype: type) -> Array:
    """What is said of each character (c,); each distinct one is asked once."""
    distinct = np.flatnonzero(np.bincount(signs))
    table: Array = np.zeros(int(distinct[-1]) + 1, dtype)
    table[distinct] = [what(chr(sign)) for sign in distinct.tolist()]
    return table[signs]


def _block(read: Sequence[str], lengths: Sequence[int]) -> Array:
    signs, rows = signs_of([f"\n{text}\n" for text in read])
    kinds = by_sign(signs, _kind, np.int64)
    counts = _counted(rows, kinds, len(read), OTHER + 1)
    counts[:, LINE] -= 2  # the frame
    size = np.maximum(counts.sum(1), 1.0)
    lines = np.flatnonzero(kinds == LINE)
    begins = lines[:-1][rows[lines[:-1]] == rows[lines[1:]]]  # before the first sign of each line
    begun = _counted(rows[begins], kinds[begins + 1], len(read), OTHER + 1)
    longest = np.maximum.reduceat(
        np.diff(lines, append=len(signs)) - 1, np.searchsorted(rows[lines], np.arange(len(read)))
    )
    inside = (kinds >= UPPER) & (kinds <= LETTER)
    words = np.bincount(rows[1:][inside[1:] & ~inside[:-1]], minlength=len(read))
    upper = kinds == UPPER
    shouted = np.bincount(rows[1:][upper[1:] & upper[:-1]], minlength=len(read))
    whole = counts[:, UPPER : LETTER + 1].sum(1)
    counted = [np.array(lengths), words, counts[:, LINE] + 1, longest, whole / np.maximum(words, 1), begun[:, LINE]]
    beyond = np.bincount(rows[signs > 127], minlength=len(read))
    shares = [counts[:, UPPER], shouted, counts[:, DIGIT], counts[:, BLANK] + counts[:, LINE], beyond]
    starts = [begun[:, SIGNS.index(sign)] for sign in STARTS[:4]] + [begun[:, DIGIT], begun[:, BLANK]]
    phrases = [[text.count(phrase) for text in read] for phrase in PHRASES]
    known = [np.log1p(part) for part in (*counted, *counts[:, : len(SIGNS)].T, *starts, *phrases)]
    return np.column_stack([*known[:6], *(part / size for part in shares), *known[6:]]).astype(np.float32)


def _counted(rows: Array, kinds: Array, many: int, width: int) -> Array:
    return np.bincount(rows * width + kinds, minlength=many * width).reshape(many, width).astype(np.float64)


def _kind(sign: str) -> int:
    if sign in SIGNS:
        return SIGNS.index(sign)
    tests = ((str.isupper, UPPER), (str.islower, LOWER), (str.isdigit, DIGIT), (str.isalpha, LETTER))
    if sign == "\n":
        return LINE
    return next((kind for test, kind in tests if test(sign)), BLANK if sign.isspace() else OTHER)
