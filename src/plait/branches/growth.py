"""Trees are grown: what an ensemble learns from, how large it becomes, and scikit-learn's engine."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.base.branch import NotWorthwhile
from plait.base.errors import ModelError
from plait.branches.forest import ENDLESS, Forest, single

Array = NDArray[Any]
#: Rounds without an improvement on held-out rows after which there are no more.
WAIT = 50


@dataclasses.dataclass(frozen=True)
class Seedbed:
    """What one ensemble learns from.

    Attributes:
        x: (n, D) of the training rows, categories first as small whole numbers, NaN where unknown.
        y: (n,) values, or places among the classes.
        weight: (n,).
        held: x, y and weight of the held-out rows, by which it stops.
        first: how many of the columns are categories.
        encoded: the column from which on they are of encoders: made to be told apart together, not one by one.
        outputs: raw outputs: classes, or 1 for two of them or a value.
        loss: ``log``, or of a value ``smooth``, ``absolute`` or ``squared``.
        seed: of everything random.
        stop: asked after every round; true: no time is left.
        look: raw outputs of the held-out rows after ``Pace.look`` rounds -> whether it is worth growing on; None: it is.
    """

    x: Array
    y: Array
    weight: Array
    held: tuple[Array, Array, Array]
    first: int
    outputs: int
    loss: str
    seed: int
    stop: Callable[[], bool]
    look: Callable[[Array], bool] | None = None
    encoded: int | None = None


@dataclasses.dataclass(frozen=True)
class Pace:
    """How large an ensemble becomes, whatever grows it.

    ``cuts``: places, drawn, at which scikit-learn may part a column of an encoder; the others are parted into ``bins``.
    """

    rounds: int
    rate: float
    leaves: int
    min_rows: int
    penalty: float
    share: float
    bins: int
    cuts: int | None = None

    @property
    def look(self) -> int:
        """Rounds after which an ensemble shows what it will be worth: as much as eight at a rate of 0.4."""
        return min(self.rounds, math.ceil(3.2 / self.rate))


@contextlib.contextmanager
def rare_classes() -> Iterator[None]:
    """Within the block scikit-learn does not warn of more classes than half the rows: trees stop by held-out rows.

    To be put around all threads that grow: what one of several silences may stay so for all.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def scikit_learn(bed: Seedbed, pace: Pace) -> tuple[Forest, int]:
    """One ensemble by scikit-learn's histogram gradient boosting, and its rounds."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    edges = _all_edges(bed, pace)
    kind = HistGradientBoostingClassifier if bed.loss == "log" else HistGradientBoostingRegressor
    judge = _Judge(bed, _binned(bed.held[0], edges), pace.look)
    model = kind(
        **({"loss": "absolute_error"} if bed.loss == "absolute" else {}),
        learning_rate=pace.rate,
        max_iter=pace.rounds,
        max_leaf_nodes=pace.leaves,
        min_samples_leaf=pace.min_rows,
        l2_regularization=pace.penalty,
        max_features=pace.share,
        max_bins=_bins(bed, edges),
        categorical_features=list(range(bed.first)) or None,
        early_stopping=True,
        scoring=judge,
        validation_fraction=None,
        n_iter_no_change=WAIT,
        random_state=bed.seed,
    )
    even = bool((bed.weight == bed.weight[0]).all())
    with contextlib.suppress(_NoTime):
        model.fit(_binned(bed.x, edges), bed.y, sample_weight=None if even else bed.weight)
    return forest_of(model, judge.at, edges), judge.at


class _NoTime(Exception):  # noqa: N818 - what happened
    """Ends a growing ensemble, whose rounds so far are kept."""


class _Judge:
    """Judges a growing ensemble by held-out rows, each round's trees once; scikit-learn asks it when to stop."""

    def __init__(self, bed: Seedbed, x: Array, look_at: int) -> None:
        _, self.y, self.weight = bed.held
        self.stop, self.loss, self.look, self.look_at = bed.stop, bed.loss, bed.look, look_at
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
        if self.rounds == self.look_at and self.look is not None and not self.look(self.raw):
            raise NotWorthwhile
        if self.rounds and self.stop():
            raise _NoTime
        return -loss

    def _loss(self, raw: Array) -> float:
        if self.loss != "log":
            error = np.abs(raw[:, 0] - self.y)
            smooth = np.where(error < 1, 0.5 * error**2, error - 0.5)
            losses = {"absolute": error, "squared": error**2}.get(self.loss, smooth)
        else:
            out = raw if raw.shape[1] > 1 else np.hstack([np.zeros_like(raw), raw])
            there = np.minimum(self.y.astype(np.int64), out.shape[1] - 1)
            losses = np.logaddexp.reduce(out, axis=1) - out[np.arange(len(out)), there]
        return float((losses * self.weight).sum() / max(self.weight.sum(), 1e-12))


def _bins(bed: Seedbed, edges: Sequence[Array]) -> int:
    """Places of a histogram: no more than there are, as each split adds up and looks through them all."""
    levels = [int(np.nanmax(c)) + 1 for c in bed.x[:, : bed.first].T if not np.isnan(c).all()]
    return min(255, max([2, *levels, *(len(edge) + 1 for edge in edges)]))


def _all_edges(bed: Seedbed, pace: Pace) -> list[Array]:
    """Edges of all columns but the categories."""
    random = np.random.default_rng(bed.seed)
    last = bed.x.shape[1] if bed.encoded is None or pace.cuts is None else bed.encoded
    plain = [_edges(column, pace.bins) for column in bed.x[:, bed.first : last].T]
    return plain + [_drawn(column, pace.cuts or 0, random) for column in bed.x[:, last:].T]


def _drawn(column: Array, cuts: int, random: np.random.Generator) -> Array:
    """Between which values a column is parted: between all that it has, or between some, drawn."""
    values = np.unique(column[~np.isnan(column)]).astype(np.float64)
    places = np.arange(max(0, len(values) - 1))
    if len(places) > cuts:
        places = np.sort(random.choice(places, cuts, replace=False))
    return np.asarray((values[places] + values[places + 1]) / 2)


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
        null = np.isnan(column)
        # It refuses a column of nothing but nulls.
        column[:] = np.where(null & ~null.all(), np.nan, np.searchsorted(edge, column, side="left"))
    return result


def forest_of(model: Any, rounds: int, edges: Sequence[Array] = ()) -> Forest:
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
    number = np.where(leaf, nodes["value"], np.where(parted, sets, single(threshold)))
    left = np.concatenate([tree.raw_left_cat_bitsets for tree in trees]).astype("<u4").view(np.uint8)
    return Forest(
        base=np.asarray(model._baseline_prediction, np.float64).ravel(),
        roots=starts.reshape(rounds, -1).astype(np.int32),
        feature=np.where(leaf, -1, feature).astype(np.int16 if 4 * columns < 2**15 else np.int32),
        number=number.astype(np.float32),
        right=right.astype(np.int32),
        left=left,
        shape=np.array([columns, int(nodes["depth"].max())], np.int32),
    )
