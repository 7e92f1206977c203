"""Boosted trees over the table's columns as they are and a few components of every embedding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plait.base.branch import FittedBranch, FoldRows, NotWorthwhile
from plait.base.checks import Count, NonNegative, Positive, Within
from plait.base.errors import need
from plait.base.inputs import Inputs
from plait.branches.boosting import catboost, lightgbm
from plait.branches.features import COMPONENTS, PlainFeatures
from plait.branches.forest import Forest
from plait.branches.growth import Pace, Seedbed, scikit_learn
from plait.store.model_files import under

Array = NDArray[Any]
#: Labels beyond which one ensemble per label would cost more than all networks together.
MOST_LABELS = 20
#: Training rows of a member below which there is nothing to grow.
FEWEST = 80
#: Trees of one ensemble, and of one of many classes and columns, where a round has many of them and takes long.
MOST_TREES, MOST_OF_MANY = 3000, 400
#: Columns of which a split may look at all; of more at a quarter, at least at so many and at most at so many: as good, and
#: twice as fast.
LEAST_SEEN, MOST_SEEN = 16, 64
#: Classes from which, beyond ``NARROW`` columns, a round has so many trees that there are few rounds, at a rate of 0.25, not 0.1,
#: and columns have 63 bins, not 255; embeddings have 16 components, not 30 (the mixture as good, a third sooner).
MANY_CLASSES, FEW_COMPONENTS = 8, 16
#: Places, drawn anew for each ensemble, at which a column of an encoder may be parted.
CUTS = 32
#: Rounds that there are at least.
FEWEST_ROUNDS = 24
#: Training rows -> leaves of a tree; 8 were as good as 15 on 1,500 rows of games, payments and petfinder.
LEAVES = ((3000, 8), (8000, 15), (math.inf, 31))
#: Columns up to which every other member has trees of so many leaves: deeper ones find what many columns say together.
NARROW, DEEP = 64, 31
#: Classes times rows from which the first rounds must show that growing is worth its time, where it takes long or there are no
#: columns of a table: where these tell much, a hundred rounds may say nothing of what a thousand will.
PILOT = 8000
#: Rows times columns that a split looks at times trees, at most: a minute or two of one core.
WORK = 2_000_000_000
#: Log-probability of a class that no training row has.
UNSEEN = -15.0
#: What grows the trees, by name; they are answered by plait all the same.
ENGINES: dict[str, Callable[[Seedbed, Pace], tuple[Forest, int]]] = {
    "scikit-learn": scikit_learn,
    "lightgbm": lightgbm,
    "catboost": catboost,
}


@dataclasses.dataclass(eq=False)
class Trees(FittedBranch):
    """Boosted trees over the table's columns as they are and 16 or 30 components of each embedding.

    Histogram gradient boosting: numbers as numbers, categories as categories, nulls as nulls; a category of many levels also,
    and one of more than 255 only, by a cross-fitted target encoding and its frequency. It stops when held-out rows gain no more.

    Formula: out_c = b_c + rate * sum over rounds t of tree_tc(x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Friedman 2001, Greedy Function Approximation; Ke et al. 2017, LightGBM; grown by a library, answered here.

    Use when: the table's columns carry the answer.

    Not when: words or pictures do, or there are very many classes.

    Options: ``engine``: what grows them, ``scikit-learn``, or with the extra ``boost`` ``lightgbm`` or ``catboost``
    (symmetric trees; categories of more than 20 levels by their encodings only); ``rounds`` at most; ``learning_rate`` (none:
    0.1, wide 0.25); ``leaves`` of a tree (none: 8, of 3,000 rows 15, of 8,000, or of up to 64 columns in every other member, 31);
    ``min_rows`` of a leaf; ``penalty`` on leaves; ``share`` of the columns that a split may look at (none: a quarter, 16 to 64 of
    them); ``bins`` of a number (none: 255, wide 63; of an encoder's at most 33, drawn); ``components`` of an embedding (none: 30,
    of 8 classes and more 16); ``most`` trees of an ensemble, which are rounds times classes (none: 3,000, wide 400). Wide: 8
    classes and more, and more than 64 columns.

    Example:
        >>> Trees(rounds=50).options()["rounds"]
        50
    """

    engine: Literal["scikit-learn", "lightgbm", "catboost"] = "scikit-learn"
    rounds: Count = 1000
    learning_rate: Positive | None = None
    leaves: Annotated[int, Within(2, 1024)] | None = None
    min_rows: Count = 10
    penalty: NonNegative = 1.0
    share: Annotated[float, Within(0, 1, above=True)] | None = None
    bins: Annotated[int, Within(2, 255)] | None = None
    components: Count | None = None
    most: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._features = PlainFeatures(self.components or COMPONENTS)
        self._forests: list[Forest] = []
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """The package of another engine must be there; to answer it need not."""
        if self.engine != "scikit-learn":
            need(self.engine, "boost")

    def declines(self, rows: FoldRows) -> str | None:
        """No column and no frozen feature, no rows to stop by, or very many labels."""
        if not rows.inputs.columns and not rows.inputs.tokens:
            return "all encoders learn: there is nothing that trees could see"
        if len(rows.fold) < FEWEST or not len(rows.valid):
            here = f"{len(rows.fold)} to learn from, {len(rows.valid)} held out"
            return f"too few rows: {here}; needed are {FEWEST} and 1"
        if rows.task == "multilabel" and rows.out_dim > MOST_LABELS:
            return f"{rows.out_dim} labels; one ensemble for each is grown up to {MOST_LABELS}"
        return None

    def fit(self, rows: FoldRows) -> None:
        """Grow trees until the rows ``valid`` gain no more; of many classes or rows only if they are promising."""
        self._features.components = self.components or (COMPONENTS if rows.out_dim < MANY_CLASSES else FEW_COMPONENTS)
        x, held = self._features.fit(rows), self._features(rows.inputs.take(rows.valid))
        told = self._features.own(rows.inputs) and not self._wide(rows, x)
        if told or rows.out_dim * len(rows.fold) < PILOT:
            rows = dataclasses.replace(rows, promising=None)
        if rows.promising is not None and (rows.task == "multilabel" or self.engine != "scikit-learn"):
            pilot = dataclasses.replace(self, rounds=8, learning_rate=0.4)  # no ensemble by itself can be looked at
            pilot.fit(dataclasses.replace(rows, promising=None))
            if not rows.promising(pilot.outputs(rows.inputs.take(rows.valid))):
                raise NotWorthwhile
            rows = dataclasses.replace(rows, promising=None)
        y, seen = rows.target.numpy(), np.arange(rows.out_dim)
        if rows.task == "classification":
            seen = np.unique(y[rows.fold])
            y = np.searchsorted(seen, y)  # of a held-out row of another class: the next one
        parts = y[:, None] if y.ndim == 1 else y
        self._facts = {"task": rows.task, "out_dim": rows.out_dim, "seen": seen.tolist(), "names": self._features.names}
        grown = [self._grown(rows, x, held, column) for column in parts.T]
        self._forests = [forest for forest, _ in grown]
        self._facts["rounds"] = [rounds for _, rounds in grown]

    def _grown(self, rows: FoldRows, x: Array, held: Array, y: Array) -> tuple[Forest, int]:
        """One ensemble, for one target, and its rounds."""
        known, weight = y[rows.fold], rows.weight.numpy()
        if (known == known[0]).all():
            value = float(known[0]) if rows.task == "regression" else UNSEEN * (1 - 2 * float(known[0] > 0))
            return Forest.constant(value), 0
        few, deep = not self._wide(rows, x), x.shape[1] <= NARROW and rows.member % 2 == 1
        most = self.most or (MOST_TREES if few else MOST_OF_MANY)
        share = self.share or min(1.0, max(min(0.25, MOST_SEEN / x.shape[1]), LEAST_SEEN / x.shape[1]))
        most = min(most, int(WORK / (x.size * share)))
        pace = Pace(
            rounds=min(self.rounds, max(FEWEST_ROUNDS, most // rows.out_dim)),
            rate=self.learning_rate or (0.1 if few else 0.25),
            leaves=self.leaves or (DEEP if deep else next(leaves for rest, leaves in LEAVES if len(rows.fold) < rest)),
            min_rows=self.min_rows,
            penalty=self.penalty,
            share=share,
            bins=self.bins or (255 if few else 63),
            cuts=min(CUTS, (self.bins or 255) - 1),
        )
        loss = rows.loss if rows.task == "regression" else "log"
        classes = len(np.unique(known)) if rows.task == "classification" else 2
        promising = rows.promising
        bed = Seedbed(
            x=x,
            y=known,
            weight=weight[rows.fold],
            held=(held, y[rows.valid], weight[rows.valid]),
            first=len(self._features.categories),
            outputs=1 if loss != "log" or classes == 2 else classes,
            loss=loss,
            seed=rows.seed,
            stop=rows.stop,
            look=None if promising is None else lambda raw: promising(self._whole(raw)),
            encoded=self._features.own(rows.inputs),
        )
        return ENGINES[self.engine](bed, pace)

    def _wide(self, rows: FoldRows, x: Array) -> bool:
        """Whether there are so many classes and columns that a round takes long."""
        return rows.out_dim >= MANY_CLASSES and x.shape[1] > NARROW

    def outputs(self, inputs: Inputs) -> Tensor:
        x = self._features(inputs)
        return self._whole(np.hstack([forest(x) for forest in self._forests]))

    def _whole(self, raw: Array) -> Tensor:
        """Raw outputs (n, out_dim) from what the ensembles say."""
        out = torch.from_numpy(np.ascontiguousarray(raw)).float()
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
        learned = [*self._features.axes.values(), *self._features.encodings.values()]
        return sum(forest.weights for forest in self._forests) + sum(array.size for array in learned)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays = {f"features.{name}": array for name, array in self._features.state().items()}
        for place, forest in enumerate(self._forests):
            arrays |= {f"forest.{place}.{f.name}": getattr(forest, f.name) for f in dataclasses.fields(forest)}
        return arrays, self._facts

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        self._facts = dict(facts)
        self._features.load_state(under(arrays, "features."), self._facts["names"])
        forests = range(len(self._facts["rounds"]))
        names = [f.name for f in dataclasses.fields(Forest)]
        self._forests = [Forest(**{name: arrays[f"forest.{place}.{name}"] for name in names}) for place in forests]
