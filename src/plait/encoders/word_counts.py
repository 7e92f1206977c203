"""How often words, pairs of words and groups of letters stand in texts, hashed; by numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plait.encoders.shape import blocks_of, by_sign, signs_of
from plait.encoders.syntax import cut

Array = NDArray[Any]
#: Places that words, and groups of letters, are hashed to; rows that a word must stand in.
PLACES, LEAST_ROWS = 1 << 12, 3
#: What is counted, and how many characters of a text are read for it.
KINDS: Mapping[str, int] = {"words": 20_000, "letters": 4_000}
#: Odd numbers of 64 bit by which characters, words and groups become keys, and keys places (Knuth 1973, section 6.4).
SIGN, PAIR, PLACE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93)


def counted(texts: Sequence[str], kind: str) -> sparse.csr_matrix:
    """How often words and pairs of words, or groups of 3 and 4 letters, stand in texts (n, PLACES).

    Formula: a word's key is sum_i c_i A^i over its characters, of a pair (key_1 B + key_2) with key_2 that of the second word; of
    a group sum_i c_i A^(i + size); blanks that follow each other are one; place = (key C) >> 52; all modulo 2^64.
    """
    lowered = [f" {cut(text, KINDS[kind]).lower()} " for text in texts]
    parts = [_block(lowered[some], kind) for some in blocks_of(lowered)]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, PLACES), dtype=np.float32)


def _block(lowered: Sequence[str], kind: str) -> sparse.csr_matrix:
    rows, keys = (_words if kind == "words" else _letters)(*signs_of(lowered))
    places = (keys * PLACE) >> np.uint64(64 - PLACES.bit_length() + 1)
    ones = np.ones(len(rows), np.float32)
    return sparse.coo_matrix((ones, (rows, places.astype(np.int64))), (len(lowered), PLACES)).tocsr()


def _words(signs: Array, rows: Array) -> tuple[Array, Array]:
    """Rows and keys of words and of pairs of words; a text's first and last sign is a blank."""
    inside = by_sign(signs, lambda sign: sign.isalnum() or sign == "_", bool)
    first = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
    last = np.flatnonzero(inside[:-1] & ~inside[1:])
    powers = np.cumprod(np.full(len(signs), SIGN))
    summed = np.cumsum(np.where(inside, signs, 0).astype(np.uint64) * powers)
    inverse = np.cumprod(np.full(len(signs), np.uint64(pow(int(SIGN), -1, 1 << 64))))
    keys = (summed[last] - summed[first - 1]) * inverse[first]
    own = rows[first]
    both = own[1:] == own[:-1]
    pairs = keys[:-1][both] * PAIR + keys[1:][both]
    return np.concatenate([own, own[1:][both]]), np.concatenate([keys, pairs])


def _letters(signs: Array, rows: Array) -> tuple[Array, Array]:
    """Rows and keys of groups of 3 and 4 signs; blanks that follow each other are one."""
    blank = by_sign(signs, str.isspace, bool)
    kept = np.ones(len(signs), dtype=bool)
    kept[1:] = ~(blank[1:] & blank[:-1] & (rows[1:] == rows[:-1]))
    signs, rows = np.where(blank, 32, signs)[kept].astype(np.uint64), rows[kept]
    groups = []
    for size in (3, 4):
        count = max(0, len(signs) - size + 1)
        powers = (np.uint64(pow(int(SIGN), i + size, 1 << 64)) for i in range(size))
        keys = np.zeros(count, np.uint64)
        for i, power in enumerate(powers):
            keys += signs[i : i + count] * power
        same = rows[len(rows) - count :] == rows[:count]
        groups.append((rows[:count][same], keys[same]))
    return np.concatenate([r for r, _ in groups]), np.concatenate([k for _, k in groups])


def frequent(counts: sparse.csr_matrix) -> tuple[Array, Array]:
    """Places that enough rows have, and by which they are weighted."""
    seen = np.asarray((counts > 0).sum(0)).ravel()
    places = np.flatnonzero(seen >= LEAST_ROWS)
    rarity = np.log((1 + counts.shape[0]) / (1 + seen[places])) + 1
    return places.astype(np.int32), rarity.astype(np.float32)


def weighted(counts: sparse.csr_matrix, rarity: Array) -> sparse.csr_matrix:
    """Counts (n, b) damped, weighted by rarity, each row of length one."""
    rows = counts.copy()
    rows.data = (1 + np.log(rows.data)) * rarity[rows.indices]
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    return sparse.diags((1.0 / np.maximum(length, 1e-12)).astype(np.float32)) @ rows
