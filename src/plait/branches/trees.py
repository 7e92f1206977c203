"""Boosted trees over the table's columns as they are and a few components of every embedding."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plait.base.branch import FittedBranch, FoldRows
from plait.base.checks import Count, NonNegative, Positive, Within
from plait.base.errors import ModelError
from plait.base.inputs import Inputs
from plait.branches.features import COMPONENTS, PlainFeatures

Array = NDArray[Any]
#: Labels beyond which one ensemble per label would cost more than all networks together.
MOST_LABELS = 20
#: Training rows of a member below which there is nothing to grow.
FEWEST = 80
#: Trees of one ensemble; with many classes a round has many of them.
MOST_TREES = 400
#: Columns of which a split may look at all; of more at a quarter, at least at so many: as good, and twice as fast.
MOST_SEEN = 16
#: Classes from which a round has so many trees that there are few rounds, at a rate of 0.25 instead of 0.1, columns have 63
#: bins instead of 255, and embeddings 16 components instead of 30 (held-out loss of the mixture as good, a third sooner).
MANY_CLASSES, FEW_COMPONENTS = 8, 16
#: Rounds that there are at least.
FEWEST_ROUNDS = 24
#: Training rows from which trees have 15 leaves instead of 8, which were as good on 1,500 rows of games, payments and petfinder.
MANY_ROWS = 3000
#: Rounds without an improvement on held-out rows after which there are no more.
WAIT = 50
#: Classes times rows from which a pilot says whether growing is worth its time.
PILOT = 8000
#: Threshold of a split of known from unknown values: all that are known go left.
ENDLESS = 3.4e38
#: Rows that are answered at a time, so that what is looked up stays near the processor.
ROWS = 1024
#: Rows from which trees are answered by tables, which must be made first, and levels that a parted column has at most.
TABLES_FROM, LEVELS = 64, 256
#: Log-probability of a class that no training row has.
UNSEEN = -15.0


@dataclasses.dataclass(eq=False)
class Trees(FittedBranch):
    """Boosted trees over the table's columns as they are and 16 or 30 components of each embedding.

    Histogram gradient boosting: numbers as numbers, categories as categories, nulls as nulls; a category of many levels also,
    and one of more than 255 only, by a cross-fitted target encoding and its frequency. It stops when held-out rows gain no more.

    Formula: out_c = b_c + rate * sum over rounds t of tree_tc(x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Friedman 2001, Greedy Function Approximation; Ke et al. 2017, LightGBM; fitted by scikit-learn, answered here.

    Use when: the table's columns carry the answer.

    Not when: words or pictures do, or there are very many classes.

    Options: ``rounds`` at most; ``learning_rate`` (none: 0.1, of 8 classes and more 0.25); ``leaves`` of a tree (none: 8,
    of 3,000 rows and more 15); ``min_rows`` of a leaf; ``penalty`` on leaves; ``share`` of the columns that a split may
    look at (none: a quarter, 16 at least); ``bins`` of a number (none: 255, of 8 classes and more 63);
    ``components`` of an embedding (none: 30, of 8 classes and more 16); ``most`` trees of an ensemble, which are rounds
    times classes.

    Example:
        >>> Trees(rounds=50).options()["rounds"]
        50
    """

    rounds: Count = 300
    learning_rate: Positive | None = None
    leaves: Annotated[int, Within(2, 1024)] | None = None
    min_rows: Count = 10
    penalty: NonNegative = 1.0
    share: Annotated[float, Within(0, 1, above=True)] | None = None
    bins: Annotated[int, Within(2, 255)] | None = None
    components: Count | None = None
    most: Count = MOST_TREES

    def __post_init__(self) -> None:
        """Nothing is learned yet."""
        super().__post_init__()
        self._features = PlainFeatures(self.components or COMPONENTS)
        self._forests: list[Forest] = []
        self._facts: dict[str, Any] = {}

    def declines(self, rows: FoldRows) -> str | None:
        """No column and no frozen feature, no rows to stop by, or very many labels."""
        if not rows.inputs.columns and not rows.inputs.tokens:
            return "all encoders learn: there is nothing that trees could see"
        if len(rows.fold) < FEWEST or not len(rows.valid):
            return f"too few rows: {len(rows.fold)} to learn from, {len(rows.valid)} held out; {FEWEST} are needed, and some"
        if rows.task == "multilabel" and rows.out_dim > MOST_LABELS:
            return f"{rows.out_dim} labels; one ensemble for each is grown up to {MOST_LABELS}"
        return None

    def pilot(self, rows: FoldRows) -> Trees | None:
        """A few fast rounds, where there are many classes or rows."""
        if rows.out_dim * len(rows.fold) < PILOT:
            return None
        return dataclasses.replace(self, rounds=8, learning_rate=0.4)

    def fit(self, rows: FoldRows) -> None:
        """Grow trees until the rows ``valid`` gain no more."""
        self._features.components = self.components or (COMPONENTS if rows.out_dim < MANY_CLASSES else FEW_COMPONENTS)
        x, held = self._features.fit(rows), self._features(rows.inputs.take(rows.valid))
        y, seen = rows.target.numpy(), np.arange(rows.out_dim)
        if rows.task == "classification":
            seen = np.unique(y[rows.fold])
            y = np.searchsorted(seen, y)  # of a held-out row of another class: the next one
        parts = y[:, None] if y.ndim == 1 else y
        grown = [self._grown(rows, x, held, column) for column in parts.T]
        self._forests = [forest for forest, _ in grown]
        self._facts = {"task": rows.task, "out_dim": rows.out_dim, "seen": seen.tolist(), "names": self._features.names}
        self._facts["rounds"] = [rounds for _, rounds in grown]

    def _grown(self, rows: FoldRows, x: Array, held: Array, y: Array) -> tuple[Forest, int]:
        """One ensemble, for one target, and its rounds."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        known, weight = y[rows.fold], rows.weight[rows.fold].numpy()
        if (known == known[0]).all():
            value = float(known[0]) if rows.task == "regression" else UNSEEN * (1 - 2 * float(known[0] > 0))
            return Forest.constant(value), 0
        first = len(self._features.categories)
        bins = self.bins or (255 if rows.out_dim < MANY_CLASSES else 63)
        edges = [_edges(column, bins) for column in x[:, first:].T]
        kind = HistGradientBoostingRegressor if rows.task == "regression" else HistGradientBoostingClassifier
        judge = _Judge(rows, _binned(held, edges), y[rows.valid])
        model = kind(
            **({"loss": "absolute_error"} if rows.task == "regression" and rows.loss == "absolute" else {}),
            learning_rate=self.learning_rate or (0.1 if rows.out_dim < MANY_CLASSES else 0.25),
            max_iter=min(self.rounds, max(FEWEST_ROUNDS, self.most // rows.out_dim)),
            max_leaf_nodes=self.leaves or (8 if len(rows.fold) < MANY_ROWS else 15),
            min_samples_leaf=self.min_rows,
            l2_regularization=self.penalty,
            max_features=self.share or min(1.0, max(0.25, MOST_SEEN / x.shape[1])),
            categorical_features=list(range(first)) or None,
            early_stopping=True,
            scoring=judge,
            validation_fraction=None,
            n_iter_no_change=WAIT,
            random_state=rows.seed,
        )
        even = bool((weight == weight[0]).all())
        with contextlib.suppress(_NoTime):
            model.fit(_binned(x, edges), known, sample_weight=None if even else weight)
        return Forest.of(model, judge.at, edges), judge.at

    def outputs(self, inputs: Inputs) -> Tensor:
        """Raw outputs (n, out_dim): log-odds, or standardised values."""
        x = self._features(inputs)
        out = torch.from_numpy(np.hstack([forest(x) for forest in self._forests])).float()
        if self._facts["task"] != "classification":
            return out
        if out.shape[1] == 1:  # log-odds of the second of two classes
            out = functional.pad(out, (1, 0))
        seen = self._facts["seen"]
        if len(seen) == self._facts["out_dim"]:
            return out
        whole = torch.full((len(out), self._facts["out_dim"]), UNSEEN)
        whole[:, seen] = out[:, : len(seen)].log_softmax(1)
        return whole

    def weights(self) -> int:
        """Thresholds and leaves, directions of embeddings, encodings of levels."""
        learned = [*self._features.axes.values(), *self._features.encodings.values()]
        return sum(forest.weights for forest in self._forests) + sum(array.size for array in learned)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The nodes of all trees, and how columns become numbers."""
        arrays = {f"features.{name}": array for name, array in self._features.state().items()}
        for place, forest in enumerate(self._forests):
            arrays |= {f"forest.{place}.{f.name}": getattr(forest, f.name) for f in dataclasses.fields(forest)}
        return arrays, self._facts

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        """Take them back."""
        self._facts = dict(facts)
        own = {k.removeprefix("features."): v for k, v in arrays.items() if k.startswith("features.")}
        self._features.load_state(own, self._facts["names"])
        forests = range(len(self._facts["rounds"]))
        names = [f.name for f in dataclasses.fields(Forest)]
        self._forests = [Forest(**{name: arrays[f"forest.{place}.{name}"] for name in names}) for place in forests]


class _NoTime(Exception):  # noqa: N818 - what happened
    """Ends a growing ensemble, whose rounds so far are kept."""


class _Judge:
    """Judges a growing ensemble by held-out rows, each round's trees once; scikit-learn asks it when to stop."""

    def __init__(self, rows: FoldRows, x: Array, y: Array) -> None:
        self.task, self.y, self.weight = rows.task, y, rows.weight[rows.valid].numpy()
        self.stop, self.loss = rows.stop, rows.loss
        self.x = np.ascontiguousarray(x, np.float64)
        self.raw: Array | None = None
        self.best, self.at, self.rounds = np.inf, 0, 0

    def __call__(self, model: Any, x: Array, y: Array, sample_weight: Array | None = None) -> float:
        """The score so far; the arguments are scikit-learn's own rows."""
        if self.raw is None:
            base = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)
            self.raw = np.asfortranarray(np.repeat(base, len(self.x), axis=0))
        new = model._predictors[self.rounds :]
        model._predict_iterations(self.x, new, self.raw, is_binned=False, n_threads=1)
        self.rounds += len(new)
        loss = self._loss(self.raw)
        if self.rounds and loss < self.best - 1e-6:
            self.best, self.at = loss, self.rounds
        if self.rounds and self.stop():
            raise _NoTime
        return -loss

    def _loss(self, raw: Array) -> float:
        if self.task == "regression":
            error = np.abs(raw[:, 0] - self.y)
            smooth = np.where(error < 1, 0.5 * error**2, error - 0.5)
            losses = {"absolute": error, "squared": error**2}.get(self.loss, smooth)
        else:
            out = raw if raw.shape[1] > 1 else np.hstack([np.zeros_like(raw), raw])
            there = np.minimum(self.y.astype(np.int64), out.shape[1] - 1)
            losses = np.logaddexp.reduce(out, axis=1) - out[np.arange(len(out)), there]
        return float((losses * self.weight).sum() / max(self.weight.sum(), 1e-12))


def _edges(column: Array, bins: int) -> Array:
    """Between which values a column is parted: between all that it has, or at its quantiles."""
    known = np.sort(column[~np.isnan(column)]).astype(np.float64)
    values = np.unique(known)
    if len(values) > bins:
        places = np.arange(1, bins) * len(known) // bins
        return np.unique(np.asarray((known[places - 1] + known[places]) / 2))
    return np.asarray((values[1:] + values[:-1]) / 2)


def _binned(x: Array, edges: Sequence[Array]) -> Array:
    """The last columns as places among their edges: scikit-learn would take seconds to find its own, with weights."""
    result, first = x.astype(np.float64), x.shape[1] - len(edges)
    for place, edge in enumerate(edges):
        column = result[:, first + place]
        column[:] = np.where(np.isnan(column), np.nan, np.searchsorted(edge, column, side="left"))
    return result


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

    @classmethod
    def of(cls, model: Any, rounds: int, edges: Sequence[Array] = ()) -> Forest:
        """The first rounds of a fitted model of scikit-learn; ``edges``: of its last columns, whose places it was fitted on."""
        trees = [tree for each in model._predictors[:rounds] for tree in each]
        sizes, parts = [len(tree.nodes) for tree in trees], [len(tree.raw_left_cat_bitsets) for tree in trees]
        starts, nodes = np.cumsum([0, *sizes])[:-1], np.concatenate([tree.nodes for tree in trees])
        own, columns = np.arange(len(nodes)), int(model.n_features_in_)
        leaf, parted = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
        right = np.where(leaf, own, nodes["right"] + np.repeat(starts, sizes))
        if not (leaf | (nodes["left"] + np.repeat(starts, sizes) == own + 1)).all():
            raise ModelError("trees: this scikit-learn orders the nodes of a tree in another way than plait knows")
        feature = nodes["feature_idx"] + columns * ~nodes["missing_go_to_left"].astype(bool) + 2 * columns * parted
        threshold = np.minimum(nodes["num_threshold"], ENDLESS)
        for place, edge in enumerate(edges, columns - len(edges)):
            here = (nodes["feature_idx"] == place) & ~leaf & (threshold < ENDLESS)
            threshold[here] = edge[np.floor(threshold[here]).astype(np.intp)]
        sets = nodes["bitset_idx"] + np.repeat(np.cumsum([0, *parts])[:-1], sizes)
        number = np.where(leaf, nodes["value"], np.where(parted, sets, _down(threshold)))
        left = np.concatenate([tree.raw_left_cat_bitsets for tree in trees]).astype("<u4").view(np.uint8)
        return cls(
            base=np.asarray(model._baseline_prediction, np.float64).ravel(),
            roots=starts.reshape(rounds, -1).astype(np.int32),
            feature=np.where(leaf, -1, feature).astype(np.int16 if 4 * columns < 2**15 else np.int32),
            number=number.astype(np.float32),
            right=right.astype(np.int32),
            left=left,
            shape=np.array([columns, int(nodes["depth"].max())], np.int32),
        )

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
                leaves = self._leaves(part) if tables is None else tables.leaves(part)
                values = self.number[leaves].reshape(len(part), *self.roots.shape)
                out[start : start + ROWS] += values.sum(1, dtype=np.float64)
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
        columns: (column, thresholds (k,) in order or None where levels are parted, the trees that look at it, bits (those
            trees, k + 2 or LEVELS + 1) of the leaves that stay for a value above so many thresholds, or for a level; the last
            one for an unknown value).
        places: (trees, bits) node of each leaf.
    """

    columns: Sequence[tuple[int, Array | None, Array, Array]]
    places: Array

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
        places = np.zeros((len(starts), 8 * kind.itemsize), np.intp)
        places[tree[leaf], place[leaf]] = np.flatnonzero(leaf)
        return cls(columns, places)

    def leaves(self, x: Array) -> Array:
        """The leaf (n, trees) in which each row ends."""
        kind = np.dtype(f"u{self.places.shape[1] // 8}")
        state = np.full((len(self.places), len(x)), np.iinfo(kind).max, kind)
        for column, thresholds, trees, stay in self.columns:
            value = x[:, column].astype(np.float32)
            unknown = np.isnan(value)
            if thresholds is None:
                place = np.where(unknown, 0, value).astype(np.intp)
            else:
                place = np.searchsorted(thresholds, value)
            state[trees] &= stay.take(np.where(unknown, stay.shape[1] - 1, place), axis=1)
        first = np.frexp((state & (~state + kind.type(1))).astype(np.float64))[1] - 1
        return np.take_along_axis(self.places, first.astype(np.intp), axis=1).T


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
    return number[order], trees, result


def _down(threshold: Array) -> Array:
    """Thresholds in single precision, none of them above what it was: single values fall on the same side."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
