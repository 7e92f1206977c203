"""The target as the tests for leaks see it: what a code per row tells of it, out of fold."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import pandas as pd

from plait.table_parse import numbers
from plait.table_values import items, nulls, texts

#: Score, whether it is far better than knowing nothing, and what to say.
Score = tuple[float, bool, str]

_FEW = 20  # rows, below which nothing can be said
_LABELS = 40  # of several, the most frequent are looked at


@dataclasses.dataclass(frozen=True)
class Target(ABC):
    """The rows that have a target.

    Attributes:
        rows: their positions, ascending.
        words: (n,) the target as text.
        names: per row its classes in lower case.
    """

    task: ClassVar[str]
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

    @abstractmethod
    def predicted_by(self, codes: np.ndarray) -> Score | None:
        """How well a code per row tells the target of rows that it was not counted on."""


def target_of(series: pd.Series, task: str) -> Target | None:
    """The target, or None when too few rows have one."""
    rows = np.flatnonzero(~nulls(series))
    if len(rows) < _FEW:
        return None
    series = series.iloc[rows]
    words = np.array([str(t) for t in texts(series)], dtype=object)
    if task == "regression":
        return _Amount(rows, words, [()] * len(rows), numbers(series).values)
    found = items(series) if task == "multilabel" else [(w,) for w in words]
    names = [tuple(item.lower() for item in row or ()) for row in found]
    if task == "multilabel":
        return _Several(rows, words, names, np.arange(len(rows)))
    return _Class(rows, words, names, pd.factorize(words)[0].astype(np.int64))


def halves(n: int) -> np.ndarray:
    """Two folds (n,) of 0 and 1; the same every time, whatever the order of the table means."""
    return np.random.default_rng(0).permutation(n) % 2


def told_rightly(codes: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Accuracy of each code's most frequent class, counted on the other half of the rows; and of the majority."""
    fold = halves(len(codes))
    right = 0
    majority = int(np.bincount(classes).argmax())
    width = int(classes.max()) + 1
    for part in (0, 1):
        seen = fold != part
        pairs, counts = np.unique((codes[seen] + 1) * width + classes[seen], return_counts=True)
        order = np.lexsort((counts, pairs // width))  # the most frequent class of each code comes last
        levels = pairs[order] // width
        last = np.append(levels[1:] != levels[:-1], True)
        known, best = levels[last], pairs[order][last] % width
        asked = codes[~seen] + 1
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        answer = np.where(known[place] == asked, best[place], majority)
        right += int((answer == classes[~seen]).sum())
    return right / len(codes), float((classes == majority).mean())


def _far_better(score: float, chance: float) -> bool:
    return (1 - score) <= 0.2 * (1 - chance)


class _Class(Target):
    task = "classification"

    def predicted_by(self, codes: np.ndarray) -> Score | None:
        if not self.varied:
            return None
        score, majority = told_rightly(codes, self.values)
        return score, _far_better(score, majority), f"{score:.1%} of held-out rows, the majority class {majority:.1%}"


class _Several(Target):
    task = "multilabel"

    def predicted_by(self, codes: np.ndarray) -> Score | None:
        counts = pd.Series([name for row in self.names for name in row], dtype=object).value_counts()
        best: Score | None = None
        for label in counts.index[:_LABELS]:
            has = np.fromiter((label in row for row in self.names), dtype=np.int64, count=len(self.names))
            if min(has.sum(), len(has) - has.sum()) < _FEW / 2:
                continue
            score, majority = told_rightly(codes, has)
            said = f"whether '{label}' is among it, for {score:.1%} of held-out rows (always the same: {majority:.1%})"
            if _far_better(score, majority) and (best is None or score > best[0]):
                best = score, True, said
        return best


class _Amount(Target):
    task = "regression"

    def predicted_by(self, codes: np.ndarray) -> Score | None:
        kept = np.isfinite(self.values)
        y, codes = self.values[kept], codes[kept] + 1
        spread = float(np.var(y)) if len(y) >= _FEW else 0.0
        if not spread > 0:
            return None
        fold = halves(len(y))
        error = 0.0
        for part in (0, 1):
            seen = fold != part
            count = np.bincount(codes[seen], minlength=int(codes.max()) + 1)
            total = np.bincount(codes[seen], weights=y[seen], minlength=len(count))
            mean = np.where(count > 0, total / np.maximum(count, 1), y[seen].mean())
            error += float(((mean[codes[~seen]] - y[~seen]) ** 2).sum())
        score = max(0.0, 1 - error / (spread * len(y)))
        return score, True, f"it explains {score:.1%} of the variance of held-out rows"
