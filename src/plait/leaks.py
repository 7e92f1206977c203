"""Columns that look like the target in disguise: equal to it, alone enough to predict it, or naming it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from plait.leak_target import Keys, Target, target_of
from plait.schema import Schema
from plait.schema._column import Column
from plait.table._values import items

_ROWS = 20_000  # looked at, spread over the table
_READ = 4_000  # of which texts are read
_SURE = 0.99  # share of rows told rightly, out of fold
_PREFIX = 0.85  # a prefix is told from here on: it need not be exact to be learned
_NAMED = 0.08  # share of cells that name their own class, beyond those that name another row's

Leak = dict[str, Any]
_Told = tuple[str, float, str]  # kind, score, message


def leaks(frame: pd.DataFrame, schema: Schema) -> list[Leak]:
    """What looks like a leak, the surest first.

    Fast and the same every time: at most 20,000 rows are looked at, each column alone, predicted from the other half of
    the rows.

    Returns:
        Records with ``column``, ``kind`` (``equals``, ``predicts``, ``prefix`` or ``names``), ``score`` in [0, 1] and
        ``message``.
    """
    if schema.target is None or schema.target not in frame.columns:
        return []
    target = target_of(frame[schema.target], schema.task)
    if target is None:
        return []
    rows = _spread(target.rows, _ROWS)
    target = target.take(np.searchsorted(target.rows, rows))
    found = []
    for column, tests in _tests(frame, schema):
        looked = Column(frame[column].iloc[rows])
        told = next((leak for test in tests if (leak := test(looked, target)) is not None), None)
        if told is not None:
            kind, score, said = told
            advice = {
                "prefix": "it is left out; keep it so",
                "names": "mask the names unless they are known when predicting",
            }
            message = f"column '{column}' {said}; {advice.get(kind, 'leave it out unless it is known when predicting')}"
            found.append({"column": column, "kind": kind, "score": round(score, 4), "message": message})
    return sorted(found, key=lambda leak: (-leak["score"], leak["column"]))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _tests(frame: pd.DataFrame, schema: Schema) -> Iterator[tuple[str, list[Callable[[Column, Target], _Told | None]]]]:
    """Which tests a column gets."""
    for modality in schema.modalities:
        for column in modality.columns:
            if column in frame.columns and modality.kind in ("text", "code", "tabular"):
                yield column, [equals, predicts, names]
    for column, reason in schema.ignored.items():
        if column in frame.columns and "identifier" in reason:
            yield column, [prefix]


def equals(column: Column, target: Target) -> _Told | None:
    """The column says what the target says."""
    share = float((column.texts == target.words).mean())
    return (
        ("equals", share, f"equals the target in {share:.1%} of the rows") if share >= _SURE and target.varied else None
    )


def predicts(column: Column, target: Target) -> _Told | None:
    """The column alone, as a table of its values, predicts the target out of fold."""
    told = target.predicted_by(keys_of(column))
    if told is None or told[0] < _SURE or not told[1]:
        return None
    return "predicts", told[0], f"alone predicts the target: {told[2]}"


def keys_of(column: Column) -> Keys:
    """The distinct values of a column, with their numbers where it holds numbers."""
    parsed = column.numbers
    if parsed.share < 0.99:
        return Keys(np.asarray(pd.factorize(pd.Series(column.texts, dtype=object))[0], dtype=np.int64))
    there = np.isfinite(parsed.values)
    codes = np.full(len(column.series), -1, dtype=np.int64)
    places, codes[there] = np.unique(parsed.values[there], return_inverse=True)
    return Keys(codes, places)


def prefix(column: Column, target: Target) -> _Told | None:
    """The beginning of an identifier tells the target."""
    words = pd.Series(column.texts, dtype=object).fillna("").astype(str)
    best: _Told | None = None
    for pattern in (r"^([^\W\d_]+)", r"^([^_\-./:# ]+)"):
        starts = words.str.extract(pattern, expand=False)
        told = target.predicted_by(Keys(np.asarray(pd.factorize(starts)[0], dtype=np.int64)))
        if told is not None and told[0] >= _PREFIX and told[1] and (best is None or told[0] > best[1]):
            example = next(iter(starts.dropna()), "")
            best = "prefix", told[0], f"tells the target by its beginning (as {example!r}): {told[2]}"
    return best


def names(column: Column, target: Target) -> _Told | None:
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
    found = [set(pattern.findall(" | ".join(cell).lower())) if cell else set() for cell in cells]
    other = np.random.default_rng(0).permutation(len(rows))
    own = float(np.mean([bool(f & set(labels[i])) for i, f in enumerate(found)]))
    chance = float(np.mean([bool(f & set(labels[j])) for f, j in zip(found, other, strict=True)]))
    if own - chance < _NAMED or (own < 2 * chance and own - chance < 0.25):
        return None
    return "names", own, f"names the row's own class in {own:.0%} of the rows (another row's in {chance:.0%})"
