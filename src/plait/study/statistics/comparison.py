"""Two groups of runs, paired by seed and split."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from pandas import DataFrame

from plait.metrics.base import Metric
from plait.study.statistics import verdicts
from plait.study.statistics.paired import (
    TIED,
    Difference,
    cliffs_delta,
    cohens_d,
    crossed_t,
    least_p,
    mcnemar,
    permutation,
    resampled_t,
    wilcoxon,
)
from plait.study.statistics.summary import CONSTANT, Resampler, drawn_by, unit
from plait.study.statistics.verdicts import default_margin, seeds_needed, tost

SHARED, RESAMPLED = "same test rows", "resampled rows"
#: What a constant answer is called, by task.
CONSTANTS = {"classification": "majority", "multilabel": "most frequent labels", "regression": "mean"}
#: Differing rows that a share of rows can hide behind none seen, at 0.05: the rule of three.
UNSEEN = 3.0


@dataclass(frozen=True)
class Comparison:
    """One group of runs against another, on the seeds and splits that both have.

    Attributes:
        test: the difference (first less second) and its test: what decides.
        gain: the difference, turned so that above 0 is better.
        design: ``same test rows`` (test: ``crossed_t``) or ``resampled rows`` (test: ``resampled_t``).
        seeds: that both have.
        splits: of each seed.
        equivalence: p of the two one-sided tests.
        wilcoxon: p of the signed-rank test over seeds.
        permutation: p of the paired permutation test over seeds.
        least_p: the smallest p that those two can reach here.
        mcnemar: median over seeds of McNemar's p; NaN where it does not apply.
        needed: seeds that this difference would need; None: no number.
        identical: every pair gave the same value.
        above: whether the first, and the reference, is better than a constant answer; None: not known.
        rows: different test rows.
        least_rows: that equal scores would need before they mean anything.
        kept: predictions of all runs are in the folder.
    """

    test: Difference
    gain: float
    design: str
    seeds: int
    splits: int
    margin: float
    equivalence: float
    d: float
    delta: float
    wilcoxon: float
    permutation: float
    least_p: float
    mcnemar: float
    needed: int | None
    identical: bool
    above: tuple[bool | None, bool | None] = (True, True)
    constant: str = CONSTANTS["classification"]
    rows: int = sys.maxsize
    least_rows: int = verdicts.LEAST_ROWS
    kept: bool = True

    @property
    def at_chance(self) -> bool:
        """Neither side is better than a constant answer."""
        return self.above == (False, False)

    def verdict(self, p: float | None = None) -> str:
        """See ``verdict`` in words.py; with the corrected p where there are several comparisons."""
        p = self.test.p if p is None else p
        informed = not self.at_chance and self.rows >= verdicts.LEAST_ROWS
        comparable = self.above == (True, True) and self.test.pairs >= verdicts.LEAST_SEEDS
        comparable &= self.rows >= (verdicts.LEAST_ROWS if self.identical else self.least_rows)
        options = {"identical": self.identical, "informed": informed, "comparable": comparable}
        return verdicts.verdict(p, self.equivalence, self.gain, **options)

    def words(self, p: float | None = None) -> str:
        """The verdict in words."""
        p = self.test.p if p is None else p
        verdict, why = self.verdict(p), self._why(p)
        if verdict == verdicts.OPEN and why:
            return why
        shown = {name: getattr(self, name) for name in ("d", "margin", "equivalence", "seeds", "splits")}
        return verdicts.in_words(verdict, p=p, **shown, needed=self.needed if self.seeds > 1 else 0)

    def _why(self, p: float) -> str:
        """Why nothing is decided where the scores alone would have decided; empty where they would not."""
        if self.at_chance:
            return f"both no better than the {self.constant}; not decided"
        value = verdicts.verdict(p, self.equivalence, self.gain, identical=self.identical)
        if value == verdicts.OPEN:
            return ""
        least = self.least_rows if value == verdicts.EQUIVALENT else verdicts.LEAST_ROWS
        if value in (verdicts.BETTER, verdicts.WORSE):
            return f"not decided with {self.rows} test rows (at least {least} would be needed)"
        if False in self.above:
            return f"one no better than the {self.constant}; not decided"
        if None in self.above:
            what = f"whether both are better than the {self.constant}"
            if self.kept:
                return f"not decided: these runs do not tell {what}; add seeds, or choose another metric"
            return f"not decided: runs/*/predictions.npz are missing, which tell {what}; put them back, or run it in a new folder"
        if self.rows < least:
            return f"not decided with {self.rows} test rows (at least {least} would be needed)"
        return f"not decided with {self.test.pairs} pairs (at least {verdicts.LEAST_SEEDS} would be needed)"


def compare_parts(one: DataFrame, other: DataFrame, metric: Metric, resampler: Resampler | None = None) -> Comparison:
    """Compare rows of ``scores`` that differ by seed and split only with others of their data set."""
    margin = default_margin(metric, float(other["value"].mean()))
    return compare_pairs(paired(one, other), metric, resampler, margin)


def compare_pairs(
    pairs: DataFrame, metric: Metric, resampler: Resampler | None, margin: float, least_variance: float = 0.0
) -> Comparison:
    """The same for rows that are paired already; see ``family_variance`` for the least variance."""
    differences = pairs["difference"].to_numpy()
    design = _design(pairs, resampler)
    test = _test(design, pairs, resampler, least_variance)
    by_seed = pairs.groupby(unit(pairs) if len(pairs) else "seed")["difference"].mean()
    opposite = pairs.assign(**{name: pairs[f"{name}_other"] for name in ("run", "evaluation", "value")})
    values, others = pairs["value"].to_numpy(), pairs["value_other"].to_numpy()
    countable = math.isfinite(metric.range[1])
    return Comparison(
        test=test,
        gain=metric.sign * test.value,
        design=design,
        seeds=pairs["seed"].nunique(),
        splits=pairs["split"].nunique(),
        margin=margin,
        equivalence=tost(test, margin),
        d=cohens_d(differences),
        delta=cliffs_delta(values, others),
        wilcoxon=wilcoxon(by_seed.to_numpy()),
        permutation=permutation(by_seed.to_numpy()),
        least_p=least_p(len(by_seed)),
        mcnemar=_mcnemar(pairs, resampler),
        needed=_needed(test, pairs),
        identical=len(pairs) > 1 and bool(np.all(np.abs(differences) <= TIED * np.maximum(np.abs(values), 1e-300))),
        above=(better_than_constant(pairs, metric, resampler), better_than_constant(opposite, metric, resampler)),
        constant=CONSTANTS[metric.task],
        rows=_different_rows(pairs, resampler),
        kept=all(rows is not None for rows in _rows_of(pairs, resampler)),
        least_rows=max(verdicts.LEAST_ROWS, math.ceil(UNSEEN / margin - TIED) if countable else 0),
    )


def better_than_constant(part: DataFrame, metric: Metric, resampler: Resampler | None) -> bool | None:
    """Whether rows of ``scores`` are proven better than the best constant answer to their test rows, by the paired test.

    None where it is not known: predictions that were not kept, or a single run.
    """
    constants = [None if resampler is None else resampler.constant(str(run)) for run in part["run"]]
    known = np.array([value for value in constants if value is not None])
    if not len(known) or len(known) < len(constants):
        return None
    gaps = part["value"].to_numpy() - known
    options = {"run_other": part["run"], "evaluation_other": CONSTANT, "value_other": known, "difference": gaps}
    pairs = part.assign(**options)
    test = _test(_design(pairs, resampler), pairs, resampler, 0.0)
    gain = metric.sign * test.value
    return None if math.isnan(test.p) else bool(gain > 0 and test.p < verdicts.ALPHA)


def _rows_of(pairs: DataFrame, resampler: Resampler | None) -> list[np.ndarray | None]:
    """Test rows of each pair; None where predictions are not kept."""
    return [None if resampler is None else resampler.rows(str(run)) for run in pairs["run"]]


def _different_rows(pairs: DataFrame, resampler: Resampler | None) -> int:
    """Test rows that any pair was judged on, each once; those of one seed where they are not kept."""
    rows = _rows_of(pairs, resampler)
    known = [result for result in rows if result is not None]
    if known and len(known) == len(rows):
        return len(np.unique(np.concatenate(known)))
    value = pairs.groupby("seed")["test_rows"].sum()
    return sys.maxsize if value.empty or value.isna().any() else int(value.max())


def paired(one: DataFrame, other: DataFrame) -> DataFrame:
    """The seeds and splits that both have, one row each, in order; the other's columns end in ``_other``."""
    keys = (zip(part["seed"].tolist(), part["split"].tolist(), strict=True) for part in (one, other))
    mine, theirs = ({key: place for place, key in enumerate(places)} for places in keys)
    both = sorted(mine.keys() & theirs.keys())
    there = other.iloc[[theirs[key] for key in both]]
    pairs = one.iloc[[mine[key] for key in both]].reset_index(drop=True)
    options = {f"{column}_other": there[column].to_numpy() for column in ("run", "evaluation", "value")}
    return pairs.assign(**options, difference=pairs["value"].to_numpy() - options["value_other"])


def _design(pairs: DataFrame, resampler: Resampler | None) -> str:
    """Whether all runs are judged on the same rows; where that is not known, no."""
    rows = [resampler.rows(str(run)) for run in pairs["run"]] if resampler is not None else [None]
    same = all(r is not None and rows[0] is not None and np.array_equal(np.sort(r), np.sort(rows[0])) for r in rows)
    return SHARED if len(rows) and same else RESAMPLED


def _test(design: str, pairs: DataFrame, resampler: Resampler | None, least_variance: float) -> Difference:
    differences = pairs["difference"].to_numpy()
    if design == RESAMPLED or resampler is None:
        return resampled_t(differences, _ratio(pairs), least_variance)
    mine = pairs[["seed", "split", "run", "evaluation", "value"]]
    theirs = pairs[["seed", "split", "run_other", "evaluation_other", "value_other"]].set_axis(mine.columns, axis=1)
    column = unit(pairs)
    drawn, drawn_other = drawn_by(mine, column, resampler), drawn_by(theirs, column, resampler)
    if drawn is None or drawn_other is None:
        return resampled_t(differences, _ratio(pairs), least_variance)
    mean = np.mean([drawn[key] - drawn_other[key] for key in drawn], axis=0)
    rows = resampler.rows(str(pairs["run"].iloc[0]))
    assert rows is not None
    return crossed_t(differences, float(np.nanvar(mean, ddof=1)), len(rows), least_variance)


def _ratio(pairs: DataFrame) -> float:
    """Test rows by training rows of a split."""
    train = float(pairs["train_rows"].mean()) if len(pairs) else math.nan
    return float(pairs["test_rows"].mean()) / train if train > 0 else 0.0


def _needed(test: Difference, pairs: DataFrame) -> int | None:
    """Seeds, not pairs: splits of a seed come with it."""
    result = seeds_needed(test.value, test.spread, floor=test.floor) if test.pairs > 1 and test.value else None
    return None if result is None else max(math.ceil(result / pairs["split"].nunique()), 2)


def _mcnemar(pairs: DataFrame, resampler: Resampler | None) -> float:
    """Median over the seeds; a seed's splits are taken together where none of their rows is twice."""
    if resampler is None:
        return math.nan
    result = []
    for _, part in pairs.groupby("seed"):
        sides: list[list[Any]] = [[], [], []]
        for one, other in zip(_keys(part), _keys(part, "_other"), strict=True):
            rows, right, other_right = resampler.rows(one[0]), resampler.right(*one), resampler.right(*other)
            theirs = resampler.rows(other[0])
            if (
                rows is None
                or theirs is None
                or right is None
                or other_right is None
                or not np.array_equal(rows, theirs)
            ):
                return math.nan
            for side, values in zip(sides, (rows, right, other_right), strict=True):
                side.append(values)
        rows, right, other_right = (np.concatenate(side) for side in sides)
        if len(np.unique(rows)) == len(rows):
            result.append(mcnemar(right, other_right))
    return float(np.median(result)) if result else math.nan


def _keys(pairs: DataFrame, side: str = "") -> list[tuple[str, int]]:
    """Run and evaluation of each pair's one side."""
    return list(zip(pairs[f"run{side}"].tolist(), pairs[f"evaluation{side}"].tolist(), strict=True))
