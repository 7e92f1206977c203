"""What a model must beat: the best constant answer, a linear model, boosted trees, the best single modality; and AutoGluon.

One of each for fits, evaluations and studies. What is chosen about them is chosen on held-out parts of the training rows. A
baseline that can be beaten by mending it is no baseline.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from plait.base.errors import TableError, need
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data.labels import classes_of, codes_of, label_array
from plait.encoders.scale import Scaler
from plait.evaluation.learners import TREES, Folds, Learner, Linear, Trees, best_threshold, folds_of
from plait.metrics.base import MAIN, SECOND, Metric, measure, metrics
from plait.metrics.base import inputs as inputs_of
from plait.metrics.bootstrap import interval, resample_outputs
from plait.training.rows import spread

Array = NDArray[Any]
#: Minutes of a fit of AutoGluon where a variant names none, and what it calls the target.
MINUTES, _TARGET = 1.0, "target"
#: The baselines of a fit, the strongest kind first.
NAMES = ("trees", "linear", "single", "majority")
#: What a study may fit; ``fusion`` is the estimator itself, ``autogluon`` a rival by the extra ``bench``.
ESTIMATORS = ("fusion", *NAMES, "autogluon")
#: Features of the table that are kept at most, as the estimator keeps them.
TABLE_FEATURES = 1024
#: Rows below which nothing but the constant answer is learned.
LEAST = 8
#: Training rows from which all but the constant answer is learned at most, evenly spread.
MOST_ROWS = 100_000

#: Baseline -> what it is, for tables and the report; of the constant answer by task.
ABOUT = {
    "trees": "histogram gradient boosting on the table's columns and a few components of each embedding; the number of rounds "
    "is chosen on held-out training rows",
    "linear": "logistic or ridge regression on the same features, standardised; its L2 penalty, and all features or 30 "
    "components of each embedding, are chosen on training rows",
    "single": "the best model of one modality alone, linear or trees, chosen on training rows",
}
CONSTANT = {
    "classification": "the most frequent class, with the training part's class shares as probabilities",
    "multilabel": "every label's share in the training part as its probability; answered from where F1 is best there",
    "regression": "the training part's mean",
}


class Baseline:
    """A simple model whose settings are chosen on training rows, or what is most frequent there.

    Attributes:
        threshold: from where on a multi-label probability is answered.
        chosen: what the best single modality is, and the model on it.
    """

    def __init__(
        self, name: str, task: str, seed: int = 0, table: Sequence[str] = (), minutes: float = MINUTES
    ) -> None:
        """Nothing is learned yet.

        ``table``: modalities whose features are never reduced to components; ``minutes`` of a fit by ``autogluon``.
        """
        self.name, self.task, self.seed, self.table = name, task, seed, frozenset(table)
        self.threshold, self.weights, self.chosen, self.minutes = 0.5, 0, "", minutes
        self._learner: Learner | None = None

    def fit(self, inputs: Inputs, y: Array) -> Baseline:
        """Learn from scaled features, and class indices (n,), indicators (n, C) or values (n,)."""
        self._y = np.asarray(y)
        if self.name == "majority" or not learnable(self._y):
            self.threshold = best_threshold(self.task, self._y, self._constant(len(y)))
            return self
        candidates, folds = self._candidates(inputs), folds_of(len(y), self.seed)
        for learner in candidates:  # one fold where trees are among them: five would take seconds
            learner.choose(inputs, self._y, folds if self.name == "linear" else folds[:1])
        best = min(candidates, key=lambda one: one.loss)
        self._learner = best.fit(inputs)
        self.threshold, self.weights = best.threshold, best.weights
        self.chosen = (
            f"{best.names[0]}, {'trees' if isinstance(best, Trees) else 'linear'}" if self.name == "single" else ""
        )
        return self

    def outputs(self, inputs: Inputs, patterns: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Array]:
        """Probabilities (n, C) or values (n,) with only the modalities of each pattern present."""
        if self._learner is None:
            return {pattern: self._constant(len(inputs)) for pattern in patterns}
        return {pattern: self._learner.outputs(inputs, pattern) for pattern in patterns}

    def _candidates(self, inputs: Inputs) -> list[Learner]:
        every = tuple(inputs.tokens)
        if self.name == "autogluon":
            return [AutoGluon(self.task, every, self.table, self.minutes)]
        if self.name != "single":
            return [(Trees if self.name == "trees" else Linear)(self.task, every, self.table)]
        linear: list[Learner] = [Linear(self.task, (name,), self.table) for name in every]
        # Of a lone embedding a linear model reads more than trees do of its components, and sooner.
        trees = [Trees(self.task, (name,), self.table) for name in every if name in self.table]
        for learner in trees:
            learner.limit = TREES // 2
        return [*linear, *trees]

    def _constant(self, rows: int) -> Array:
        share = np.bincount(self._y) / len(self._y) if self.task == "classification" else self._y.mean(0)
        return np.repeat(np.asarray(share, np.float64)[None], rows, axis=0)


class Against(TypedDict):
    """The model beside a baseline in one metric, on the same test rows.

    Attributes:
        difference: the model minus the baseline, turned so that more is better.
        low: and ``high``: ends of the paired 95 % interval over test rows.
    """

    baseline: str
    metric: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Baselines(Mapping[str, Mapping[str, float]]):
    """Scores of every baseline (name -> metric -> value), and how the model compares with each.

    Attributes:
        scores: name -> metric -> value on the test rows.
        about: name -> what it is.
        against: the model beside each baseline, in the main metric and in the finer one beside it.
    """

    scores: Mapping[str, Mapping[str, float]]
    about: Mapping[str, str] = field(default_factory=dict)
    against: Sequence[Against] = ()

    def __getitem__(self, name: str) -> Mapping[str, float]:
        """The scores of one."""
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self.scores)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scores)

    def best(self, task: str, metric: str | None = None) -> str | None:
        """The strongest in a metric (None: the main one), of those that have a value; None where there is none."""
        metric = metric or MAIN[task]
        sign = metrics(task)[metric].sign
        known = [name for name, scores in self.scores.items() if np.isfinite(scores.get(metric, np.nan))]
        return max(known, key=lambda name: sign * self.scores[name][metric], default=None)

    def beside(self, baseline: str | None, metric: str) -> Against | None:
        """How the model compares with one baseline in one metric, if that is known."""
        return next((a for a in self.against if (a["baseline"], a["metric"]) == (baseline, metric)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"scores": dict(self.scores), "about": dict(self.about), "against": list(self.against)}


class Ready(NamedTuple):
    """A baseline that was learned already, as a part of the model: its ``output`` for the test rows, and what it is."""

    output: Array
    about: str
    threshold: float = 0.5


class Lead(NamedTuple):
    """The metric that leads, what a class is answered by (``inputs``), the baselines wanted, and those that are ``ready``."""

    metric: str
    costs: Array | None = None
    names: Sequence[str] = NAMES
    ready: Mapping[str, Ready] = MappingProxyType({})


def learnable(y: Array) -> bool:
    """Whether there is anything to learn: rows enough, that are not all the same."""
    return len(y) >= LEAST and bool((y != y[0]).any())


def scaled(
    inputs: Inputs, table: Sequence[str], scalers: Mapping[str, Scaler] | None = None
) -> tuple[Inputs, dict[str, Scaler]]:
    """Raw features standardised as an estimator does it, by the scalers given or by new ones; columns stay as they are."""
    known = dict(scalers or {})
    for name, tokens in inputs.tokens.items():
        if name not in known:
            known[name] = Scaler(TABLE_FEATURES if name in table else 256).fit(tokens)
    result = {name: known[name](tokens) for name, tokens in inputs.tokens.items()}
    return Inputs(result, {}, inputs.present, inputs.columns), known


def baselines(
    task: str,
    train: tuple[Inputs | Array, Any],
    test: tuple[Inputs | Array, Any],
    *,
    seed: int = 0,
    table: Sequence[str] = (),
    ours: Mapping[str, Array] | None = None,
    bootstrap: int = 1000,
    lead: Lead | None = None,
) -> Baselines:
    """Every baseline, learned from the training rows and scored on the test rows.

    Args:
        task: the task's name.
        train: scaled features, or (n, D) of a table in which NaN counts as the feature's mean; and labels (n,), indicators
            (n, C) or values (n,).
        test: the same of the test rows.
        seed: of the rows on which penalties are tried.
        table: modalities whose features are never reduced to components.
        ours: what the model answers for the test rows (see ``plait.metrics.base``), to be compared with each.
        bootstrap: resamples of the test rows for the comparison.
        lead: the metric that leads, and what answers are read by; None: the usual ones.
    """
    metric, costs, names, ready = lead or Lead(MAIN[task])
    (x, y), (x_test, y_test) = train, test
    if not len(y) or not len(y_test):
        raise TableError(f"baselines need rows: found {len(y)} to train on and {len(y_test)} to test on")
    if task == "classification":
        classes, y = classes_of(label_array(y))
        y_test = codes_of(y_test, classes)
    if not isinstance(x, Inputs) or not isinstance(x_test, Inputs):
        table = ("table",)
        x, scalers = scaled(_inputs(x), table)
        x_test, _ = scaled(_inputs(x_test), table, scalers)
    every, few = tuple(x.tokens), spread(torch.arange(len(y)), MOST_ROWS)
    sample = (x, y) if len(few) == len(y) else (x.take(few), np.asarray(y)[few.numpy()])
    scores, about, against = {}, {}, []
    for name in names if learnable(np.asarray(y)) else ("majority",):
        if name == "single" and len(every) < 2:
            continue
        seen = (x, y) if name == "majority" else sample
        known = ready.get(name) or _learned(Baseline(name, task, seed, table), seen, x_test)
        output, about[name], threshold = known.output, known.about, known.threshold
        if name not in ready and len(seen[1]) < len(y):
            about[name] += f"; learned from {len(few):,} of {len(y):,} training rows, evenly spread"
        judged = measure(task, y_test, output, threshold=threshold, costs=costs)
        scores[name] = {k: s.value for k, s in judged.items()}
        if ours is not None:
            theirs = inputs_of(task, output, threshold, costs=costs)
            both = [metrics(task)[one] for one in dict.fromkeys((metric, SECOND[task]))]
            against += [_against(name, one, y_test, (ours, theirs), (bootstrap, seed)) for one in both]
    return Baselines(scores, about, against)


def _learned(model: Baseline, train: tuple[Inputs, Array], test: Inputs) -> Ready:
    every = tuple(test.tokens)
    output = model.fit(*train).outputs(test, [every])[every]
    about = CONSTANT[model.task] if model.name == "majority" else ABOUT[model.name]
    return Ready(output, about + (f" ({model.chosen})" if model.chosen else ""), model.threshold)


def _against(
    name: str, metric: Metric, y: Array, both: tuple[Mapping[str, Array], ...], drawing: tuple[int, int]
) -> Against:
    outputs = [given[metric.input] for given in both]
    sign = metric.sign
    values = [metric.score(y, output).value for output in outputs]
    low = high = float("nan")
    if drawing[0]:
        drawn = sign * resample_outputs(metric, y, outputs, *drawing)
        low, high = interval(drawn[:, 0] - drawn[:, 1])
    difference = sign * (values[0] - values[1])
    return {"baseline": name, "metric": metric.name, "difference": difference, "low": low, "high": high}


def constant_answer(task: str, y: Array, metric: Metric, classes: int) -> Array:
    """The answer, the same for every row, that scores best on these rows: what knowing nothing of a row would give."""
    if task == "regression":
        return np.full(len(y), np.median(y) if metric.name == SECOND["regression"] else np.mean(y))
    if task == "classification":
        share = np.bincount(y[y >= 0], minlength=classes) / max(1, int((y >= 0).sum()))
        return np.full(len(y), share.argmax()) if metric.input == "labels" else np.tile(share, (len(y), 1))
    share = y.mean(0)
    if metric.input != "labels":
        return np.tile(share, (len(y), 1))
    tried = [np.tile((share >= t).astype(np.int64), (len(y), 1)) for t in np.unique(share)]
    return max(tried, key=lambda labels: np.nan_to_num(metric.sign * metric.score(y, labels).value, nan=-np.inf))


def _inputs(x: Any) -> Inputs:
    x = np.array(x, dtype=np.float32)
    there = np.isfinite(x)
    mean = np.where(there, x, 0.0).sum(0, dtype=np.float64) / np.maximum(there.sum(0), 1)
    tokens = Tokens.of_vectors(torch.from_numpy(np.where(there, x, mean).astype(np.float32)), torch.ones(len(x)).bool())
    return Inputs({"table": tokens}, {}, {"table": tokens.present})


class AutoGluon(Learner):
    """AutoGluon Tabular over a table's columns and 30 components of each embedding: its preset ``best_quality``, nothing tuned.

    Source: Erickson et al. 2020, AutoGluon-Tabular, arXiv 2003.06505. The papers' own AutoGluon reads text and pictures by
    networks of its own; here it has the features that every other model of the study has.

    Raises:
        MissingDependencyError: the extra ``bench`` is not installed.
        TableError: several labels, which it does not answer.
    """

    def __init__(self, task: str, names: Sequence[str], table: frozenset[str], minutes: float = MINUTES) -> None:
        """Nothing is learned yet; ``minutes`` by the clock of a fit."""
        super().__init__(task, names, table)
        self.minutes, self._package = minutes, need("autogluon.tabular", "bench")
        if task == "multilabel":
            raise TableError("estimator autogluon: it answers one class or one number, not several labels")

    def _try(self, inputs: Inputs, folds: Folds) -> None:
        """It chooses within its fit, on rows that it holds out itself."""

    def _learn(self, inputs: Inputs) -> None:
        few = self.outputs_ == 2 or len(np.unique(self._y)) == 2
        kind = "regression" if self.task == "regression" else "binary" if few else "multiclass"
        metric = "root_mean_squared_error" if self.task == "regression" else "log_loss"
        self._folder = tempfile.TemporaryDirectory(prefix="plait-autogluon-")
        frame = self._frame(inputs, self.names).assign(**{_TARGET: self._y})
        with contextlib.redirect_stdout(io.StringIO()):
            model = self._package.TabularPredictor(
                _TARGET, problem_type=kind, eval_metric=metric, path=self._folder.name, verbosity=0
            )
            # Its own trial of stacking fits in this process first, and leaves the learner fitted where time is short.
            options = {"presets": "best_quality", "time_limit": 60 * self.minutes, "dynamic_stacking": False}
            self._fitted = model.fit(frame, num_cpus=torch.get_num_threads(), **options)

    def outputs(self, inputs: Inputs, present: Sequence[str]) -> Array:
        """Probabilities (n, C) or values (n,); what is absent is null."""
        frame = self._frame(inputs, present)
        if self.task == "regression":
            return np.asarray(self._fitted.predict(frame), np.float64)
        answer = self._fitted.predict_proba(frame, as_multiclass=True)
        result = np.zeros((len(frame), self.outputs_))
        result[:, np.asarray(answer.columns, np.int64)] = answer.to_numpy()
        return result

    def _frame(self, inputs: Inputs, present: Sequence[str]) -> pd.DataFrame:
        parts: dict[str, Any] = {}
        for name in self.names:
            gone = ~(inputs.present[name].numpy() & (name in present))
            if name in inputs.columns:
                columns = inputs.columns[name]
                codes = np.where(gone[:, None], -1, columns.codes.numpy())
                for place, levels in enumerate(columns.levels):
                    parts[f"{name} category {place}"] = pd.Categorical.from_codes(
                        codes[:, place], pd.Index(range(levels))
                    )
                x = columns.numbers.numpy()
            else:
                x = inputs.tokens[name].pooled().numpy()
                x = x @ self._narrow[name] if name in self._narrow else x
            x = np.where(gone[:, None], np.nan, x)
            parts |= {f"{name} {place}": column for place, column in enumerate(x.T)}
        return pd.DataFrame(parts)
