"""Columns that look like the target in disguise: equal to it, alone enough to predict it, adding up to it, or naming it."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from plait.base import errors
from plait.data.column import Column
from plait.data.dropped import is_dropped
from plait.data.modality import Schema
from plait.data.parse import number_style, numbers
from plait.data.values import items, nulls, object_array, texts

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


_ROWS = 20_000  # looked at, spread over the table
_READ = 4_000  # of which texts are read
_SURE = 0.99  # share of rows that are predicted rightly, out of fold
_PREFIX = 0.85  # a prefix is reported from here on: it need not be exact to be learned
_ORDERED = 0.999  # rank correlation with a target that is a number
_SUMMED = 0.9999  # share of the variance that a weighted sum of columns explains, out of fold
_MOST_SUMMED = 200  # columns that are looked at together
_NAMED = 0.08  # share of cells that name their own class, beyond those that name another row's

_KNOWN = "known when predicting"
_MASK = f"mask the names unless they are {_KNOWN}"

Leak = dict[str, Any]
Finding = tuple[str, float, str]  # kind, score, message


def leaks(frame: pd.DataFrame, schema: Schema) -> list[Leak]:
    """What looks like a leak, the surest first.

    Fast and the same every time: at most 20,000 rows are looked at, each column alone, predicted from the other half of
    the rows.

    Returns:
        Records with ``column``, ``kind`` (``equals``, ``predicts``, ``orders``, ``sum``, ``prefix`` or ``names``), ``score`` in
        [0, 1] and ``message``; of a ``sum`` the columns are joined by `` + ``.
    """
    if schema.target is None or schema.target not in frame.columns:
        return []
    target = target_of(frame[schema.target], schema.task)
    if target is None:
        return []
    rows = _spread(target.rows, _ROWS)
    target = target.take(np.searchsorted(target.rows, rows))
    result = []
    for column, tests in _tests(frame, schema):
        looked = Column(frame[column].iloc[rows])
        value = next((leak for test in tests if (leak := test(looked, target)) is not None), None)
        if value is not None:
            kind, score, said = value
            advice = _MASK if kind == "names" else f"leave it out ({_dropping([column])}) unless it is {_KNOWN}"
            advice = "it is left out; keep it so" if column in schema.ignored else advice
            message = f"column '{column}' {said}; {advice}"
            result.append({"column": column, "kind": kind, "score": round(score, 4), "message": message})
    numeric = [c for m in schema.modalities if m.kind == "tabular" for c in m.columns if c in frame.columns]
    alone = {leak["column"] for leak in result if leak["kind"] in ("equals", "predicts")}
    summed = sums(frame.iloc[rows], [c for c in numeric if c not in alone], target)
    return sorted([*result, *summed], key=lambda leak: (-leak["score"], leak["column"]))


def of_target(frame: pd.DataFrame, schema: Schema, target: Sequence[object] | np.ndarray, task: str) -> list[Leak]:
    """Find leaks of a target that is not a column of the table."""
    name = next(n for n in ("y", "target", "\0y") if n not in frame.columns)
    column = pd.Series(
        object_array(target) if task != "regression" else np.asarray(target), index=frame.index, name=name
    )
    return leaks(pd.concat([frame, column], axis=1), dataclasses.replace(schema, target=name, task=task))


def warn(result: Sequence[Leak]) -> None:
    """One warning of all that was found."""
    if result:
        values = [str(leak["message"]) for leak in result[:5]]
        after = [*values[1:], ""]  # the same advice for one column after the other is given once
        text = "; ".join(
            m.removesuffix(f"; {_MASK}") if n.endswith(_MASK) else m for m, n in zip(values, after, strict=True)
        )
        more = f"; and {len(result) - 5} more" if len(result) > 5 else ""
        errors.warn(f"{text}{more}")


def _dropping(columns: Sequence[str]) -> str:
    """The option that leaves columns out."""
    return shlex.join(part for column in columns for part in ("--drop", column))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _tests(
    frame: pd.DataFrame, schema: Schema
) -> Iterator[tuple[str, list[Callable[[Column, Target], Finding | None]]]]:
    """Which tests a column gets."""
    for modality in schema.modalities:
        for column in modality.columns:
            if column in frame.columns and modality.kind in ("text", "code", "tabular"):
                yield column, [equals, predicts, orders, names]
    for column, reason in schema.ignored.items():
        if column in frame.columns and "identifier" in reason and not is_dropped(schema, column):
            yield column, [prefix, orders]


def equals(column: Column, target: Target) -> Finding | None:
    """The column says what the target says."""
    share = float((column.texts == target.words).mean())
    return (
        ("equals", share, f"equals the target in {share:.1%} of the rows") if share >= _SURE and target.varied else None
    )


def predicts(column: Column, target: Target) -> Finding | None:
    """The column alone, as a table of its values, predicts the target out of fold."""
    value = target.predicted_by(keys_of(column))
    if value is None or value[0] < _SURE or not value[1]:
        return None
    return "predicts", value[0], f"alone predicts the target: {value[2]}"


def keys_of(column: Column) -> Keys:
    """The distinct values of a column, with their numbers where it holds numbers."""
    parsed = column.numbers
    if parsed.share < 0.99:
        return Keys(np.asarray(pd.factorize(pd.Series(column.texts, dtype=object))[0], dtype=np.int64))
    there = np.isfinite(parsed.values)
    codes = np.full(len(column.series), -1, dtype=np.int64)
    places, codes[there] = np.unique(parsed.values[there], return_inverse=True)
    return Keys(codes, places)


def orders(column: Column, target: Target) -> Finding | None:
    """The column is in the order of a target that is a number, as a rank is."""
    if target.task != "regression" or column.numbers.share < 0.99:
        return None
    values = column.numbers.values
    kept = np.isfinite(values) & np.isfinite(target.values)
    if len(np.unique(values[kept])) < 20 or len(np.unique(target.values[kept])) < 20:
        return None
    a, b = (rankdata(v[kept], method="average") for v in (values, target.values))
    score = abs(float(np.corrcoef(a, b)[0, 1]))
    said = f"is in the order of the target (rank correlation {score:.4f})"
    return ("orders", score, said) if score >= _ORDERED else None


def sums(frame: pd.DataFrame, columns: Sequence[str], target: Target) -> list[Leak]:
    """Columns of numbers of which a weighted sum is the target, none of them alone."""
    y = _amounts(target)
    if y is None:
        return []
    named = [(c, parsed.values) for c in columns if (parsed := Column(frame[c]).numbers).share >= 0.99]
    named = [(c, np.nan_to_num(v)) for c, v in named if np.nanstd(v) > 0][:_MOST_SUMMED]
    if len(named) < 2 or len(named) > len(y) // 4:
        return []
    x = np.stack([v for _, v in named], axis=1)
    scaled = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    fold = halves(len(y))
    weights = np.linalg.lstsq(scaled[fold == 0], y[fold == 0], rcond=None)[0]
    error = y[fold == 1] - scaled[fold == 1] @ weights
    score = 1 - float(np.mean(error**2) / np.var(y[fold == 1])) if np.var(y[fold == 1]) > 0 else 0.0
    exact = float((np.abs(error) <= 1e-6 * y.std()).mean())
    parts = np.flatnonzero(np.abs(weights[:-1]) > 0.01 * y.std())
    if len(parts) < 2 or (score < _SUMMED if target.task == "regression" else exact < _SURE):
        return []
    names = [named[i][0] for i in parts[np.argsort(-np.abs(weights[parts]))]]
    shown = ", ".join(f"'{name}'" for name in names[:6]) + (", ..." if len(names) > 6 else "")
    message = (
        f"columns {shown} add up to the target: their weighted sum explains {min(score, 1.0):.2%} of the variance of held-out "
        f"rows; leave them out ({_dropping(names[:6])}{' ...' if len(names) > 6 else ''}) unless they are {_KNOWN}"
    )
    return [{"column": " + ".join(names), "kind": "sum", "score": round(min(score, 1.0), 4), "message": message}]


def _amounts(target: Target) -> np.ndarray | None:
    """The target as finite numbers (n,), also where numbers are classes."""
    if target.task == "multilabel" or not target.varied:
        return None
    try:
        y = np.asarray(target.values if target.task == "regression" else target.words, dtype=np.float64)
    except ValueError:
        return None
    return y if np.isfinite(y).all() else None


def prefix(column: Column, target: Target) -> Finding | None:
    """The beginning of an identifier tells the target."""
    words = pd.Series(column.texts, dtype=object).fillna("").astype(str)
    best: Finding | None = None
    for pattern in (r"^([^\W\d_]+)", r"^([^_\-./:# ]+)"):
        starts = words.str.extract(pattern, expand=False)
        value = target.predicted_by(Keys(np.asarray(pd.factorize(starts)[0], dtype=np.int64)))
        if value is not None and value[0] >= _PREFIX and value[1] and (best is None or value[0] > best[1]):
            example = next(iter(starts.dropna()), "")
            best = "prefix", value[0], f"tells the target by its beginning (as {example!r}): {value[2]}"
    return best


def names(column: Column, target: Target) -> Finding | None:
    """Cells that hold the name of their own class, far more often than the name of another row's."""
    if target.task == "regression" or column.numbers.share >= 0.99:
        return None
    rows = _spread(np.arange(len(column.series)), _READ)
    labels = [tuple(n for n in target.names[i] if re.search(r"[^\W\d_]{3}", n)) for i in rows]
    known = sorted({name for row in labels for name in row}, key=lambda n: (-len(n), n))
    if len(known) < 2:
        return None
    pattern = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, known)) + r")(?!\w)")
    cells = items(column.series.iloc[rows])
    result = [set(pattern.findall(" | ".join(cell).lower())) if cell else set() for cell in cells]
    other = np.random.default_rng(0).permutation(len(rows))
    own = float(np.mean([bool(f & set(labels[i])) for i, f in enumerate(result)]))
    chance = float(np.mean([bool(f & set(labels[j])) for f, j in zip(result, other, strict=True)]))
    if own - chance < _NAMED or (own < 2 * chance and own - chance < 0.25):
        return None
    return "names", own, f"names the row's own class in {own:.0%} of the rows (another row's in {chance:.0%})"
