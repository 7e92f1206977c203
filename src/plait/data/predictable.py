"""How well one column alone tells a target of rows that it was not counted on: out of two halves, the same every time."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd

from plait.data.parse import number_style, numbers
from plait.data.values import items, nulls, texts

#: Score, whether it is far better than knowing nothing, and what to say.
Score = tuple[float, bool, str]

_FEW = 20  # rows, below which nothing can be said
_LABELS = 40  # of several, the most frequent are looked at


@dataclasses.dataclass(frozen=True)
class Target:
    """The rows that have a target.

    Attributes:
        task: ``classification``, ``multilabel`` or ``regression``.
        rows: their positions, ascending.
        words: (n,) the target as text.
        names: per row its classes in lower case.
    """

    task: str
    rows: np.ndarray
    words: np.ndarray
    names: list[tuple[str, ...]]
    values: np.ndarray

    @property
    def varied(self) -> bool:
        """Whether the target has more than one value."""
        return len(set(self.words)) > 1

    def take(self, at: np.ndarray) -> Target:
        """Some of the rows."""
        names = [self.names[i] for i in at]
        return dataclasses.replace(self, rows=self.rows[at], words=self.words[at], names=names, values=self.values[at])

    def predicted_by(self, keys: Keys) -> Score | None:
        """How well a column tells the target of rows that it was not counted on."""
        return _TOLD[self.task](self, keys)


def target_of(series: pd.Series, task: str) -> Target | None:
    """The target, or None when too few rows have one."""
    rows = np.flatnonzero(~nulls(series))
    if len(rows) < _FEW:
        return None
    series = series.iloc[rows]
    words = np.array([str(t) for t in texts(series)], dtype=object)
    if task == "regression":
        return Target(task, rows, words, [()] * len(rows), numbers(series, number_style(series)).values)
    result = items(series) if task == "multilabel" else [(w,) for w in words]
    names = [tuple(item.lower() for item in row or ()) for row in result]
    if task == "multilabel":
        return Target(task, rows, words, names, np.arange(len(rows)))
    return Target(task, rows, words, names, pd.factorize(words)[0].astype(np.int64))


def halves(n: int) -> np.ndarray:
    """Two folds (n,) of 0 and 1; the same every time, whatever the order of the table means."""
    return np.random.default_rng(0).permutation(n) % 2


@dataclasses.dataclass(frozen=True)
class Keys:
    """A column as what is counted on.

    Attributes:
        codes: (n,) the distinct value of each row, ascending where there is an order; -1 where it is empty.
        places: (K,) the number behind each code; None where values have no order.
    """

    codes: np.ndarray
    places: np.ndarray | None = None

    def nearest(self, known: np.ndarray, requested: np.ndarray) -> np.ndarray:
        """Place in ``known`` (codes, ascending) of each code asked for (m,); -1 where there is nothing like it."""
        at = np.minimum(np.searchsorted(known, requested), len(known) - 1)
        result = np.where(known[at] == requested, at, -1)
        first = int(np.searchsorted(known, 0))
        if self.places is None or first == len(known):
            return result
        there = self.places[known[first:]]
        wanted = self.places[np.maximum(requested, 0)]
        right = np.clip(np.searchsorted(there, wanted), 1, max(1, len(there) - 1)) % len(there)
        closer = np.where(wanted - there[right - 1] <= there[right] - wanted, right - 1, right) % len(there)
        return np.where(requested < 0, result, first + closer)


def accuracy(keys: Keys, classes: np.ndarray) -> tuple[float, float]:
    """Accuracy of the most frequent class of the nearest value in the other half of the rows; and of the majority."""
    fold = halves(len(classes))
    right = 0
    majority = int(np.bincount(classes).argmax())
    width = int(classes.max()) + 1
    for part in (0, 1):
        seen = fold != part
        pairs, counts = np.unique((keys.codes[seen] + 1) * width + classes[seen], return_counts=True)
        order = np.lexsort((counts, pairs // width))  # the most frequent class of each code comes last
        levels = pairs[order] // width - 1
        last = np.append(levels[1:] != levels[:-1], True)
        best = pairs[order][last] % width
        at = keys.nearest(levels[last], keys.codes[~seen])
        right += int((np.where(at < 0, majority, best[at]) == classes[~seen]).sum())
    return right / len(classes), float((classes == majority).mean())


def accuracies(keys: Keys, has: np.ndarray) -> np.ndarray:
    """Accuracy for each of several labels (L,), as ``accuracy`` has it; ``has`` is (n, L) of 0 and 1."""
    fold = halves(len(has))
    right = np.zeros(has.shape[1])
    for part in (0, 1):
        seen = fold != part
        known, code = np.unique(keys.codes[seen], return_inverse=True)
        at = keys.nearest(known, keys.codes[~seen])
        for label, column in enumerate(has.T):
            often = np.bincount(code, weights=column[seen]) * 2 > np.bincount(code)
            guess = np.where(at < 0, column[seen].mean() > 0.5, often[at])
            right[label] += (guess == column[~seen]).sum()
    return right / len(has)


def explained(keys: Keys, y: np.ndarray) -> float:
    """Share of the variance explained by the mean of each value in the other half, on the line between values."""
    fold = halves(len(y))
    error = 0.0
    for part in (0, 1):
        seen = fold != part
        known, code = np.unique(keys.codes[seen], return_inverse=True)
        mean = np.bincount(code, weights=y[seen]) / np.bincount(code)
        requested = keys.codes[~seen]
        at = keys.nearest(known, requested)
        answer = np.where(at < 0, y[seen].mean(), mean[at])
        line = known >= 0
        if keys.places is not None and line.any():
            between = np.interp(keys.places[np.maximum(requested, 0)], keys.places[known[line]], mean[line])
            answer = np.where(requested < 0, answer, between)
        error += float(((answer - y[~seen]) ** 2).sum())
    return max(0.0, 1 - error / (float(np.var(y)) * len(y)))


def _far_better(score: float, chance: float) -> bool:
    return (1 - score) <= 0.2 * (1 - chance)


def _class_told(target: Target, keys: Keys) -> Score | None:
    if not target.varied:
        return None
    score, majority = accuracy(keys, target.values)
    return score, _far_better(score, majority), f"{score:.1%} of held-out rows, the majority class {majority:.1%}"


def _labels_told(target: Target, keys: Keys) -> Score | None:
    counts = Counter(name for row in target.names for name in row)
    least = _FEW / 2
    labels = [n for n, c in counts.most_common(_LABELS) if least <= c <= len(target.names) - least]
    if not labels:
        return None
    has = np.array([[label in row for label in labels] for row in target.names], dtype=np.int64)
    scores, share = accuracies(keys, has), has.mean(0)
    chance = np.maximum(share, 1 - share)
    best = int(np.argmax((scores - chance) / (1 - chance)))  # the one that gains most on knowing nothing
    score = float(scores[best])
    said = f"whether '{labels[best]}' is among it, for {score:.1%} of held-out rows (guessed: {chance[best]:.1%})"
    return score, _far_better(score, float(chance[best])), said


def _number_told(target: Target, keys: Keys) -> Score | None:
    kept = np.isfinite(target.values)
    y = target.values[kept]
    if len(y) < _FEW or not float(np.var(y)) > 0:
        return None
    score = explained(Keys(keys.codes[kept], keys.places), y)
    return score, True, f"it explains {score:.1%} of the variance of held-out rows"


_TOLD = {"classification": _class_told, "multilabel": _labels_told, "regression": _number_told}
