"""Trees of an ensemble as arrays, answered without the library that grew them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Rows that are answered at a time, so that what is looked up stays near the processor.
ROWS = 1024
#: Rows from which trees are answered by tables, which must be made first, and levels that a parted column has at most.
TABLES_FROM, LEVELS = 64, 256
#: Threshold of a split of known from unknown values: all that are known go left.
ENDLESS = 3.4e38


@dataclasses.dataclass(frozen=True)
class Forest:
    """The trees of one ensemble as arrays, ten bytes a node; all nodes in a row, each before its left branch.

    Attributes:
        base: (outputs,) what is answered before the first tree.
        roots: (rounds, outputs) place of each tree's first node.
        feature: (nodes,) the column that is looked at; D further on where an unknown value goes right, 2 D further on where
            levels are parted; -1 of a leaf.
        number: (nodes,) up to which a row goes left; the place in ``left`` where levels are parted; the value of a leaf.
        right: (nodes,) place of the right branch; of a leaf itself.
        left: (parting nodes, 32) bits of the levels that go left.
        shape: (2,) columns D, and the longest way down.
    """

    base: Array
    roots: Array
    feature: Array
    number: Array
    right: Array
    left: Array
    shape: Array

    @classmethod
    def constant(cls, value: float) -> Forest:
        """One answer for every row."""
        none = np.zeros(0, np.int32)
        roots, left, shape = np.zeros((0, 1), np.int32), np.zeros((0, 32), np.uint8), np.zeros(2, np.int32)
        return cls(np.array([value]), roots, none, none.astype(np.float32), none, left, shape)

    @property
    def weights(self) -> int:
        """Numbers that were learned: thresholds, sets of levels and values of leaves."""
        return len(self.number) + len(self.base)

    def __call__(self, x: Array) -> Array:
        """Raw outputs (n, outputs) of rows (n, D) in single precision, NaN where unknown."""
        out = np.tile(self.base, (len(x), 1))
        if self.roots.size:
            for start in range(0, len(x), ROWS):
                part = x[start : start + ROWS]
                tables = None if len(x) < TABLES_FROM else self._tables
                values = self.number[self._leaves(part)].T if tables is None else tables.values(part)
                out[start : start + ROWS] += values.reshape(*self.roots.shape, len(part)).sum(0, dtype=np.float64).T
        return out

    @cached_property
    def _nodes(self) -> tuple[Array, Array, Array, Array]:
        """Column (among those with unknown values below, then above all others), threshold, branches, and place in ``left``."""
        leaf, parted = self.feature < 0, self.feature >= 2 * self.shape[0]
        column = np.where(leaf, 0, self.feature % (2 * self.shape[0])).astype(np.intp)
        threshold = np.where(leaf | parted, 0.0, self.number).astype(np.float32)
        own = np.arange(len(leaf))
        branches = np.stack([np.where(leaf, own, own + 1), self.right], 1).ravel().astype(np.intp)
        return column, threshold, branches, np.where(parted, self.number, -1.0).astype(np.intp)

    @cached_property
    def _tables(self) -> Tables | None:
        return Tables.of(self)

    def _leaves(self, x: Array) -> Array:
        """The leaf (n, trees) in which each row ends, step by step."""
        unknown, x = np.isnan(x), x.astype(np.float32)
        both = np.concatenate([np.where(unknown, -np.inf, x), np.where(unknown, np.inf, x)], 1)
        flat, first = both.ravel(), (np.arange(len(x)) * both.shape[1])[:, None]
        column, threshold, branches, sets = self._nodes
        node = np.tile(self.roots.ravel().astype(np.intp), (len(x), 1))
        for _ in range(int(self.shape[1])):
            value = flat.take(column.take(node) + first)
            right = value > threshold.take(node)
            if len(self.left):
                part = sets.take(node)
                places = np.nonzero((part >= 0) & np.isfinite(value))
                level = value[places].astype(np.intp)
                right[places] = (self.left[part[places], level >> 3] >> (level & 7)) & 1 == 0
            node = branches.take(2 * node + right)
        return node


@dataclasses.dataclass(frozen=True)
class Tables:
    """All trees at once: each column rules out leaves, and the first one that is left in a tree is the row's.

    Where a row goes right, the leaves on the left are ruled out.

    Source: Lucchese et al. 2015, QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees.

    Attributes:
        columns: (column, thresholds (k,), each once and in order, or None where levels are parted, the trees that look at it,
            bits (those trees, k + 2 or LEVELS + 1) of the leaves that stay for a value above so many thresholds, or for a
            level; the last one for an unknown value).
        numbers: (trees, bits) value of each leaf.
    """

    columns: Sequence[tuple[int, Array | None, Array, Array]]
    numbers: Array

    @classmethod
    def of(cls, forest: Forest) -> Tables | None:
        """The tables of a forest; None where a tree has more leaves than a word has bits."""
        leaf, starts, width = forest.feature < 0, forest.roots.ravel(), int(forest.shape[0])
        most = int(np.add.reduceat(leaf, starts, dtype=np.int64).max())
        if most > 64:
            return None
        kind = np.dtype(np.uint16 if most <= 16 else np.uint32 if most <= 32 else np.uint64)
        tree = np.searchsorted(starts, np.arange(len(leaf)), side="right") - 1
        before: Array = np.cumsum(leaf) - leaf  # leaves of all trees before a node: those below it begin there
        place: Array = before - before[starts][tree]
        splits = np.flatnonzero(~leaf)
        one = np.ones(len(splits), kind)
        stay = ~((one << place[forest.right[splits]].astype(kind)) - (one << place[splits].astype(kind)))
        kinds = forest.feature[splits] % width + width * (forest.feature[splits] >= 2 * width)
        columns = []
        for value in np.unique(kinds):
            here = kinds == value
            table = _table(forest, splits[here], tree[splits[here]], stay[here], parted=bool(value >= width))
            columns.append((int(value % width), *table))
        numbers = np.zeros((len(starts), 8 * kind.itemsize), np.float32)
        numbers[tree[leaf], place[leaf]] = forest.number[leaf]
        return cls(columns, numbers)

    def values(self, x: Array) -> Array:
        """The value (trees, n) of the leaf in which each row ends."""
        kind = np.dtype(f"u{self.numbers.shape[1] // 8}")
        state = np.full((len(self.numbers), len(x)), np.iinfo(kind).max, kind)
        rows = np.ascontiguousarray(x.T, np.float32)
        for column, thresholds, trees, stay in self.columns:
            value = rows[column]
            unknown = np.isnan(value)
            if thresholds is None:
                place = np.where(unknown, 0, value).astype(np.intp)
            elif len(thresholds) < LEVELS:  # few: to count those below is twice as fast as to search
                place = np.add.reduce(thresholds[:, None] < value, dtype=np.uint8)
            else:
                place = np.searchsorted(thresholds, value)
            state[trees] &= stay.take(np.where(unknown, stay.shape[1] - 1, place), axis=1)
        if kind.itemsize == 2:
            first = _lowest_bits().take(state)
        else:
            first = np.frexp((state & (~state + kind.type(1))).astype(np.float64))[1] - 1
        first = first + np.arange(0, self.numbers.size, self.numbers.shape[1], dtype=np.int32)[:, None]
        result: Array = self.numbers.take(first)
        return result


@cache
def _lowest_bits() -> Array:
    """The place of the lowest bit that is set in each word of 16 bits."""
    words = np.arange(1, 1 << 16)
    return np.concatenate([[0], np.frexp((words & -words).astype(np.float64))[1] - 1]).astype(np.int32)


def _table(
    forest: Forest, nodes: Array, tree: Array, stay: Array, *, parted: bool
) -> tuple[Array | None, Array, Array]:
    """Thresholds, trees and bits of one column, whose nodes leave the leaves ``stay`` where a row goes right."""
    trees, row = np.unique(tree, return_inverse=True)
    every = stay.dtype.type(np.iinfo(stay.dtype).max)
    unknown_right = forest.feature[nodes] // int(forest.shape[0]) % 2 == 1
    unknown = np.full(len(trees), every)
    np.bitwise_and.at(unknown, row[unknown_right], stay[unknown_right])
    number = forest.number[nodes]
    if parted:
        result = np.full((len(trees), LEVELS + 1), every)
        goes_left = np.unpackbits(forest.left[number.astype(np.intp)], axis=1, bitorder="little").astype(bool)
        for place, mask, left in zip(row, stay, goes_left, strict=True):
            result[place, :LEVELS][~left] &= mask
        result[:, -1] = unknown
        return None, trees, result
    order = np.argsort(number, kind="stable")
    result = np.full((len(trees), len(nodes) + 2), every)
    result[row[order], np.arange(1, len(nodes) + 1)] = stay[order]
    np.bitwise_and.accumulate(result[:, :-1], axis=1, out=result[:, :-1])
    result[:, -1] = unknown
    thresholds, first = np.unique(number[order], return_index=True)
    return thresholds, trees, result[:, np.r_[first, len(nodes), len(nodes) + 1]]


def single(threshold: Array) -> Array:
    """Thresholds in single precision, none of them above what it was: single values fall on the same side."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
