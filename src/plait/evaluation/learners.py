"""The two plain learners that baselines are made of: a linear model, and the branch of boosted trees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import lsqr
from scipy.special import expit
from sklearn.model_selection import KFold

from plait.base.branch import FoldRows
from plait.base.inputs import Inputs
from plait.base.machine import libraries_on
from plait.base.tokens import Tokens
from plait.branches import trees
from plait.branches.growth import rare_classes
from plait.branches.penalised import logistic, softmax
from plait.metrics.base import metrics

Array = NDArray[Any]


@dataclass(frozen=True)
class LinearModel:
    """A fitted linear model.

    Attributes:
        task: ``classification``, ``multilabel`` or ``regression``.
        weight: (D, k); of two classes, and of a number, k = 1.
        bias: (k,).
        seen: classes that the columns stand for; None of labels and of a number.
        outputs: classes, labels, or 1.
    """

    task: str
    weight: Array
    bias: Array
    seen: Array | None
    outputs: int

    def __call__(self, x: Array) -> Array:
        """Probabilities (n, C), zero of a class that no training row had; or values (n,)."""
        raw = (x.astype(np.float32) @ self.weight + self.bias).astype(np.float64)
        if self.task == "regression":
            return np.asarray(raw[:, 0])
        if self.seen is None:
            return np.asarray(expit(raw))
        result = np.zeros((len(x), self.outputs))
        result[:, self.seen] = (
            np.stack([expit(-raw[:, 0]), expit(raw[:, 0])], 1) if raw.shape[1] == 1 else softmax(raw.T).T
        )
        return result


def fit_linear(x: Array, y: Array, task: str, outputs: int, *, strength: float, steps: int) -> LinearModel:
    """A linear model of few features that are scaled already; its products are in single precision.

    ``y``: codes (n,), indicators (n, C) or values (n,).

    Formula: ``argmin sum_i loss(W x_i + b, y_i) + |W|^2 / (2 strength)``; the loss is the log loss (of classes together, of
        labels each), or half the squared error.

    Example:
        >>> x = np.array([[-1.0], [-2.0], [1.0], [2.0]])
        >>> fit_linear(x, np.array([0, 0, 1, 1]), "classification", 2, strength=1.0, steps=30)(x).argmax(1).tolist()
        [0, 0, 1, 1]
    """
    x = np.ascontiguousarray(x, np.float32)
    if task == "regression":
        centre, mean = x.mean(0), float(np.mean(y))
        result = lsqr(x - centre, y - mean, damp=strength**-0.5, atol=1e-4, btol=1e-4, iter_lim=3 * steps)[0]
        return LinearModel(task, result[:, None].astype(np.float32), np.full(1, mean - centre @ result), None, 1)
    seen = np.unique(y) if task == "classification" else None
    if seen is not None and len(seen) == 1:
        return LinearModel(task, np.zeros((x.shape[1], 1), np.float32), np.full(1, np.inf), seen[[0, 0]], outputs)
    known = y if seen is None else np.searchsorted(seen, y)
    goal = np.eye(len(seen), dtype=np.float32)[known] if seen is not None else known.astype(np.float32)
    goal = goal[:, 1:] if seen is not None and len(seen) == 2 else goal
    together = seen is not None and len(seen) > 2
    weight, bias = logistic(x, goal, strength=strength, steps=steps, together=together)
    return LinearModel(task, weight, bias, seen, outputs)


Folds = Sequence[tuple[Array, Array]]
#: Principal components of each embedding beside the table.
COMPONENTS = 30
#: Training rows on which strengths are tried, and rows up to which there are five folds instead of one.
TRIED_ROWS, FEW_ROWS = 3000, 1000
#: Inverse strengths of the linear model's penalty that are tried, and steps of its solver while trying and at last.
STRENGTHS, STEPS = (1e-3, 1e-2, 1e-1, 1.0), (10, 30)
#: Trees at most (rounds times outputs), rounds at least and at most, and trees times rows at most.
TREES, ROUNDS, WORK = 240, (15, 100), 4e6
#: Outputs up to which features are cut into 255 bins; beyond it into 63, which halves the time.
FINE_OUTPUTS, FINE, COARSE = 3, 255, 63


def folds_of(rows: int, seed: int) -> Folds:
    """Parts of the training rows to learn from and to choose by: five folds, or one of the first rows of many."""
    order = np.random.default_rng(seed).permutation(rows)[:TRIED_ROWS]
    few = len(order) <= FEW_ROWS
    parts = list(KFold(min(5, len(order) // 2) if few else 4).split(order))
    return [(order[fit], order[held]) for fit, held in (parts if few else parts[:1])]


def components(tokens: Tokens) -> Array:
    """Directions of most variance (D, 30) of features that are scaled already, scaled together to a mean variance of one."""
    x = tokens.pooled()[tokens.present].double()
    x = x[:: max(1, len(x) // 4096)]
    values, directions = torch.linalg.eigh(x.T @ x / max(1, len(x)))
    scale = values[-COMPONENTS:].mean().clamp_min(1e-12).rsqrt()
    result: Array = (directions[:, -COMPONENTS:] * scale).float().numpy()
    return result


class Learner(ABC):
    """A plain model of some modalities.

    Attributes:
        loss: on held-out training rows: log loss, or the root of the mean squared error.
        threshold: from where on a multi-label probability is answered, best there.
    """

    def __init__(self, task: str, names: Sequence[str], table: frozenset[str]) -> None:
        """Nothing is learned yet.

        ``table``: modalities whose features are never reduced to components.
        """
        self.task, self.names, self.table = task, tuple(names), table
        self.loss, self.threshold, self.weights, self.outputs_ = np.inf, 0.5, 0, 0
        self._axes: dict[str, Array] = {}

    def choose(self, inputs: Inputs, y: Array, folds: Folds) -> Learner:
        """Find the best strength on held-out training rows."""
        self.outputs_ = 1 if self.task == "regression" else y.shape[1] if y.ndim == 2 else int(y.max()) + 1
        self._narrow = {
            n: components(inputs.tokens[n])
            for n in self.names
            if n in inputs.tokens and n not in self.table and inputs.tokens[n].dim > COMPONENTS
        }
        self._held = np.concatenate([part for _, part in folds])
        self._y = y
        with libraries_on(1):
            self._try(inputs, folds)
        return self

    def fit(self, inputs: Inputs) -> Learner:
        """Learn from all training rows with what was chosen."""
        # One thread: products this narrow gain nothing from more, and on a busy machine lose ten times.
        with libraries_on(1):
            self._learn(inputs)
        return self

    @abstractmethod
    def outputs(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """Probabilities (n, C) or values (n,) with only these modalities present."""

    @abstractmethod
    def _try(self, inputs: Inputs, folds: Folds) -> None: ...

    @abstractmethod
    def _learn(self, inputs: Inputs) -> None: ...

    def _judged(self, output: Array) -> bool:
        """Whether what is answered for held-out rows is the best until now; then it is noted."""
        judge = metrics(self.task)["rmse" if self.task == "regression" else "log_loss"]
        loss = judge.score(self._y[self._held], output).value
        if not loss < self.loss and np.isfinite(self.loss):
            return False
        self.loss, self.threshold = loss, best_threshold(self.task, self._y[self._held], output)
        return True


class Linear(Learner):
    """Logistic regression for classes, one sigmoid per label for several labels, ridge regression for a number.

    Its penalty, and whether it sees all features or components, are chosen. Components alone would be a straw man where words
    count (0.64 against 0.84 on Hearthstone's cards).
    """

    def _try(self, inputs: Inputs, folds: Folds) -> None:
        views: list[dict[str, Array]] = [self._narrow, {}] if self._narrow else [{}]
        rows = np.unique(np.concatenate([part for fold in folds for part in fold]))  # few, of a large table
        tried = inputs.take(torch.from_numpy(rows))
        for axes in views:
            x = self._matrix(tried, axes, self.names)
            parts = [(x[rows.searchsorted(a)], self._y[a], x[rows.searchsorted(b)]) for a, b in folds]
            for strength in STRENGTHS:
                outputs = [self._model(fold, y, strength, STEPS[0])(held) for fold, y, held in parts]
                if self._judged(np.concatenate(outputs)):
                    self._axes, self._strength = axes, strength

    def _learn(self, inputs: Inputs) -> None:
        x = self._matrix(inputs, self._axes, self.names)
        self._fitted = self._model(x, self._y, self._strength, STEPS[1])
        self.weights = x.shape[1] * self.outputs_

    def outputs(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """Probabilities (n, C) or values (n,); an absent modality stands at its mean."""
        return self._fitted(self._matrix(inputs, self._axes, present))

    def _matrix(self, inputs: Inputs, axes: Mapping[str, Array], present: Sequence[str]) -> Array:
        """(n, D): all features beside each other; an absent modality stands at its mean, which is zero."""
        parts = [np.zeros((len(inputs), 1), np.float32)]
        for name in self.names:
            tokens = inputs.tokens[name]
            x = np.where((tokens.present.numpy() & (name in present))[:, None], tokens.pooled().numpy(), 0.0)
            parts.append((x @ axes[name] if name in axes else x).astype(np.float32))
        return np.hstack(parts)

    def _model(self, x: Array, y: Array, strength: float, steps: int) -> LinearModel:
        return fit_linear(x, y, self.task, self.outputs_, strength=strength, steps=steps)


class Trees(Learner):
    """The branch ``trees`` alone: a table's columns as they are and 30 components of each embedding; nulls stay nulls.

    It stops when held-out rows gain no more; rows and rounds are bounded by ``TREES`` and ``WORK``.
    """

    #: Trees at most.
    limit = TREES

    def _try(self, inputs: Inputs, folds: Folds) -> None:
        rounds = int(np.clip(self.limit // self.outputs_, *ROUNDS))
        judged = []
        for fold, held in folds:
            most = max(TRIED_ROWS, int(WORK / (rounds * self.outputs_)))
            rest = np.setdiff1d(np.arange(len(self._y)), np.r_[fold, held]) if len(folds) == 1 else fold[:0]
            rows = np.r_[fold, rest[: most - len(fold)]]  # all rows but those held out, as far as time allows
            model, used = self._grown(inputs, rows, held, rounds)
            judged.append((self._decoded(model, inputs.take(torch.from_numpy(held))), model, used))
        self._judged(np.concatenate([output for output, _, _ in judged]))
        self._fitted, self._rounds = judged[-1][1], max(used for _, _, used in judged)

    def _learn(self, inputs: Inputs) -> None:
        if len(self._y) <= TRIED_ROWS:  # held-out rows count where rows are few
            every = np.arange(len(self._y))
            self._fitted, _ = self._grown(inputs, every, self._held, max(1, self._rounds))
        self.weights = sum(array.size for array in self._fitted.state()[0].values())

    def outputs(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """Probabilities (n, C) or values (n,); what is absent is null."""
        return self._decoded(self._fitted, inputs.only(present))

    def _grown(self, inputs: Inputs, fold: Array, held: Array, rounds: int) -> tuple[trees.Trees, int]:
        """Trees of the rows ``fold``, as many rounds as are best on ``held``; and how many these are."""
        y = torch.tensor(self._y)
        if self.task == "regression":
            self._centre, self._scale = float(y.double().mean()), float(y.double().std().clamp_min(1e-12))
            y = ((y.double() - self._centre) / self._scale).float()[:, None]
        model = trees.Trees(
            rounds=rounds,
            learning_rate=float(np.clip(6 / rounds, 0.06, 0.3)),
            bins=FINE if self.outputs_ <= FINE_OUTPUTS else COARSE,
            min_rows=int(np.clip(len(fold) // 100, 5, 20)),
        )
        first, last = (torch.from_numpy(np.sort(part)) for part in (fold, held))
        with rare_classes():
            model.fit(FoldRows(self._own(inputs), y, torch.ones(len(y)), first, last, self.task, self.outputs_))
        return model, max(model.state()[1]["rounds"])

    def _own(self, inputs: Inputs) -> Inputs:
        """Only the modalities that are seen."""
        return Inputs(
            {n: inputs.tokens[n] for n in self.names},
            {},
            {n: inputs.present[n] for n in self.names},
            {n: inputs.columns[n] for n in self.names if n in inputs.columns},
            words=inputs.words,
        )

    def _decoded(self, model: trees.Trees, inputs: Inputs) -> Array:
        raw = model.outputs(self._own(inputs)).double()
        if self.task == "regression":
            return (raw[:, 0] * self._scale + self._centre).numpy()
        return (raw.softmax(1) if self.task == "classification" else raw.sigmoid()).numpy()


def best_threshold(task: str, y: Array, p: Array) -> float:
    """The probability from which on a label is answered, best on these rows, as a model chooses its own."""
    if task != "multilabel":
        return 0.5
    f1 = metrics(task)["f1_samples"].rows
    assert f1 is not None
    tried = np.unique(np.r_[np.linspace(0.02, 0.98, 49), np.clip(np.quantile(p, np.linspace(0.5, 1, 21)), 1e-6, 1.0)])
    return float(max(tried, key=lambda t: float(f1(y, (p >= t).astype(np.int64)).mean())))
