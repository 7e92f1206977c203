"""Boosted trees over the table's columns as they are and a few components of every embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plait.base.branch import FittedBranch, FoldRows
from plait.base.checks import Count, NonNegative, Positive, Share, Within
from plait.base.inputs import Inputs
from plait.branches.features import COMPONENTS, PlainFeatures

Array = NDArray[Any]
#: Labels beyond which one ensemble per label would cost more than all networks together.
MOST_LABELS = 20
#: Rounds without an improvement on held-out rows after which there are no more.
WAIT = 10
#: Threshold of a split of known from unknown values: all that are known go left.
ENDLESS = 1e300
#: Rows that are answered at a time, so that what is looked up stays near the processor.
ROWS = 1024
#: Log-probability of a class that no training row has.
UNSEEN = -15.0


@dataclasses.dataclass(eq=False)
class Trees(FittedBranch):
    """Boosted trees over the table's columns as they are and 30 components of each embedding.

    Histogram gradient boosting: numbers as numbers, categories as categories, nulls as nulls; a category of many levels also,
    and one of more than 255 only, by a cross-fitted target encoding and its frequency. It stops when held-out rows gain no more.

    Formula: out_c = b_c + rate * sum over rounds t of tree_tc(x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Friedman 2001, Greedy Function Approximation; Ke et al. 2017, LightGBM; fitted by scikit-learn, answered here.

    Use when: the table's columns carry the answer.

    Not when: words or pictures do, or there are very many classes.

    Example:
        >>> Trees(rounds=50).options()["rounds"]
        50
    """

    rounds: Count = 200
    learning_rate: Positive = 0.1
    leaves: Annotated[int, Within(2, 1024)] = 15
    min_rows: Count = 10
    penalty: NonNegative = 1.0
    share: Share = 0.5
    bins: Annotated[int, Within(2, 255)] = 255
    components: Count = COMPONENTS

    def __post_init__(self) -> None:
        """Nothing is learned yet."""
        super().__post_init__()
        self._features = PlainFeatures(self.components)
        self._forests: list[Forest] = []
        self._facts: dict[str, Any] = {}

    def declines(self, rows: FoldRows) -> str | None:
        """No column and no frozen feature, no rows to stop by, or very many labels."""
        if not rows.inputs.columns and not rows.inputs.tokens:
            return "all encoders learn: there is nothing that trees could see"
        if not len(rows.valid):
            return "too few rows to hold any out"
        if rows.task == "multilabel" and rows.out_dim > MOST_LABELS:
            return f"{rows.out_dim} labels; one ensemble for each is grown up to {MOST_LABELS}"
        return None

    def fit(self, rows: FoldRows) -> None:
        """Grow trees until the rows ``valid`` gain no more."""
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
        edges = [_edges(column, self.bins) for column in x[:, first:].T]
        kind = HistGradientBoostingRegressor if rows.task == "regression" else HistGradientBoostingClassifier
        judge = _Judge(rows.task, _binned(held, edges), y[rows.valid], rows.weight[rows.valid].numpy())
        model = kind(
            learning_rate=self.learning_rate,
            max_iter=self.rounds,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.min_rows,
            l2_regularization=self.penalty,
            max_features=self.share or 1e-9,
            categorical_features=list(range(first)) or None,
            early_stopping=True,
            scoring=judge,
            validation_fraction=None,
            n_iter_no_change=WAIT,
            random_state=rows.seed,
        )
        even = bool((weight == weight[0]).all())
        model.fit(_binned(x, edges), known, sample_weight=None if even else weight)
        return Forest.of(model, judge.at, edges), judge.at

    def outputs(self, inputs: Inputs) -> Tensor:
        """Raw outputs (n, out_dim): log-odds, or standardised values."""
        x = self._features(inputs).astype(np.float64)
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


class _Judge:
    """Judges a growing ensemble by held-out rows, each round's trees once; scikit-learn asks it when to stop."""

    def __init__(self, task: str, x: Array, y: Array, weight: Array) -> None:
        self.task, self.y, self.weight = task, y, weight
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
        return -loss

    def _loss(self, raw: Array) -> float:
        if self.task == "regression":
            error = np.abs(raw[:, 0] - self.y)
            losses = np.where(error < 1, 0.5 * error**2, error - 0.5)
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
    """The trees of one ensemble as arrays, all nodes in a row.

    Attributes:
        base: (outputs,) what is answered before the first tree.
        roots: (rounds, outputs) place of each tree's first node.
        feature: (nodes,) the column that is looked at; D further on where an unknown value goes right.
        threshold: (nodes,) up to which a row goes left.
        children: (nodes, 2) places; of a leaf itself.
        value: (nodes,) of leaves.
        bits: (nodes,) place in ``left`` of a node that parts levels; -1 of one that parts numbers.
        left: (parting nodes, 256) bool, the levels that go left.
        shape: (2,) columns D, and the longest way down.
    """

    base: Array
    roots: Array
    feature: Array
    threshold: Array
    children: Array
    value: Array
    bits: Array
    left: Array
    shape: Array

    @classmethod
    def constant(cls, value: float) -> Forest:
        """One answer for every row."""
        none = np.zeros(0, np.int32)
        shape, left = np.zeros(2, np.int32), np.zeros((0, 256), bool)
        return cls(
            np.array([value]), np.zeros((0, 1), np.int32), none, none * 1.0, none[:, None], none, none, left, shape
        )

    @classmethod
    def of(cls, model: Any, rounds: int, edges: Sequence[Array] = ()) -> Forest:
        """The first rounds of a fitted model of scikit-learn; ``edges``: of its last columns, whose places it was fitted on."""
        trees = [tree for each in model._predictors[:rounds] for tree in each]
        starts = np.cumsum([0] + [len(tree.nodes) for tree in trees])
        nodes = np.concatenate([tree.nodes for tree in trees])
        first = np.repeat(starts[:-1], np.diff(starts))  # of the tree that a node is of
        leaf, parts = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
        own = np.arange(len(nodes))
        children = np.stack([np.where(leaf, own, nodes[side] + first) for side in ("left", "right")], 1)
        sets = [tree.raw_left_cat_bitsets for tree in trees if len(tree.raw_left_cat_bitsets)]
        left = np.concatenate(sets) if sets else np.zeros((0, 8), np.uint32)
        offsets = np.cumsum([0] + [len(tree.raw_left_cat_bitsets) for tree in trees])[:-1]
        bits = np.where(parts & ~leaf, nodes["bitset_idx"] + np.repeat(offsets, np.diff(starts)), -1)
        columns = int(model.n_features_in_)
        feature = np.where(leaf, 0, nodes["feature_idx"] + columns * ~nodes["missing_go_to_left"].astype(bool))
        threshold = np.minimum(nodes["num_threshold"], ENDLESS)
        for place, edge in enumerate(edges, columns - len(edges)):
            here = (nodes["feature_idx"] == place) & ~leaf & (threshold < ENDLESS)
            threshold[here] = edge[np.floor(threshold[here]).astype(np.intp)]
        return cls(
            base=np.asarray(model._baseline_prediction, np.float64).ravel(),
            roots=starts[:-1].reshape(rounds, -1).astype(np.int32),
            feature=feature.astype(np.int32),
            threshold=np.where(leaf, 0.0, threshold),
            children=children.astype(np.int32),
            value=np.where(leaf, nodes["value"], 0.0),
            bits=bits.astype(np.int32),
            left=np.unpackbits(left.astype("<u4").view(np.uint8), axis=1, bitorder="little").astype(bool),
            shape=np.array([columns, int(nodes["depth"].max())], np.int32),
        )

    def __call__(self, x: Array) -> Array:
        """Raw outputs (n, outputs) of rows (n, D), NaN where unknown."""
        out = np.tile(self.base, (len(x), 1))
        if not self.roots.size:
            return out
        for start in range(0, len(x), ROWS):
            part = x[start : start + ROWS]
            values = self.value[self._leaves(part)].reshape(len(part), *self.roots.shape)
            out[start : start + ROWS] += values.sum(1)
        return out

    def _leaves(self, x: Array) -> Array:
        """The leaf (n, trees) in which each row ends."""
        unknown = np.isnan(x)
        both = np.concatenate([np.where(unknown, -np.inf, x), np.where(unknown, np.inf, x)], 1)
        flat, first = both.ravel(), (np.arange(len(x)) * both.shape[1])[:, None]
        node = np.tile(self.roots.ravel().astype(np.intp), (len(x), 1))
        children, parts = self.children.ravel().astype(np.intp), len(self.left) > 0
        feature = self.feature.astype(np.intp)
        for _ in range(int(self.shape[1])):
            value = flat.take(feature.take(node) + first)
            right = value > self.threshold.take(node)
            if parts:
                bits = self.bits.take(node)
                places = np.nonzero((bits >= 0) & np.isfinite(value))
                right[places] = ~self.left[bits[places], value[places].astype(np.intp)]
                lost = np.nonzero((bits >= 0) & np.isinf(value))
                right[lost] = value[lost] > 0
            node = children.take(2 * node + right)
        return node
