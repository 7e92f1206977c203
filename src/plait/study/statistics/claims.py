"""What papers say beside what this study finds: held, not held, or not decidable."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from plait.metrics.base import Metric
from plait.study.results import Results
from plait.study.statistics.compare import best_of
from plait.study.statistics.comparison import Comparison, compare_parts
from plait.study.statistics.paired import holm
from plait.study.statistics.scores import datasets, first, headline, metric_of, scores
from plait.study.statistics.summary import RESAMPLES, Resampler, Summary, summary
from plait.study.statistics.verdicts import BETTER, EQUIVALENT, OPEN, SAME, WORSE, default_margin, reaches

#: Of the table of claims.
COLUMNS = (
    *("kind", "text", "where", "their_data", "our_data", "metric", "theirs", "ours", "low", "high"),
    *("verdict", "reason"),
)
HELD, NOT_HELD, UNDECIDABLE = "held", "not held", "not decidable"


@dataclass(frozen=True)
class _Ours:
    """A claim with what this study has in its place."""

    claim: Any
    dataset: str
    same_data: bool
    metric: Metric
    label: str
    part: pd.DataFrame
    summary: Summary


def check_claims(results: Results, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Hold every claim of the study file against what was measured.

    A *value* is held where our whole 95 % interval lies at or above it (but for the margin of ``default_margin``), not held
    where it lies below, and not decidable in between, with one seed, or where the paper's data are other data than ours:
    then both numbers stand side by side, each with its data set, and nothing follows. An *order* of two claims of one paper
    (same metric, same data) can be held on other data too: where the paper has one above the other, ours is better; where
    the paper has them level, ours are equivalent. The orders' p-values are corrected by Holm.

    Returns:
        One row per claim and data set, orders after values: kind, text, where, their_data, our_data, metric, theirs, ours,
        low, high, verdict, reason. Empty without claims.
    """
    records: list[dict[str, Any]] = []
    for dataset in datasets(results):
        ours, resamplers = _ours(results, dataset, resamples, seed)
        records += [_value(value) for value in ours if value.claim.value is not None]
        pairs = list(_ordered(ours))
        result = [compare_parts(a.part, b.part, a.metric, resamplers[a.metric.name]) for a, b in pairs]
        adjusted = holm(np.array([value.test.p for value in result]))
        records += [_order(a, b, value, float(p)) for (a, b), value, p in zip(pairs, result, adjusted, strict=True)]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    return frame.sort_values("kind", ascending=False, kind="stable", ignore_index=True)


def _ours(results: Results, dataset: str, resamples: int, seed: int) -> tuple[list[_Ours], dict[str, Resampler]]:
    """Every claim that this data set can stand for, with its runs, and a resampler per metric."""
    result: list[_Ours] = []
    resamplers: dict[str, Resampler] = {}
    known = datasets(results)
    for claim in results.spec.claims:
        same = claim.data is None or claim.data in (dataset, dataset.rpartition("/")[0])
        meant = any(claim.data in (name, name.rpartition("/")[0]) for name in known)  # one of ours, but not this one
        frame = results.frame
        if (meant and not same) or claim.metric not in set(frame.loc[frame["dataset"] == dataset, "metric"]):
            continue
        metric = metric_of(results, dataset, claim.metric)
        table = scores(results, dataset, metric.name)
        part, label = _part(table, claim, metric)
        if part.empty:
            continue
        if metric.name not in resamplers:
            resamplers[metric.name] = Resampler(results, table, metric, resamples=resamples, seed=seed)
        value = summary(part, metric, resamplers[metric.name])
        result.append(_Ours(claim, dataset, same, metric, label, part, value))
    return result, resamplers


def _part(table: pd.DataFrame, claim: Any, metric: Metric) -> tuple[pd.DataFrame, str]:
    """The rows of ``scores`` that a claim is about; without a variant the best one is meant."""
    subset = "+".join(claim.subset) if claim.subset else None
    mine = table[table["subset"].map(_unordered) == _unordered(subset)] if subset else table
    if not subset:
        mine = mine[mine["subset"] == headline(table)["subset"].iloc[0]] if len(headline(table)) else mine[:0]
    condition = claim.condition or first(table["condition"])
    mine = mine[(mine["condition"] == condition) & (mine["present"] == mine["subset"])]
    if mine.empty:
        return mine, ""
    label = claim.variant or best_of(mine, "label", metric)
    return mine[mine["label"] == label], label


def _unordered(subset: str | None) -> frozenset[str]:
    return frozenset(str(subset).split("+"))


def _text(value: _Ours) -> str:
    parts = [value.label] + (["+".join(value.claim.subset)] if value.claim.subset else [])
    return value.claim.text or ", ".join([*parts, *([value.claim.condition] if value.claim.condition else [])])


def _value(value: _Ours) -> dict[str, object]:
    """A claimed number beside ours."""
    stated, ends = value.claim.value, (value.summary.low, value.summary.high)
    if not value.same_data:
        verdict, reason = UNDECIDABLE, "other data"
    elif value.summary.seeds < 2 or math.isnan(min(ends)):
        verdict, reason = UNDECIDABLE, f"{value.summary.seeds} seed" + "s" * (value.summary.seeds != 1)
    else:
        margin, higher = default_margin(value.metric, stated), value.metric.direction == "higher"
        held, reason = reaches(stated, ends, margin, higher=higher)
        verdict = {True: HELD, False: NOT_HELD, None: UNDECIDABLE}[held]
    ours = (value.summary.mean, *ends)
    return _record(value, ("value", _text(value)), (value.claim.value, *ours), (verdict, reason))


def _record(of: _Ours, what: tuple[str, str], numbers: tuple[float, ...], said: tuple[str, str]) -> dict[str, object]:
    claim = of.claim
    values = (*what, claim.where, claim.data or of.dataset, of.dataset, of.metric.name, *numbers, *said)
    return dict(zip(COLUMNS, values, strict=True))


def _ordered(ours: list[_Ours]) -> Iterator[tuple[_Ours, _Ours]]:
    """Neighbours in a paper's order, the better one first, within one metric and data set."""
    groups: dict[Any, list[_Ours]] = {}
    for value in ours:
        if value.claim.value is not None:
            groups.setdefault((value.metric.name, value.claim.data), []).append(value)
    for group in groups.values():
        higher = group[0].metric.direction == "higher"
        for a, b in pairwise(sorted(group, key=lambda t: t.claim.value, reverse=higher)):
            if list(a.part["run"]) != list(b.part["run"]) or not a.part["condition"].equals(b.part["condition"]):
                yield a, b


def _order(a: _Ours, b: _Ours, comparison: Comparison, p: float) -> dict[str, object]:
    """The paper has a above b, or both level; do we?"""
    theirs = a.claim.value - b.claim.value
    result = comparison.verdict(p)
    level = abs(theirs) <= default_margin(a.metric, b.claim.value)
    if result == OPEN:
        verdict = UNDECIDABLE
    elif level:
        verdict = HELD if result in (EQUIVALENT, SAME) else NOT_HELD
    else:
        verdict = {BETTER: HELD, WORSE: NOT_HELD}.get(result, NOT_HELD)
    text = f"{_text(a)} {'level with' if level else 'better than'} {_text(b)}"
    test, reason = comparison.test, f"ours is {comparison.words(p)}"
    return _record(a, ("order", text), (theirs, test.value, test.low, test.high), (verdict, reason))
