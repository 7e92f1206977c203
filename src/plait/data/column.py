"""One column under inspection: what the rules of ``plait.data.rules`` ask of it, computed once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from plait.data.cells import is_media
from plait.data.numbers import Style
from plait.data.parse import Parsed, booleans, date_format, dates, numbers, style_in
from plait.data.typed import plain, typed_array, typed_series
from plait.data.values import MISSING_WORDS, answers, nulls, text_of, texts

_SAMPLE = 2000  # distinct values that the rules of wording look at
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|#")


@dataclass(frozen=True)
class Verdict:
    """What a column is taken for.

    Attributes:
        kind: a kind of modality, or ``ignored``.
        reason: why, in a few words.
        type: of a tabular column.
        doubt: what was seen and not guessed at.
        named: it names files, which are not in the table itself.
    """

    kind: str
    reason: str
    type: str | None = None
    doubt: str | None = None
    named: bool = False


class Column:
    """A column and what is known of it."""

    def __init__(self, series: pd.Series, root: str | None = None) -> None:
        self.series = typed_series(series)
        self.root = root
        self.name = str(series.name)

    @cached_property
    def gone(self) -> np.ndarray:
        """(n,) bool: empty cells."""
        return nulls(self.series)

    @cached_property
    def present(self) -> int:
        """Cells that hold anything."""
        return int((~self.gone).sum())

    @cached_property
    def values(self) -> list[Any]:
        """The first present cells, as they are."""
        return list(plain(self.series.iloc[np.flatnonzero(~self.gone)[:_SAMPLE]]))

    @cached_property
    def texts(self) -> np.ndarray:
        """Every cell as text, None where empty."""
        return texts(self.series)

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Distinct text -> rows that hold it, in order of appearance."""
        column = typed_array(self.series)
        codes = column.codes[~self.gone]
        rows, known = np.bincount(codes), answers(column, text_of)
        result: Counter[str] = Counter()
        for code in pd.unique(codes).tolist():
            result[known[code]] += int(rows[code])
        return result

    @cached_property
    def sample(self) -> list[str]:
        """Distinct texts, evenly spread over the table, at most two thousand."""
        result = list(self.counts)
        return result[:: max(1, len(result) // _SAMPLE)][:_SAMPLE]

    @property
    def distinct(self) -> int:
        """Number of distinct texts."""
        return len(self.counts)

    @cached_property
    def alike(self) -> float:
        """Chance that two rows drawn at random hold the same text.

        Half of the table says nearly the same of it, which is not true of a number or a share of distinct values: what a
        column is taken for must not change when the table grows.
        """
        counts = np.fromiter(self.counts.values(), dtype=np.float64)
        total = counts.sum()
        return float((counts * (counts - 1)).sum() / (total * (total - 1))) if total > 1 else 1.0

    @property
    def levels(self) -> float:
        """Number of equally frequent values that would be as often alike; infinite when no value comes twice."""
        return 1.0 / self.alike if self.alike else float("inf")

    @cached_property
    def style(self) -> Style:
        """How its numbers are written, if it holds any."""
        return style_in(self.series)

    @cached_property
    def numbers(self) -> Parsed:
        """The column read as numbers, as it writes them."""
        return numbers(self.series, self.style)

    @cached_property
    def dates(self) -> Parsed:
        """The column read as dates in its own format."""
        return dates(self.series, self.date_format or "ISO8601")

    @cached_property
    def booleans(self) -> Parsed:
        """The column read as yes and no."""
        return booleans(self.series)

    @cached_property
    def whole(self) -> np.ndarray | None:
        """The numbers that are there as integers, or None when one is not whole."""
        result = self.numbers.values[np.isfinite(self.numbers.values)]
        fits = len(result) > 0 and bool((result == np.round(result)).all()) and bool((np.abs(result) < 2**53).all())
        return result.astype(np.int64) if fits else None

    @cached_property
    def date_format(self) -> str | None:
        """The format of a column of dates."""
        return date_format(self.series)

    @cached_property
    def lower(self) -> set[str]:
        """Distinct words in lower case, without those that stand for a missing value."""
        return {t.lower() for t in self.counts} - MISSING_WORDS

    @cached_property
    def words_per_cell(self) -> float:
        """Mean number of words of the distinct texts."""
        return float(np.mean([len(t.split()) for t in self.sample])) if self.sample else 0.0

    @property
    def name_parts(self) -> list[str]:
        """Words of the column's name: ``imdbId`` -> imdb, id."""
        return [part.lower() for part in _PARTS.findall(self.name)]

    @property
    def is_media(self) -> bool:
        """Whether cells hold bytes, images or arrays of two or more axes."""
        return any(is_media(v) for v in self.values[:20])

    def share(self, pattern: re.Pattern[str]) -> float:
        """Share of the distinct texts that match a pattern from the start."""
        return sum(bool(pattern.match(t)) for t in self.sample) / len(self.sample) if self.sample else 0.0


def coded(column: Column) -> bool:
    """Whether whole numbers look like codes: they come again, lie in groups far apart (3, 14, 1004, 1466), and are not round.

    Counts and scores fill their range; amounts with gaps (50, 100, 250, 3000) are round in most rows, or grow step by step.
    """
    values = column.whole
    if values is None or column.levels > 200:
        return False
    result, counts = np.unique(values, return_counts=True)
    if len(result) < 3 or result[0] < 0:
        return False
    large = values[values >= 10]
    jumps = np.flatnonzero(result[1:] > 10 * np.maximum(result[:-1], 10))
    below = np.cumsum(counts)[jumps] / len(values)
    apart = any(
        0.05 <= share <= 0.95 and 2 <= at + 1 <= len(result) - 2 for share, at in zip(below, jumps, strict=True)
    )
    return apart and bool((large % 5 == 0).mean() < 0.5)


def gapped(column: Column) -> bool:
    """Whether the whole numbers of a target are few, come again, leave more than half of their range out and are not round."""
    values = column.whole
    if values is None or column.levels > 200:
        return False
    result = np.unique(values)
    low, high = np.quantile(values, [0.05, 0.95])  # a few wild values say nothing
    within = result[(result >= low) & (result <= high)]
    inside = values[(values >= low) & (values <= high) & (values > 0)]  # row by row: one odd price is none of a code
    if len(within) < 3 or not len(inside) or (inside % 5 == 0).mean() >= 0.5:
        return False
    step = int(np.gcd.reduce(np.diff(within)))  # 10, 20, 30 have no gaps
    return len(within) / (int(within[-1] - within[0]) // step + 1) < 0.5
