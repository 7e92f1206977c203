"""Features of a table's numbers, booleans and dates, and what the features of every type of column promise."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from plait.data.column import Column
from plait.data.dates import AMBIGUOUS, ISO
from plait.data.numbers import Style
from plait.data.parse import Parsed, booleans, date_format, dates, number_style, numbers, zones
from plait.encoders.scale import robust_scale, soft_clip


@dataclasses.dataclass(frozen=True)
class Limits:
    """How many features a column may have.

    Attributes:
        min_count: training rows that a category or item needs for a feature of its own.
        max_categories: features of one column's categories or items; the most frequent are kept.
        bins: steps of the piecewise linear encoding of a number; 0 leaves it out; None: by the number of rows.
        ngrams: components of the letter groups of a category with many spellings; 0 leaves them out.
    """

    min_count: int
    max_categories: int
    bins: int | None
    ngrams: int


@dataclasses.dataclass(frozen=True)
class View:
    """What cells of one column become.

    Attributes:
        features: (n, k), finite, for networks.
        bad: (n,) bool, cells that were not understood; None: there are none.
        numbers: (n, m) for trees, NaN for null.
        codes: (n,) for trees, the place of a cell in the vocabulary, -1 for null or never seen; None: no category.
        surprise: what is unlike the fit in the way that understood cells are written.
    """

    features: np.ndarray
    bad: np.ndarray | None = None
    numbers: np.ndarray | None = None
    codes: np.ndarray | None = None
    surprise: str | None = None


@dataclasses.dataclass(frozen=True)
class Features(ABC):
    """Features of one column; the fields are JSON values or arrays, and all that is kept of the training rows."""

    type: ClassVar[str]
    #: Fields that models of the first version do not have: fingerprints hang on the state, so it holds them only where they
    #: say something else than then.
    later: ClassVar[tuple[str, ...]] = ()
    name: str

    @classmethod
    @abstractmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self | None:
        """Learn from the training rows; ``form`` is what stands behind the type's name. None: the column has none such."""

    @abstractmethod
    def labels(self) -> list[str]:
        """Name of each feature, without the column's."""

    @abstractmethod
    def view(self, column: Column) -> View:
        """What cells become."""

    def number_names(self) -> list[str]:
        """Name of each number for trees, without the column's; empty for the column's own value."""
        return []

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Levels of the code for trees; a column that is no category has none."""
        return ()

    def state(self) -> dict[str, Any]:
        usual = {field.name: field.default for field in dataclasses.fields(self) if field.name in self.later}
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"type": self.type, **{k: v for k, v in own.items() if k not in usual or v != usual[k]}}


def _finite(parsed: Parsed) -> tuple[np.ndarray, np.ndarray]:
    """Values with NaN for all that is no finite number, and where a present cell was no such."""
    bad = parsed.bad | np.isinf(parsed.values)
    return np.where(bad, np.nan, parsed.values), bad


@dataclasses.dataclass(frozen=True)
class Number(Features):
    """The scaled value, steps over its quantiles, and a flag where it is missing.

    The steps (one per bin, 0 below it, 1 above it, linear within) let one linear layer learn any shape; a number with
    few values has a step per value.

    Source: Gorishniy et al. 2022, On Embeddings for Numerical Features, equation 1.
    """

    type: ClassVar[str] = "number"
    style: str
    centre: float
    scale: float
    edges: tuple[float, ...]
    missing: bool

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Learn how the numbers are written, their quartiles and quantiles."""
        style = number_style(column.series)
        values, _ = _finite(numbers(column.series, style))
        there = values[~np.isnan(values)]
        centre, scale = robust_scale(there)
        missing = bool(np.isnan(values).any())
        return cls(column.name, style, centre, scale, _edges(there, limits.bins), missing)

    def labels(self) -> list[str]:
        steps = [f"over {edge:g}" for edge in self.edges[:-1]]
        return ["value", *steps, *(["missing"] if self.missing else [])]

    def number_names(self) -> list[str]:
        return [""]

    def view(self, column: Column) -> View:
        """(n, 1 + bins + 1), the values as they are, and which cells are written in another way than those of the fit."""
        parsed = numbers(column.series, self.style)
        values, bad = _finite(parsed)
        gone = np.isnan(values)
        filled = np.where(gone, self.centre, values)
        with np.errstate(over="ignore"):
            features = [soft_clip((filled - self.centre) * self.scale)[:, None]]
        if self.edges:
            features.append(self._steps(filled))
        if self.missing:
            features.append(gone[:, None])
        return View(np.hstack(features), bad, values[:, None], surprise=self._surprise(column, parsed))

    def _surprise(self, column: Column, parsed: Parsed) -> str | None:
        odd = parsed.odd
        if not odd.any():
            return None
        example = str(column.series[odd].iloc[0])[:30]
        parts = Style.parse(self.style)
        usual = {"comma": "a decimal comma", "thousands": "separators of thousands"}.get(parts.mark, "plain numbers")
        value = parsed.values[odd][0]
        return f"{int(odd.sum()):,} in '{self.name}' (e.g. {example!r}, read as {value:g}; fitted on {usual})"

    def _steps(self, values: np.ndarray) -> np.ndarray:
        edges = np.asarray(self.edges)
        inside = np.clip(values, edges[0], edges[-1])[:, None]
        return np.asarray(np.clip((inside - edges[:-1]) / np.diff(edges), 0.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Figure(Number):
    """The number that a code is written as; of a code that is none nothing is said, its category knows it."""

    type: ClassVar[str] = "figure"

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Fit as a number, without a flag for missing values, which the category has."""
        return dataclasses.replace(super().fit(column, limits, form), missing=False)

    def view(self, column: Column) -> View:
        """The same view as a number's."""
        return dataclasses.replace(super().view(column), bad=None, surprise=None)


#: Rows that each step needs, and steps at most. On 700 rows eight steps a number cost 0.04 accuracy (Pokemon), on 9,000
#: sixteen gain 0.01 (Hearthstone); benchmarks in docs/table.md.
_ROWS_A_STEP, _ROWS_A_VALUE, _STEPS = 500, 40, 16


def _edges(values: np.ndarray, bins: int | None) -> tuple[float, ...]:
    """Where the steps begin and end: at the values where they are few, else at quantiles; none for a small table."""
    result = np.unique(values)
    few = len(result) <= _STEPS + 1 and len(values) >= _ROWS_A_VALUE * len(result)
    steps = bins if bins is not None else _STEPS if few else min(_STEPS, len(values) // _ROWS_A_STEP)
    if len(result) < 3 or steps < (4 if bins is None else 1):
        return ()
    edges = result if len(result) <= steps + 1 else np.unique(np.quantile(values, np.linspace(0, 1, steps + 1)))
    return tuple(float(e) for e in edges) if len(edges) > 2 else ()


@dataclasses.dataclass(frozen=True)
class Boolean(Features):
    """1 for yes, -1 for no, 0 and a flag for missing."""

    type: ClassVar[str] = "boolean"
    missing: bool

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Learn whether cells are missing."""
        return cls(column.name, bool(np.isnan(booleans(column.series).values).any()))

    def labels(self) -> list[str]:
        return ["true", *(["missing"] if self.missing else [])]

    def number_names(self) -> list[str]:
        return [""]

    def view(self, column: Column) -> View:
        """(n, 2); for trees 1 for yes and 0 for no."""
        parsed = booleans(column.series)
        gone = np.isnan(parsed.values)
        value = np.where(gone, 0.0, 2.0 * parsed.values - 1.0)
        features = np.stack([value, gone] if self.missing else [value], axis=1)
        return View(features, parsed.bad, parsed.values[:, None])


_YEAR, _WEEK = 365.2425, 7.0


@dataclasses.dataclass(frozen=True)
class Date(Features):
    """When it was (scaled days), the seasons of year, week and day as sine and cosine, and a flag for missing."""

    type: ClassVar[str] = "date"
    later: ClassVar[tuple[str, ...]] = ("zone",)
    form: str
    centre: float
    scale: float
    clock: bool
    missing: bool
    zone: str = "utc"  # models of the first version turned all times to UTC

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Learn the format and the range."""
        value = form or date_format(column.series) or ISO
        days = dates(column.series, ISO if value == AMBIGUOUS else value).values
        there = days[~np.isnan(days)]
        clock = bool((there % 1.0 != 0).any())
        missing = len(there) < len(days)
        return cls(column.name, value, *robust_scale(there), clock, missing, zones(column.series))

    def labels(self) -> list[str]:
        seasons = ["year", "week", *(["day"] if self.clock else [])]
        waves = [f"{wave} of {season}" for season in seasons for wave in ("sine", "cosine")]
        return ["days", *waves, "weekend", *(["missing"] if self.missing else [])]

    def number_names(self) -> list[str]:
        return ["days", "month", "weekday", *(["hour"] if self.clock else [])]

    def view(self, column: Column) -> View:
        """(n, 6 + 2 with a time of day + 1); the calendar's parts as numbers; whether there are zones as in the fit."""
        parsed = dates(column.series, self.form, utc=self.zone == "utc")
        gone = np.isnan(parsed.values)
        days = np.where(gone, self.centre, parsed.values)
        parts = [soft_clip((days - self.centre) * self.scale)]
        for length in (_YEAR, _WEEK, *([1.0] if self.clock else [])):
            angle = 2 * np.pi * (days % length) / length
            parts += [np.sin(angle), np.cos(angle)]
        whole = np.floor(days)
        weekday = (whole + 3) % 7  # the first of 1970 was a Thursday
        parts.append((weekday >= 5).astype(np.float64))
        there = np.stack(parts, axis=1) * ~gone[:, None]
        months = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
        calendar = [days, months, weekday, *([(days - whole) * 24] if self.clock else [])]
        numbers = np.where(gone[:, None], np.nan, np.stack(calendar, axis=1))
        features = np.hstack([there, gone[:, None]]) if self.missing else there
        return View(features, parsed.bad, numbers, surprise=self._surprise(column))

    def _surprise(self, column: Column) -> str | None:
        if self.zone in ("utc", "both", ""):
            return None
        now = zones(column.series)
        said = {
            "naive": "without a time zone",
            "aware": "with a time zone",
            "both": "some with, some without a time zone",
        }
        same = now in ("", self.zone)
        return (
            None if same else f"'{self.name}' has times {said[now]}, fitted {said[self.zone]}: the local time is read"
        )
