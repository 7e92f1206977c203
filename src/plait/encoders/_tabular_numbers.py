"""Features of numbers, booleans and dates."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from plait.data.dates import AMBIGUOUS, ISO
from plait.data.numbers import Style
from plait.data.parse import Parsed, booleans, date_format, dates, number_style, numbers, zones
from plait.encoders._tabular_base import Features, Limits


def soft_clip(z: np.ndarray, limit: float = 3.0) -> np.ndarray:
    """Nearly the identity around zero, never beyond ``limit``; so one wild value rules nothing.

    Formula: z / sqrt(1 + (z / limit)^2).
    Source: Holzmueller et al. 2024, Better by Default (RealMLP), section 3.
    """
    z = np.clip(z, -1e9, 1e9)  # the square of 1e300 is infinite
    return np.asarray(z / np.sqrt(1.0 + (z / limit) ** 2))


def robust_scale(values: np.ndarray) -> tuple[float, float]:
    """Median, and one over the distance of the quartiles (half the range where they coincide, 0 if nothing varies)."""
    if not len(values):
        return 0.0, 0.0
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    width = high - low if high > low else (values.max() - values.min()) / 2
    scale = 1.0 / width if np.isfinite(width) and width > 1e-300 else 0.0
    return float(centre), float(scale)


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
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn how the numbers are written, their quartiles and quantiles."""
        style = number_style(series)
        values, _ = _finite(numbers(series, style))
        there = values[~np.isnan(values)]
        centre, scale = robust_scale(there)
        missing = bool(np.isnan(values).any())
        return cls(str(series.name), style, centre, scale, _edges(there, limits.bins), missing)

    def labels(self) -> list[str]:
        """The value, each step, missing."""
        steps = [f"over {edge:g}" for edge in self.edges[:-1]]
        return ["value", *steps, *(["missing"] if self.missing else [])]

    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(n, 1 + bins + 1)."""
        return self._features(numbers(series, self.style))

    def examine(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray, str | None]:
        """As ``transform``; and which cells are written in another way than those of the fit, though understood."""
        parsed = numbers(series, self.style)
        return *self._features(parsed), self._surprise(series, parsed)

    def _features(self, parsed: Parsed) -> tuple[np.ndarray, np.ndarray]:
        values, bad = _finite(parsed)
        gone = np.isnan(values)
        filled = np.where(gone, self.centre, values)
        with np.errstate(over="ignore"):
            columns = [soft_clip((filled - self.centre) * self.scale)[:, None]]
        if self.edges:
            columns.append(self._steps(filled))
        if self.missing:
            columns.append(gone[:, None])
        return np.hstack(columns), bad

    def _surprise(self, series: pd.Series, parsed: Parsed) -> str | None:
        odd = parsed.odd
        if not odd.any():
            return None
        example = str(series[odd].iloc[0])[:30]
        parts = Style.parse(self.style)
        usual = {"comma": "a decimal comma", "thousands": "separators of thousands"}.get(parts.mark, "plain numbers")
        value = parsed.values[odd][0]
        return f"{int(odd.sum()):,} in '{self.name}' (e.g. {example!r}, read as {value:g}; fitted on {usual})"

    def _steps(self, values: np.ndarray) -> np.ndarray:
        edges = np.asarray(self.edges)
        inside = np.clip(values, edges[0], edges[-1])[:, None]
        return np.asarray(np.clip((inside - edges[:-1]) / np.diff(edges), 0.0, 1.0))


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
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn whether cells are missing."""
        return cls(str(series.name), bool(np.isnan(booleans(series).values).any()))

    def labels(self) -> list[str]:
        """True, missing."""
        return ["true", *(["missing"] if self.missing else [])]

    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(n, 2)."""
        parsed = booleans(series)
        gone = np.isnan(parsed.values)
        value = np.where(gone, 0.0, 2.0 * parsed.values - 1.0)
        return np.stack([value, gone] if self.missing else [value], axis=1), parsed.bad


_YEAR, _WEEK = 365.2425, 7.0


@dataclasses.dataclass(frozen=True)
class Date(Features):
    """When it was (scaled days), the seasons of year, week and day as sine and cosine, and a flag for missing."""

    type: ClassVar[str] = "date"
    form: str
    centre: float
    scale: float
    clock: bool
    missing: bool
    zone: str = "utc"  # models of the first version turned all times to UTC

    def state(self) -> dict[str, Any]:
        """JSON values; models of the first version had no ``zone``, and their fingerprints hang on it."""
        state = super().state()
        return {k: v for k, v in state.items() if k != "zone"} if self.zone == "utc" else state

    @classmethod
    def fit(cls, series: pd.Series, limits: Limits, form: str) -> Self:
        """Learn the format and the range."""
        value = form or date_format(series) or ISO
        days = dates(series, ISO if value == AMBIGUOUS else value).values
        there = days[~np.isnan(days)]
        clock = bool((there % 1.0 != 0).any())
        return cls(str(series.name), value, *robust_scale(there), clock, len(there) < len(days), zones(series))

    def labels(self) -> list[str]:
        """Days, year, week, day, missing."""
        seasons = ["year", "week", *(["day"] if self.clock else [])]
        waves = [f"{wave} of {season}" for season in seasons for wave in ("sine", "cosine")]
        return ["days", *waves, "weekend", *(["missing"] if self.missing else [])]

    def transform(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(n, 6 + 2 with a time of day + 1)."""
        parsed = dates(series, self.form, utc=self.zone == "utc")
        gone = np.isnan(parsed.values)
        days = np.where(gone, self.centre, parsed.values)
        columns = [soft_clip((days - self.centre) * self.scale)]
        for length in (_YEAR, _WEEK, *([1.0] if self.clock else [])):
            angle = 2 * np.pi * (days % length) / length
            columns += [np.sin(angle), np.cos(angle)]
        columns.append(((np.floor(days) + 3) % 7 >= 5).astype(np.float64))  # the first of 1970 was a Thursday
        there = np.stack(columns, axis=1) * ~gone[:, None]
        return (np.hstack([there, gone[:, None]]) if self.missing else there), parsed.bad

    def examine(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray, str | None]:
        """As ``transform``; and whether times have zones where those of the fit had none, or the reverse."""
        return *self.transform(series), self._surprise(series)

    def _surprise(self, series: pd.Series) -> str | None:
        now = zones(series)
        if self.zone in ("utc", "both", "") or now in ("", self.zone):
            return None
        said = {
            "naive": "without a time zone",
            "aware": "with a time zone",
            "both": "some with, some without a time zone",
        }
        return f"'{self.name}' has times {said[now]}, fitted {said[self.zone]}: the local time is read"
